//! Which endpoints kube-proxy would use: readiness, traffic policy and topology hints, case by case.

use crate::objects::*;
use k8s_openapi::api::core::v1::{LoadBalancerIngress, LoadBalancerStatus, ServiceStatus};
use k8s_openapi::api::discovery::v1::{Endpoint as SliceEndpoint, EndpointHints, ForNode, ForZone};
use orlop_plan::*;

/// `10.1.2.3 zone=a,b node=node-1 local gone leaving`: ready and on another node unless it says otherwise.
fn described(text: &str) -> SliceEndpoint {
    let words: Vec<&str> = text.split_whitespace().collect();
    let has = |word| words.contains(&word);
    let hints = |key: &str| words.iter().find_map(|word| word.strip_prefix(key)).map(|names| names.split(','));
    let on = if has("local") { NODE } else { "another" };
    let mut described = endpoint(words[0], on);
    if has("leaving") {
        described = conditions(described, false, true, true);
    } else if has("unready") {
        described = conditions(described, false, false, false);
    }
    let for_zones = hints("zone=").map(|names| names.map(|name| ForZone { name: name.into() }).collect());
    let for_nodes = hints("node=").map(|names| names.map(|name| ForNode { name: name.into() }).collect());
    described.hints = Some(EndpointHints { for_zones, for_nodes });
    described
}

#[derive(Default)]
struct Case {
    says: &'static str,
    zone: Option<&'static str>,
    internal_local: bool,
    external_local: bool,
    endpoints: &'static [&'static str],
    /// What the cluster IP leads to.
    internal: &'static [&'static str],
    /// What the NodePort leads callers inside the cluster to; not looked at when empty.
    inside: &'static [&'static str],
    /// What the NodePort leads callers outside to, where externalTrafficPolicy is Local.
    outside: Option<&'static [&'static str]>,
}

const ZONED: &[&str] = &["10.1.2.3 zone=a", "10.1.2.4 zone=b", "10.1.2.5 zone=c", "10.1.2.6 zone=a"];
const NODED: &[&str] = &[
    "10.1.2.3 zone=a node=node-1",
    "10.1.2.4 zone=b node=node-2",
    "10.1.2.5 zone=c node=node-3",
    "10.1.2.6 zone=a node=node-4",
];
const HALF_NODED: &[&str] = &[NODED[0], "10.1.2.4", NODED[2], NODED[3]];
const NODED_ELSEWHERE: &[&str] = &[NODED[1], NODED[2], NODED[3]];
const ALL: &[&str] = &["10.1.2.3", "10.1.2.4", "10.1.2.5", "10.1.2.6"];
const TWO_LOCAL: &[&str] = &["10.1.2.3 zone=a local", "10.1.2.4 zone=b local", "10.1.2.5 zone=c", "10.1.2.6 zone=a"];

fn cases() -> Vec<Case> {
    let case = Case::default;
    vec![
        Case {
            says: "hints of the node's zone narrow the set",
            zone: Some("a"),
            endpoints: ZONED,
            internal: &["10.1.2.3", "10.1.2.6"],
            ..case()
        },
        Case { says: "a node without a zone ignores them", endpoints: ZONED, internal: ALL, ..case() },
        Case { says: "an empty zone label is no zone", zone: Some(""), endpoints: ZONED, internal: ALL, ..case() },
        Case {
            says: "a zone that no hint names ignores them",
            zone: Some("z"),
            endpoints: ZONED,
            internal: ALL,
            ..case()
        },
        Case {
            says: "an unready endpoint of the zone is no endpoint",
            zone: Some("a"),
            endpoints: &["10.1.2.3 zone=a", "10.1.2.4 zone=b", "10.1.2.5 zone=c", "10.1.2.6 zone=a unready"],
            internal: &["10.1.2.3"],
            ..case()
        },
        Case {
            says: "with only unready ones in the zone the hints are ignored",
            zone: Some("a"),
            endpoints: &["10.1.2.3 zone=a unready", "10.1.2.4 zone=b", "10.1.2.5 zone=c", "10.1.2.6 zone=a unready"],
            internal: &["10.1.2.4", "10.1.2.5"],
            ..case()
        },
        Case {
            says: "one endpoint without a hint and all hints are ignored",
            zone: Some("a"),
            endpoints: &["10.1.2.3 zone=a", "10.1.2.4 zone=b", "10.1.2.5", "10.1.2.6 zone=a"],
            internal: ALL,
            ..case()
        },
        Case {
            says: "an unready endpoint may lack a hint",
            zone: Some("a"),
            endpoints: &["10.1.2.3 zone=a", "10.1.2.4 zone=b", "10.1.2.5 unready"],
            internal: &["10.1.2.3"],
            ..case()
        },
        Case {
            says: "several zones of one hint each count",
            zone: Some("c"),
            endpoints: &["10.1.2.3 zone=a,b,c", "10.1.2.4 zone=b,c", "10.1.2.5 zone=b,d", "10.1.2.6 zone=c"],
            internal: &["10.1.2.3", "10.1.2.4", "10.1.2.6"],
            ..case()
        },
        Case {
            says: "hints for this node come before those of its zone",
            zone: Some("a"),
            endpoints: NODED,
            internal: &["10.1.2.3"],
            ..case()
        },
        Case {
            says: "with one endpoint without hints neither kind counts",
            zone: Some("a"),
            endpoints: HALF_NODED,
            internal: ALL,
            ..case()
        },
        Case {
            says: "without one for this node the zone's hints count",
            zone: Some("a"),
            endpoints: NODED_ELSEWHERE,
            internal: &["10.1.2.6"],
            ..case()
        },
        Case {
            says: "externalTrafficPolicy Local ignores hints for callers outside and minds them inside",
            zone: Some("a"),
            external_local: true,
            endpoints: TWO_LOCAL,
            internal: &["10.1.2.3", "10.1.2.6"],
            inside: &["10.1.2.3", "10.1.2.6"],
            outside: Some(&["10.1.2.3", "10.1.2.4"]),
            ..case()
        },
        Case {
            says: "internalTrafficPolicy Local ignores hints; NodePorts mind them",
            zone: Some("a"),
            internal_local: true,
            endpoints: TWO_LOCAL,
            internal: &["10.1.2.3", "10.1.2.4"],
            inside: &["10.1.2.3", "10.1.2.6"],
            ..case()
        },
        Case {
            says: "internalTrafficPolicy Local without a local endpoint has none",
            internal_local: true,
            endpoints: &["10.0.0.1", "10.0.0.2"],
            inside: &["10.0.0.1", "10.0.0.2"],
            ..case()
        },
        Case { says: "nothing ready is nothing", endpoints: &["10.0.0.1 unready", "10.0.0.2 unready"], ..case() },
        Case {
            says: "when all are leaving, those that still serve are used",
            endpoints: &["10.0.0.1 leaving local", "10.0.0.2 leaving", "10.0.0.3 unready"],
            internal: &["10.0.0.1", "10.0.0.2"],
            ..case()
        },
        Case {
            says: "each policy falls back on its own",
            external_local: true,
            endpoints: &["10.0.0.1", "10.0.0.2 unready local", "10.0.0.3 leaving local", "10.0.0.4 leaving"],
            internal: &["10.0.0.1"],
            inside: &["10.0.0.1"],
            outside: Some(&["10.0.0.3"]),
            ..case()
        },
        Case {
            says: "hints of leaving endpoints do not bind the fallback",
            zone: Some("a"),
            endpoints: &["10.0.0.1 leaving zone=a", "10.0.0.2 leaving zone=b"],
            internal: &["10.0.0.1", "10.0.0.2"],
            ..case()
        },
        Case {
            says: "an address named twice is the pod that does not terminate",
            endpoints: &["10.0.0.1 leaving", "10.0.0.1 unready"],
            ..case()
        },
    ]
}

#[test]
fn endpoints_are_chosen_as_kube_proxy_chooses_them() {
    for case in cases() {
        let mut facts = NodeFacts::primary(NODE, vec!["172.30.0.11".parse().unwrap()], vec![]);
        facts.zone = case.zone.map(String::from);
        let mut tracker = Tracker::new(facts);
        let mut web = service("web", &["10.96.0.10"], vec![port("http", 80, Some(30001))]);
        let spec = web.spec.as_mut().unwrap();
        let policy = |local| Some(if local { "Local" } else { "Cluster" }.to_string());
        spec.internal_traffic_policy = policy(case.internal_local);
        spec.external_traffic_policy = policy(case.external_local);
        tracker.upsert_service(&web);
        let endpoints = case.endpoints.iter().map(|text| described(text)).collect();
        tracker.upsert_slice(&slice("web-1", "web", &[("http", 8080)], endpoints));
        let plan = tracker.plan();
        let listed = |set: &EndpointSet| set.iter().map(|e| e.address.to_string()).collect::<Vec<_>>();
        let cluster = plan.get(&Frontend::ip("10.96.0.10".parse().unwrap(), Protocol::Tcp, 80)).unwrap();
        assert_eq!(listed(&cluster.endpoints), case.internal, "{}", case.says);
        let node_port = plan.get(&Frontend::node_port(Family::V4, Protocol::Tcp, 30001)).unwrap();
        if !case.inside.is_empty() {
            assert_eq!(listed(&node_port.endpoints), case.inside, "inside: {}", case.says);
        }
        let outside = case.outside.map(|all| all.iter().map(ToString::to_string).collect());
        assert_eq!(node_port.local.as_ref().map(listed), outside, "outside: {}", case.says);
    }
}

#[test]
fn a_node_that_changes_its_zone_follows_the_hints_of_the_new_one() {
    let mut tracker = Tracker::new(NodeFacts::primary(NODE, vec!["172.30.0.11".parse().unwrap()], vec![]));
    tracker.upsert_service(&service("web", &["10.96.0.10"], vec![port("http", 80, None)]));
    tracker.upsert_slice(&slice("web-1", "web", &[("http", 8080)], ZONED.iter().map(|e| described(e)).collect()));
    let frontend = Frontend::ip("10.96.0.10".parse().unwrap(), Protocol::Tcp, 80);
    let plan = tracker.plan();
    assert_eq!(plan.get(&frontend).unwrap().endpoints.len(), 4);
    for (zone, count) in [(Some("a"), 2), (Some("b"), 1), (None, 4)] {
        tracker.set_node(NodeFacts { zone: zone.map(String::from), ..(*plan.node).clone() });
        assert_eq!(tracker.plan().get(&frontend).unwrap().endpoints.len(), count, "{zone:?}");
    }
}

fn balanced(external_local: bool) -> k8s_openapi::api::core::v1::Service {
    let mut web = service("web", &["10.96.0.10"], vec![port("http", 80, Some(30001))]);
    let spec = web.spec.as_mut().unwrap();
    spec.type_ = Some("LoadBalancer".into());
    spec.external_traffic_policy = external_local.then(|| "Local".into());
    spec.health_check_node_port = external_local.then_some(32000);
    let ingress = |ip: &str, mode: Option<&str>| LoadBalancerIngress {
        ip: Some(ip.into()),
        ip_mode: mode.map(String::from),
        ..LoadBalancerIngress::default()
    };
    let ingress =
        vec![ingress("192.0.2.1", None), ingress("192.0.2.2", Some("Proxy")), ingress("fd00::1", Some("VIP"))];
    web.status = Some(ServiceStatus {
        load_balancer: Some(LoadBalancerStatus { ingress: Some(ingress) }),
        ..ServiceStatus::default()
    });
    web
}

fn lb(ip: &str) -> Frontend {
    Frontend::ip(ip.parse().unwrap(), Protocol::Tcp, 80)
}

#[test]
fn only_virtual_load_balancer_ips_of_the_services_families_are_captured() {
    let mut tracker = Tracker::new(NodeFacts::primary(NODE, vec!["172.30.0.11".parse().unwrap()], vec![]));
    tracker.upsert_service(&balanced(false));
    let plan = tracker.plan();
    assert!(plan.get(&lb("192.0.2.1")).is_some());
    assert!(plan.get(&lb("192.0.2.2")).is_none(), "ipMode Proxy");
    assert!(plan.get(&lb("fd00::1")).is_none(), "another family");
}

#[test]
fn source_ranges_bind_load_balancer_ips_alone_whatever_the_policy_and_admit_the_ip_itself_with_the_node() {
    for external_local in [false, true] {
        let mut tracker = Tracker::new(NodeFacts::primary(NODE, vec!["172.30.0.11".parse().unwrap()], vec![]));
        let mut web = balanced(external_local);
        let spec = web.spec.as_mut().unwrap();
        // The same address by another name is bound too.
        spec.external_ips = Some(vec!["192.0.2.1".into(), "198.51.100.1".into()]);
        spec.load_balancer_source_ranges = Some(vec![" 203.0.113.0/24 ".into()]);
        tracker.upsert_service(&web);
        let plan = tracker.plan();
        let target = plan.get(&lb("192.0.2.1")).unwrap();
        assert_eq!((target.kind, target.local.is_some()), (FrontendKind::LoadBalancer, external_local));
        assert!(target.admits("203.0.113.9".parse().unwrap()) && !target.admits("192.0.2.1".parse().unwrap()));
        assert!(plan.get(&lb("198.51.100.1")).unwrap().source_ranges.is_none());
        let node_port = plan.get(&Frontend::node_port(Family::V4, Protocol::Tcp, 30001)).unwrap();
        assert!(node_port.source_ranges.is_none() && plan.get(&lb("10.96.0.10")).unwrap().source_ranges.is_none());
        web.spec.as_mut().unwrap().load_balancer_source_ranges = Some(vec!["172.30.0.0/24".into()]);
        tracker.upsert_service(&web);
        let plan = tracker.plan();
        let target = plan.get(&lb("192.0.2.1")).unwrap();
        assert!(target.admits("192.0.2.1".parse().unwrap()) && !target.admits("203.0.113.9".parse().unwrap()));
    }
}

#[test]
fn external_ips_are_captured_only_while_their_gate_is_open() {
    let mut web = service("web", &["10.96.0.10"], vec![port("http", 80, None)]);
    web.spec.as_mut().unwrap().external_ips = Some(vec!["198.51.100.1".into()]);
    let mut open = Tracker::new(NodeFacts::default());
    let mut closed = Tracker::new(NodeFacts::default()).without_external_ips();
    for (tracker, captured) in [(&mut open, true), (&mut closed, false)] {
        tracker.upsert_service(&web);
        assert_eq!(tracker.plan().get(&lb("198.51.100.1")).is_some(), captured);
    }
}

#[test]
fn a_health_check_counts_the_ready_addresses_of_this_node_by_family() {
    let mut tracker = Tracker::new(NodeFacts::primary(NODE, vec!["172.30.0.11".parse().unwrap()], vec![]));
    tracker.upsert_service(&balanced(true));
    let endpoints = ["10.0.0.1 local", "10.0.0.2 local unready", "10.0.0.3", "10.0.0.4 local leaving"];
    tracker.upsert_slice(&slice("a", "web", &[("http", 8080), ("x", 1)], endpoints.map(described).into()));
    tracker.upsert_slice(&slice("b", "web", &[("http", 8080)], vec![described("10.0.0.1 local")]));
    tracker.plan();
    let check = tracker.health_checks()["default/web"];
    assert_eq!(check, HealthCheck { port: 32000, local_v4: 1, local_v6: 0 });
    assert_eq!(tracker.no_local_endpoints(Family::V4), NoLocalEndpoints::default());
    tracker.remove_slice("default", "b");
    tracker.upsert_slice(&slice("a", "web", &[("http", 8080)], vec![described("10.0.0.3")]));
    tracker.plan();
    assert_eq!(tracker.health_checks()["default/web"].local_v4, 0);
    assert_eq!(tracker.no_local_endpoints(Family::V4), NoLocalEndpoints { internal: 0, external: 1 });
    tracker.upsert_service(&balanced(false));
    tracker.plan();
    assert!(tracker.health_checks().is_empty(), "externalTrafficPolicy Cluster needs none");
    tracker.remove_service("default", "web");
    tracker.plan();
    assert_eq!(tracker.no_local_endpoints(Family::V4), NoLocalEndpoints::default());
}

#[test]
fn a_census_tells_how_endpoints_were_chosen() {
    let mut facts = NodeFacts::primary(NODE, vec!["172.30.0.11".parse().unwrap()], vec![]);
    facts.zone = Some("a".into());
    let mut tracker = Tracker::new(facts);
    tracker.upsert_service(&service("web", &["10.96.0.10"], vec![port("http", 80, None)]));
    let described_as =
        |texts: &[&str]| slice("w", "web", &[("http", 8080)], texts.iter().map(|t| described(t)).collect());
    let frontend = Frontend::ip("10.96.0.10".parse().unwrap(), Protocol::Tcp, 80);
    for (endpoints, told) in [
        (
            &["10.0.0.1 zone=a local", "10.0.0.2 zone=b", "10.0.0.3 unready"][..],
            "3 known (1 on this node), 2 ready, 0 terminating but serving: hints for this node's zone leave policy \
             Cluster 1, policy Local 1",
        ),
        (
            &["10.0.0.1 leaving", "10.0.0.2 unready"],
            "2 known (0 on this node), 0 ready, 1 terminating but serving: none is ready, so policy Cluster has the 1 \
             that serve, policy Local 0",
        ),
        (&[], "0 known (0 on this node), 0 ready, 0 terminating but serving: policy Cluster has 0, policy Local 0"),
    ] {
        tracker.upsert_slice(&described_as(endpoints));
        tracker.plan();
        assert_eq!(tracker.census(&frontend).unwrap().to_string(), told);
    }
    assert_eq!(tracker.census(&lb("10.96.0.11")), None);
}
