//! Endpoints that follow from the flow: on whichever node, after whatever changes.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use orlop_bpf::{EbpfBackend, Options, Selection};
use orlop_plan::{Backend as _, Plan, Protocol, diff};

use crate::frame::{Action, Frame, Runner};
use crate::plans::{ip, node_port, plan};
use crate::world::{Namespace, Node};

const ALL: [&str; 5] = ["10.244.1.1:8080", "10.244.1.2:8080", "10.244.1.3:8080", "10.244.1.4:8080", "10.244.1.5:8080"];

/// Where a node with this history sends each of many flows.
fn sends(history: &'static [&'static [&'static str]], affinity: Option<u32>) -> Vec<IpAddr> {
    let (node, outside) = (Node::new(), Namespace::new());
    node.namespace.cable("eth0", &outside, "eth0");
    node.namespace.ip("addr add 172.30.0.11/24 dev eth0");
    node.namespace.ip("route add default via 172.30.0.200");
    let options = Options { selection: Selection::Maglev, ..node.options() };
    node.namespace.run(move || {
        let mut backend = EbpfBackend::open(options.clone()).expect("open the backend");
        let mut before = plan(&["172.30.0.11"]);
        backend.resync(&before).expect("fill the maps");
        for endpoints in history {
            let after = serving(endpoints, affinity);
            backend.sync(&after, &diff(&before, &after)).expect("change the maps");
            before = after;
        }
        let runner = Runner::open(Path::new(&options.bpf_root), "eth0");
        let send = |n: u16| {
            let frame = Frame {
                source: ip(&format!("172.30.1.{}", n % 100)),
                destination: ip("172.30.0.11"),
                source_port: 20_000 + n,
                destination_port: 30_001,
                udp: false,
                flags: Frame::SYN,
                dressed: false,
            };
            let (action, bytes) = runner.run(&frame);
            assert_eq!(action, Action::Redirect);
            Frame::parse(&bytes).expect("a packet").destination
        };
        (0..500).map(send).collect()
    })
}

fn serving(endpoints: &[&str], affinity: Option<u32>) -> Plan {
    let mut plan = plan(&["172.30.0.11"]);
    node_port(&mut plan, Protocol::Tcp, 30_001, endpoints);
    let all: Vec<_> =
        plan.frontends.iter().map(|(frontend, target)| (*frontend, Arc::unwrap_or_clone(target.clone()))).collect();
    for (frontend, target) in all {
        plan.frontends.insert(frontend, Arc::new(orlop_plan::Target { affinity_seconds: affinity, ..target }));
    }
    plan
}

#[test]
fn nodes_with_other_histories_send_a_flow_to_the_same_endpoint_and_an_endpoint_that_goes_takes_few_flows_of_others_along()
 {
    for affinity in [None, Some(60)] {
        let one = sends(&[&ALL], affinity);
        // Its slots are in another order.
        let other = sends(&[&["10.244.1.5:8080", "10.244.1.9:8080", "10.244.1.2:8080"], &ALL], affinity);
        assert_eq!(one, other);
        let fewer =
            sends(&[&ALL, &["10.244.1.1:8080", "10.244.1.2:8080", "10.244.1.4:8080", "10.244.1.5:8080"]], affinity);
        let gone = ip("10.244.1.3");
        assert!(one.contains(&gone) && !fewer.contains(&gone));
        let others: Vec<_> = one.iter().zip(&fewer).filter(|(before, _)| **before != gone).collect();
        let moved = others.iter().filter(|(before, after)| before != after).count();
        eprintln!("{moved} of {} flows of the other endpoints moved", others.len());
        assert!(moved * ALL.len() <= 2 * others.len(), "{moved} of {}", others.len());
    }
}

#[test]
fn the_first_packet_of_a_flow_costs_the_same_among_a_thousand_endpoints_as_among_five() {
    let node = Node::new();
    let outside = Namespace::new();
    node.namespace.cable("eth0", &outside, "eth0");
    node.namespace.ip("addr add 172.30.0.11/24 dev eth0");
    // Each packet makes its choice, and none a connection.
    node.namespace.ip("route add blackhole 10.244.0.0/16");
    let options = Options { selection: Selection::Maglev, ..node.options() };
    node.namespace.run(move || {
        let mut backend = EbpfBackend::open(options.clone()).expect("open the backend");
        let mut times = Vec::new();
        for count in [5, 100, 1_000] {
            let endpoints: Vec<String> = (0..count).map(|n| format!("10.244.{}.{}:8080", n / 250, n % 250)).collect();
            backend.resync(&serving(&endpoints.iter().map(String::as_str).collect::<Vec<_>>(), None)).expect("fill");
            let runner = Runner::open(Path::new(&options.bpf_root), "eth0");
            let frame = Frame {
                source: ip("172.30.1.1"),
                destination: ip("172.30.0.11"),
                source_port: 5_000,
                destination_port: 30_001,
                udp: false,
                flags: Frame::SYN,
                dressed: false,
            };
            let time = (0..5).map(|_| runner.time(&frame, 1_000)).min().unwrap_or_default();
            eprintln!("{count} endpoints: {time:?}");
            times.push(time);
        }
        // On a busy machine even the quietest of a few rounds is not quiet.
        assert!(times[2] < times[0] * 3, "{times:?}");
    });
}
