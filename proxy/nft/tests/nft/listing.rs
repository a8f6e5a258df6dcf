//! An operator can look at the table with the program nft (1.0.6 and newer), whatever is in it.

use std::process::Command;
use std::sync::Arc;

use orlop_nft::NftBackend;
use orlop_plan::{
    Backend, Endpoint, EndpointSet, Family, Frontend, FrontendKind, Masquerade, Plan, Protocol, WhenEmpty,
};

use crate::plans::{empty, target};
use crate::world::Namespace;

/// Every kind of policy and group, in both families.
fn everything() -> Plan {
    let mut plan = empty();
    let node = Arc::make_mut(&mut plan.node);
    node.addresses.push("fd00:172::11".parse().unwrap());
    let mut put = |frontend: Frontend, edit: &dyn Fn(&mut orlop_plan::Target)| {
        let pod = |n: u8| match frontend.family() {
            Family::V4 => [10, 244, 0, n].into(),
            Family::V6 => [0xfd00, 0, 0, 0, 0, 0, 0, u16::from(n)].into(),
        };
        let endpoints: EndpointSet = (1..4).map(|n| Endpoint { address: pod(n), port: 8080, local: n == 1 }).collect();
        let mut one = target(
            &format!("default/shown-at-{}", frontend.to_string().replace('/', "-")),
            FrontendKind::ClusterIp,
            endpoints,
        );
        edit(&mut one);
        plan.frontends.insert(frontend, Arc::new(one));
    };
    for (family, vip) in [(Family::V4, "10.96.0."), (Family::V6, "fd00:96::")] {
        let ip = |n: u8| format!("{vip}{n}").parse().unwrap();
        let range = if family == Family::V4 { "192.0.2.0/24" } else { "2001:db8::/32" };
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
            put(Frontend::ip(ip(1), protocol, 80), &|_| {});
            put(Frontend::ip(ip(2), protocol, 80), &|one| one.affinity_seconds = Some(60));
            put(Frontend::ip(ip(3), protocol, 80), &|one| {
                one.kind = FrontendKind::LoadBalancer;
                one.local = Some(EndpointSet::default());
                one.when_empty = WhenEmpty::Drop;
                one.masquerade = Masquerade::Never;
                one.affinity_seconds = Some(3600);
                one.source_ranges = Some(vec![range.parse().unwrap()].into());
            });
            put(Frontend::ip(ip(4), protocol, 80), &|one| one.endpoints = EndpointSet::default());
            put(Frontend::node_port(family, protocol, 30_001), &|one| {
                one.kind = FrontendKind::NodePort;
                one.masquerade = Masquerade::Always;
            });
        }
    }
    plan
}

fn nft(arguments: &'static str) -> (bool, String) {
    let output = Command::new("nft").args(arguments.split(' ')).output().expect("running nft: it must be in PATH");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

#[test]
fn the_program_nft_lists_a_filled_table() {
    let namespace = Namespace::new();
    let texts = namespace.run(|| {
        NftBackend::open().unwrap().resync(&everything()).unwrap();
        ["list ruleset", "-j list ruleset", "list table ip orlop", "list map ip6 orlop frontends", "list chains"]
            .map(nft)
    });
    for (listed, text) in &texts {
        assert!(listed, "{text}");
    }
    let text = &texts[0].1;
    if std::env::var_os("SHOW").is_some() {
        eprintln!("{text}");
    }
    for word in [
        "10.96.0.1 . tcp . 80",
        "fd00:96::3 . udp . 80",
        "default/shown-at-TCP-10.96.0.1:80:p",
        "fd00::2 . 8080",
        "@endpoints",
        "@frontends",
    ] {
        assert!(text.contains(word), "{word} is not in\n{text}");
    }
}
