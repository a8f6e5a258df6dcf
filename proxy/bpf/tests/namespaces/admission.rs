//! loadBalancerSourceRanges, for whoever calls: processes of the node, pods with and without socket hooks, the outside.

use std::io::ErrorKind;
use std::net::UdpSocket;

use orlop_plan::{Backend as _, Protocol};

use crate::net::{Kind, LOCAL, Net, REMOTE};
use crate::plans::{load_balancer, plan};
use crate::world::{Namespace, ask, talk};

const ADDRESS: &str = "203.0.113.1:80";

/// A load balancer's address that admits these sources, and no agent.
fn admitting(ranges: &'static [&'static str]) -> Net {
    let net = Net::new(Kind::Ebpf);
    net.outside.ip("route add 203.0.113.1 via 172.30.0.11");
    net.node.with_backend(move |backend| {
        let mut plan = plan(&["172.30.0.11", "172.31.0.11"]);
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            load_balancer(&mut plan, protocol, "203.0.113.1", ranges, &[LOCAL, REMOTE]);
        }
        backend.resync(&plan).expect("fill the maps");
    });
    net
}

fn reaches(from: &Namespace) {
    from.run(|| {
        let (connection, _) = talk(ADDRESS).expect("connect to the load balancer's address");
        assert_eq!(connection.peer_addr().expect("a peer").to_string(), ADDRESS);
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        assert_eq!(ask(&socket, ADDRESS).expect("an answer").0.to_string(), ADDRESS);
    });
}

fn is_refused_silently(from: &Namespace) {
    from.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        let error = ask(&socket, ADDRESS).expect_err("not admitted");
        assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::PermissionDenied), "{error}");
    });
}

#[test]
fn a_range_of_pods_admits_pods_and_nobody_else() {
    let net = admitting(&["10.244.1.0/24"]);
    reaches(&net.pod);
    is_refused_silently(&net.outside);
    net.node.join_cgroup();
    reaches(&net.pod);
    is_refused_silently(&net.node.namespace);
}

#[test]
fn the_nodes_own_address_admits_its_processes_and_the_one_a_socket_is_bound_to_decides() {
    let net = admitting(&["172.30.0.11/32", "8.8.8.0/24"]);
    net.node.join_cgroup();
    reaches(&net.node.namespace);
    is_refused_silently(&net.pod);
    net.node.namespace.run(|| {
        let socket = UdpSocket::bind("172.31.0.11:0").expect("a socket");
        let error = ask(&socket, ADDRESS).expect_err("the other address is not admitted");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    });
}

#[test]
fn a_range_of_the_outside_admits_the_outside() {
    let net = admitting(&["172.30.0.128/25"]);
    reaches(&net.outside);
    is_refused_silently(&net.pod);
    net.node.join_cgroup();
    is_refused_silently(&net.pod);
    is_refused_silently(&net.node.namespace);
}
