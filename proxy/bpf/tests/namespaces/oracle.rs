//! The ingress program against `interpret`, the specification: random plans, random packets, run without a wire.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use orlop_bpf::{EbpfBackend, Options, Xdp};
use orlop_plan::{
    Backend as _, DetectLocal, Endpoint, EndpointSet, Family, Frontend, FrontendKind, Held, Masquerade, Origin,
    Outcome, Packet, Plan, Protocol, Target, WhenEmpty, interpret,
};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::{Config, TestRunner};

use crate::cables;
use crate::frame::{Action, Frame, Runner};
use crate::plans::{plan, target};
use crate::world::{Namespace, Node};

const NODE: &str = "172.30.0.11";
const ENDPOINTS: [&str; 5] =
    ["10.244.1.5:8080", "10.244.1.6:8080", "10.244.2.5:8080", "10.244.2.5:8081", "192.168.7.7:8080"];
const SOURCES: [&str; 5] = ["10.244.1.5", "10.244.1.6", "10.244.2.5", "172.30.0.200", "8.8.8.8"];
const DESTINATIONS: [&str; 6] = ["10.96.0.10", "10.96.0.11", "203.0.113.1", NODE, "10.244.1.5", "9.9.9.9"];
const RANGES: [&str; 3] = ["10.244.0.0/16", "172.30.0.0/24", "8.8.8.8/32"];
const PORTS: [u16; 4] = [80, 81, 30_001, 30_002];

/// An address of the family; of IPv6 fd00:: and the digits of the one of IPv4.
fn of(family: Family, text: &str) -> IpAddr {
    let v4: Ipv4Addr = text.parse().expect("an address");
    match family {
        Family::V4 => v4.into(),
        Family::V6 => Ipv6Addr::from_bits(0xfd00 << 112 | u128::from(v4.to_bits())).into(),
    }
}

fn network(family: Family, text: &str) -> IpNet {
    let v4: Ipv4Net = text.parse().expect("a network");
    match family {
        Family::V4 => v4.into(),
        Family::V6 => IpNet::new(of(family, &v4.addr().to_string()), 96 + v4.prefix_len()).expect("a network"),
    }
}

fn families() -> impl Strategy<Value = Family> {
    select(vec![Family::V4, Family::V6])
}

fn endpoints(family: Family) -> impl Strategy<Value = EndpointSet> {
    let endpoint = move |text: &str| {
        let (address, port) = text.split_once(':').expect("an endpoint");
        Endpoint { address: of(family, address), port: port.parse().expect("a port"), local: false }
    };
    let some = subsequence(ENDPOINTS.to_vec(), 1..=5);
    prop_oneof![2 => Just(Vec::new()), 3 => some].prop_map(move |texts| texts.into_iter().map(endpoint).collect())
}

fn targets(family: Family, kind: FrontendKind) -> impl Strategy<Value = Arc<Target>> {
    let masquerade = select(vec![Masquerade::Never, Masquerade::Outside, Masquerade::Always]);
    let ranges = select(RANGES.to_vec()).prop_map(move |range| network(family, range));
    (
        endpoints(family),
        prop::option::of(endpoints(family)),
        masquerade,
        any::<bool>(),
        prop::option::of(Just(10_800)),
        prop::option::of(prop::collection::vec(ranges, 1..3)),
    )
        .prop_map(move |(endpoints, local, masquerade, drop, affinity_seconds, ranges)| {
            let when_empty = if drop { WhenEmpty::Drop } else { WhenEmpty::Reject };
            let source_ranges = ranges.map(Arc::from);
            Arc::new(Target {
                endpoints,
                local,
                masquerade,
                when_empty,
                affinity_seconds,
                source_ranges,
                ..target(kind, &[])
            })
        })
}

fn frontends() -> impl Strategy<Value = (Frontend, Arc<Target>)> {
    families().prop_flat_map(|family| {
        let protocol = || select(vec![Protocol::Tcp, Protocol::Udp]);
        let cluster = (select(vec!["10.96.0.10", "10.96.0.11"]), protocol(), select(vec![80, 81]))
            .prop_map(move |(address, protocol, port)| Frontend::ip(of(family, address), protocol, port));
        let external = (protocol(), select(vec![80, 81]))
            .prop_map(move |(protocol, port)| Frontend::ip(of(family, "203.0.113.1"), protocol, port));
        let node_port = (protocol(), select(vec![30_001, 30_002]))
            .prop_map(move |(protocol, port)| Frontend::node_port(family, protocol, port));
        prop_oneof![
            (cluster, targets(family, FrontendKind::ClusterIp)),
            (external, targets(family, FrontendKind::ExternalIp)),
            (node_port, targets(family, FrontendKind::NodePort)),
        ]
    })
}

/// Every packet comes in on eth0.
fn detections() -> impl Strategy<Value = DetectLocal> {
    let cidrs = |families: &[Family]| families.iter().map(|family| network(*family, "10.244.0.0/16")).collect();
    select(vec![
        DetectLocal::Cidrs(cidrs(&[Family::V4, Family::V6])),
        DetectLocal::Cidrs(cidrs(&[Family::V4])),
        DetectLocal::Cidrs(cidrs(&[Family::V6])),
        DetectLocal::Cidrs(Vec::new()),
        DetectLocal::Bridge("eth0".into()),
        DetectLocal::Bridge("cni0".into()),
        DetectLocal::InterfacePrefix("eth".into()),
        DetectLocal::InterfacePrefix("cali".into()),
    ])
}

/// The first packet of a flow, but for its source port.
#[derive(Clone, Debug)]
struct Sent {
    family: Family,
    source: &'static str,
    destination: &'static str,
    port: u16,
    udp: bool,
    dressed: bool,
}

fn packets() -> impl Strategy<Value = Sent> {
    // NodePorts are half of what there is, and all behind one address.
    let destination = prop_oneof![2 => select(DESTINATIONS.to_vec()), 1 => Just(NODE)];
    (
        families(),
        select(SOURCES.to_vec()),
        destination,
        select(PORTS.to_vec()),
        any::<bool>(),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(family, source, destination, port, udp, dressed)| Sent {
            family,
            source,
            destination,
            port,
            udp,
            dressed,
        })
}

/// The first of the clients' ports: none that the programs give.
const OWN: u16 = 40_000;

/// What the program did in the words of the specification; the packet's source port is nobody else's.
fn check(plan: &Plan, runner: &Runner, packet: &Sent, own: u16) -> &'static str {
    let node = of(packet.family, NODE);
    let sent = Frame {
        source: of(packet.family, packet.source),
        destination: of(packet.family, packet.destination),
        source_port: own,
        destination_port: packet.port,
        udp: packet.udp,
        flags: if packet.udp { 0 } else { Frame::SYN },
        dressed: packet.dressed,
    };
    let packet = Packet {
        source: sent.source,
        destination: sent.destination,
        protocol: if sent.udp { Protocol::Udp } else { Protocol::Tcp },
        port: sent.destination_port,
        origin: Origin::Device,
        device: Some("eth0"),
    };
    let outcome = interpret(plan, &packet);
    let (action, bytes) = runner.run(&sent);
    let came_out = Frame::parse(&bytes);
    match &outcome {
        Outcome::Pass => {
            assert_eq!((action, came_out), (Action::Pass, Some(sent)), "{outcome:?}");
            "passed"
        }
        Outcome::Drop => {
            assert_eq!(action, Action::Drop, "{sent:?} {outcome:?}");
            "dropped"
        }
        // The stack refuses what is to an address of its own.
        Outcome::Reject if sent.destination == node => {
            assert_eq!((action, came_out), (Action::Pass, Some(sent)), "{outcome:?}");
            "left to the stack to refuse"
        }
        // There is no telling why; the caller runs into its timeout.
        Outcome::Reject if sent.dressed => {
            assert_eq!(action, Action::Drop, "{sent:?} {outcome:?}");
            "dropped instead of refused"
        }
        Outcome::Reject => {
            assert_eq!(action, Action::Redirect, "{sent:?} {outcome:?}");
            let answer = came_out.map(|frame| (frame.source, frame.destination, frame.flags));
            let reset = (sent.destination, sent.source, Frame::RST | Frame::ACK);
            assert!(if sent.udp { answer.is_none() } else { answer == Some(reset) }, "{sent:?} {answer:?}");
            "refused"
        }
        Outcome::Forward { choices, .. } => {
            assert_eq!(action, Action::Redirect, "{sent:?} {outcome:?}");
            let out = came_out.expect("a packet");
            let to = (out.destination, out.destination_port);
            let choice = choices.iter().find(|choice| (choice.endpoint.address, choice.endpoint.port) == to);
            let choice = choice.unwrap_or_else(|| panic!("{sent:?} became {out:?}: {outcome:?}"));
            let of_ours = (1024..30_000).contains(&out.source_port);
            if choice.masqueraded {
                assert!(out.source == node && of_ours, "{sent:?} {out:?}");
            } else {
                // A pod, or who asks for a cluster IP past its sockets, gets a port of ours.
                let external = plan.get(&Frontend::ip(packet.destination, packet.protocol, packet.port));
                let external = external.is_none_or(|target| target.kind != FrontendKind::ClusterIp);
                let keeps = external && !plan.node.detect_local.is_pod(packet.source, packet.device);
                let port_is_right = if keeps { out.source_port == own } else { of_ours };
                assert!(out.source == sent.source && port_is_right, "{sent:?} {out:?}");
            }
            assert!(Frame::checksums_are_right(&bytes), "{sent:?} became {out:?}");
            if choice.masqueraded { "masqueraded" } else { "forwarded" }
        }
    }
}

#[test]
fn the_program_does_what_the_specification_says() {
    agrees(Xdp::Disabled);
}

#[test]
fn the_programs_of_driver_and_device_together_do_what_the_specification_says() {
    agrees(Xdp::Native);
}

fn agrees(xdp: Xdp) {
    let (node, outside) = (Node::new(), Namespace::new());
    node.namespace.cable("eth0", &outside, "eth0");
    node.namespace.ip("addr add 172.30.0.11/24 dev eth0");
    node.namespace.ip("route add default via 172.30.0.200");
    let addresses = [Family::V4, Family::V6].map(|family| of(family, NODE).to_string());
    node.namespace.ip(&format!("addr add {}/120 dev eth0", addresses[1]));
    node.namespace.ip(&format!("route add default via {}", of(Family::V6, "172.30.0.200")));
    // The way is known, and takes what drivers send.
    for router in [Family::V4, Family::V6].map(|family| of(family, "172.30.0.200")) {
        node.namespace.ip(&format!("neigh replace {router} lladdr 02:00:00:00:00:02 dev eth0 nud permanent"));
    }
    cables::take_frames(&outside, "eth0");
    let options = Options { xdp, ..node.options() };
    node.namespace.run(move || {
        let backend = RefCell::new(EbpfBackend::open(options.clone()).expect("open the backend"));
        let cases = (detections(), prop::collection::vec(frontends(), 0..20), prop::collection::vec(packets(), 120));
        let (own, seen) = (Cell::new(OWN), RefCell::new(BTreeMap::new()));
        let config = Config { cases: 60, failure_persistence: None, ..Config::default() };
        let root = Path::new(&options.bpf_root);
        let attached = matches!(xdp, Xdp::Native).then(|| {
            // A device has its program before the first packet.
            backend.borrow_mut().resync(&plan(&[&addresses[0], &addresses[1]])).expect("attach");
            Runner::open_both(root, "eth0")
        });
        let runner = attached.unwrap_or_else(|| Runner::open(root, "eth0"));
        TestRunner::new(config)
            .run(&cases, |(detect_local, frontends, packets)| {
                let mut plan = plan(&[&addresses[0], &addresses[1]]);
                Arc::make_mut(&mut plan.node).detect_local = detect_local;
                plan.frontends.extend(frontends);
                backend.borrow_mut().resync(&plan).expect("fill the maps");
                for (frontend, target) in &plan.frontends {
                    let held = backend.borrow_mut().held(frontend).expect("read it back");
                    assert_eq!(Held::drift(held.as_ref(), Some(target)), [""; 0], "{frontend}");
                }
                for packet in &packets {
                    own.set(own.get().checked_add(1).unwrap_or(OWN));
                    let did = check(&plan, &runner, packet, own.get());
                    *seen.borrow_mut().entry((packet.family, did)).or_insert(0) += 1;
                }
                Ok(())
            })
            .expect("the program and the specification agree");
        eprintln!("{:?}", seen.borrow());
        assert_eq!(seen.borrow().len(), 14, "{seen:?}");
    });
}
