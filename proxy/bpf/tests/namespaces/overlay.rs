//! Two nodes with an overlay between them, as a cluster has it: endpoints are behind a VXLAN device.

use std::net::UdpSocket;

use orlop_plan::{Backend as _, Protocol};

use crate::plans::{cluster_ip, node_port, plan};
use crate::world::{Namespace, Node, ask, echo, talk};

const NODE_PORT: &str = "172.30.0.11:30001";
const REMOTE: &str = "10.244.2.5:8080";

/// The outside host 172.30.0.200, nodes 172.30.0.11 (pods 10.244.1.0/24) and .12 (pods 10.244.2.0/24) around a switch.
struct Cluster {
    node: Node,
    outside: Namespace,
    pod: Namespace,
    _others: [Namespace; 3],
}

impl Cluster {
    fn new() -> Self {
        let node = Node::new();
        let (switch, second, outside) = (Namespace::new(), Namespace::new(), Namespace::new());
        let (pod, remote) = (Namespace::new(), Namespace::new());
        switch.ip("link add bridge type bridge");
        switch.ip("link set bridge up");
        for (port, host, address) in [("p1", &node.namespace, 11), ("p2", &second, 12), ("p3", &outside, 200)] {
            switch.cable(port, host, "eth0");
            switch.ip(&format!("link set {port} master bridge"));
            host.ip(&format!("addr add 172.30.0.{address}/24 dev eth0"));
        }
        second.run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("forward"));
        overlay(&node.namespace, 1, 2);
        overlay(&second, 2, 1);
        connect_pod(&node.namespace, &pod, "10.244.1.5");
        connect_pod(&second, &remote, "10.244.2.5");
        node.leave_cgroup();
        pod.serve("local", "10.244.1.5:8080");
        remote.serve("remote", REMOTE);
        node.with_backend(|backend| {
            let mut plan = plan(&["172.30.0.11", "10.244.1.0"]);
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                node_port(&mut plan, protocol, 30_001, &[REMOTE]);
                cluster_ip(&mut plan, protocol, "10.96.0.10", 80, &[REMOTE]);
            }
            backend.resync(&plan).expect("fill the maps");
        });
        Self { node, outside, pod, _others: [switch, second, remote] }
    }
}

/// What the overlay sets up on node `own` of `own` and `peer`.
fn overlay(node: &Namespace, own: u8, peer: u8) {
    let (own_mac, peer_mac) = (format!("02:00:00:00:00:0{own}"), format!("02:00:00:00:00:0{peer}"));
    node.ip(&format!("link add vx address {own_mac} type vxlan id 1 dev eth0 dstport 8472 nolearning"));
    node.ip(&format!("addr add 10.244.{own}.0/32 dev vx"));
    node.ip("link set vx up");
    node.ip(&format!("neigh add 10.244.{peer}.0 lladdr {peer_mac} dev vx nud permanent"));
    node.ip(&format!("route add 10.244.{peer}.0/24 via 10.244.{peer}.0 dev vx onlink"));
    node.run(move || {
        let arguments = format!("fdb append {peer_mac} dev vx dst 172.30.0.1{peer}");
        let status = std::process::Command::new("bridge").args(arguments.split(' ')).status();
        assert!(status.expect("run bridge (iproute2)").success());
    });
}

fn connect_pod(node: &Namespace, pod: &Namespace, address: &str) {
    node.cable("pod", pod, "eth0");
    node.ip(&format!("route add {address} dev pod"));
    node.ip("addr add 169.254.1.1/32 dev pod scope link");
    pod.ip(&format!("addr add {address}/32 dev eth0"));
    pod.ip("route add 169.254.1.1 dev eth0");
    pod.ip("route add default via 169.254.1.1");
}

#[test]
fn a_node_port_reaches_an_endpoint_behind_the_overlay_and_returns_through_this_node() {
    let cluster = Cluster::new();
    cluster.outside.run(|| {
        let (mut connection, line) = talk(NODE_PORT).expect("connect to the NodePort");
        assert!(line.starts_with("remote 10.244.1.0:"), "{line}");
        echo(&mut connection, &vec![7; 1_000_000]).expect("echo");
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        let (from, line) = ask(&socket, NODE_PORT).expect("an answer");
        assert!(from.to_string() == NODE_PORT && line.starts_with("remote 10.244.1.0:"), "{from} {line}");
    });
}

#[test]
fn pods_reach_an_endpoint_behind_the_overlay_with_and_without_the_socket_hooks() {
    let cluster = Cluster::new();
    let through = || {
        let (mut connection, line) = talk("10.96.0.10:80").expect("connect to the ClusterIP");
        assert!(line.starts_with("remote 10.244.1.5:"), "{line}");
        echo(&mut connection, &vec![7; 1_000_000]).expect("echo");
    };
    cluster.pod.run(through);
    cluster.node.join_cgroup();
    cluster.pod.run(through);
}
