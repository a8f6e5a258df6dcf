//! A whole agent in a network namespace of its own, on real nftables, against an API server made of a few JSON objects.
// clippy takes helper functions of an integration test for production code.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "agent/api.rs"]
mod api;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use orlop_proxy::{Environment, KubeProxyConfiguration, Question, cleanup, get, run};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use api::Api;

const NODE: &str = "node1";

/// Runs something in a network namespace of its own, with its loopback up.
fn in_a_namespace<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("creating a network namespace: run as root");
        let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status();
        assert!(up.expect("running ip: install iproute2").success());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    });
    thread.join().expect("the test in the namespace");
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

async fn page(port: u16, path: &str) -> (u16, String) {
    get(local(port), path).await.unwrap_or_else(|error| (0, error.to_string()))
}

/// Waits until a page is as wanted; fails with what it was last.
async fn until(port: u16, path: &str, wanted: impl Fn(u16, &str) -> bool) -> String {
    until_within(Duration::from_secs(4), port, path, wanted).await
}

async fn until_within(patience: Duration, port: u16, path: &str, wanted: impl Fn(u16, &str) -> bool) -> String {
    let mut last = (0, String::new());
    for _ in 0..patience.as_millis() / 20 {
        last = page(port, path).await;
        if wanted(last.0, &last.1) {
            return last.1;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{path} stays {last:?}");
}

fn configuration() -> KubeProxyConfiguration {
    let text = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: nftables\n\
                clusterCIDR: 10.244.0.0/16\nnodePortAddresses: [127.0.0.0/8]\nconntrack: {maxPerCore: 0}\n";
    KubeProxyConfiguration::read(text).unwrap().0
}

fn node() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE, "resourceVersion": "1"},
        "status": {"addresses": [{"type": "InternalIP", "address": "172.30.0.11"}]},
    })
}

fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"namespace": "default", "name": "web", "resourceVersion": "1"},
        "spec": {
            "type": "LoadBalancer", "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"],
            "externalTrafficPolicy": "Local", "healthCheckNodePort": 32100,
            "ports": [{"name": "http", "port": 80, "nodePort": 30080, "protocol": "TCP"}],
        },
    })
}

fn slice(addresses: &[&str], trigger: Option<&str>) -> Value {
    let endpoint = |address: &&str| json!({"addresses": [address], "nodeName": NODE, "conditions": {"ready": true}});
    let mut slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "namespace": "default", "name": "web-1", "resourceVersion": "1",
            "labels": {"kubernetes.io/service-name": "web"},
        },
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": addresses.iter().map(endpoint).collect::<Vec<_>>(),
    });
    if let Some(trigger) = trigger {
        slice["metadata"]["annotations"] = json!({"endpoints.kubernetes.io/last-change-trigger-time": trigger});
    }
    slice
}

fn environment(api: &Api) -> Environment {
    Environment {
        node_name: NODE.into(),
        client: api.client(),
        bpf_root: PathBuf::from("/proc/nowhere"),
        cgroup_root: PathBuf::from("/proc/nowhere"),
        node_port_range: (30_000, 32_767),
    }
}

#[test]
fn an_agent_programs_answers_for_its_services_and_tells_how_it_goes() {
    in_a_namespace(|| async {
        let api = Api::new([("nodes", node()), ("services", service()), ("endpointslices", slice(&[], None))]);
        let stop = CancellationToken::new();
        let agent = tokio::spawn(run(configuration().config(environment(&api)), stop.clone()));

        until(10249, "/proxyMode", |status, text| (status, text) == (200, "nftables")).await;
        let health = until(10256, "/healthz", |status, _| status == 200).await;
        let health: Value = serde_json::from_str(&health).expect("JSON");
        assert_eq!((&health["healthy"], &health["nodeEligible"]), (&json!(true), &json!(true)), "{health}");
        assert!(health["status"]["IPv4"]["lastUpdated"].is_string(), "{health}");
        let configz: Value = serde_json::from_str(&page(10249, "/configz").await.1).expect("JSON");
        let shown = &configz["kubeproxy.config.k8s.io"];
        assert_eq!((&shown["clusterCIDR"], &shown["nftables"]["syncPeriod"]), (&json!("10.244.0.0/16"), &json!("30s")));
        let status = page(10249, "/statusz").await.1;
        assert!(status.starts_with("\nkube-proxy statusz\nWarning: ") && status.contains("\nUp: 0 hr "), "{status}");
        let flags = page(10249, "/flagz").await.1;
        assert!(flags.starts_with("\nkube-proxy flagz\nWarning: "), "{flags}");
        let slis = until(10249, "/metrics/slis", |_, text| text.contains("type=\"healthz\"} 1\n")).await;
        assert!(slis.contains("process_start_time_seconds "), "{slis}");
        let event = api.posted("events", "Starting").await;
        let told = (&event["reason"], &event["action"], &event["regarding"]["name"], &event["reportingController"]);
        assert_eq!(told, (&json!("Starting"), &json!("StartKubeProxy"), &json!(NODE), &json!("kube-proxy")), "{event}");
        assert_eq!(page(10249, "/nothing").await, (404, "404 page not found\n".into()));

        // No endpoint: refused, and a load balancer is sent away.
        let question = Question::new("10.96.0.10:80", Some("node"), None).unwrap();
        let explain = format!("/explain?{}", question.query());
        until(10249, &explain, |_, text| text.contains("no endpoint is ready anywhere: refused")).await;
        let body = until(32100, "/", |status, _| status == 503).await;
        assert!(body.contains("\"localEndpoints\": 0") && body.contains("\"serviceProxyHealthy\": true"), "{body}");

        // Endpoints come: programmed, explained, counted, and the load balancer is welcome.
        let trigger = jiff::Timestamp::now().to_string();
        api.modify("endpointslices", slice(&["10.244.0.2", "10.244.0.3"], Some(&trigger)));
        let text = until(10249, &explain, |_, text| text.contains("=> forwarded to one of 2:")).await;
        assert!(text.contains("10.244.0.2:8080 on this node, from this node's address"), "{text}");
        assert!(text.contains("endpoints: 2 known (2 on this node), 2 ready"), "{text}");
        until(32100, "/", |status, _| status == 200).await;
        let metrics = until(10249, "/metrics", |_, text| text.contains("changes_pending 0")).await;
        for line in [
            "kubeproxy_network_programming_duration_seconds_count{ip_family=\"IPv4\"} 1\n",
            "kubeproxy_sync_proxy_rules_endpoint_changes_total 1\n",
            "kubeproxy_sync_proxy_rules_endpoint_changes_pending 0\n",
            "kubeproxy_sync_partial_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"} 1\n",
            "kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy=\"external\",ip_family=\"IPv4\"} 0\n",
            "orlop_proxy_frontends 2\n",
        ] {
            assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
        }
        assert!(metrics.ends_with("# EOF\n"));

        // A change that asks for nothing is not pending for ever.
        api.modify("endpointslices", slice(&["10.244.0.3", "10.244.0.2"], None));
        until(10249, "/metrics", |_, text| {
            text.contains("endpoint_changes_total 2\n") && text.contains("endpoint_changes_pending 0\n")
        })
        .await;

        // The Node is about to go: traffic must, the process need not.
        let mut leaving = node();
        leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        api.modify("nodes", leaving);
        until(10256, "/healthz", |status, body| status == 503 && body.contains("\"nodeEligible\":false")).await;
        assert_eq!(page(10256, "/livez").await.0, 200);
        until(32100, "/", |status, _| status == 503).await;

        stop.cancel();
        agent.await.expect("it ends").expect("without an error");
        tokio::task::spawn_blocking(|| ()).await.unwrap();
        cleanup(Path::new("/proc/nowhere")).expect("it cleans up");
    });
}

#[test]
fn a_taken_address_is_an_end_only_where_it_is_to_be() {
    in_a_namespace(|| async {
        let taken = std::net::TcpListener::bind(local(10249)).unwrap();
        let start = |hard: bool, stop: CancellationToken| {
            let environment = Environment {
                node_name: NODE.into(),
                client: Api::new([]).client(),
                bpf_root: PathBuf::from("/proc/nowhere"),
                cgroup_root: PathBuf::from("/proc/nowhere"),
                node_port_range: (30_000, 32_767),
            };
            let mut config = configuration().config(environment);
            config.bind_address_hard_fail = hard;
            tokio::spawn(run(config, stop))
        };
        let error = start(true, CancellationToken::new()).await.unwrap().expect_err("the address is taken");
        assert!(error.to_string().starts_with("serving metrics on 127.0.0.1:10249: "), "{error}");
        let stop = CancellationToken::new();
        let agent = start(false, stop.clone());
        until(10256, "/livez", |status, _| status == 200).await;
        drop(taken);
        stop.cancel();
        agent.await.unwrap().expect("it goes on");
    });
}

#[test]
fn a_taken_health_check_port_is_told_of_the_service_and_served_when_it_is_free() {
    in_a_namespace(|| async {
        let taken = std::net::TcpListener::bind(local(32100)).unwrap();
        let api = Api::new([("nodes", node()), ("services", service()), ("endpointslices", slice(&[], None))]);
        let stop = CancellationToken::new();
        let agent = tokio::spawn(run(configuration().config(environment(&api)), stop.clone()));
        let event = api.posted("events", "FailedToStartServiceHealthcheck").await;
        let told = (&event["type"], &event["action"], &event["regarding"]["kind"], &event["regarding"]["name"]);
        assert_eq!(told, (&json!("Warning"), &json!("Listen"), &json!("Service"), &json!("web")), "{event}");
        assert_eq!(event["metadata"]["namespace"], "default", "{event}");
        let why = "listen tcp 127.0.0.1:32100: bind: address already in use";
        let note = format!("node {NODE} failed to start healthcheck \"default/web\" on port 32100: {why}");
        assert_eq!(event["note"], note.as_str());
        drop(taken);
        until_within(Duration::from_secs(7), 32100, "/", |status, _| status == 503).await;
        stop.cancel();
        agent.await.expect("it ends").expect("without an error");
        tokio::task::spawn_blocking(|| ()).await.unwrap();
        cleanup(Path::new("/proc/nowhere")).expect("it cleans up");
    });
}
