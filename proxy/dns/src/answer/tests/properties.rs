//! The table after any walk answers as one made of the last state alone, and no question makes it panic.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Service(u8, Option<u8>),
    Slice(u8, Option<(u8, Vec<u8>)>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3u8, proptest::option::of(0..4u8)).prop_map(|(name, kind)| Step::Service(name, kind)),
        (0..4u8, proptest::option::of((0..3u8, proptest::collection::vec(0..4u8, 0..3))))
            .prop_map(|(name, of)| Step::Slice(name, of)),
    ]
}

fn apply(table: &mut Table, step: &Step) {
    match step {
        Step::Service(name, Some(kind)) => {
            let spec = match kind {
                0 => json!({"clusterIP": "None"}),
                1 => json!({"type": "ExternalName", "externalName": "s0.ns.svc.cluster.local"}),
                kind => json!({"clusterIPs": [format!("10.0.0.{kind}")], "ports": [{"name": "http", "port": 80}]}),
            };
            table.upsert_service(&service("ns", &format!("s{name}"), spec));
        }
        Step::Service(name, None) => table.remove_service("ns", &format!("s{name}")),
        Step::Slice(name, Some((of, addresses))) => {
            let endpoints = addresses.iter().map(|n| json!({"addresses": [format!("172.0.0.{n}")]})).collect();
            let ports = json!([{"name": "http", "port": 80}]);
            table.upsert_slice(&slice("ns", &format!("s{of}"), &format!("e{name}"), "IPv4", ports, endpoints));
        }
        Step::Slice(name, None) => table.remove_slice("ns", &format!("e{name}")),
    }
}

fn all_answers(table: &Table) -> Vec<Answer> {
    let services = (0..3).map(|n| format!("s{n}.ns.svc.cluster.local."));
    let ports = (0..3).map(|n| format!("_http._tcp.s{n}.ns.svc.cluster.local."));
    let pods = (0..4).flat_map(|ip| (0..3).map(move |n| format!("172-0-0-{ip}.s{n}.ns.svc.cluster.local.")));
    let reverse = (0..4).flat_map(|ip| [format!("{ip}.0.0.172.in-addr.arpa."), format!("{ip}.0.0.10.in-addr.arpa.")]);
    let names = services.chain(ports).chain(pods).chain(reverse).chain(["ns.svc.cluster.local.".to_owned()]);
    let kinds = [RecordType::A, RecordType::SRV, RecordType::PTR, RecordType::CNAME];
    names
        .flat_map(|name| kinds.map(|kind| ask(table, &name, kind)))
        .map(|mut answer| {
            // The serial tells of the walk.
            if let Answer::Reply(reply) = &mut answer {
                reply.authorities.clear();
            }
            answer
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_walk_ends_where_its_end_begins(steps in proptest::collection::vec(step(), 0..30)) {
        let mut walked = Table::new(1);
        let (mut services, mut slices) = ([None; 3], vec![None; 4]);
        for step in &steps {
            apply(&mut walked, step);
            match step {
                Step::Service(name, kind) => services[usize::from(*name)] = *kind,
                Step::Slice(name, of) => slices[usize::from(*name)] = of.clone(),
            }
        }
        complete(&mut walked);
        let mut fresh = Table::new(1);
        for (name, of) in slices.into_iter().enumerate().filter(|(_, of)| of.is_some()) {
            apply(&mut fresh, &Step::Slice(name as u8, of));
        }
        for (name, kind) in services.into_iter().enumerate().filter(|(_, kind)| kind.is_some()) {
            apply(&mut fresh, &Step::Service(name as u8, kind));
        }
        complete(&mut fresh);
        prop_assert_eq!(all_answers(&walked), all_answers(&fresh));
        prop_assert_eq!(walked.sizes(), fresh.sizes());
        fresh.services_listed(&HashSet::new());
        fresh.slices_listed(&HashSet::new());
        prop_assert_eq!(fresh.sizes(), [0; 5], "nothing is left of what is gone");
    }

    #[test]
    fn no_name_makes_it_panic(labels in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 0..6), below in any::<bool>(), kind in any::<u16>()) {
        let mut labels: Vec<&[u8]> = labels.iter().map(Vec::as_slice).collect();
        if below {
            labels.extend([b"testns".as_slice(), b"svc", b"cluster", b"local"]);
        }
        let name = Name::from_labels(labels).unwrap();
        let _ = answer(&cluster(), &zone(), &Query::query(name, RecordType::from(kind)), 3);
    }
}
