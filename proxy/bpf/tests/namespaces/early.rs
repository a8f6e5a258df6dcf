//! Translating in the driver: on virtual cables, whose ends are told to do what a real network card does by itself.

use std::net::UdpSocket;
use std::path::Path;

use aya::maps::{Map, MapData, PerCpuArray};
use orlop_bpf::{EbpfBackend, Options, Xdp};
use orlop_plan::Backend as _;

use crate::net::{Addresses, Kind, Net, V4, V6};
use crate::world::{ask, echo, talk};

/// Packets that drivers have translated.
fn early(net: &Net) -> u64 {
    let root = net.node.options().bpf_root;
    net.node.namespace.run(move || {
        let hash = std::fs::read_dir(root).expect("the root").flatten().next().expect("a directory").path();
        let map = MapData::from_pin(counters(&hash)).expect("the counters");
        let map: PerCpuArray<_, u64> = Map::PerCpuArray(map).try_into().expect("a map of numbers");
        map.get(&orlop_ebpf::counters::EARLY, 0).expect("a number").iter().sum()
    })
}

fn counters(hash: &Path) -> std::path::PathBuf {
    hash.join("COUNTERS")
}

fn serve(net: &Net, xdp: Xdp, endpoints: &[&str]) {
    let (plan, options) = (net.plan(endpoints), Options { xdp, ..net.node.options() });
    net.node.namespace.run(move || {
        EbpfBackend::open(options).expect("open the backend").resync(&plan).expect("fill the maps");
    });
}

fn connections_pass_through_drivers(at: &'static Addresses) {
    let net = Net::new(Kind::Drivers);
    serve(&net, Xdp::Native, &[at.remote]);
    let exchange = || {
        net.outside.run(move || {
            let (mut connection, line) = talk(at.node_port).expect("connect to the NodePort");
            assert!(line.starts_with(&format!("remote {}", at.second)), "{line}");
            echo(&mut connection, &vec![7; 1_000_000]).expect("echo");
            let socket = UdpSocket::bind(at.any).expect("a socket");
            for _ in 0..20 {
                let (from, _) = ask(&socket, at.node_port).expect("an answer");
                assert_eq!(from.to_string(), at.node_port);
            }
        });
    };
    exchange();
    let count = early(&net);
    // A megabyte each way is 1,400 packets at least.
    assert!(count > 1_000, "{count}");
    // The first packet does, too, now that the ways are known: of each datagram its question, of each connection what opens it.
    net.outside.run(move || {
        for _ in 0..200 {
            let socket = UdpSocket::bind(at.any).expect("a socket");
            let (from, _) = ask(&socket, at.node_port).expect("an answer");
            assert_eq!(from.to_string(), at.node_port);
        }
    });
    let questions = early(&net) - count;
    assert!(questions >= 195, "{questions}");
    net.outside.run(move || {
        for _ in 0..100 {
            talk(at.node_port).expect("connect to the NodePort");
        }
    });
    // Each has a SYN, its acknowledgement and two more of the client's at least.
    let packets = early(&net) - count - questions;
    assert!(packets >= 390, "{packets}");
    // Pods' devices take no frames from drivers: the stack's hook passes them on.
    serve(&net, Xdp::Native, &[at.local]);
    net.outside.run(move || {
        let (mut connection, line) = talk(at.node_port).expect("connect to the NodePort");
        assert!(line.starts_with("local "), "{line}");
        echo(&mut connection, &vec![7; 100_000]).expect("echo");
    });
    // On virtual cables only who asks for it by name.
    for xdp in [Xdp::BestEffort, Xdp::Disabled] {
        serve(&net, xdp, &[at.remote]);
        let before = early(&net);
        exchange();
        assert_eq!(early(&net), before, "{xdp:?}");
    }
}

#[test]
fn connections_of_ipv4_pass_through_drivers() {
    connections_pass_through_drivers(&V4);
}

#[test]
fn connections_of_ipv6_pass_through_drivers() {
    connections_pass_through_drivers(&V6);
}
