//! What the programs count of packets at devices.

use std::io::Read as _;
use std::net::Shutdown;

use orlop_plan::{Backend as _, Family, Frontend, Protocol};

use crate::net::{Kind, LOCAL, NODE_PORT, Net, REMOTE, V6};
use crate::world::{ask, echo, talk};

const BYTES: usize = 100_000;

#[test]
fn connections_packets_and_bytes_are_counted_by_frontend_and_endpoint_and_outlive_the_endpoint() {
    let net = Net::new(Kind::Ebpf);
    let plan = net.plan(&[LOCAL, V6.local]);
    let mut agent = net.node.start_backend(move |backend| backend.resync(&plan).expect("fill the maps"));
    net.outside.run(|| {
        for address in [NODE_PORT, NODE_PORT, V6.node_port] {
            let (mut connection, _) = talk(address).expect("connect to the NodePort");
            echo(&mut connection, &[7; BYTES]).expect("echo");
            connection.shutdown(Shutdown::Write).expect("close");
            assert_eq!(connection.read(&mut [0]).expect("the server closes too"), 0);
        }
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket");
        ask(&socket, NODE_PORT).expect("an answer");
    });
    let (before, after) = (net.plan(&[LOCAL, V6.local]), net.plan(&[LOCAL, REMOTE]));
    let counted = |agent: &mut orlop_bpf::EbpfBackend, family, protocol| {
        let frontend = Frontend::node_port(family, protocol, 30_001);
        let all = agent.counters().expect("read the counters");
        let (_, total) = *all.frontends.iter().find(|(counted, _)| *counted == frontend).expect("its total");
        let endpoints: Vec<_> = all.endpoints.into_iter().filter(|e| e.frontend == frontend).collect();
        (total, endpoints)
    };
    for (family, connections) in [(Family::V4, 2), (Family::V6, 1)] {
        let (total, endpoints) = counted(&mut agent, family, Protocol::Tcp);
        let [endpoint] = endpoints.as_slice() else { panic!("{endpoints:?}") };
        assert_eq!(endpoint.tally, total);
        assert_eq!(total.connections, Some(connections));
        let least = connections * 2 * BYTES as u64;
        assert!(total.bytes.is_some_and(|bytes| bytes >= least && bytes < least * 2), "{total:?}");
        assert!(total.packets.is_some_and(|packets| packets >= connections * 8), "{total:?}");
    }
    let (total, _) = counted(&mut agent, Family::V4, Protocol::Udp);
    assert_eq!((total.connections, total.packets), (Some(1), Some(2)));

    agent.sync(&after, &orlop_plan::diff(&before, &after)).expect("change the maps");
    let (total, endpoints) = counted(&mut agent, Family::V6, Protocol::Tcp);
    assert!(endpoints.is_empty() && total.connections == Some(1), "{endpoints:?} {total:?}");
}
