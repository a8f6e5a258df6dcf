//! The device hooks: what hosts outside and pods see. A node, a pod on it, a pod behind another node, a host outside.

use std::collections::{HashMap, HashSet};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use orlop_bpf::{EbpfBackend, Options};
use orlop_plan::{Backend as _, Plan, Protocol};

use crate::plans::{cluster_ip, node_port, plan};
use crate::world::{Namespace, Node, ask, echo, talk};

const LOCAL: &str = "10.244.1.5:8080";
const REMOTE: &str = "10.244.2.5:8080";
const NODE_PORT: &str = "172.30.0.11:30001";

/// The outside host is 172.30.0.200, the node 172.30.0.11 with pod 10.244.1.5, the other node's pod 10.244.2.5 is
/// behind 172.31.0.12. The outside host and the other pod know no way to each other but through the node.
struct Net {
    node: Node,
    pod: Namespace,
    _other: Namespace,
    outside: Namespace,
}

impl Net {
    fn new() -> Self {
        let (node, pod, other, outside) = (Node::new(), Namespace::new(), Namespace::new(), Namespace::new());
        node.namespace.cable("eth0", &outside, "eth0");
        node.namespace.ip("addr add 172.30.0.11/24 dev eth0");
        outside.ip("addr add 172.30.0.200/24 dev eth0");
        outside.ip("route add 10.96.0.0/12 via 172.30.0.11");

        node.namespace.cable("pod", &pod, "eth0");
        node.namespace.ip("route add 10.244.1.5 dev pod");
        pod.ip("addr add 10.244.1.5/32 dev eth0");
        node.namespace.ip("addr add 169.254.1.1/32 dev pod scope link");
        pod.ip("route add 169.254.1.1 dev eth0");
        pod.ip("route add default via 169.254.1.1");

        node.namespace.cable("eth1", &other, "eth0");
        node.namespace.ip("addr add 172.31.0.11/24 dev eth1");
        other.ip("addr add 172.31.0.12/24 dev eth0");
        other.ip("addr add 10.244.2.5/32 dev lo");
        other.ip("route add 10.244.1.0/24 via 172.31.0.11");
        node.namespace.ip("route add 10.244.2.0/24 via 172.31.0.12");

        // The outside host lives in this process too: its sockets must not look like the node's.
        node.leave_cgroup();
        pod.serve("local", LOCAL);
        other.serve("remote", REMOTE);
        Self { node, pod, _other: other, outside }
    }

    /// With a NodePort and a ClusterIP for both protocols, and no agent running any more.
    fn serving(endpoints: &'static [&'static str]) -> Self {
        let net = Self::new();
        net.serve(endpoints);
        net
    }

    fn serve(&self, endpoints: &'static [&'static str]) {
        let plan = self.plan(endpoints);
        self.node.with_backend(move |backend| backend.resync(&plan).expect("fill the maps"));
    }

    fn plan(&self, endpoints: &[&str]) -> Plan {
        let mut plan = plan(&["172.30.0.11", "172.31.0.11"]);
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            node_port(&mut plan, protocol, 30_001, endpoints);
            cluster_ip(&mut plan, protocol, "10.96.0.10", 80, endpoints);
        }
        plan
    }
}

#[test]
fn a_node_port_from_outside_reaches_a_pod_of_this_node() {
    let net = Net::serving(&[LOCAL]);
    net.outside.run(|| {
        let (mut connection, line) = talk(NODE_PORT).expect("connect to the NodePort");
        assert!(line.starts_with("local 172.30.0.11:"), "{line}");
        echo(&mut connection, &vec![7; 1_000_000]).expect("echo");
    });
}

#[test]
fn a_node_port_from_outside_reaches_a_pod_of_another_node_and_returns_through_this_one() {
    let net = Net::serving(&[REMOTE]);
    net.outside.run(|| {
        let (mut connection, line) = talk(NODE_PORT).expect("connect to the NodePort");
        // The address of the device it left through, from the ports that nobody else gives.
        let port = line.strip_prefix("remote 172.31.0.11:").unwrap_or_else(|| panic!("{line}"));
        assert!((1024..30_000).contains(&port.parse::<u32>().expect("a port")), "{line}");
        echo(&mut connection, &vec![7; 1_000_000]).expect("echo");
    });
}

#[test]
fn datagrams_to_a_node_port_are_answered_by_the_node_port() {
    let net = Net::serving(&[LOCAL, REMOTE]);
    net.outside.run(|| {
        let mut servers = HashSet::new();
        for _ in 0..20 {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
            let (from, first) = ask(&socket, NODE_PORT).expect("an answer");
            assert_eq!(from.to_string(), NODE_PORT);
            assert_eq!(ask(&socket, NODE_PORT).expect("an answer").1, first);
            servers.insert(first.split(' ').next().unwrap_or_default().to_owned());
        }
        assert_eq!(servers.len(), 2, "{servers:?}");
    });
}

#[test]
fn connections_from_outside_spread_evenly() {
    let net = Net::serving(&[LOCAL, REMOTE]);
    net.outside.run(|| {
        let mut counts = HashMap::<String, f64>::new();
        for _ in 0..600 {
            let (_, line) = talk(NODE_PORT).expect("connect to the NodePort");
            *counts.entry(line.split(' ').next().unwrap_or_default().to_owned()).or_default() += 1.0;
        }
        // 5 sigma of a fair coin thrown 600 times.
        assert!(counts.len() == 2 && counts.values().all(|count| (count - 300.0).abs() < 61.3), "{counts:?}");
    });
}

#[test]
fn a_cluster_ip_from_outside_the_cluster_is_masqueraded() {
    let net = Net::serving(&[REMOTE]);
    net.outside.run(|| {
        let (_, line) = talk("10.96.0.10:80").expect("connect to the ClusterIP");
        assert!(line.starts_with("remote 172.31.0.11:"), "{line}");
    });
}

#[test]
fn a_pod_whose_sockets_are_not_seen_keeps_its_address() {
    let net = Net::serving(&[REMOTE]);
    net.pod.run(|| {
        let (mut connection, line) = talk("10.96.0.10:80").expect("connect to the ClusterIP");
        assert!(line.starts_with("remote 10.244.1.5:"), "{line}");
        echo(&mut connection, &vec![7; 100_000]).expect("echo");
    });
}

#[test]
fn a_pod_reaches_itself_through_its_service() {
    let net = Net::serving(&[LOCAL]);
    let through = |expected: &'static str| {
        net.pod.run(move || {
            let (mut connection, line) = talk("10.96.0.10:80").expect("connect to the ClusterIP");
            assert!(line.starts_with(expected), "{line}");
            echo(&mut connection, &[7; 10_000]).expect("echo");
        });
    };
    through("local 172.30.0.11:");
    net.node.join_cgroup();
    through("local 10.244.1.5:");
}

#[test]
fn an_endpoint_in_the_nodes_own_namespace_answers_and_sees_the_client() {
    let net = Net::serving(&["172.31.0.11:6443"]);
    net.node.namespace.serve("host", "172.31.0.11:6443");
    net.outside.run(|| {
        let (mut connection, line) = talk(NODE_PORT).expect("connect to the NodePort");
        assert!(line.starts_with("host 172.30.0.200:"), "{line}");
        echo(&mut connection, &vec![7; 100_000]).expect("echo");
    });
}

#[test]
fn a_node_port_without_endpoints_refuses() {
    let net = Net::serving(&[]);
    net.outside.run(|| {
        let error = talk(NODE_PORT).expect_err("nobody answers");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{error}");
    });
}

#[test]
fn a_cluster_ip_without_endpoints_and_its_unused_ports_refuse_pods_whose_sockets_are_not_seen() {
    let net = Net::serving(&[]);
    net.pod.run(|| {
        for address in ["10.96.0.10:80", "10.96.0.10:81"] {
            let error = talk(address).expect_err("nobody answers");
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{address}: {error}");
            // Only connected sockets hear of ICMP errors.
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
            socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout");
            socket.connect(address).expect("connect");
            socket.send(&[7; 300]).expect("send");
            let error = socket.recv(&mut [0; 10]).expect_err("nobody answers");
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{address}: {error}");
        }
    });
}

#[test]
fn connections_survive_the_removal_of_their_endpoint_and_a_new_agent_and_new_ones_go_elsewhere() {
    let net = Net::serving(&[LOCAL, REMOTE]);
    let mut old = net.outside.run(|| {
        let mut old = Vec::new();
        while old.len() < 10 {
            old.push(talk(NODE_PORT).expect("connect to the NodePort"));
        }
        old
    });
    net.serve(&[REMOTE]);
    net.outside.run(move || {
        for (connection, line) in &mut old {
            echo(connection, b"still here").unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        for _ in 0..20 {
            let (_, line) = talk(NODE_PORT).expect("connect to the NodePort");
            assert!(line.starts_with("remote"), "{line}");
        }
    });
}

#[test]
fn datagrams_leave_an_endpoint_that_is_removed() {
    let net = Net::serving(&[LOCAL]);
    let socket = net.outside.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        assert!(ask(&socket, NODE_PORT).expect("an answer").1.starts_with("local"));
        socket
    });
    net.serve(&[REMOTE]);
    net.outside.run(move || {
        assert!(ask(&socket, NODE_PORT).expect("an answer").1.starts_with("remote"));
    });
}

#[test]
fn a_socket_connected_to_an_endpoint_that_is_removed_is_told_within_a_second() {
    let net = Net::new();
    net.node.join_cgroup();
    let before = net.plan(&[LOCAL]);
    let first = before.clone();
    let mut agent = net.node.start_backend(move |backend| backend.resync(&first).expect("fill the maps"));
    // A process of the pod, by which its namespace is found: this one's own is another.
    let _process = net.pod.process();
    let connected = |expected: &'static str| {
        move || {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
            socket.set_read_timeout(Some(Duration::from_secs(3))).expect("a timeout");
            socket.connect("10.96.0.10:80").expect("connect");
            socket.send(b"?").expect("send");
            let mut buffer = [0; 100];
            let count = socket.recv(&mut buffer).expect("an answer");
            assert!(buffer[..count].starts_with(expected.as_bytes()));
            socket
        }
    };
    let (in_pod, on_node) = (net.pod.run(connected("local")), net.node.namespace.run(connected("local")));
    let after = net.plan(&[REMOTE]);
    agent.sync(&after, &orlop_plan::diff(&before, &after)).expect("change the maps");
    let start = Instant::now();
    for socket in [in_pod, on_node] {
        let error = socket.recv(&mut [0; 100]).expect_err("nothing more comes");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionAborted, "{error}");
    }
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    net.pod.run(connected("remote"));
}

#[test]
fn where_there_is_no_tcx_filters_do_the_same_and_outlive_the_agent_until_the_cleanup() {
    let net = Net::new();
    let (plan, options) = (net.plan(&[LOCAL, REMOTE]), Options { tcx: false, ..net.node.options() });
    let root = options.bpf_root.clone();
    let agent = move || {
        let mut agent = EbpfBackend::open(options.clone()).expect("open the backend");
        agent.resync(&plan).expect("fill the maps");
    };
    net.node.namespace.run(agent.clone());
    let pins = root.clone();
    let links = net.node.namespace.run(move || {
        let hash = std::fs::read_dir(pins).expect("the root").flatten().next().expect("a directory").path();
        let links = std::fs::read_dir(hash.join("links")).expect("links").flatten();
        links.map(|link| link.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
    });
    assert!(links.iter().all(|link| !link.starts_with("tc_")), "{links:?}");
    let mut old = net.outside.run(|| talk(NODE_PORT).expect("connect to the NodePort").0);
    net.node.namespace.run(agent);
    net.outside.run(move || {
        echo(&mut old, &vec![7; 100_000]).expect("a new agent is not noticed");
        let servers: HashSet<_> = (0..30)
            .map(|_| talk(NODE_PORT).expect("connect to the NodePort").1.split(' ').next().map(str::to_owned))
            .collect();
        assert_eq!(servers.len(), 2, "{servers:?}");
    });
    net.node.namespace.run(move || orlop_bpf::remove(&root).expect("clean up"));
    net.outside.run(|| talk(NODE_PORT).map(|(_, line)| panic!("{line}")).expect_err("nobody translates"));
}

#[test]
fn what_is_retired_carries_its_connections_to_their_end_and_takes_no_new_ones() {
    let net = Net::serving(&[REMOTE]);
    let root = net.node.options().bpf_root;
    let retire = move || orlop_bpf::retire(&root).expect("retire");
    let mut old = net.outside.run(|| talk(NODE_PORT).expect("connect to the NodePort").0);
    assert!(net.node.namespace.run(retire.clone()), "a connection is left");
    net.outside.run(move || {
        echo(&mut old, &vec![7; 100_000]).expect("the connection goes on");
        talk(NODE_PORT).map(|(_, line)| panic!("{line}")).expect_err("nobody translates");
        let mut socket = old;
        socket.shutdown(std::net::Shutdown::Write).expect("close");
        assert_eq!(std::io::Read::read(&mut socket, &mut [0]).expect("the server closes too"), 0);
    });
    assert!(!net.node.namespace.run(retire), "nothing is left");
    let root = net.node.options().bpf_root;
    assert_eq!(net.node.namespace.run(|| std::fs::read_dir(root).expect("the root").count()), 0);
}

#[test]
fn a_pod_that_starts_later_is_covered() {
    let net = Net::new();
    let agent = net.node.start_backend(|backend| {
        let mut plan = plan(&["172.30.0.11"]);
        node_port(&mut plan, Protocol::Tcp, 30_001, &["10.244.1.6:8080"]);
        backend.resync(&plan).expect("fill the maps");
    });
    let late = Namespace::new();
    net.node.namespace.cable("late", &late, "eth0");
    net.node.namespace.ip("route add 10.244.1.6 dev late");
    late.ip("addr add 10.244.1.6/32 dev eth0");
    late.ip("route add 172.30.0.11 dev eth0");
    late.serve("late", "10.244.1.6:8080");
    std::thread::sleep(Duration::from_millis(300));
    net.outside.run(|| assert!(talk(NODE_PORT).expect("connect to the NodePort").1.starts_with("late")));
    drop(agent);
}
