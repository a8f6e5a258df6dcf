//! Plans as large as a cluster's: the difference between two of them is all that differs and nothing else.

use std::net::Ipv4Addr;
use std::sync::Arc;

use orlop_plan::*;
use proptest::prelude::*;

/// Frontends that are there or not, each with one of a few targets.
type Edits = Vec<(u16, Option<u8>)>;

fn frontend(number: u16) -> Frontend {
    Frontend::ip(Ipv4Addr::from(0x0a60_0000 + u32::from(number)).into(), Protocol::Tcp, 80)
}

fn target(of: u8) -> Arc<Target> {
    let endpoint = Endpoint { address: Ipv4Addr::new(10, 244, 0, of).into(), port: 8080, local: false };
    Arc::new(Target {
        name: ServicePortName { service: "default/web".into(), port: "".into() },
        kind: FrontendKind::ClusterIp,
        endpoints: [endpoint].into_iter().collect(),
        local: None,
        masquerade: Masquerade::Outside,
        when_empty: WhenEmpty::Reject,
        affinity_seconds: None,
        source_ranges: None,
    })
}

fn edited(mut plan: Plan, edits: &Edits) -> Plan {
    for (number, present) in edits {
        match present {
            Some(of) => plan.frontends.insert(frontend(*number), target(*of)),
            None => plan.frontends.remove(&frontend(*number)),
        };
    }
    plan
}

/// What [`diff`] must find, found by looking at every frontend.
fn differences(old: &Plan, new: &Plan, frontends: u16) -> Vec<Change> {
    let change = |number| {
        let frontend = frontend(number);
        let (before, after) = (old.get(&frontend).cloned(), new.get(&frontend).cloned());
        (before != after).then_some(Change { frontend, before, after })
    };
    (0..frontends).filter_map(change).collect()
}

fn edits(frontends: u16, most: usize) -> impl Strategy<Value = Edits> {
    prop::collection::vec((0..frontends, prop::option::weighted(0.7, 0..5_u8)), 0..most)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_difference_is_whole_and_nothing_else(
        (frontends, first, steps) in prop_oneof![Just(60_u16), Just(400), Just(3_000)].prop_flat_map(|n| {
            (Just(n), edits(n, usize::from(n) * 2), prop::collection::vec(edits(n, 30), 1..12))
        })
    ) {
        let mut plan = edited(Plan::default(), &first);
        for step in &steps {
            let next = edited(plan.clone(), step);
            prop_assert_eq!(diff(&plan, &next).frontends, differences(&plan, &next, frontends));
            plan = next;
        }
    }
}
