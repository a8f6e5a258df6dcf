//! One client, one port, two connections to the same endpoint: one through a Service at a device, one straight to it, as sockets
//! make them for Services that they know. To the client's kernel these are two peers, to the endpoint they would be one.

use std::io::Read as _;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use nix::sys::socket::sockopt::ReuseAddr;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket};
use orlop_plan::{Family, Frontend, FrontendKind, Masquerade, Plan, Protocol, Target};

use crate::net::{Addresses, Kind, Net, V4, V6};
use crate::plans::target;
use crate::world::{Namespace, echo};

const PORT: u16 = 40_000;

/// Connects from [`PORT`] and gives the connection and what the server says.
fn talk(own: &str, to: &str) -> (TcpStream, String) {
    let to: SocketAddr = to.parse().expect("an address");
    let own: SocketAddr = format!("{}{PORT}", own).parse().expect("an address");
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let stream: TcpStream = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket").into();
    setsockopt(&stream, ReuseAddr, &true).expect("a port for several connections");
    // Two tries to connect take a second, three take three.
    stream.set_write_timeout(Some(std::time::Duration::from_millis(2_500))).expect("a timeout");
    stream.set_read_timeout(Some(std::time::Duration::from_millis(2_500))).expect("a timeout");
    bind(stream.as_raw_fd(), &SockaddrStorage::from(own)).expect("the port");
    connect(stream.as_raw_fd(), &SockaddrStorage::from(to)).unwrap_or_else(|error| panic!("{own} to {to}: {error}"));
    let mut line = Vec::new();
    let mut byte = [0];
    while (&stream).read(&mut byte).unwrap_or_else(|error| panic!("{own} to {to}: {error}")) == 1 && byte != *b"\n" {
        line.push(byte[0]);
    }
    (stream, String::from_utf8_lossy(&line).into_owned())
}

fn close(mut connection: TcpStream) {
    connection.shutdown(Shutdown::Write).expect("close");
    assert_eq!(connection.read(&mut [0]).expect("the server closes, too"), 0);
}

/// Lets a port be used again as soon as its connection is closed.
fn without_time_wait(namespace: &Namespace) {
    namespace.run(|| std::fs::write("/proc/sys/net/ipv4/tcp_max_tw_buckets", "0").expect("no waiting"));
}

/// A NodePort whose clients are seen as themselves.
fn local_node_port(plan: &mut Plan, family: Family, endpoint: &str) {
    let shape = target(FrontendKind::NodePort, &[endpoint]);
    let local = Some(shape.endpoints.clone());
    let target = Target { local, masquerade: Masquerade::Never, ..shape };
    plan.frontends.insert(Frontend::node_port(family, Protocol::Tcp, 30_002), Arc::new(target));
}

/// The second half of a NodePort's address with [`local_node_port`]'s port.
fn local_node_port_of(at: &Addresses) -> String {
    at.node_port.replace(":30001", ":30002")
}

fn with_local_node_port(endpoint: fn(&Addresses) -> &'static str) -> Net {
    let net = Net::new(Kind::Ebpf);
    without_time_wait(&net.outside);
    net.node.namespace.serve("host", V4.host);
    net.node.namespace.serve("host", V6.host);
    net.outside.ip("route add 10.244.1.0/24 via 172.30.0.11");
    net.outside.ip("route add fd00:244:1::/64 via fd00:30::11");
    net.outside.ip("route add 172.31.0.11 via 172.30.0.11");
    net.outside.ip("route add fd00:31::11 via fd00:30::11");
    let mut plan = net.plan(&[]);
    local_node_port(&mut plan, Family::V4, endpoint(&V4));
    local_node_port(&mut plan, Family::V6, endpoint(&V6));
    net.node.with_backend(move |backend| {
        orlop_plan::Backend::resync(backend, &plan).expect("fill the maps");
    });
    net
}

/// The endpoints: on this node, on another, the node itself.
const PLACES: [fn(&Addresses) -> &'static str; 3] = [|at| at.local, |at| at.remote, |at| at.host];

#[test]
fn a_pods_connection_through_a_device_leaves_its_port_to_one_straight_to_the_endpoint() {
    for place in [PLACES[1], PLACES[2]] {
        let net = Net::serving(Kind::Ebpf, &[place(&V4), place(&V6)]);
        without_time_wait(&net.pod);
        net.node.namespace.serve("host", V4.host);
        net.node.namespace.serve("host", V6.host);
        for at in [&V4, &V6] {
            net.pod.run(move || {
                for service_first in [true, false] {
                    let both = [at.cluster_ip, place(at)];
                    let order = if service_first { both } else { [both[1], both[0]] };
                    let mut connections = order.map(|to| talk(at.pod, to));
                    for _ in 0..2 {
                        for (connection, _) in &mut connections {
                            echo(connection, &[7; 10_000]).expect("each has its own answers");
                        }
                    }
                    let [first, second] = connections;
                    let (through, straight) = if service_first { (first, second) } else { (second, first) };
                    let own = format!("{}{PORT}", at.pod);
                    assert!(straight.1.ends_with(&own), "{}", straight.1);
                    assert!(through.1.contains(at.pod) && !through.1.ends_with(&own), "{}", through.1);
                    close(through.0);
                    close(straight.0);
                    // What is over is in nobody's way.
                    close(talk(at.pod, place(at)).0);
                    close(talk(at.pod, at.cluster_ip).0);
                }
            });
        }
    }
}

#[test]
fn a_client_outside_keeps_its_port_through_a_service_and_gets_another_where_that_is_in_the_way() {
    for place in [PLACES[0], PLACES[2]] {
        let net = with_local_node_port(place);
        for at in [&V4, &V6] {
            net.outside.run(move || {
                let node_port = local_node_port_of(at);
                let own = format!("{}{PORT}", at.client);
                let (mut through, line) = talk(at.client, &node_port);
                assert!(line.ends_with(&own), "{line}");
                // Both live: the endpoint must see two.
                let (mut straight, line) = talk(at.client, place(at));
                assert!(line.contains(at.client) && !line.ends_with(&own), "{line}");
                for connection in [&mut through, &mut straight] {
                    echo(connection, &[7; 10_000]).expect("each has its own answers");
                }
                close(through);
                close(straight);
            });
        }
    }
}

#[test]
fn a_connection_that_is_over_is_in_nobodys_way() {
    let net = with_local_node_port(PLACES[0]);
    for at in [&V4, &V6] {
        net.outside.run(move || {
            let own = format!("{}{PORT}", at.client);
            close(talk(at.client, &local_node_port_of(at)).0);
            let (straight, line) = talk(at.client, at.local);
            assert!(line.ends_with(&own), "{line}");
            close(straight);
        });
    }
}
