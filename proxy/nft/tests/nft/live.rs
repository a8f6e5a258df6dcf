//! What the backend tells of flows that there are.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use orlop_nft::NftBackend;
use orlop_plan::{Backend, FlowFilter, Flows, Protocol};

use crate::plans::{NODE_PORT, VIP, web};
use crate::world::{NODE, World, ask, connect, pod_ip, udp_ask};

fn flows(world: &World, protocol: Protocol, service: SocketAddr, client: Option<SocketAddr>) -> Flows {
    let wanted = FlowFilter { protocol, service, client, most: 10 };
    world.node.run(move || NftBackend::open().unwrap().flows(&wanted).unwrap())
}

fn count(world: &World, on: &'static str) {
    for switch in ["netfilter/nf_conntrack_acct", "netfilter/nf_conntrack_timestamp"] {
        world.node.sysctl(switch, on);
    }
}

#[test]
fn a_flow_is_told_of_with_what_conntrack_keeps_and_what_it_does_not_keep_is_said() {
    let world = World::new(2);
    world.node.run(|| NftBackend::open().unwrap().resync(&web(&[1])).unwrap());
    count(&world, "1");
    let node_port: SocketAddr = format!("{NODE}:{NODE_PORT}").parse().unwrap();
    let mut connection = world.outside.run(move || connect(node_port).unwrap());
    assert_eq!(ask(&mut connection).unwrap().0, 1);
    let client = connection.local_addr().unwrap();
    let found = flows(&world, Protocol::Tcp, node_port, Some(client));
    let [flow] = found.all.as_slice() else { panic!("{found:?}") };
    assert_eq!((flow.client, flow.service, flow.endpoint), (client, node_port, SocketAddr::new(pod_ip(1), 8080)));
    assert!(flow.source.is_some_and(|source| source.ip() != client.ip()), "masqueraded: {flow:?}");
    assert_eq!(flow.state, "ESTABLISHED");
    assert!(flow.begun.is_some_and(|begun| begun < Duration::from_secs(10)), "{flow:?}");
    assert!(flow.there.is_some_and(|v| v.packets >= 3 && v.bytes > 120) && flow.back.is_some_and(|v| v.packets >= 2));
    assert!(flow.kept.is_some_and(|kept| kept > Duration::from_secs(60)), "{flow:?}");
    assert!(found.notes.is_empty(), "{:?}", found.notes);
    // In the list of every address, and in nobody else's.
    let any = SocketAddr::new([0, 0, 0, 0].into(), NODE_PORT);
    assert_eq!(flows(&world, Protocol::Tcp, any, None).all.len(), 1);
    let stranger = SocketAddr::new(client.ip(), client.port() ^ 1);
    assert_eq!(flows(&world, Protocol::Tcp, node_port, Some(stranger)).total, 0);

    count(&world, "0");
    let service: SocketAddr = format!("{VIP}:80").parse().unwrap();
    let socket = Arc::new(world.pods[0].run(|| UdpSocket::bind("0.0.0.0:0").unwrap()));
    assert_eq!(udp_ask(&socket, service).unwrap().0, 1);
    let client = SocketAddr::new(pod_ip(0), socket.local_addr().unwrap().port());
    let found = flows(&world, Protocol::Udp, service, Some(client));
    let [flow] = found.all.as_slice() else { panic!("{found:?}") };
    assert_eq!((flow.source, flow.state.as_str()), (None, "REPLIED"));
    assert_eq!((flow.begun, flow.there, flow.back), (None, None, None));
    assert_eq!(found.notes.len(), 2);
    assert!(found.notes[0].starts_with("net.netfilter.nf_conntrack_acct is 0"), "{:?}", found.notes);
}
