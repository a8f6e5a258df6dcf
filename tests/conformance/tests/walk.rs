//! The walk of a person with a new cluster: kubectl, then curl from outside, on two nodes, in both proxy modes and both overlays.

#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use orlop_conformance::{Cluster, Pods, Wanted, caller, eventually, fairness};

const RC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/mytomcat.rc.yaml");
const SERVICE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/mytomcat.svc.yaml");

/// Beside the example: the echo ports of the same pods over TCP and UDP, and pods on node 1 only.
const ECHO: &str = "
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  type: NodePort
  selector: {app: mytomcat}
  ports:
  - {name: tcp, port: 9000, protocol: TCP, nodePort: 30090}
  - {name: udp, port: 9000, protocol: UDP, nodePort: 30090}
---
apiVersion: v1
kind: ReplicationController
metadata: {name: one-node}
spec:
  replicas: 2
  selector: {app: one-node}
  template:
    metadata: {labels: {app: one-node}}
    spec:
      nodeSelector: {kubernetes.io/hostname: node1}
      containers: [{name: web, image: 'localhost/orlop/web:v1'}]
---
apiVersion: v1
kind: Service
metadata: {name: one-node}
spec:
  type: NodePort
  selector: {app: one-node}
  ports:
  - {name: tcp, port: 9000, protocol: TCP, nodePort: 30091}
  - {name: udp, port: 9000, protocol: UDP, nodePort: 30091}
";

#[test]
fn nftables_over_vxlan() {
    walk(Wanted { name: "walk-nv", proxy_mode: "nftables", overlay: "vxlan", ..wanted() });
}

#[test]
fn nftables_over_host_gw() {
    walk(Wanted { name: "walk-nh", proxy_mode: "nftables", overlay: "host-gw", ..wanted() });
}

#[test]
fn ebpf_over_vxlan() {
    walk(Wanted { name: "walk-ev", proxy_mode: "ebpf", overlay: "vxlan", ..wanted() });
}

#[test]
fn ebpf_over_host_gw() {
    walk(Wanted { name: "walk-eh", proxy_mode: "ebpf", overlay: "host-gw", ..wanted() });
}

fn wanted() -> Wanted {
    Wanted { name: "walk", nodes: 2, proxy_mode: "ebpf", overlay: "vxlan", publish: Some(30001) }
}

fn walk(wanted: Wanted) {
    let mode = wanted.proxy_mode;
    let cluster = Cluster::up(wanted).unwrap();
    the_proxy_runs_in(&cluster, mode);
    let pods = creates(&cluster);
    shows(&cluster, &pods);
    answers_outside(&cluster, &pods);
    spreads(&cluster, &pods);
    answers_through_a_node_without_a_replica(&cluster);
    answers_inside(&cluster, &pods);
    changes(&cluster, &pods);
    ends(&cluster);
}

fn the_proxy_runs_in(cluster: &Cluster, mode: &str) {
    for node in [1, 2] {
        let told = cluster.on_node(node, &["curl", "-s", "http://127.0.0.1:10249/proxyMode"]).unwrap();
        assert_eq!(told.trim(), mode, "node{node} fell back to another proxy mode\n{}", cluster.logs());
    }
}

fn creates(cluster: &Cluster) -> Pods {
    let created = cluster.kubectl(&["create", "-f", RC]).unwrap();
    assert_eq!(created, "replicationcontroller/mytomcat created\n");
    let created = cluster.kubectl(&["create", "-f", SERVICE]).unwrap();
    assert_eq!(created, "service/mytomcat created\n");
    cluster.kubectl_with(&["create"], ECHO).unwrap();
    let pods = cluster.ready_pods("mytomcat", 2).unwrap();
    let nodes: BTreeSet<&str> = pods.0.iter().map(|pod| pod.node.as_str()).collect();
    assert_eq!(nodes, BTreeSet::from(["node1", "node2"]), "replicas are spread over the nodes");
    cluster.endpoints("mytomcat", &pods).unwrap();
    pods
}

fn shows(cluster: &Cluster, pods: &Pods) {
    let shown = cluster.kubectl(&["get", "nodes,rc,pods,svc,endpoints", "-o", "wide"]).unwrap();
    for pod in &pods.0 {
        let line = shown.lines().find(|line| line.starts_with(&format!("pod/{} ", pod.name))).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[1..3], ["1/1", "Running"], "{line}");
        assert!(words.contains(&pod.ip.as_str()) && words.contains(&pod.node.as_str()), "{line}");
    }
    for node in ["node/node1", "node/node2"] {
        let line = shown.lines().find(|line| line.starts_with(node)).unwrap();
        assert_eq!(line.split_whitespace().nth(1), Some("Ready"), "{line}");
    }
    let line = shown.lines().find(|line| line.starts_with("replicationcontroller/mytomcat")).unwrap();
    assert_eq!(line.split_whitespace().skip(1).take(3).collect::<Vec<_>>(), ["2", "2", "2"], "{line}");
    let line = shown.lines().find(|line| line.starts_with("service/mytomcat")).unwrap();
    assert!(line.contains("NodePort") && line.contains("8080:30001/TCP"), "{line}");
    let line = shown.lines().find(|line| line.starts_with("endpoints/mytomcat")).unwrap();
    assert!(pods.0.iter().all(|pod| line.contains(&format!("{}:8080", pod.ip))), "{line}");
    for pod in &pods.0 {
        let log = cluster.kubectl(&["logs", &pod.name]).unwrap();
        assert!(log.contains(&format!("{} serves HTTP on port 8080", pod.name)), "{log}");
    }
}

fn answers_outside(cluster: &Cluster, pods: &Pods) {
    for node in [1, 2] {
        let url = format!("http://{}:30001/", cluster.node_ip(node).unwrap());
        for _ in 0..10 {
            let answer = cluster.outside(&["curl", "-s", "-m", "2", &url]).unwrap();
            let name = answer.split_whitespace().next().unwrap_or_default();
            assert!(pods.names().contains(name), "{url} answered {answer:?}");
        }
    }
    let published = orlop_conformance::stdout(std::process::Command::new("curl").args([
        "-s",
        "-m",
        "2",
        "http://127.0.0.1:30001/hostname",
    ]));
    assert!(pods.names().contains(published.unwrap().trim()));
}

/// 600 new connections, over TCP and UDP, through each node.
fn spreads(cluster: &Cluster, pods: &Pods) {
    let outside = cluster.netns("outside");
    for node in [1, 2] {
        let address = cluster.node_port(node, 30090).unwrap();
        let answers = caller::calls(&outside, 600, address, caller::tcp).unwrap();
        assert_eq!(fairness::unfair(&fairness::counts(&answers), pods.names()), None, "TCP through node{node}");
        let answers = caller::calls(&outside, 600, address, caller::udp).unwrap();
        assert_eq!(fairness::unfair(&fairness::counts(&answers), pods.names()), None, "UDP through node{node}");
    }
}

fn answers_through_a_node_without_a_replica(cluster: &Cluster) {
    let pods = cluster.ready_pods("one-node", 2).unwrap();
    assert_eq!(pods.on("node1").len(), 2, "nodeSelector holds: {pods:?}");
    cluster.endpoints("one-node", &pods).unwrap();
    let address = cluster.node_port(2, 30091).unwrap();
    for (protocol, call) in [("TCP", caller::tcp as fn(SocketAddr) -> _), ("UDP", caller::udp)] {
        let answers = caller::calls(&cluster.netns("outside"), 200, address, call).unwrap();
        assert_eq!(fairness::unfair(&fairness::counts(&answers), pods.names()), None, "{protocol} through node2");
    }
}

/// From nodes and from pods: cluster IPs, the API server, other pods directly, and itself through its own Service.
fn answers_inside(cluster: &Cluster, pods: &Pods) {
    let service = cluster.cluster_ip("mytomcat").unwrap();
    for node in [1, 2] {
        let url = format!("http://{service}:8080/hostname");
        let answer = cluster.on_node(node, &["curl", "-s", "-m", "2", &url]).unwrap();
        assert!(pods.names().contains(answer.trim()), "{url} from node{node} answered {answer:?}");
    }
    let echo = cluster.cluster_ip("echo").unwrap();
    for caller in &pods.0 {
        for protocol in ["tcp", "udp"] {
            let answers = dial(cluster, &caller.ip, &echo.to_string(), 9000, protocol, 200);
            assert_eq!(
                fairness::unfair(&fairness::counts(&answers), pods.names()),
                None,
                "{protocol} from pod {}",
                caller.name
            );
        }
        for other in &pods.0 {
            let answers = dial(cluster, &caller.ip, &other.ip, 9000, "tcp", 3);
            assert!(
                answers.iter().all(|answer| *answer == other.name),
                "{} -> {}: {answers:?}",
                caller.name,
                other.name
            );
        }
        // The API server speaks TLS first or not at all: that it closed or refused plain HTTP tells that it was reached.
        let query = format!("http://{}:8080/dial?host=10.96.0.1&port=443&protocol=http&path=/version", caller.ip);
        let answer = cluster.on_node(1, &["curl", "-s", "-m", "5", &query]).unwrap();
        assert!(
            !answer.contains("timed out") && !answer.contains("refused"),
            "kubernetes Service from a pod: {answer}"
        );
    }
}

/// What a pod gets when it calls, `tries` times.
fn dial(cluster: &Cluster, pod: &str, host: &str, port: u16, protocol: &str, tries: u32) -> Vec<String> {
    let query = format!("http://{pod}:8080/dial?host={host}&port={port}&protocol={protocol}&tries={tries}");
    let answer = cluster.on_node(1, &["curl", "-s", "-m", "60", &query]).unwrap();
    answer.lines().map(|line| line.split(' ').next().filter(|w| *w != "error:").unwrap_or(line).to_owned()).collect()
}

fn changes(cluster: &Cluster, before: &Pods) {
    assert_eq!(
        cluster.kubectl(&["scale", "rc", "mytomcat", "--replicas=5"]).unwrap(),
        "replicationcontroller/mytomcat scaled\n"
    );
    let five = cluster.ready_pods("mytomcat", 5).unwrap();
    assert!(five.names().is_superset(&before.names()), "scaling up replaces nobody");
    cluster.endpoints("echo", &five).unwrap();
    let answers =
        caller::calls(&cluster.netns("outside"), 600, cluster.node_port(2, 30090).unwrap(), caller::tcp).unwrap();
    assert_eq!(fairness::unfair(&fairness::counts(&answers), five.names()), None, "five replicas through node2");

    let victim = &before.0[0].name;
    cluster.kubectl(&["delete", "pod", victim]).unwrap();
    let after = cluster.ready_pods("mytomcat", 5).unwrap();
    assert!(!after.names().contains(victim));
    cluster.endpoints("echo", &after).unwrap();
    let answers =
        caller::calls(&cluster.netns("outside"), 200, cluster.node_port(1, 30090).unwrap(), caller::udp).unwrap();
    assert_eq!(fairness::unfair(&fairness::counts(&answers), after.names()), None, "UDP after a pod was replaced");
}

fn ends(cluster: &Cluster) {
    cluster.kubectl(&["delete", "rc,svc", "--all"]).unwrap();
    eventually("no pods", Duration::from_secs(60), || {
        Ok(cluster.kubectl(&["get", "pods", "-o", "name"])?.is_empty().then_some(()))
    })
    .unwrap();
    // The API server's own Service is deleted with the others and comes back, as with kube-apiserver.
    eventually("the kubernetes Service", Duration::from_secs(30), || {
        let services = cluster.kubectl(&["get", "services", "-o", "name"])?;
        Ok((services == "service/kubernetes\n").then_some(()))
    })
    .unwrap();
    let address = cluster.node_port(1, 30001).unwrap();
    let answers = caller::calls(&cluster.netns("outside"), 1, address, caller::tcp).unwrap();
    assert!(answers[0].starts_with("error: "), "a deleted Service still answers: {answers:?}");
    cluster.down().unwrap();
    nothing_is_left(cluster.name());
}

fn nothing_is_left(name: &str) {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let left: Vec<&str> = mounts
        .lines()
        .filter(|line| line.contains(&format!("/orlop/{name}/")) || line.contains(&format!("{name}-node")))
        .collect();
    assert!(left.is_empty(), "mounts are left: {left:#?}");
    for dir in [
        "/run/netns",
        "/run/orlop",
        "/var/lib/orlop",
        "/sys/fs/cgroup",
        "/sys/fs/cgroup/unified",
        "/sys/fs/cgroup/pids",
    ] {
        let Ok(entries) = std::fs::read_dir(dir) else { continue };
        let ours = |entry: &String| *entry == name || entry.starts_with(&format!("{name}-"));
        let left: Vec<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).filter(ours).collect();
        assert!(left.is_empty(), "{dir} has {left:?}");
    }
    // One that was just killed is there until whoever adopted it has taken notice.
    eventually("every process to be gone", Duration::from_secs(5), || {
        let processes = std::fs::read_dir("/proc")?.flatten();
        let mut groups = processes.filter_map(|process| std::fs::read_to_string(process.path().join("cgroup")).ok());
        Ok((!groups.any(|groups| groups.contains(&format!("/orlop-{name}/node")))).then_some(()))
    })
    .unwrap();
}
