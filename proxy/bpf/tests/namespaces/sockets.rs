//! The socket hooks: what a process on the node sees.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::sync::Arc;

use orlop_plan::{Backend as _, Changes, NodePortAddresses, Plan, Protocol, diff};

use crate::plans::{cluster_ip, node_port, node_port_v6, plan};
use crate::world::{Namespace, Node, ask, echo, eventually, talk};

const VIP: &str = "10.96.0.10:80";

/// A node with three servers on its loopback device.
fn node_with_servers() -> Node {
    let node = Node::new();
    for n in 1..=3 {
        node.namespace.ip(&format!("addr add 10.244.0.{n}/32 dev lo"));
        node.namespace.serve(&format!("web-{n}"), &format!("10.244.0.{n}:8080"));
    }
    node.namespace.ip("addr add 172.30.0.11/32 dev lo");
    node
}

fn both(plan: &mut Plan, endpoints: &[&str]) {
    cluster_ip(plan, Protocol::Tcp, "10.96.0.10", 80, endpoints);
    cluster_ip(plan, Protocol::Udp, "10.96.0.10", 80, endpoints);
    node_port(plan, Protocol::Tcp, 30_001, endpoints);
    node_port(plan, Protocol::Udp, 30_001, endpoints);
}

const THREE: [&str; 3] = ["10.244.0.1:8080", "10.244.0.2:8080", "10.244.0.3:8080"];

#[test]
fn a_connection_to_a_cluster_ip_reaches_an_endpoint_and_its_peer_is_the_service() {
    let node = node_with_servers();
    node.with_backend(|backend| {
        let mut plan = plan(&["172.30.0.11"]);
        both(&mut plan, &THREE);
        backend.resync(&plan).expect("fill the maps");
        let (mut connection, line) = talk(VIP).expect("connect to the Service");
        assert!(line.starts_with("web-"), "{line}");
        assert_eq!(connection.peer_addr().expect("a peer").to_string(), VIP);
        echo(&mut connection, &[7; 100_000]).expect("echo");
    });
}

#[test]
fn connections_spread_evenly_over_the_endpoints() {
    const ROUNDS: u32 = 600;
    let node = node_with_servers();
    node.with_backend(|backend| {
        let mut plan = plan(&["172.30.0.11"]);
        both(&mut plan, &THREE);
        backend.resync(&plan).expect("fill the maps");
        let mut counts = HashMap::<String, u32>::new();
        for _ in 0..ROUNDS {
            let (_, line) = talk(VIP).expect("connect to the Service");
            *counts.entry(line.split(' ').next().unwrap_or_default().to_owned()).or_default() += 1;
        }
        let p = 1.0 / 3.0;
        let sigma = (f64::from(ROUNDS) * p * (1.0 - p)).sqrt();
        assert_eq!(counts.len(), 3, "{counts:?}");
        for count in counts.values() {
            assert!((f64::from(*count) - f64::from(ROUNDS) * p).abs() < 5.0 * sigma, "{counts:?}");
        }
        let frontend = orlop_plan::Frontend::ip(crate::plans::ip("10.96.0.10"), Protocol::Tcp, 80);
        let all = backend.counters().expect("read the counters");
        let (_, total) = all.frontends.iter().find(|(counted, _)| *counted == frontend).expect("its total");
        assert_eq!(total.connections, Some(u64::from(ROUNDS)));
        let latency = total.connect_latency.expect("a latency");
        assert!(latency.count == u64::from(ROUNDS) && latency.nanoseconds > 0, "{latency:?}");
        for endpoint in all.endpoints.iter().filter(|endpoint| endpoint.frontend == frontend) {
            let name = format!("web-{}", endpoint.endpoint.0.to_string().rsplit('.').next().unwrap_or_default());
            assert_eq!(endpoint.tally.connections, Some(u64::from(counts[&name])), "{endpoint:?}");
        }
    });
}

#[test]
fn a_node_port_answers_on_the_addresses_asked_for_and_on_loopback_only_for_the_nodes_own_processes() {
    const LOOPBACK: [&str; 2] = ["127.0.0.1:30001", "[::1]:30001"];
    let node = node_with_servers();
    node.namespace.ip("addr add fd00::11/128 dev lo nodad");
    node.namespace.serve("web-6", "[fd00::11]:8080");
    node.with_backend(|backend| backend.resync(&loopback_plan(&[])).expect("fill the maps"));
    node.namespace
        .run(|| LOOPBACK.map(|address| talk(address).map(|(_, line)| panic!("{line}")).expect_err("unasked")));
    let asked = loopback_plan(&["172.30.0.11", "127.0.0.1", "::1"]);
    node.with_backend(move |backend| backend.resync(&asked).expect("fill the maps"));
    node.namespace.run(|| {
        for address in ["172.30.0.11:30001", LOOPBACK[0], LOOPBACK[1]] {
            let (connection, line) = talk(address).expect("connect to the NodePort");
            assert!(line.starts_with("web-"), "{line}");
            assert_eq!(connection.peer_addr().expect("a peer").to_string(), address);
        }
    });
    let pod = Namespace::new();
    pod.serve("its own", LOOPBACK[0]);
    pod.run(|| assert!(talk(LOOPBACK[0]).expect("a pod's loopback is its own").1.starts_with("its own")));
}

fn loopback_plan(addresses: &[&str]) -> Plan {
    let mut plan = plan(&["172.30.0.11"]);
    both(&mut plan, &THREE);
    node_port_v6(&mut plan, Protocol::Tcp, 30_001, &["[fd00::11]:8080"]);
    let only = addresses.iter().map(|address| crate::plans::ip(address)).collect();
    Arc::make_mut(&mut plan.node).node_ports = NodePortAddresses::Only(only);
    plan
}

#[test]
fn a_service_without_endpoints_and_an_unused_port_refuse() {
    let node = node_with_servers();
    node.with_backend(|backend| {
        let mut plan = plan(&["172.30.0.11"]);
        both(&mut plan, &[]);
        backend.resync(&plan).expect("fill the maps");
        for address in [VIP, "10.96.0.10:81", "172.30.0.11:30001"] {
            let error = talk(address).expect_err("nobody answers");
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{address}: {error}");
        }
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        let error = ask(&socket, VIP).expect_err("nobody answers");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
    });
}

#[test]
fn a_pods_datagram_socket_connects_where_nobody_answers_as_that_sends_nothing() {
    let node = node_with_servers();
    node.with_backend(|backend| {
        let mut plan = plan(&["172.30.0.11"]);
        both(&mut plan, &[]);
        backend.resync(&plan).expect("fill the maps");
    });
    let pod = Namespace::new();
    pod.ip("addr add 10.244.0.9/32 dev lo");
    pod.ip("route add default dev lo");
    pod.run(|| {
        for address in [VIP, "10.96.0.10:81"] {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
            socket.connect(address).expect("no packet, no refusal");
            assert_eq!(socket.peer_addr().expect("a peer").to_string(), address);
            let error = talk(address).expect_err("nobody answers");
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "TCP to {address}: {error}");
        }
    });
}

#[test]
fn datagrams_of_one_socket_keep_to_one_endpoint_and_answers_come_from_the_service() {
    let node = node_with_servers();
    node.with_backend(|backend| {
        let mut plan = plan(&["172.30.0.11"]);
        both(&mut plan, &THREE);
        backend.resync(&plan).expect("fill the maps");
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        let (from, first) = ask(&socket, VIP).expect("an answer");
        assert_eq!(from.to_string(), VIP);
        for _ in 0..20 {
            assert_eq!(ask(&socket, VIP).expect("an answer"), (from, first.clone()));
        }
        let connected = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        connected.connect(VIP).expect("connect");
        connected.send(b"?").expect("send");
        let mut buffer = [0; 100];
        let (_, from) = connected.recv_from(&mut buffer).expect("an answer");
        assert_eq!(from.to_string(), VIP);
    });
}

#[test]
fn a_removed_endpoint_gets_no_new_connection_and_no_further_datagram() {
    let node = node_with_servers();
    node.with_backend(|backend| {
        let mut all = plan(&["172.30.0.11"]);
        both(&mut all, &THREE);
        backend.resync(&all).expect("fill the maps");
        let sockets: Vec<_> = (0..12).map(|_| UdpSocket::bind("0.0.0.0:0").expect("a socket")).collect();
        let first: Vec<_> = sockets.iter().map(|s| ask(s, VIP).expect("an answer").1).collect();

        let mut fewer = plan(&["172.30.0.11"]);
        both(&mut fewer, &["10.244.0.1:8080", "10.244.0.3:8080"]);
        backend.sync(&fewer, &diff(&all, &fewer)).expect("change the maps");
        for (socket, first) in sockets.iter().zip(first) {
            let (_, second) = ask(socket, VIP).expect("an answer");
            assert!(!second.starts_with("web-2"), "{second}");
            assert!(first.starts_with("web-2") || first == second, "a living flow moved: {first} -> {second}");
        }
        for _ in 0..60 {
            let (_, line) = talk(VIP).expect("connect to the Service");
            assert!(!line.starts_with("web-2"), "{line}");
        }
    });
}

#[test]
fn a_restarted_agent_adopts_what_is_there_and_repairs_the_difference() {
    let node = node_with_servers();
    let mut plan = plan(&["172.30.0.11"]);
    both(&mut plan, &THREE);
    let first = plan.clone();
    let mut connection = node.with_backend(move |backend| {
        backend.resync(&first).expect("fill the maps");
        talk(VIP).expect("connect to the Service").0
    });
    // No agent now: the pinned programs go on.
    node.namespace.run(|| talk(VIP).expect("connect without an agent"));
    both(&mut plan, &["10.244.0.2:8080"]);
    let second = plan.clone();
    node.with_backend(move |backend| {
        backend.resync(&second).expect("adopt the maps");
        echo(&mut connection, b"still here").expect("the old connection lives");
        assert_eq!(connection.peer_addr().expect("a peer").to_string(), VIP);
        for _ in 0..20 {
            assert!(talk(VIP).expect("connect to the Service").1.starts_with("web-2"));
        }
        backend.sync(&second, &Changes::default()).expect("nothing to do");
    });
}

#[test]
fn cleanup_leaves_nothing_behind() {
    let node = node_with_servers();
    let root = node.options().bpf_root;
    node.with_backend(move |backend| {
        let mut plan = plan(&["172.30.0.11"]);
        both(&mut plan, &THREE);
        backend.resync(&plan).expect("fill the maps");
        backend.cleanup().expect("clean up");
        assert_eq!(std::fs::read_dir(root).expect("the root").count(), 0);
        // Without hooks the cluster IP is just an address that nobody has.
        eventually(|| talk(VIP).is_err());
    });
}
