//! A node whose pods hang on a bridge, as many network plugins have it: pods of one node see each other without it.

use std::net::UdpSocket;
use std::sync::Arc;

use orlop_plan::{Backend as _, DetectLocal, Protocol};

use crate::plans::{cluster_ip, node_port, plan};
use crate::world::{Namespace, Node, ask, echo, talk};

/// Pods 10.244.1.5 and .6 on a bridge of the node 172.30.0.11, with the outside host 172.30.0.200.
struct Net {
    node: Node,
    pods: [Namespace; 2],
    outside: Namespace,
}

impl Net {
    fn serving(endpoint: &'static str) -> Self {
        Self::detecting(endpoint, None)
    }

    fn detecting(endpoint: &'static str, detect_local: Option<DetectLocal>) -> Self {
        let (node, outside, pods) = (Node::new(), Namespace::new(), [Namespace::new(), Namespace::new()]);
        node.namespace.cable("eth0", &outside, "eth0");
        node.namespace.ip("addr add 172.30.0.11/24 dev eth0");
        outside.ip("addr add 172.30.0.200/24 dev eth0");
        node.namespace.ip("link add cni0 type bridge");
        node.namespace.ip("addr add 10.244.1.1/24 dev cni0");
        node.namespace.ip("link set cni0 up");
        node.leave_cgroup();
        for (pod, last) in pods.iter().zip([5, 6]) {
            node.namespace.cable(&format!("veth{last}"), pod, "eth0");
            node.namespace.ip(&format!("link set veth{last} master cni0"));
            pod.ip(&format!("addr add 10.244.1.{last}/24 dev eth0"));
            pod.ip("route add default via 10.244.1.1");
            pod.serve("pod", &format!("10.244.1.{last}:8080"));
        }
        node.with_backend(move |backend| {
            let mut plan = plan(&["172.30.0.11", "10.244.1.1"]);
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                node_port(&mut plan, protocol, 30_001, &[endpoint]);
                cluster_ip(&mut plan, protocol, "10.96.0.10", 80, &[endpoint]);
            }
            if let Some(detect_local) = detect_local {
                Arc::make_mut(&mut plan.node).detect_local = detect_local;
            }
            backend.resync(&plan).expect("fill the maps");
        });
        Self { node, pods, outside }
    }
}

fn reaches(from: &Namespace, address: &'static str, seen_as: &'static str) {
    from.run(move || {
        let (mut connection, line) = talk(address).expect("connect");
        assert!(line.starts_with(&format!("pod {seen_as}:")), "{line}");
        echo(&mut connection, &vec![7; 100_000]).expect("echo");
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        let (from, line) = ask(&socket, address).expect("an answer");
        assert!(from.to_string() == address && line.starts_with(&format!("pod {seen_as}:")), "{from} {line}");
    });
}

#[test]
fn pods_on_one_bridge_reach_each_other_and_themselves_through_a_service() {
    let net = Net::serving("10.244.1.6:8080");
    reaches(&net.pods[0], "10.96.0.10:80", "10.244.1.5");
    reaches(&net.pods[1], "10.96.0.10:80", "10.244.1.1");
    net.node.join_cgroup();
    reaches(&net.pods[0], "10.96.0.10:80", "10.244.1.5");
}

#[test]
fn a_node_port_reaches_a_pod_on_a_bridge() {
    let net = Net::serving("10.244.1.6:8080");
    reaches(&net.outside, "172.30.0.11:30001", "10.244.1.1");
}

#[test]
fn with_detect_local_by_bridge_or_name_pods_are_who_comes_in_there_whatever_their_addresses() {
    let outside_way = |net: &Net| net.outside.ip("route add 10.96.0.0/12 via 172.30.0.11");
    let bridge = Net::detecting("10.244.1.6:8080", Some(DetectLocal::Bridge("cni0".into())));
    outside_way(&bridge);
    reaches(&bridge.pods[0], "10.96.0.10:80", "10.244.1.5");
    reaches(&bridge.outside, "10.96.0.10:80", "10.244.1.1");
    drop(bridge);
    let uplink = Net::detecting("10.244.1.6:8080", Some(DetectLocal::InterfacePrefix("eth".into())));
    outside_way(&uplink);
    reaches(&uplink.pods[0], "10.96.0.10:80", "10.244.1.1");
    reaches(&uplink.outside, "10.96.0.10:80", "172.30.0.200");
}
