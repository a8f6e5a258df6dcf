//! What the socket hooks remember of UDP sockets, and forget.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::time::Duration;

use orlop_plan::{Backend as _, Plan, Protocol, diff};

use crate::net::{Kind, LOCAL, Net, REMOTE};
use crate::plans::{cluster_ip, plan};
use crate::world::ask;

const NODE: [&str; 2] = ["172.30.0.11", "172.31.0.11"];

fn services(count: u8, endpoints: &[&str]) -> Plan {
    let mut plan = plan(&NODE);
    for n in 1..=count {
        cluster_ip(&mut plan, Protocol::Udp, &format!("10.96.1.{n}"), 53, endpoints);
    }
    plan
}

/// Sockets the connect hook has a note of.
fn connected(root: PathBuf) -> usize {
    let hash = std::fs::read_dir(root).expect("the root").flatten().next().expect("a directory").path();
    let map = aya::maps::MapData::from_pin(hash.join("CONNECTED_UDP")).expect("the map");
    let map: aya::maps::HashMap<_, u64, [u8; 56]> = aya::maps::Map::HashMap(map).try_into().expect("its types");
    map.keys().count()
}

#[test]
fn a_socket_that_asks_more_services_than_it_has_room_for_hears_each_of_them_from_one_endpoint() {
    let net = Net::new(Kind::Ebpf);
    net.node.with_backend(|backend| backend.resync(&services(20, &[LOCAL, REMOTE])).expect("fill the maps"));
    net.node.join_cgroup();
    net.node.namespace.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        let round = || -> Vec<String> {
            (1..=20)
                .map(|n| {
                    let address = format!("10.96.1.{n}:53");
                    let (from, line) = ask(&socket, &address).expect("an answer");
                    // Of Services at one endpoint, whose answers cannot be told apart, the one asked last counts.
                    assert_eq!(from.to_string(), address);
                    line
                })
                .collect()
        };
        let first = round();
        assert_eq!(first, round());
        assert_eq!(first, round());
    });
}

#[test]
fn no_flood_of_other_sockets_makes_one_forget_and_what_is_closed_is_forgotten() {
    const OTHERS: usize = 70_000;
    let net = Net::new(Kind::Ebpf);
    let (before, after) = (services(1, &[LOCAL]), services(1, &[REMOTE]));
    let first = before.clone();
    let mut agent = net.node.start_backend(move |backend| backend.resync(&first).expect("fill the maps"));
    net.node.join_cgroup();
    // A process of the pod, by which its namespace is found: this one's own is another.
    let _process = net.pod.process();
    let root = net.node.options().bpf_root;
    let (loose, tied) = net.pod.run(|| {
        let (loose, tied) = (UdpSocket::bind("0.0.0.0:0"), UdpSocket::bind("0.0.0.0:0"));
        let (loose, tied) = (loose.expect("a socket"), tied.expect("a socket"));
        tied.connect("10.96.1.1:53").expect("connect");
        loose.send_to(b"?", "10.96.1.1:53").expect("send");
        tied.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout");
        for _ in 0..OTHERS {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
            socket.connect("10.96.1.1:53").expect("connect");
        }
        (loose, tied)
    });
    let noted = net.node.namespace.run(move || connected(root));
    assert!(noted < 10, "{noted}");
    // The answer has waited.
    let (_, from) = loose.recv_from(&mut [0; 100]).expect("an answer");
    assert_eq!(from.to_string(), "10.96.1.1:53");
    assert_eq!(tied.peer_addr().expect("a peer").to_string(), "10.96.1.1:53");
    agent.sync(&after, &diff(&before, &after)).expect("change the maps");
    let error = tied.recv(&mut [0; 100]).expect_err("its endpoint is gone");
    assert_eq!(error.kind(), ErrorKind::ConnectionAborted, "{error}");
}
