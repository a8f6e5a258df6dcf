//! The ingress program against `interpret`, the specification: random plans, random packets, run without a wire.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use orlop_bpf::EbpfBackend;
use orlop_plan::{
    Backend as _, Endpoint, EndpointSet, Family, Frontend, FrontendKind, Masquerade, Origin, Outcome, Packet, Plan,
    Protocol, Target, WhenEmpty, interpret,
};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::{Config, TestRunner};

use crate::frame::{Action, Frame, Runner};
use crate::plans::{ip, plan, target};
use crate::world::{Namespace, Node};

const NODE: &str = "172.30.0.11";
const ENDPOINTS: [&str; 5] =
    ["10.244.1.5:8080", "10.244.1.6:8080", "10.244.2.5:8080", "10.244.2.5:8081", "192.168.7.7:8080"];
const SOURCES: [&str; 5] = ["10.244.1.5", "10.244.1.6", "10.244.2.5", "172.30.0.200", "8.8.8.8"];
const DESTINATIONS: [&str; 6] = ["10.96.0.10", "10.96.0.11", "203.0.113.1", NODE, "10.244.1.5", "9.9.9.9"];
const PORTS: [u16; 4] = [80, 81, 30_001, 30_002];

fn endpoints() -> impl Strategy<Value = EndpointSet> {
    let endpoint = |text: &str| {
        let address: std::net::SocketAddr = text.parse().expect("an endpoint");
        Endpoint { address: address.ip(), port: address.port(), local: false }
    };
    let some = subsequence(ENDPOINTS.to_vec(), 1..=5);
    prop_oneof![2 => Just(Vec::new()), 3 => some].prop_map(move |texts| texts.into_iter().map(endpoint).collect())
}

fn targets(kind: FrontendKind) -> impl Strategy<Value = Arc<Target>> {
    let masquerade = select(vec![Masquerade::Never, Masquerade::Outside, Masquerade::Always]);
    let ranges = select(vec!["10.244.0.0/16", "172.30.0.0/24", "8.8.8.8/32"]).prop_map(|r| r.parse().expect("a range"));
    (
        endpoints(),
        prop::option::of(endpoints()),
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
    let protocol = || select(vec![Protocol::Tcp, Protocol::Udp]);
    let cluster = (select(vec!["10.96.0.10", "10.96.0.11"]), protocol(), select(vec![80, 81]))
        .prop_map(|(address, protocol, port)| Frontend::ip(ip(address), protocol, port));
    let external =
        (protocol(), select(vec![80, 81])).prop_map(|(protocol, port)| Frontend::ip(ip("203.0.113.1"), protocol, port));
    let node_port = (protocol(), select(vec![30_001, 30_002]))
        .prop_map(|(protocol, port)| Frontend::node_port(Family::V4, protocol, port));
    prop_oneof![
        (cluster, targets(FrontendKind::ClusterIp)),
        (external, targets(FrontendKind::ExternalIp)),
        (node_port, targets(FrontendKind::NodePort)),
    ]
}

/// Source, destination, port and whether it is UDP.
type Sent = (&'static str, &'static str, u16, bool);

fn packets() -> impl Strategy<Value = Sent> {
    // NodePorts are half of what there is, and all behind one address.
    let destination = prop_oneof![2 => select(DESTINATIONS.to_vec()), 1 => Just(NODE)];
    (select(SOURCES.to_vec()), destination, select(PORTS.to_vec()), any::<bool>())
}

/// What the program did in the words of the specification; the packet's source port is nobody else's.
fn check(plan: &Plan, runner: &Runner, (source, destination, port, udp): &Sent, own: u16) -> &'static str {
    let v4 = |text: &str| -> Ipv4Addr { text.parse().expect("an address") };
    let sent = Frame {
        source: v4(source),
        destination: v4(destination),
        source_port: own,
        destination_port: *port,
        udp: *udp,
        flags: if *udp { 0 } else { Frame::SYN },
    };
    let packet = Packet {
        source: sent.source.into(),
        destination: sent.destination.into(),
        protocol: if *udp { Protocol::Udp } else { Protocol::Tcp },
        port: sent.destination_port,
        origin: Origin::Device,
        device: None,
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
        Outcome::Reject if sent.destination == v4(NODE) => {
            assert_eq!((action, came_out), (Action::Pass, Some(sent)), "{outcome:?}");
            "left to the stack to refuse"
        }
        Outcome::Reject => {
            assert_eq!(action, Action::Redirect, "{sent:?} {outcome:?}");
            let answer = came_out.map(|frame| (frame.source, frame.destination, frame.flags));
            let reset = (sent.destination, sent.source, Frame::RST | Frame::ACK);
            assert!(if *udp { answer.is_none() } else { answer == Some(reset) }, "{sent:?} {answer:?}");
            "refused"
        }
        Outcome::Forward { choices, .. } => {
            assert_eq!(action, Action::Redirect, "{sent:?} {outcome:?}");
            let out = came_out.expect("a packet");
            let to = (IpAddr::from(out.destination), out.destination_port);
            let choice = choices.iter().find(|choice| (choice.endpoint.address, choice.endpoint.port) == to);
            let choice = choice.unwrap_or_else(|| panic!("{sent:?} became {out:?}: {outcome:?}"));
            if choice.masqueraded {
                assert!(out.source == v4(NODE) && (1024..30_000).contains(&out.source_port), "{sent:?} {out:?}");
            } else {
                assert_eq!((out.source, out.source_port), (sent.source, own), "{sent:?} {out:?}");
            }
            assert!(Frame::checksums_are_right(&bytes), "{sent:?} became {out:?}");
            if choice.masqueraded { "masqueraded" } else { "forwarded" }
        }
    }
}

#[test]
fn the_program_does_what_the_specification_says() {
    let (node, outside) = (Node::new(), Namespace::new());
    node.namespace.cable("eth0", &outside, "eth0");
    node.namespace.ip("addr add 172.30.0.11/24 dev eth0");
    node.namespace.ip("route add default via 172.30.0.200");
    let options = node.options();
    node.namespace.run(move || {
        let backend = RefCell::new(EbpfBackend::open(options.clone()).expect("open the backend"));
        let cases = (prop::collection::vec(frontends(), 0..12), prop::collection::vec(packets(), 80));
        let (own, seen) = (Cell::new(1024_u16), RefCell::new(BTreeSet::new()));
        let config = Config { cases: 25, failure_persistence: None, ..Config::default() };
        let runner = Runner::open(Path::new(&options.bpf_root), "eth0");
        TestRunner::new(config)
            .run(&cases, |(frontends, packets)| {
                let mut plan = plan(&[NODE]);
                plan.frontends.extend(frontends);
                backend.borrow_mut().resync(&plan).expect("fill the maps");
                for packet in &packets {
                    own.set(own.get().checked_add(1).unwrap_or(1024));
                    seen.borrow_mut().insert(check(&plan, &runner, packet, own.get()));
                }
                Ok(())
            })
            .expect("the program and the specification agree");
        assert_eq!(seen.borrow().len(), 6, "{seen:?}");
    });
}
