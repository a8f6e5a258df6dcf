//! A restart, a foreign hand and a cleanup.

use std::process::Command;
use std::sync::Arc;

use orlop_nft::NftBackend;
use orlop_plan::{Backend, NodeFacts, diff};

use crate::plans::{NODE_PORT, VIP, web, with};
use crate::world::{NODE, OUTSIDE, World, ask, connect, tcp};

#[test]
fn a_restarted_agent_adopts_the_table_without_a_single_write() {
    let world = World::new(2);
    let writes = world.node.run(|| {
        let plan = with(web(&[0, 1]), |target| target.affinity_seconds = Some(60));
        NftBackend::open().unwrap().resync(&plan).unwrap();
        let mut second = NftBackend::open().unwrap();
        second.resync(&plan).unwrap();
        second.messages()
    });
    assert_eq!(writes, 0);
}

#[test]
fn a_restart_into_a_changed_cluster_writes_the_difference_and_keeps_connections() {
    let world = World::new(3);
    world.node.run(|| NftBackend::open().unwrap().resync(&web(&[0])).unwrap());
    let to = format!("{VIP}:80").parse().unwrap();
    let mut held = world.node.run(move || connect(to).unwrap());
    assert_eq!(ask(&mut held).unwrap().0, 0);
    let writes = world.node.run(|| {
        let mut backend = NftBackend::open().unwrap();
        backend.resync(&web(&[0, 1])).unwrap();
        let writes = backend.messages();
        backend.sync(&web(&[1]), &diff(&web(&[0, 1]), &web(&[1]))).unwrap();
        writes
    });
    assert!((1..=12).contains(&writes), "{writes} messages");
    assert_eq!(ask(&mut held).unwrap().0, 0);
    assert_eq!(tcp(&world.node, &format!("{VIP}:80")).unwrap().0, 1);
}

#[test]
fn the_bit_that_says_masquerade_is_a_choice_and_may_change_with_a_restart() {
    let world = World::new(1);
    let through_node = format!("{NODE}:{NODE_PORT}");
    for (bit, mark) in [(14, "0x00004000"), (3, "0x00000008")] {
        let chains = world.node.run(move || {
            let mut plan = web(&[0]);
            plan.node = Arc::new(NodeFacts { masquerade_bit: bit, ..(*plan.node).clone() });
            NftBackend::open().unwrap().resync(&plan).unwrap();
            let output = Command::new("nft").args(["list", "table", "ip", "orlop"]).output();
            String::from_utf8_lossy(&output.expect("running nft: it must be in PATH").stdout).into_owned()
        });
        assert!(chains.contains(&format!("meta mark | {mark}")) || chains.contains(&format!("| {mark}")), "{chains}");
        assert_ne!(tcp(&world.outside, &through_node).unwrap().1.to_string(), OUTSIDE, "masqueraded");
    }
}

#[test]
fn one_more_endpoint_takes_a_handful_of_messages() {
    let world = World::new(0);
    let messages = world.node.run(|| {
        let mut backend = NftBackend::open().unwrap();
        backend.resync(&with(web(&[0, 1, 2]), |_| {})).unwrap();
        let step = |backend: &mut NftBackend, from: &[usize], to: &[usize]| {
            backend.sync(&web(to), &diff(&web(from), &web(to))).unwrap();
            backend.messages()
        };
        step(&mut backend, &[0, 1, 2], &[0, 1, 2, 3]);
        step(&mut backend, &[0, 1, 2, 3], &[0, 1, 2]);
        // The chain for four is there now: four groups change, but each set is written once and once taken from.
        step(&mut backend, &[0, 1, 2], &[0, 1, 2, 3])
    });
    assert!(messages <= 4, "{messages} messages");
}

#[test]
fn what_a_foreign_hand_removed_or_added_is_repaired() {
    let world = World::new(1);
    let plan = web(&[0]);
    let mut backend = world.node.run(|| NftBackend::open().unwrap());
    backend.resync(&plan).unwrap();
    // Another agent with another opinion.
    world.node.run(|| NftBackend::open().unwrap().resync(&web(&[])).unwrap());
    assert!(tcp(&world.node, &format!("{VIP}:80")).is_err());
    backend.resync(&plan).unwrap();
    assert_eq!(tcp(&world.node, &format!("{VIP}:80")).unwrap().0, 0);
    backend.resync(&plan).unwrap();
    assert_eq!(backend.messages(), 0);
}

#[test]
fn a_cleanup_leaves_no_table() {
    let world = World::new(1);
    let refused = world.node.run(|| {
        let mut backend = NftBackend::open().unwrap();
        backend.resync(&web(&[0])).unwrap();
        backend.cleanup().unwrap();
        backend.cleanup().unwrap();
        backend.resync(&crate::plans::empty()).unwrap();
        backend.messages()
    });
    assert_eq!(refused, 0);
    assert!(tcp(&world.node, &format!("{VIP}:80")).is_err());
}
