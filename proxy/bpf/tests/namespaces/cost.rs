//! What the ingress program costs a packet, without the stack around it.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aya::programs::ProgramInfo;
use orlop_bpf::{EbpfBackend, Options, Xdp};
use orlop_plan::{Backend as _, Frontend, FrontendKind, Protocol};

use crate::frame::{Action, Frame, Runner};
use crate::plans::{ip, plan, target};
use crate::world::{Namespace, Node};

const REPEAT: u32 = 50_000;

/// A packet of a known connection and one that is nobody's, in the quieter of a few rounds.
fn measure(services: u32) -> [Duration; 2] {
    let (node, outside) = (Node::new(), Namespace::new());
    node.namespace.cable("eth0", &outside, "eth0");
    node.namespace.ip("addr add 172.30.0.11/24 dev eth0");
    let options = node.options();
    node.namespace.run(move || {
        let mut plan = plan(&["172.30.0.11"]);
        for service in 1..=services {
            let address = Ipv4Addr::from((10 << 24) + (96 << 16) + service);
            let target = target(FrontendKind::ClusterIp, &["10.244.1.5:8080"]);
            plan.frontends.insert(Frontend::ip(address.into(), Protocol::Tcp, 80), Arc::new(target));
        }
        // An endpoint under its own address: translating a translated packet again is the same work.
        let own = target(FrontendKind::ExternalIp, &["172.30.0.11:6443"]);
        plan.frontends.insert(Frontend::ip(ip("172.30.0.11"), Protocol::Tcp, 6443), Arc::new(own));
        let mut backend = EbpfBackend::open(options.clone()).expect("open the backend");
        backend.resync(&plan).expect("fill the maps");

        let runner = Runner::open(Path::new(&options.bpf_root), "eth0");
        let frame = |destination: Ipv4Addr, port, flags| Frame {
            source: ip("172.30.0.200"),
            destination: destination.into(),
            source_port: 5_000,
            destination_port: port,
            udp: false,
            flags,
            dressed: false,
        };
        let node = Ipv4Addr::new(172, 30, 0, 11);
        let (syn, known) = (frame(node, 6443, Frame::SYN), frame(node, 6443, Frame::ACK));
        let other = frame(Ipv4Addr::new(172, 30, 0, 12), 6443, Frame::SYN);
        assert_eq!(runner.run(&syn).0, Action::Pass, "up the stack of this node");
        let quietest = |frame| (0..5).map(|_| runner.time(frame, REPEAT)).min().unwrap_or_default();
        [quietest(&known), quietest(&other)]
    })
}

#[test]
fn a_packet_costs_the_same_among_ten_thousand_services_as_among_a_hundred() {
    let [few, many] = [100, 10_000].map(measure);
    eprintln!("ns for each packet, known and nobody's: 100 Services {few:?}, 10,000 Services {many:?}");
    // On a busy machine even the quietest of a few rounds is not quiet.
    assert!(many[0] < few[0] * 3 && many[1] < few[1] * 3, "{few:?} {many:?}");
}

/// The kernel gives up after a million.
#[test]
fn the_verifier_looks_at_few_of_the_instructions_it_may() {
    let node = Node::new();
    let options = Options { xdp: Xdp::Native, ..node.options() };
    node.namespace.run(move || {
        let root = options.bpf_root.clone();
        let mut backend = EbpfBackend::open(options).expect("open the backend");
        backend.resync(&plan(&["172.30.0.11"])).expect("fill the maps");
        let hash = std::fs::read_dir(root).expect("the root").flatten().next().expect("a directory").path();
        let mut counts: Vec<(u32, String)> = std::fs::read_dir(hash.join("programs"))
            .expect("the programs")
            .flatten()
            .map(|pin| {
                let info = ProgramInfo::from_pin(pin.path()).expect("the program");
                let name = pin.file_name().to_string_lossy().into_owned();
                (info.verified_instruction_count().expect("Linux 5.16 counts them"), name)
            })
            .collect();
        counts.sort();
        eprintln!("{counts:?}");
        assert!(counts.iter().all(|(count, _)| *count < 400_000), "{counts:?}");
    });
}
