//! What the service proxy tells of itself, on real nodes in both modes: decisions beside the kernel, health checks, metrics.

#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Duration;

use orlop_conformance::{Cluster, Wanted, caller, echo, eventually};

/// The echo pods behind a load balancer, whose health check port the API server chooses.
const BALANCED: &str = "
apiVersion: v1
kind: Service
metadata: {name: balanced}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  trafficDistribution: PreferSameNode
  selector: {app: echo}
  ports: [{name: tcp, port: 9000, nodePort: 30095}]
";
const CALLS: usize = 30;

#[test]
fn nftables_explains_itself() {
    explains_itself("nftables", "proxy-n");
}

#[test]
fn ebpf_explains_itself() {
    explains_itself("ebpf", "proxy-e");
}

fn explains_itself(mode: &'static str, name: &'static str) {
    let cluster = Cluster::up(Wanted { name, nodes: 2, proxy_mode: mode, overlay: "vxlan", publish: None }).unwrap();
    cluster.kubectl_with(&["create"], &echo(3)).unwrap();
    cluster.kubectl_with(&["create"], BALANCED).unwrap();
    let pods = cluster.ready_pods("echo", 3).unwrap();
    cluster.endpoints("echo", &pods).unwrap();
    cluster.endpoints("balanced", &pods).unwrap();
    decisions_stand_beside_the_kernel(&cluster, mode);
    load_balancers_are_told_of_local_endpoints(&cluster, &pods);
    hints_narrow_the_choice_to_the_node(&cluster, &pods);
    connections_are_counted_by_service(&cluster);
}

fn explain(cluster: &Cluster, node: u32, to: &str, from: &str) -> String {
    let binary = cluster.binary().to_str().unwrap();
    cluster.on_node(node, &[binary, "explain", to, "--from", from]).unwrap()
}

fn decisions_stand_beside_the_kernel(cluster: &Cluster, mode: &str) {
    let cluster_ip = format!("{}:9000", cluster.cluster_ip("echo").unwrap());
    let node_port = cluster.node_port(1, 30090).unwrap().to_string();
    for (to, from) in [(&cluster_ip, "pod"), (&cluster_ip, "node"), (&cluster_ip, "outside"), (&node_port, "outside")] {
        let text = explain(cluster, 1, to, from);
        assert!(text.contains("=> forwarded to one of 3:"), "{text}");
        assert!(text.contains(&format!("The kernel ({mode} mode) holds ")), "{text}");
        assert!(text.contains("No drift: ") && !text.contains("DRIFT"), "{text}");
    }
    let refused = explain(cluster, 1, &cluster_ip.replace(":9000", ":9"), "pod");
    assert!(refused.contains("=> refused") && !refused.contains("DRIFT"), "{refused}");
}

fn load_balancers_are_told_of_local_endpoints(cluster: &Cluster, pods: &orlop_conformance::Pods) {
    let port = cluster.kubectl(&["get", "service", "balanced", "-o", "jsonpath={.spec.healthCheckNodePort}"]).unwrap();
    for node in [1, 2] {
        let local = pods.on(&format!("node{node}")).len();
        let url = format!("http://{}:{port}/", cluster.node_ip(node).unwrap());
        let status = if local > 0 { "200" } else { "503" };
        let answer = cluster.outside(&["curl", "-s", "-i", &url]).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{local} local: {answer}");
        assert!(answer.contains(&format!("x-load-balancing-endpoint-weight: {local}\r\n")), "{answer}");
        assert!(answer.contains(&format!("\"localEndpoints\": {local},")), "{answer}");
    }
}

fn hints_narrow_the_choice_to_the_node(cluster: &Cluster, pods: &orlop_conformance::Pods) {
    let to = format!("{}:9000", cluster.cluster_ip("balanced").unwrap());
    for node in [1, 2] {
        let local = pods.on(&format!("node{node}")).len();
        let expected = if local > 0 { local } else { 3 };
        let text = explain(cluster, node, &to, "pod");
        assert!(text.contains(&format!("=> forwarded to one of {expected}:")), "{local} local: {text}");
    }
}

fn connections_are_counted_by_service(cluster: &Cluster) {
    let to = cluster.node_port(1, 30090).unwrap();
    let answers = caller::calls(&cluster.netns("outside"), CALLS, to, caller::tcp).unwrap();
    assert!(answers.iter().all(|answer| answer.starts_with("echo-")), "{answers:?}");
    let line = "orlop_service_connections_total{namespace=\"default\",service=\"echo\",port=\"tcp\"} ";
    eventually("connections on /metrics", Duration::from_secs(5), || {
        let metrics = cluster.on_node(1, &["curl", "-s", "http://127.0.0.1:10249/metrics"])?;
        let counted = metrics.lines().find_map(|l| l.strip_prefix(line)?.parse::<usize>().ok());
        Ok(counted.filter(|counted| *counted >= CALLS))
    })
    .unwrap();
    let binary = cluster.binary().to_str().unwrap();
    // They have ended just now, which the kernel remembers for a while.
    let flows = cluster.on_node(1, &[binary, "explain", &to.to_string(), "--flows"]).unwrap();
    let flow =
        flows.lines().find(|line| line.contains(&format!(" -> {to} => 10.244."))).unwrap_or_else(|| panic!("{flows}"));
    let client = flow.split_whitespace().nth(1).unwrap();
    let story = cluster.on_node(1, &[binary, "explain", &to.to_string(), "--flow", client]).unwrap();
    assert!(story.starts_with(&format!("The TCP flow from {client} to {to} on node ")), "{story}");
    assert!(story.contains("is one of the endpoints of default/echo:tcp") && story.contains("=> forwarded"), "{story}");
    let table = cluster.on_node(1, &[binary, "top", "services", "--once", "--interval", "100ms"]).unwrap();
    assert!(table.lines().any(|line| line.starts_with("default/echo:tcp ")), "{table}");
}
