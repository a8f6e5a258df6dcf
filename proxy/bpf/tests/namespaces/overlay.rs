//! Two nodes with an overlay between them, as a cluster has it: endpoints are behind a VXLAN device.

use std::net::UdpSocket;

use orlop_plan::{Backend as _, Protocol};

use crate::cables;
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
        let (second, outside) = (Namespace::new(), Namespace::new());
        let (pod, remote) = (Namespace::new(), Namespace::new());
        let switch = cables::switch(&[(&node.namespace, 11), (&second, 12), (&outside, 200)]);
        second.run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("forward"));
        cables::vxlan(&node.namespace, 1, 2);
        cables::vxlan(&second, 2, 1);
        cables::pod(&node.namespace, &pod, 1);
        cables::pod(&second, &remote, 2);
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
