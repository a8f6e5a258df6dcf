//! What any backend must do for hosts outside and for pods whose sockets are not seen: the same for both, in both families.

use std::collections::{HashMap, HashSet};
use std::net::UdpSocket;
use std::time::Duration;

use crate::net::{Addresses, Kind, Net, V4, V6};
use crate::world::{ask, echo, talk};

macro_rules! for_both {
    ($($name:ident)*) => {
        mod ebpf {
            $(#[test] fn $name() { super::$name(super::Kind::Ebpf, &super::V4) })*
        }
        mod ebpf6 {
            $(#[test] fn $name() { super::$name(super::Kind::Ebpf, &super::V6) })*
        }
        mod drivers {
            $(#[test] fn $name() { super::$name(super::Kind::Drivers, &super::V4) })*
        }
        mod nftables {
            $(#[test] fn $name() { super::$name(super::Kind::Nftables, &super::V4) })*
        }
        mod nftables6 {
            $(#[test] fn $name() { super::$name(super::Kind::Nftables, &super::V6) })*
        }
    };
}

for_both! {
    a_node_port_from_outside_reaches_a_pod_of_this_node
    a_node_port_from_outside_reaches_a_pod_of_another_node_and_returns_through_this_one
    datagrams_to_a_node_port_are_answered_by_the_node_port
    connections_from_outside_spread_evenly
    a_cluster_ip_from_outside_the_cluster_is_masqueraded
    a_pod_whose_sockets_are_not_seen_keeps_its_address
    an_endpoint_in_the_nodes_own_namespace_answers_and_sees_the_client
    a_node_port_without_endpoints_refuses
    a_cluster_ip_without_endpoints_and_its_unused_ports_refuse_pods_whose_sockets_are_not_seen
    connections_survive_the_removal_of_their_endpoint_and_a_new_agent_and_new_ones_go_elsewhere
    datagrams_leave_an_endpoint_that_is_removed
    datagrams_in_fragments_arrive_and_return
    a_closed_port_of_an_endpoint_is_reported_to_the_client
    the_sender_of_what_is_too_large_for_the_way_learns_its_size
    a_connection_learns_that_the_way_is_narrower_than_its_ends
}

fn a_node_port_from_outside_reaches_a_pod_of_this_node(kind: Kind, at: &'static Addresses) {
    let net = Net::serving(kind, &[at.local]);
    net.outside.run(move || {
        let (mut connection, line) = talk(at.node_port).expect("connect to the NodePort");
        assert!(line.starts_with(&format!("local {}", at.node)), "{line}");
        echo(&mut connection, &vec![7; 1_000_000]).expect("echo");
    });
}

fn a_node_port_from_outside_reaches_a_pod_of_another_node_and_returns_through_this_one(
    kind: Kind,
    at: &'static Addresses,
) {
    let net = Net::serving(kind, &[at.remote]);
    net.outside.run(move || {
        let (mut connection, line) = talk(at.node_port).expect("connect to the NodePort");
        // The address of the device it left through; eBPF's own ports are nobody else's.
        let port = line.strip_prefix(&format!("remote {}", at.second)).unwrap_or_else(|| panic!("{line}"));
        let port: u32 = port.parse().expect("a port");
        assert!(kind == Kind::Nftables || (1024..30_000).contains(&port), "{line}");
        echo(&mut connection, &vec![7; 1_000_000]).expect("echo");
    });
}

fn datagrams_to_a_node_port_are_answered_by_the_node_port(kind: Kind, at: &'static Addresses) {
    let net = Net::serving(kind, &[at.local, at.remote]);
    net.outside.run(move || {
        let mut servers = HashSet::new();
        for _ in 0..20 {
            let socket = UdpSocket::bind(at.any).expect("a socket");
            let (from, first) = ask(&socket, at.node_port).expect("an answer");
            assert_eq!(from.to_string(), at.node_port);
            assert_eq!(ask(&socket, at.node_port).expect("an answer").1, first);
            servers.insert(first.split(' ').next().unwrap_or_default().to_owned());
        }
        assert_eq!(servers.len(), 2, "{servers:?}");
    });
}

fn connections_from_outside_spread_evenly(kind: Kind, at: &'static Addresses) {
    let net = Net::serving(kind, &[at.local, at.remote]);
    net.outside.run(move || {
        let mut counts = HashMap::<String, f64>::new();
        for _ in 0..600 {
            let (_, line) = talk(at.node_port).expect("connect to the NodePort");
            *counts.entry(line.split(' ').next().unwrap_or_default().to_owned()).or_default() += 1.0;
        }
        // 5 sigma of a fair coin thrown 600 times.
        assert!(counts.len() == 2 && counts.values().all(|count| (count - 300.0).abs() < 61.3), "{counts:?}");
    });
}

fn a_cluster_ip_from_outside_the_cluster_is_masqueraded(kind: Kind, at: &'static Addresses) {
    let net = Net::serving(kind, &[at.remote]);
    net.outside.run(move || {
        let (_, line) = talk(at.cluster_ip).expect("connect to the ClusterIP");
        assert!(line.starts_with(&format!("remote {}", at.second)), "{line}");
    });
}

fn a_pod_whose_sockets_are_not_seen_keeps_its_address(kind: Kind, at: &'static Addresses) {
    let net = Net::serving(kind, &[at.remote]);
    net.pod.run(move || {
        let (mut connection, line) = talk(at.cluster_ip).expect("connect to the ClusterIP");
        assert!(line.starts_with(&format!("remote {}", at.pod)), "{line}");
        echo(&mut connection, &vec![7; 100_000]).expect("echo");
    });
}

fn an_endpoint_in_the_nodes_own_namespace_answers_and_sees_the_client(kind: Kind, at: &'static Addresses) {
    let net = Net::serving(kind, &[at.host]);
    net.node.namespace.serve("host", at.host);
    net.outside.run(move || {
        let (mut connection, line) = talk(at.node_port).expect("connect to the NodePort");
        assert!(line.starts_with(&format!("host {}", at.client)), "{line}");
        echo(&mut connection, &vec![7; 100_000]).expect("echo");
    });
}

fn a_node_port_without_endpoints_refuses(kind: Kind, at: &'static Addresses) {
    let net = Net::serving(kind, &[]);
    net.outside.run(move || {
        let error = talk(at.node_port).expect_err("nobody answers");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{error}");
    });
}

fn a_cluster_ip_without_endpoints_and_its_unused_ports_refuse_pods_whose_sockets_are_not_seen(
    kind: Kind,
    at: &'static Addresses,
) {
    let net = Net::serving(kind, &[]);
    net.pod.run(move || {
        for address in [at.cluster_ip, at.unused] {
            let error = talk(address).expect_err("nobody answers");
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{address}: {error}");
            // Only connected sockets hear of ICMP errors.
            let socket = UdpSocket::bind(at.any).expect("a socket");
            socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout");
            socket.connect(address).expect("connect");
            socket.send(&[7; 300]).expect("send");
            let error = socket.recv(&mut [0; 10]).expect_err("nobody answers");
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{address}: {error}");
        }
    });
}

fn connections_survive_the_removal_of_their_endpoint_and_a_new_agent_and_new_ones_go_elsewhere(
    kind: Kind,
    at: &'static Addresses,
) {
    let net = Net::serving(kind, &[at.local, at.remote]);
    let mut old = net.outside.run(move || {
        let mut old = Vec::new();
        while old.len() < 10 {
            old.push(talk(at.node_port).expect("connect to the NodePort"));
        }
        old
    });
    net.serve(&[at.remote]);
    net.outside.run(move || {
        for (connection, line) in &mut old {
            echo(connection, b"still here").unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        for _ in 0..20 {
            let (_, line) = talk(at.node_port).expect("connect to the NodePort");
            assert!(line.starts_with("remote"), "{line}");
        }
    });
}

fn datagrams_leave_an_endpoint_that_is_removed(kind: Kind, at: &'static Addresses) {
    let net = Net::serving(kind, &[at.local]);
    let socket = net.outside.run(move || {
        let socket = UdpSocket::bind(at.any).expect("a socket");
        assert!(ask(&socket, at.node_port).expect("an answer").1.starts_with("local"));
        socket
    });
    net.serve(&[at.remote]);
    net.outside.run(move || {
        assert!(ask(&socket, at.node_port).expect("an answer").1.starts_with("remote"));
    });
}

fn datagrams_in_fragments_arrive_and_return(kind: Kind, at: &'static Addresses) {
    let net = Net::new(kind);
    net.node.namespace.serve("host", at.host);
    for endpoint in [at.local, at.remote, at.host] {
        net.serve(&[endpoint]);
        net.outside.run(move || {
            let socket = UdpSocket::bind(at.any).expect("a socket");
            socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout");
            let sent: Vec<u8> = (0..5000_u32).map(|n| n as u8).collect();
            for _ in 0..3 {
                socket.send_to(&sent, at.node_port).expect("send");
                let mut back = vec![0; 10_000];
                let (count, from) = socket.recv_from(&mut back).unwrap_or_else(|error| panic!("{endpoint}: {error}"));
                assert!(back[..count] == sent && from.to_string() == at.node_port, "{endpoint}: {count} from {from}");
            }
        });
    }
}

fn a_closed_port_of_an_endpoint_is_reported_to_the_client(kind: Kind, at: &'static Addresses) {
    let net = Net::new(kind);
    for endpoint in at.closed {
        net.serve(&[endpoint]);
        net.outside.run(move || {
            let socket = UdpSocket::bind(at.any).expect("a socket");
            socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout");
            // Only a connected socket hears of ICMP errors, and only of those that quote what it sent.
            socket.connect(at.node_port).expect("connect");
            socket.send(b"?").expect("send");
            let error = socket.recv(&mut [0; 10]).expect_err("nobody answers");
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{endpoint}: {error}");
        });
    }
}

fn the_sender_of_what_is_too_large_for_the_way_learns_its_size(kind: Kind, at: &'static Addresses) {
    let net = Net::serving(kind, &[at.local]);
    net.node.namespace.ip("link set pod mtu 1300");
    net.pod.ip("link set eth0 mtu 1300");
    net.outside.run(move || {
        let socket = UdpSocket::bind(at.any).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
        socket.connect(at.node_port).expect("connect");
        let sent = [7; 1_400];
        let attempt = || {
            // The error is about an earlier attempt.
            let _ = socket.send(&sent).or_else(|_| socket.send(&sent)).expect("send");
            socket.recv(&mut [0; 2_000])
        };
        let answers: Vec<_> = (0..4).map(|_| attempt()).collect();
        assert!(matches!(answers.last(), Some(Ok(1_400))), "{answers:?}");
    });
}

/// Both ends agree on segments that a hop between them has no room for, alone or many at once.
fn a_connection_learns_that_the_way_is_narrower_than_its_ends(kind: Kind, at: &'static Addresses) {
    let net = Net::serving(kind, &[at.local]);
    net.node.namespace.ip("route change 10.244.1.5 dev pod mtu lock 1300");
    net.outside.run(move || {
        for length in [1_400, 100_000] {
            let (mut connection, _) = talk(at.node_port).expect("connect to the NodePort");
            echo(&mut connection, &vec![7; length]).unwrap_or_else(|error| panic!("echo of {length}: {error}"));
        }
    });
}
