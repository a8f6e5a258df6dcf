//! What the tracker makes of Services and EndpointSlices.

use std::net::IpAddr;

use crate::objects::*;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use orlop_plan::*;

fn tracker() -> Tracker {
    Tracker::new(NodeFacts::primary(NODE, vec!["172.30.0.11".parse().unwrap()], vec!["10.244.0.0/16".parse().unwrap()]))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn cluster(text: &str, port: u16) -> Frontend {
    Frontend::ip(ip(text), Protocol::Tcp, port)
}

fn addresses(plan: &Plan, frontend: Frontend) -> Vec<String> {
    plan.get(&frontend).map(|t| t.endpoints.iter().map(ToString::to_string).collect()).unwrap_or_default()
}

fn web(endpoints: Vec<k8s_openapi::api::discovery::v1::Endpoint>) -> EndpointSlice {
    slice("web-1", "web", &[("http", 8080)], endpoints)
}

#[test]
fn several_slices_of_a_service_are_merged_without_duplicates() {
    let mut tracker = tracker();
    tracker.upsert_service(&service("web", &["10.96.0.10"], vec![port("http", 80, Some(30001))]));
    tracker.upsert_slice(&web(vec![endpoint("10.244.0.2", NODE), endpoint("10.244.1.2", "node-2")]));
    tracker.upsert_slice(&slice("web-2", "web", &[("http", 8080)], vec![endpoint("10.244.1.2", "node-2")]));
    let plan = tracker.plan();
    assert_eq!(addresses(&plan, cluster("10.96.0.10", 80)), ["10.244.0.2:8080", "10.244.1.2:8080"]);
    let node_port = plan.get(&Frontend::node_port(Family::V4, Protocol::Tcp, 30001)).unwrap();
    assert_eq!((node_port.kind, node_port.masquerade), (FrontendKind::NodePort, Masquerade::Always));
    assert!(node_port.endpoints[0].local && !node_port.endpoints[1].local);
}

#[test]
fn named_ports_go_to_the_slice_port_of_that_name() {
    let mut tracker = tracker();
    tracker.upsert_service(&service("web", &["10.96.0.10"], vec![port("http", 80, None), port("https", 443, None)]));
    tracker.upsert_slice(&slice("a", "web", &[("http", 8080), ("https", 8443)], vec![endpoint("10.244.0.2", NODE)]));
    let plan = tracker.plan();
    assert_eq!(addresses(&plan, cluster("10.96.0.10", 80)), ["10.244.0.2:8080"]);
    assert_eq!(addresses(&plan, cluster("10.96.0.10", 443)), ["10.244.0.2:8443"]);
}

#[test]
fn a_terminating_endpoint_serves_only_while_none_is_ready() {
    let mut tracker = tracker();
    tracker.upsert_service(&service("web", &["10.96.0.10"], vec![port("http", 80, None)]));
    let leaving = conditions(endpoint("10.244.0.2", NODE), false, true, true);
    let gone = conditions(endpoint("10.244.0.3", NODE), false, false, true);
    tracker.upsert_slice(&web(vec![leaving.clone(), gone.clone(), endpoint("10.244.0.4", NODE)]));
    assert_eq!(addresses(&tracker.plan(), cluster("10.96.0.10", 80)), ["10.244.0.4:8080"]);
    tracker.upsert_slice(&web(vec![leaving, gone]));
    assert_eq!(addresses(&tracker.plan(), cluster("10.96.0.10", 80)), ["10.244.0.2:8080"]);
}

#[test]
fn headless_external_name_and_other_proxies_services_are_not_planned() {
    let mut tracker = tracker();
    let mut labelled = service("other", &["10.96.0.9"], vec![port("", 80, None)]);
    labelled.metadata.labels = Some([("service.kubernetes.io/service-proxy-name".into(), "x".into())].into());
    tracker.upsert_service(&labelled);
    tracker.upsert_service(&service("headless", &["None"], vec![port("", 80, None)]));
    assert!(tracker.plan().frontends.is_empty());
}

#[test]
fn a_service_has_the_frontends_of_both_families_each_with_its_own_endpoints() {
    let mut tracker = tracker();
    tracker.upsert_service(&service("web", &["10.96.0.10", "fd00::10"], vec![port("http", 80, Some(30001))]));
    tracker.upsert_slice(&web(vec![endpoint("10.244.0.2", NODE)]));
    tracker.upsert_slice(&slice("web-6", "web", &[("http", 8080)], vec![endpoint("fd01::2", NODE)]));
    let plan = tracker.plan();
    assert_eq!(plan.frontends.len(), 4);
    assert_eq!(addresses(&plan, cluster("fd00::10", 80)), ["[fd01::2]:8080"]);
    assert_eq!(addresses(&plan, Frontend::node_port(Family::V4, Protocol::Tcp, 30001)), ["10.244.0.2:8080"]);
}

#[test]
fn a_contested_frontend_is_the_first_names_whatever_the_order_and_passes_on_when_it_goes() {
    let claim = |name: &str, ip: &str| {
        let mut service = service(name, &[ip], vec![port("", 80, None)]);
        service.spec.as_mut().unwrap().external_ips = Some(vec!["192.0.2.1".into()]);
        service
    };
    let contested = cluster("192.0.2.1", 80);
    for order in [["a", "b"], ["b", "a"]] {
        let mut tracker = tracker();
        for name in order {
            tracker.upsert_service(&claim(name, if name == "a" { "10.96.0.1" } else { "10.96.0.2" }));
            tracker.plan();
        }
        assert_eq!(&*tracker.plan().get(&contested).unwrap().name.service, "default/a");
        tracker.remove_service("default", "a");
        assert_eq!(&*tracker.plan().get(&contested).unwrap().name.service, "default/b");
        tracker.remove_service("default", "b");
        assert!(tracker.plan().frontends.is_empty());
    }
}

#[test]
fn local_policies_bind_callers_from_outside_only() {
    let mut tracker = tracker();
    let mut local = service("web", &["10.96.0.10"], vec![port("http", 80, Some(30001))]);
    local.spec.as_mut().unwrap().external_traffic_policy = Some("Local".into());
    tracker.upsert_service(&local);
    tracker.upsert_slice(&web(vec![endpoint("10.244.1.2", "node-2")]));
    let plan = tracker.plan();
    let packet = |source: &str, origin| Packet {
        source: ip(source),
        destination: ip("172.30.0.11"),
        protocol: Protocol::Tcp,
        port: 30001,
        origin,
        device: None,
    };
    assert_eq!(interpret(&plan, &packet("172.30.0.200", Origin::Device)), Outcome::Drop);
    let masqueraded = |outcome| match outcome {
        Outcome::Forward { choices, .. } => choices[0].masqueraded,
        other => panic!("{other:?}"),
    };
    assert!(!masqueraded(interpret(&plan, &packet("10.244.0.9", Origin::Device))));
    assert!(masqueraded(interpret(&plan, &packet("172.30.0.11", Origin::Node))));
}

#[test]
fn what_a_cluster_ip_does_not_serve_is_refused_and_strangers_pass() {
    let mut tracker = tracker();
    tracker.upsert_service(&service("web", &["10.96.0.10"], vec![port("http", 80, None)]));
    let plan = tracker.plan();
    let packet = |destination: &str, port| Packet {
        source: ip("10.244.0.9"),
        destination: ip(destination),
        protocol: Protocol::Tcp,
        port,
        origin: Origin::Device,
        device: None,
    };
    assert_eq!(interpret(&plan, &packet("10.96.0.10", 80)), Outcome::Reject);
    assert_eq!(interpret(&plan, &packet("10.96.0.10", 81)), Outcome::Reject);
    assert_eq!(interpret(&plan, &packet("10.96.0.11", 80)), Outcome::Pass);
}

#[test]
fn ten_thousand_services_follow_one_change_without_visiting_the_rest() {
    let mut tracker = tracker();
    for n in 0..10_000u32 {
        let name = format!("s{n}");
        let vip = format!("10.{}.{}.{}", 96 + (n >> 16), (n >> 8) & 255, n & 255);
        tracker.upsert_service(&service(&name, &[&vip], vec![port("http", 80, None)]));
        let endpoints = (0..5).map(|e| endpoint(&format!("10.244.{}.{}", n % 200, e + 2), NODE)).collect();
        tracker.upsert_slice(&slice(&format!("{name}-1"), &name, &[("http", 8080)], endpoints));
    }
    let before = tracker.plan();
    tracker.upsert_slice(&slice("s77-1", "s77", &[("http", 8080)], vec![endpoint("10.244.9.9", NODE)]));
    let start = std::time::Instant::now();
    let after = tracker.plan();
    let changes = diff(&before, &after);
    let took = start.elapsed();
    assert_eq!(changes.frontends.len(), 1);
    assert!(took.as_millis() < 5, "one change took {took:?}");
}

/// A packet of 10.96.0.10:80 or the NodePort 30001 of [`local_policies_bind_callers_from_outside_only`]'s kind.
fn packet<'a>(source: &str, destination: &str, port: u16, device: Option<&'a str>) -> Packet<'a> {
    let origin = if device.is_some() { Origin::Device } else { Origin::Node };
    Packet { source: ip(source), destination: ip(destination), protocol: Protocol::Tcp, port, origin, device }
}

fn masqueraded(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Forward { choices, .. } => choices.iter().all(|choice| choice.masqueraded),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pod_is_known_by_its_network_its_bridge_or_its_devices_name() {
    let web_service = service("web", &["10.96.0.10"], vec![port("http", 80, None)]);
    for (detect_local, pod_device) in [
        (DetectLocal::Cidrs(vec!["10.244.0.0/16".parse().unwrap()]), "any"),
        (DetectLocal::Bridge("cbr0".into()), "cbr0"),
        (DetectLocal::InterfacePrefix("veth".into()), "veth1a2b"),
    ] {
        let mut facts = NodeFacts::primary(NODE, vec![ip("172.30.0.11")], vec![]);
        facts.detect_local = detect_local.clone();
        let mut tracker = Tracker::new(facts);
        tracker.upsert_service(&web_service);
        tracker.upsert_slice(&web(vec![endpoint("10.244.1.2", "node-2")]));
        let plan = tracker.plan();
        let meets = |source: &str, device| masqueraded(&interpret(&plan, &packet(source, "10.96.0.10", 80, device)));
        assert!(!meets("10.244.0.9", Some(pod_device)), "{detect_local:?}");
        assert!(meets("172.30.0.200", Some("eth0")), "{detect_local:?}");
        assert!(meets("172.30.0.11", None), "{detect_local:?}");
    }
}

#[test]
fn where_no_pod_network_of_a_family_is_known_nobody_is_a_stranger_and_nobody_a_pod() {
    let detect = DetectLocal::Cidrs(vec!["fd00::/64".parse().unwrap()]);
    assert!(!detect.is_stranger(ip("192.0.2.1"), None) && !detect.is_pod(ip("192.0.2.1"), None));
    assert!(detect.is_stranger(ip("fd01::1"), None) && detect.is_pod(ip("fd00::1"), None));
}

#[test]
fn masquerade_all_masquerades_pods_too_and_can_be_switched_on_a_living_plan() {
    let mut tracker = tracker();
    tracker.upsert_service(&service("web", &["10.96.0.10"], vec![port("http", 80, None)]));
    tracker.upsert_slice(&web(vec![endpoint("10.244.1.2", "node-2")]));
    let from_pod = |plan: &Plan| masqueraded(&interpret(plan, &packet("10.244.0.9", "10.96.0.10", 80, Some("veth0"))));
    let plan = tracker.plan();
    assert!(!from_pod(&plan));
    tracker.set_node(NodeFacts { masquerade_all: true, ..(*plan.node).clone() });
    assert!(from_pod(&tracker.plan()));
}

#[test]
fn a_node_port_asked_for_on_loopback_answers_the_node_alone() {
    let mut tracker = tracker();
    let mut facts = (*tracker.plan().node).clone();
    facts.node_ports = NodePortAddresses::Only(vec![ip("127.0.0.1"), ip("::1")]);
    tracker.set_node(facts);
    tracker.upsert_service(&service("web", &["10.96.0.10"], vec![port("http", 80, Some(30001))]));
    tracker.upsert_slice(&web(vec![endpoint("10.244.1.2", "node-2")]));
    let plan = tracker.plan();
    assert!(masqueraded(&interpret(&plan, &packet("127.0.0.1", "127.0.0.1", 30001, None))));
    assert_eq!(interpret(&plan, &packet("192.0.2.1", "127.0.0.1", 30001, Some("eth0"))), Outcome::Pass);
    assert_eq!(interpret(&plan, &packet("172.30.0.11", "172.30.0.11", 30001, None)), Outcome::Pass);
}

#[test]
fn drift_names_what_the_kernel_lacks_and_what_it_should_not_have() {
    let mut tracker = tracker();
    tracker.upsert_service(&service("web", &["10.96.0.10"], vec![port("http", 80, None)]));
    tracker.upsert_slice(&web(vec![endpoint("10.244.0.2", NODE), endpoint("10.244.1.2", "node-2")]));
    let plan = tracker.plan();
    let target = plan.get(&cluster("10.96.0.10", 80)).map(|target| &**target);
    let right = Held { endpoints: vec![(ip("10.244.1.2"), 8080), (ip("10.244.0.2"), 8080)], ..Held::default() };
    assert!(Held::drift(Some(&right), target).is_empty());
    let endpoints = vec![(ip("10.244.0.2"), 8080), (ip("10.244.9.9"), 8080)];
    let wrong = Held { endpoints, affinity_seconds: Some(60), when_empty: Some(WhenEmpty::Reject), ..Held::default() };
    assert_eq!(
        Held::drift(Some(&wrong), target),
        [
            "endpoints missing in the kernel: 10.244.1.2:8080",
            "endpoints only in the kernel: 10.244.9.9:8080",
            "affinity: the kernel has 60 s, the plan none",
            "without endpoints: the kernel has Reject, the plan Drop",
        ]
    );
    assert_eq!(Held::drift(None, target), ["the kernel holds nothing for default/web:http"]);
    assert_eq!(Held::drift(Some(&right), None), ["the kernel holds it, but no Service claims it"]);
    assert!(Held::drift(None, None).is_empty());
}

#[test]
fn a_decision_is_explained_rule_by_rule() {
    let mut tracker = tracker();
    let mut web_service = service("web", &["10.96.0.10"], vec![port("http", 80, Some(30001))]);
    let spec = web_service.spec.as_mut().unwrap();
    spec.external_traffic_policy = Some("Local".into());
    spec.session_affinity = Some("ClientIP".into());
    tracker.upsert_service(&web_service);
    tracker.upsert_slice(&web(vec![endpoint("10.244.1.2", "node-2")]));
    let plan = tracker.plan();
    let told = |packet: &Packet<'_>| -> (Outcome, Vec<String>) {
        let (outcome, reasons) = explain(&plan, packet);
        assert_eq!(outcome, interpret(&plan, packet), "the explanation is of another outcome");
        (outcome, reasons.iter().map(ToString::to_string).collect())
    };
    let (outcome, reasons) = told(&packet("10.244.0.9", "10.96.0.10", 80, Some("veth0")));
    assert!(matches!(outcome, Outcome::Forward { .. }));
    assert_eq!(
        reasons,
        [
            "TCP/10.96.0.10:80 is the cluster IP of default/web:http",
            "callers that are no pods are masqueraded; this one keeps its source",
            "sessionAffinity is ClientIP: the endpoint this caller had in the last 10800 s, if it lives",
        ]
    );
    let (outcome, reasons) = told(&packet("192.0.2.1", "172.30.0.11", 30001, Some("eth0")));
    assert_eq!(outcome, Outcome::Drop);
    assert_eq!(
        reasons,
        [
            "TCP/<node>:30001 is the NodePort of default/web:http",
            "externalTrafficPolicy is Local: 0 endpoints on this node, source kept",
            "there are endpoints, but a Local policy permits none of them here: dropped",
        ]
    );
    let (outcome, reasons) = told(&packet("192.0.2.1", "192.0.2.7", 30001, Some("eth0")));
    assert_eq!(outcome, Outcome::Pass);
    assert_eq!(
        reasons,
        [
            "the port is a NodePort of default/web:http, but it answers only on 172.30.0.11",
            "no Service has this address and port: left alone",
        ]
    );
    let (_, reasons) = told(&packet("10.244.0.9", "10.96.0.10", 81, Some("veth0")));
    assert_eq!(reasons, ["a cluster IP refuses ports that none of its Services has: refused"]);
}
