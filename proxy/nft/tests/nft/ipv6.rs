//! Connections and datagrams over IPv6, end to end: the judge sees only first packets.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use orlop_nft::NftBackend;
use orlop_plan::{
    Backend, DetectLocal, Endpoint, EndpointSet, Family, Frontend, FrontendKind, NodeFacts, Plan, Protocol, diff,
};

use crate::plans::{NODE_PORT, target};
use crate::world::{NODE6, Namespace, OUTSIDE6, World, pod_ip6, tcp, udp, udp_ask};

const VIP: &str = "fd00:96::10";

/// TCP and UDP on a cluster IP and on a NodePort.
fn web(pods: &[usize]) -> Plan {
    let mut node = NodeFacts::primary("node-1", vec![NODE6.parse().unwrap()], Vec::new());
    node.detect_local = DetectLocal::Cidrs(vec!["fd00:244::/64".parse().unwrap()]);
    let mut plan = Plan { node: Arc::new(node), ..Plan::default() };
    let set: EndpointSet =
        pods.iter().map(|pod| Endpoint { address: pod_ip6(*pod), port: 8080, local: true }).collect();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for (frontend, kind) in [
            (Frontend::ip(VIP.parse().unwrap(), protocol, 80), FrontendKind::ClusterIp),
            (Frontend::node_port(Family::V6, protocol, NODE_PORT), FrontendKind::NodePort),
        ] {
            plan.frontends.insert(frontend, Arc::new(target("default/web", kind, set.clone())));
        }
    }
    plan
}

/// A world whose addresses of IPv6 are ready, and its backend.
fn served(pods: usize, plan: &Plan) -> (World, NftBackend) {
    let world = World::new(pods);
    world.node.ip("-6 route add default via fd00:172::1 dev eth0 onlink");
    let start = Instant::now();
    for (from, to) in [(&world.node, pod_ip6(0)), (&world.pods[0], pod_ip6(pods - 1)), (&world.outside, pod_ip6(0))] {
        if std::ptr::eq(from, &world.outside) {
            from.ip(&format!("-6 route add default via {NODE6}"));
        }
        while tcp(from, &SocketAddr::new(to, 8080).to_string()).is_err() {
            assert!(start.elapsed() < Duration::from_secs(20), "{to} cannot be reached");
        }
    }
    let mut backend = world.node.run(|| NftBackend::open().unwrap());
    backend.resync(plan).unwrap();
    (world, backend)
}

fn answers(from: &Namespace, to: &str) -> BTreeSet<usize> {
    (0..40).flat_map(|_| [tcp(from, to).unwrap().0, udp(from, to).unwrap().0]).collect()
}

#[test]
fn a_service_is_reached_from_pod_node_and_outside() {
    let (world, _backend) = served(3, &web(&[0, 1, 2]));
    let (service, through_node) = (format!("[{VIP}]:80"), format!("[{NODE6}]:{NODE_PORT}"));
    for from in [&world.node, &world.pods[0], &world.outside] {
        assert_eq!(answers(from, &service), [0, 1, 2].into());
        assert_eq!(answers(from, &through_node), [0, 1, 2].into());
    }
}

#[test]
fn a_pod_keeps_its_address_unless_it_reaches_itself_and_a_stranger_loses_it() {
    let (world, _backend) = served(2, &web(&[1]));
    let (service, through_node) = (format!("[{VIP}]:80"), format!("[{NODE6}]:{NODE_PORT}"));
    assert_eq!(tcp(&world.pods[0], &service).unwrap(), (1, pod_ip6(0)));
    assert_ne!(tcp(&world.pods[1], &service).unwrap().1, pod_ip6(1));
    let stranger: IpAddr = OUTSIDE6.parse().unwrap();
    assert_ne!(tcp(&world.outside, &through_node).unwrap().1, stranger);
    assert_ne!(udp(&world.outside, &service).unwrap().1, stranger);
}

#[test]
fn what_nobody_serves_is_refused_and_datagrams_move_when_their_endpoint_leaves() {
    let (world, mut backend) = served(2, &web(&[0]));
    let refused = |to: String| tcp(&world.pods[1], &to).unwrap_err().kind();
    assert_eq!(refused(format!("[{VIP}]:81")), ErrorKind::ConnectionRefused);
    let to: SocketAddr = format!("[{VIP}]:80").parse().unwrap();
    let socket = Arc::new(world.pods[1].run(|| UdpSocket::bind("[::]:0").unwrap()));
    assert_eq!(udp_ask(&socket, to).unwrap().0, 0);
    backend.sync(&web(&[1]), &diff(&web(&[0]), &web(&[1]))).unwrap();
    backend.settle();
    assert_eq!(udp_ask(&socket, to).unwrap().0, 1);
    backend.sync(&web(&[]), &diff(&web(&[1]), &web(&[]))).unwrap();
    backend.settle();
    assert_eq!(refused(to.to_string()), ErrorKind::ConnectionRefused);
}
