//! The proxy alone, as a DaemonSet in a cluster whose nodes have none: what `orlop manifest proxy` prints, applied by kubectl, with the
//! image of the binary that is tested.

#![allow(missing_docs, clippy::unwrap_used)]

use std::process::Command;
use std::time::Duration;

use orlop_conformance::{Cluster, Wanted, caller, echo, eventually, stdout};

const CALLS: usize = 30;

#[test]
fn nftables_as_a_daemonset() {
    as_a_daemonset("nftables", "dropin-n");
}

#[test]
fn ebpf_as_a_daemonset() {
    as_a_daemonset("ebpf", "dropin-e");
}

fn as_a_daemonset(mode: &str, name: &'static str) {
    let cluster = Cluster::up(Wanted { name, nodes: 2, proxy_mode: "none", overlay: "vxlan", publish: None }).unwrap();
    cluster.kubectl_with(&["create"], &echo(3)).unwrap();
    let pods = cluster.ready_pods("echo", 3).unwrap();
    let node_port = cluster.node_port(2, 30090).unwrap();
    let outside = cluster.netns("outside");
    let refused = caller::calls(&outside, 1, node_port, caller::tcp).unwrap();
    assert!(refused[0].starts_with("error"), "nobody proxies yet: {refused:?}");

    import(&cluster);
    let manifest = manifest(&cluster, mode);
    cluster.kubectl_with(&["apply"], &manifest).unwrap();
    let rolled = cluster.kubectl(&["-n", "kube-system", "rollout", "status", "daemonset/orlop-proxy", "--timeout=60s"]);
    assert!(rolled.is_ok(), "{rolled:?}\n{}", told(&cluster));
    assert_eq!(
        cluster.on_node(1, &["curl", "-s", "http://127.0.0.1:10249/proxyMode"]).unwrap(),
        mode,
        "{}",
        told(&cluster)
    );
    cluster.endpoints("echo", &pods).unwrap();

    serves(&cluster, mode);
    // Another apply changes nothing, and what is in the kernel outlives the pods.
    let again = cluster.kubectl_with(&["apply"], &manifest).unwrap();
    assert!(again.lines().all(|line| line.ends_with(" unchanged")), "{again}");
    cluster.kubectl(&["-n", "kube-system", "delete", "daemonset", "orlop-proxy", "--wait"]).unwrap();
    gone(&cluster);
    serves(&cluster, mode);
}

/// NodePort from outside through each node, cluster IP from a node.
fn serves(cluster: &Cluster, mode: &str) {
    let ways = [
        (cluster.netns("outside"), cluster.node_port(1, 30090).unwrap()),
        (cluster.netns("outside"), cluster.node_port(2, 30090).unwrap()),
    ];
    for (from, to) in ways {
        let calls = caller::calls(&from, CALLS, to, caller::tcp).unwrap();
        let failed: Vec<_> = calls.iter().filter(|call| call.starts_with("error")).collect();
        assert!(failed.is_empty(), "{mode}: {} of {CALLS} to {to} failed: {failed:?}\n{}", failed.len(), told(cluster));
    }
    // From a process of the node, which is in its cgroup.
    let to = std::net::SocketAddr::new(cluster.cluster_ip("echo").unwrap(), 9000);
    let url = format!("telnet://{to}");
    for _ in 0..3 {
        let answer = cluster.command(Some(1), &["curl", "-s", "-m", "2", &url]).output().unwrap();
        assert!(!answer.stdout.is_empty(), "{mode}: nothing from {to}: {answer:?}\n{}", told(cluster));
    }
}

/// What a registry would do.
fn import(cluster: &Cluster) {
    let image = std::env::var_os("ORLOP_IMAGE").expect("ORLOP_IMAGE is not set: use `cargo xtask test`");
    for node in 1..=2 {
        let socket = format!("/run/orlop/{}/node{node}/containerd.sock", cluster.name());
        let mut ctr = Command::new("ctr");
        ctr.args(["--address", &socket, "--namespace", "k8s.io", "images", "import"]).arg(&image);
        stdout(&mut ctr).unwrap();
    }
}

fn manifest(cluster: &Cluster, mode: &str) -> String {
    let server = format!("https://{}:6443", cluster.node_ip(1).unwrap());
    let mut manifest = Command::new(cluster.binary());
    manifest.args(["manifest", "proxy", "--server", &server, "--proxy-mode", mode, "--cluster-cidr", "10.244.0.0/16"]);
    if !std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        // Where a machine of the test bed has it beside v1 controllers.
        manifest.args(["--cgroup-root", "/run/cgroup2"]);
    }
    stdout(&mut manifest).unwrap()
}

fn gone(cluster: &Cluster) {
    eventually("the proxy's pods to be gone", Duration::from_secs(30), || {
        let left = cluster.kubectl(&["-n", "kube-system", "get", "pods", "-o", "name"])?;
        Ok((!left.contains("orlop-proxy")).then_some(()))
    })
    .unwrap();
}

fn told(cluster: &Cluster) -> String {
    let ask = |args: &[&str]| cluster.kubectl(args).unwrap_or_else(|error| format!("{error:#}"));
    let app = "-l=app.kubernetes.io/name=orlop-proxy";
    let pods = ask(&["-n", "kube-system", "describe", "pods", app]);
    let logs = ask(&["-n", "kube-system", "logs", app, "--all-containers", "--prefix", "--tail=20"]);
    format!("{pods}\n{logs}")
}
