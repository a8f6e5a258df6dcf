//! Laws that hold for any history of objects.

use crate::objects::*;
use orlop_plan::*;
use proptest::prelude::*;

/// One step of a history over a handful of names, so that they collide often.
#[derive(Clone, Debug)]
enum Step {
    Service { name: u8, ip: u8, port: u8, node_port: bool, external: bool, local: bool },
    NoService { name: u8 },
    Slice { name: u8, service: u8, endpoints: Vec<(u8, u8)> },
    NoSlice { name: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    let service = (0..4u8, 0..3u8, 0..2u8, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(name, ip, port, node_port, external, local)| Step::Service { name, ip, port, node_port, external, local },
    );
    let slice = (0..6u8, 0..4u8, prop::collection::vec((0..6u8, 0..4u8), 0..4))
        .prop_map(|(name, service, endpoints)| Step::Slice { name, service, endpoints });
    prop_oneof![
        3 => service,
        4 => slice,
        1 => (0..4u8).prop_map(|name| Step::NoService { name }),
        1 => (0..6u8).prop_map(|name| Step::NoSlice { name }),
    ]
}

fn take(tracker: &mut Tracker, step: &Step) {
    match step {
        Step::Service { name, ip, port: number, node_port, external, local } => {
            let node_port = node_port.then_some(30000 + i32::from(*number));
            let ip = format!("10.96.0.{}", ip + 1);
            let mut object = service(&format!("s{name}"), &[&ip], vec![port("p", 80 + i32::from(*number), node_port)]);
            let spec = object.spec.as_mut().unwrap();
            spec.external_ips = external.then(|| vec!["192.0.2.1".to_string()]);
            spec.external_traffic_policy = local.then(|| "Local".to_string());
            spec.internal_traffic_policy = (*local && *external).then(|| "Local".to_string());
            tracker.upsert_service(&object);
        }
        Step::NoService { name } => tracker.remove_service("default", &format!("s{name}")),
        Step::Slice { name, service, endpoints } => {
            let endpoints = endpoints.iter().map(|(address, state)| {
                let node = if address % 2 == 0 { NODE } else { "node-2" };
                let endpoint = endpoint(&format!("10.244.0.{}", address + 1), node);
                conditions(endpoint, state & 1 == 0, true, state & 2 != 0)
            });
            let name = format!("slice{name}");
            tracker.upsert_slice(&slice(&name, &format!("s{service}"), &[("p", 8080)], endpoints.collect()));
        }
        Step::NoSlice { name } => tracker.remove_slice("default", &format!("slice{name}")),
    }
}

/// The steps that still matter at the end: the last word on every object, in another order.
fn survivors(steps: &[Step]) -> Vec<Step> {
    let subject = |step: &Step| match step {
        Step::Service { name, .. } | Step::NoService { name } => (0, *name),
        Step::Slice { name, .. } | Step::NoSlice { name } => (1, *name),
    };
    let mut last = std::collections::BTreeMap::new();
    for step in steps {
        last.insert(subject(step), step.clone());
    }
    last.into_values().rev().collect()
}

fn fresh() -> Tracker {
    let address = "172.30.0.11".parse().unwrap();
    Tracker::new(NodeFacts::primary(NODE, vec![address], vec!["10.244.0.0/16".parse().unwrap()]))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn an_incremental_plan_equals_the_one_from_scratch(steps in prop::collection::vec(step(), 0..40), stride in 1..5usize) {
        let mut incremental = fresh();
        for (n, step) in steps.iter().enumerate() {
            take(&mut incremental, step);
            if n % stride == 0 {
                incremental.plan();
            }
        }
        let mut scratch = fresh();
        for step in survivors(&steps) {
            take(&mut scratch, &step);
        }
        prop_assert_eq!(incremental.plan(), scratch.plan());
    }

    #[test]
    fn applying_the_difference_gives_the_new_plan(before in prop::collection::vec(step(), 0..20), after in prop::collection::vec(step(), 0..20)) {
        let mut tracker = fresh();
        before.iter().for_each(|step| take(&mut tracker, step));
        let old = tracker.plan();
        after.iter().for_each(|step| take(&mut tracker, step));
        let new = tracker.plan();
        let changes = diff(&old, &new);
        let mut patched = old.clone();
        changes.apply(&mut patched);
        prop_assert_eq!(&patched, &new);
        prop_assert!(diff(&patched, &new).is_empty());
        prop_assert!(changes.frontends.iter().all(|c| c.before != c.after));
    }

    #[test]
    fn a_forwarded_packet_goes_to_an_endpoint_of_its_frontend_and_a_hairpin_is_masqueraded(
        steps in prop::collection::vec(step(), 0..30), source in 1..8u8, vip in 1..4u8, port in 80..82u16
    ) {
        let mut tracker = fresh();
        steps.iter().for_each(|step| take(&mut tracker, step));
        let plan = tracker.plan();
        let source = format!("10.244.0.{source}").parse().unwrap();
        let destination = format!("10.96.0.{vip}").parse().unwrap();
        let packet = Packet { source, destination, protocol: Protocol::Tcp, port, origin: Origin::Device, device: None };
        let target = plan.get(&Frontend::ip(destination, Protocol::Tcp, port));
        match interpret(&plan, &packet) {
            Outcome::Forward { choices, .. } => {
                let target = target.unwrap();
                prop_assert!(!choices.is_empty());
                for choice in choices {
                    prop_assert!(target.endpoints.serves(choice.endpoint.address, choice.endpoint.port));
                    prop_assert_eq!(choice.masqueraded, choice.endpoint.address == source);
                }
            }
            Outcome::Pass => prop_assert!(target.is_none() && !plan.is_cluster_ip(destination)),
            Outcome::Reject | Outcome::Drop => prop_assert!(target.is_none_or(|t| t.endpoints.is_empty())),
        }
    }
}
