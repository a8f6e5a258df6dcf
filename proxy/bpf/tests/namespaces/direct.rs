//! Direct server return between two nodes, over VXLAN and over routes, in both families.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddrV4, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt};
use nix::sys::time::{TimeVal, TimeValLike as _};
use orlop_bpf::{EbpfBackend, Forwarding, Options, Xdp};
use orlop_plan::{Backend as _, Endpoint, Plan, Protocol, Target};

use crate::cables;
use crate::plans::{cluster_ip, node_port, node_port_v6, plan};
use crate::world::{Namespace, Node, ask, echo, talk};

/// What the pods are reached by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Overlay {
    Vxlan,
    Routes,
    /// Routes, and drivers have their program (XDP).
    Drivers,
}

/// What everything is called in one family: NodePorts of both nodes, endpoints on both, the outside host and what a
/// node's addresses begin with.
struct Addresses {
    first: &'static str,
    second: &'static str,
    local: &'static str,
    remote: &'static str,
    closed: &'static str,
    client: &'static str,
    any: &'static str,
}

const V4: Addresses = Addresses {
    first: "172.30.0.11:30001",
    second: "172.30.0.12:30001",
    local: "10.244.1.5:8080",
    remote: "10.244.2.5:8080",
    closed: "10.244.2.5:9",
    client: "172.30.0.200:",
    any: "0.0.0.0:0",
};

const V6: Addresses = Addresses {
    first: "[fd00:30::11]:30001",
    second: "[fd00:30::12]:30001",
    local: "[fd00:244:1::5]:8080",
    remote: "[fd00:244:2::5]:8080",
    closed: "[fd00:244:2::5]:9",
    client: "[fd00:30::200]:",
    any: "[::]:0",
};

/// The outside host 172.30.0.200, nodes 172.30.0.11 (pods 10.244.1.0/24) and .12 (pods 10.244.2.0/24) around a switch; and
/// the same in IPv6.
struct Cluster {
    first: Node,
    second: Namespace,
    outside: Namespace,
    options: [Options; 2],
    _others: [Namespace; 3],
}

impl Cluster {
    fn new(forwarding: Forwarding, overlay: Overlay) -> Self {
        let first = Node::new();
        let (second, options) = first.second();
        let xdp = if overlay == Overlay::Drivers { Xdp::Native } else { Xdp::Disabled };
        let options = [first.options(), options].map(|options| Options { forwarding, xdp, ..options });
        let (outside, local, remote) = (Namespace::new(), Namespace::new(), Namespace::new());
        let switch = cables::switch(&[(&first.namespace, 11), (&second, 12), (&outside, 200)]);
        if overlay == Overlay::Drivers {
            for host in [&first.namespace, &second, &outside] {
                cables::finish_checksums(host, "eth0");
            }
            for port in ["p11", "p12", "p200"] {
                cables::take_frames(&switch, port);
                // What is put together here is cut again, and its checksums are to be finished again.
                cables::finish_checksums(&switch, port);
            }
        }
        for (node, own, peer) in [(&first.namespace, 1, 2), (&second, 2, 1)] {
            match overlay {
                Overlay::Vxlan => cables::vxlan(node, own, peer),
                Overlay::Routes | Overlay::Drivers => cables::routes(node, peer),
            }
            // A packet with a stranger's source from the overlay is what this is there to drop.
            node.run(|| std::fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "1").expect("filter"));
        }
        cables::pod(&first.namespace, &local, 1);
        cables::pod(&second, &remote, 2);
        first.leave_cgroup();
        for at in [&V4, &V6] {
            local.serve("local", at.local);
            remote.serve("remote", at.remote);
        }
        Self { first, second, outside, options, _others: [switch, local, remote] }
    }

    /// With a NodePort at both nodes.
    fn serving(forwarding: Forwarding, overlay: Overlay, endpoints: &[&str]) -> Self {
        let cluster = Self::new(forwarding, overlay);
        cluster.serve(endpoints, |target| target);
        cluster
    }

    fn serve(&self, endpoints: &[&str], change: impl Fn(Target) -> Target) {
        for (n, (namespace, options)) in
            [&self.first.namespace, &self.second].into_iter().zip(&self.options).enumerate()
        {
            let (plan, options) = (node_plan(n + 1, endpoints, &change), options.clone());
            namespace.run(move || {
                EbpfBackend::open(options).expect("open the backend").resync(&plan).expect("fill the maps");
            });
        }
    }

    /// How many bytes a device of the first node has got from outside.
    fn received(&self, device: &'static str) -> u64 {
        self.first.namespace.run(move || {
            let all = std::fs::read_to_string("/proc/thread-self/net/dev").expect("the devices");
            let line = all.lines().find_map(|line| line.trim().strip_prefix(device)?.strip_prefix(':'));
            let first = line.expect("the device").split_whitespace().next().expect("a number");
            first.parse().expect("a number")
        })
    }
}

/// The plan of node 1 or 2.
fn node_plan(n: usize, endpoints: &[&str], change: &impl Fn(Target) -> Target) -> Plan {
    let (v6, v4): (Vec<&str>, Vec<&str>) = endpoints.iter().copied().partition(|endpoint| endpoint.starts_with('['));
    let mut plan = plan(&[&format!("172.30.0.1{n}"), &format!("fd00:30::1{n}")]);
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        node_port(&mut plan, protocol, 30_001, &v4);
        node_port(&mut plan, protocol, 30_002, &v4);
        node_port_v6(&mut plan, protocol, 30_001, &v6);
        node_port_v6(&mut plan, protocol, 30_002, &v6);
        cluster_ip(&mut plan, protocol, "10.96.0.10", 80, &v4);
    }
    let own = [format!("10.244.{n}."), format!("fd00:244:{n}:")];
    for (frontend, target) in plan.frontends.clone() {
        let here = |endpoint: &Endpoint| own.iter().any(|own| endpoint.address.to_string().starts_with(own));
        let endpoints = target.endpoints.iter().map(|endpoint| Endpoint { local: here(endpoint), ..*endpoint });
        let target = change(Target { endpoints: endpoints.collect(), ..(*target).clone() });
        plan.frontends.insert(frontend, Arc::new(target));
    }
    plan
}

macro_rules! everywhere {
    ($($name:ident)*) => {
        mod vxlan4 {
            $(#[test] fn $name() { super::$name(super::Overlay::Vxlan, &super::V4) })*
        }
        mod vxlan6 {
            $(#[test] fn $name() { super::$name(super::Overlay::Vxlan, &super::V6) })*
        }
        mod routes4 {
            $(#[test] fn $name() { super::$name(super::Overlay::Routes, &super::V4) })*
        }
        mod routes6 {
            $(#[test] fn $name() { super::$name(super::Overlay::Routes, &super::V6) })*
        }
        mod drivers4 {
            $(#[test] fn $name() { super::$name(super::Overlay::Drivers, &super::V4) })*
        }
        mod drivers6 {
            $(#[test] fn $name() { super::$name(super::Overlay::Drivers, &super::V6) })*
        }
    };
}

everywhere! {
    an_endpoint_on_another_node_sees_the_client_and_answers_past_the_node_that_was_asked
    datagrams_are_answered_by_the_node_port_that_was_asked
    datagrams_that_have_no_room_for_the_service_are_told_so_and_those_in_fragments_arrive
    a_closed_port_of_an_endpoint_on_another_node_is_reported_to_the_client
    endpoints_of_both_nodes_serve_and_see_the_client
}

fn an_endpoint_on_another_node_sees_the_client_and_answers_past_the_node_that_was_asked(
    overlay: Overlay,
    at: &'static Addresses,
) {
    let cluster = Cluster::serving(Forwarding::Dsr, overlay, &[at.remote]);
    let device = if overlay == Overlay::Vxlan { "vx" } else { "eth0" };
    let mut connection = cluster.outside.run(move || {
        let (mut connection, line) = talk(at.first).expect("connect to the NodePort");
        assert!(line.starts_with(&format!("remote {}", at.client)), "{line}");
        echo(&mut connection, &vec![7; 1_000_000]).expect("echo");
        connection
    });
    let before = cluster.received(device);
    let mut connection = cluster.outside.run(move || {
        echo(&mut connection, &vec![7; 1_000_000]).expect("echo");
        connection
    });
    let received = cluster.received(device) - before;
    // What the client sends comes in by eth0, and nothing of what the endpoint does.
    let most = if overlay == Overlay::Vxlan { 1_000 } else { 1_500_000 };
    assert!(received < most, "{received}");
    // A new agent on either node is not noticed.
    cluster.serve(&[at.remote], |target| target);
    cluster.outside.run(move || echo(&mut connection, &vec![7; 100_000]).expect("echo"));
}

fn datagrams_are_answered_by_the_node_port_that_was_asked(overlay: Overlay, at: &'static Addresses) {
    let cluster = Cluster::serving(Forwarding::Dsr, overlay, &[at.remote]);
    cluster.outside.run(move || {
        let socket = UdpSocket::bind(at.any).expect("a socket");
        // The same client port to both nodes and two ports of them: where the endpoint could not tell them apart, it sees
        // another port or an address of the node that was asked first.
        let others = [at.first, at.second].map(|at| at.replace("30001", "30002"));
        for asked in [at.second, at.first, at.first, &others[0], &others[1], at.second, at.first] {
            for _ in 0..3 {
                let (from, line) = ask(&socket, asked).unwrap_or_else(|error| panic!("{asked}: {error}"));
                assert!(from.to_string() == asked, "asked {asked}, {from} answered");
                let seen = line.starts_with(&format!("remote {}", at.client));
                assert!(seen || *asked == *others[0], "{asked}: {line}");
            }
        }
    });
}

fn datagrams_that_have_no_room_for_the_service_are_told_so_and_those_in_fragments_arrive(
    overlay: Overlay,
    at: &'static Addresses,
) {
    let cluster = Cluster::serving(Forwarding::Dsr, overlay, &[at.remote]);
    cluster.outside.run(move || {
        for length in [1_400, 1_450, 1_460, 1_472, 5_000] {
            let socket = UdpSocket::bind(at.any).expect("a socket");
            socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
            socket.connect(at.first).expect("connect");
            let sent: Vec<u8> = (0..length).map(|n: u32| n as u8).collect();
            let mut buffer = vec![0; 10_000];
            let arrived = (0..4).any(|_| {
                // The error is about an earlier attempt.
                let _ = socket.send(&sent).or_else(|_| socket.send(&sent)).expect("send");
                socket.recv(&mut buffer).is_ok_and(|count| buffer[..count] == sent)
            });
            assert!(arrived, "{length}");
        }
    });
}

fn a_closed_port_of_an_endpoint_on_another_node_is_reported_to_the_client(overlay: Overlay, at: &'static Addresses) {
    let cluster = Cluster::serving(Forwarding::Dsr, overlay, &[at.closed]);
    cluster.outside.run(move || {
        let error = talk(at.first).expect_err("nobody listens");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{error}");
        let socket = UdpSocket::bind(at.any).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout");
        socket.connect(at.first).expect("connect");
        socket.send(b"?").expect("send");
        let error = socket.recv(&mut [0; 10]).expect_err("nobody answers");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{error}");
    });
}

fn endpoints_of_both_nodes_serve_and_see_the_client(overlay: Overlay, at: &'static Addresses) {
    let cluster = Cluster::serving(Forwarding::Dsr, overlay, &[at.local, at.remote]);
    cluster.outside.run(move || {
        for asked in [at.first, at.second] {
            let servers: HashSet<_> = (0..30)
                .map(|_| {
                    let (mut connection, line) = talk(asked).expect("connect to the NodePort");
                    echo(&mut connection, &[7; 10_000]).expect("echo");
                    let (server, client) = line.split_once(' ').expect("two words");
                    assert!(client.starts_with(at.client), "{line}");
                    server.to_owned()
                })
                .collect();
            assert_eq!(servers.len(), 2, "{servers:?}");
        }
    });
}

#[test]
fn a_client_stays_with_its_endpoint_and_can_use_its_port_again() {
    let cluster = Cluster::new(Forwarding::Dsr, Overlay::Vxlan);
    cluster.serve(&[V4.local, V4.remote], |target| Target { affinity_seconds: Some(60), ..target });
    cluster.outside.run(|| {
        let server = || talk(V4.first).expect("connect").1.split(' ').next().expect("a word").to_owned();
        let first = server();
        assert!((0..20).all(|_| server() == first));
    });
    cluster.serve(&[V4.remote], |target| target);
    cluster.outside.run(|| {
        let all = [V4.first, V4.first, V4.second, V4.first];
        for (asked, reset) in all.map(|at| (at, true)).into_iter().chain([(V4.second, false), (V4.first, false)]) {
            let line = talk_from(45_678, asked, reset);
            assert!(line.starts_with("remote 172.30.0.200:"), "{asked}: {line}");
            // The endpoint's own node may give another for some seconds.
            assert!(asked == V4.second || line.ends_with(":45678\n"), "{asked}: {line}");
        }
    });
}

/// What the server says to a client that has this port, and ends the connection by a reset or not.
fn talk_from(port: u16, address: &str, reset: bool) -> String {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None).expect("a socket");
    setsockopt(&socket, sockopt::ReuseAddr, &true).expect("use the port again");
    let linger = libc::linger { l_onoff: reset.into(), l_linger: 0 };
    setsockopt(&socket, sockopt::Linger, &linger).expect("set how it ends");
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(3)).expect("a timeout");
    setsockopt(&socket, sockopt::SendTimeout, &TimeVal::seconds(3)).expect("a timeout");
    bind(socket.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, port)).expect("have the port");
    let to: SocketAddrV4 = address.parse().expect("an address");
    connect(socket.as_raw_fd(), &SockaddrIn::from(to)).unwrap_or_else(|error| panic!("{address}: {error}"));
    let mut line = String::new();
    let mut reader = BufReader::new(TcpStream::from(socket));
    reader.read_line(&mut line).expect("the server's line");
    line
}

#[test]
fn hybrid_forwarding_masquerades_datagrams_alone() {
    let cluster = Cluster::serving(Forwarding::Hybrid, Overlay::Vxlan, &[V4.remote]);
    cluster.outside.run(|| {
        let (_, line) = talk(V4.first).expect("connect to the NodePort");
        assert!(line.starts_with("remote 172.30.0.200:"), "{line}");
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        let (_, line) = ask(&socket, V4.first).expect("an answer");
        assert!(line.starts_with("remote 10.244.1.0:"), "{line}");
    });
}
