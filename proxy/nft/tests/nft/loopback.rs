//! NodePorts on loopback addresses, where nodePortAddresses asks for them: the kernel sets the limits.

use std::io::ErrorKind;
use std::sync::Arc;

use orlop_nft::NftBackend;
use orlop_plan::{Backend, Endpoint, EndpointSet, Family, Frontend, FrontendKind, NodePortAddresses, Plan, Protocol};

use crate::plans::{NODE_PORT, target, web};
use crate::world::{NODE, World, pod_ip6, tcp, udp};

/// A NodePort of both families that answers on loopback and on the node's own address.
fn on_loopback() -> Plan {
    let mut plan = web(&[0]);
    let addresses = ["127.0.0.1", "::1", NODE].map(|ip| ip.parse().unwrap());
    Arc::make_mut(&mut plan.node).node_ports = NodePortAddresses::Only(addresses.into());
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let endpoints: EndpointSet = [Endpoint { address: pod_ip6(0), port: 8080, local: true }].into_iter().collect();
        let frontend = Frontend::node_port(Family::V6, protocol, NODE_PORT);
        plan.frontends.insert(frontend, Arc::new(target("default/web", FrontendKind::NodePort, endpoints)));
    }
    plan
}

#[test]
fn a_node_port_answers_on_127_0_0_1_where_the_kernel_routes_it() {
    let world = World::new(1);
    world.node.sysctl("ipv4/conf/all/route_localnet", "1");
    let limits = world.node.run(|| {
        let mut backend = NftBackend::open().unwrap();
        backend.resync(&on_loopback()).unwrap();
        backend.limits()
    });
    let to = format!("127.0.0.1:{NODE_PORT}");
    assert_eq!(tcp(&world.node, &to).unwrap().0, 0);
    assert_eq!(udp(&world.node, &to).unwrap().0, 0);
    assert!(!limits.iter().any(|limit| limit.contains("127.0.0.0/8")), "{limits:?}");
}

#[test]
fn where_the_kernel_forbids_it_a_loopback_address_refuses_at_once_and_the_limits_say_so() {
    let world = World::new(1);
    let limits = world.node.run(|| {
        let mut backend = NftBackend::open().unwrap();
        backend.resync(&on_loopback()).unwrap();
        backend.limits()
    });
    for to in [format!("127.0.0.1:{NODE_PORT}"), format!("[::1]:{NODE_PORT}")] {
        assert_eq!(tcp(&world.node, &to).unwrap_err().kind(), ErrorKind::ConnectionRefused, "{to}");
    }
    assert_eq!(tcp(&world.node, &format!("{NODE}:{NODE_PORT}")).unwrap().0, 0);
    assert!(["::1", "127.0.0.0/8"].iter().all(|ip| limits.iter().any(|limit| limit.contains(ip))), "{limits:?}");
}
