//! A change costs what it touches, however many Services there are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use orlop_nft::NftBackend;
use orlop_plan::{Backend, Endpoint, EndpointSet, Frontend, FrontendKind, Plan, Protocol, diff};

use crate::plans::{empty, target};
use crate::world::Namespace;

fn endpoints(service: u32, count: u32) -> EndpointSet {
    let endpoint = |n: u32| {
        let ip = (10 << 24) + (128 << 16) + service * 5 + n;
        Endpoint { address: std::net::Ipv4Addr::from(ip).into(), port: 8080, local: false }
    };
    (0..count).map(endpoint).collect()
}

fn frontend(service: u32) -> Frontend {
    Frontend::ip(std::net::Ipv4Addr::from((10 << 24) + (96 << 16) + service).into(), Protocol::Tcp, 80)
}

fn put(plan: &mut Plan, service: u32, count: u32) {
    let target = target(&format!("default/s{service}"), FrontendKind::ClusterIp, endpoints(service, count));
    plan.frontends.insert(frontend(service), Arc::new(target));
}

/// Cold load, and the slowest but one of a hundred changes.
fn measure(services: u32) -> (Duration, Duration) {
    Namespace::new().run(move || {
        let mut plan = empty();
        (1..=services).for_each(|service| put(&mut plan, service, 5));
        let mut backend = NftBackend::open().unwrap();
        let start = Instant::now();
        backend.resync(&plan).unwrap();
        let cold = start.elapsed();
        let mut changes: Vec<Duration> = (0..100)
            .map(|round| {
                let mut next = plan.clone();
                put(&mut next, 1 + round * 7 % services, 4 + round % 3);
                let start = Instant::now();
                backend.sync(&next, &diff(&plan, &next)).unwrap();
                plan = next;
                start.elapsed()
            })
            .collect();
        changes.sort_unstable();
        let start = Instant::now();
        NftBackend::open().unwrap().resync(&plan).unwrap();
        eprintln!(
            "{services} Services x 5: cold {cold:?}, change p50 {:?} p99 {:?}, adoption {:?}",
            changes[50],
            changes[98],
            start.elapsed()
        );
        (cold, changes[98])
    })
}

#[test]
fn ten_thousand_services_load_and_change_within_generous_bounds() {
    measure(1_000);
    let (cold, change) = measure(10_000);
    // An unoptimised build on a busy machine: the budgets themselves are the benchmarks' business.
    assert!(cold < Duration::from_secs(10) && change < Duration::from_millis(200), "cold {cold:?}, change {change:?}");
}
