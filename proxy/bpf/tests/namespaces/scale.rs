//! A change costs what it touches, however many Services there are.

use std::fs;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use orlop_bpf::EbpfBackend;
use orlop_plan::{Backend as _, Endpoint, Frontend, FrontendKind, Plan, Protocol, diff};

use crate::plans::{plan, target};
use crate::world::Node;

fn put(plan: &mut Plan, service: u32, endpoints: u32) {
    let mut target = target(FrontendKind::ClusterIp, &[]);
    let endpoint = |n| {
        let ip = Ipv4Addr::from((10 << 24) + (128 << 16) + service * 8 + n);
        Endpoint { address: ip.into(), port: 8080, local: false }
    };
    target.endpoints = (0..endpoints).map(endpoint).collect();
    let vip = Ipv4Addr::from((10 << 24) + (96 << 16) + service);
    plan.frontends.insert(Frontend::ip(vip.into(), Protocol::Tcp, 80), Arc::new(target));
}

/// Cold load, and the slowest but one of a hundred changes.
fn measure(services: u32) -> (Duration, Duration) {
    let node = Node::new();
    let options = node.options();
    node.namespace.run(move || {
        let mut plan = plan(&["172.30.0.11"]);
        let empty = resident();
        (1..=services).for_each(|service| put(&mut plan, service, 5));
        let planned = resident();
        let start = Instant::now();
        let mut backend = EbpfBackend::open(options.clone()).expect("open the backend");
        let (loading, loaded) = (start.elapsed(), resident());
        let start = Instant::now();
        backend.resync(&plan).expect("fill the maps");
        let cold = start.elapsed();
        let mut changes: Vec<Duration> = (0..100)
            .map(|round| {
                let mut next = plan.clone();
                put(&mut next, 1 + round * 7 % services, 4 + round % 3);
                let start = Instant::now();
                backend.sync(&next, &diff(&plan, &next)).expect("change the maps");
                plan = next;
                start.elapsed()
            })
            .collect();
        changes.sort_unstable();
        drop(backend);
        let start = Instant::now();
        let mut backend = EbpfBackend::open(options.clone()).expect("open the backend");
        let loading_again = start.elapsed();
        let start = Instant::now();
        backend.resync(&plan).expect("adopt the maps");
        eprintln!(
            "{services} Services x 5: programs {loading:?}, cold {cold:?}, change p50 {:?} p99 {:?}, then programs \
             {loading_again:?}, adoption {:?}; resident {empty} KiB, with the plan {planned}, the programs {loaded}, at the end {}, \
             maps {} KiB",
            changes[50],
            changes[98],
            start.elapsed(),
            resident(),
            maps(options.bpf_root) / 1024,
        );
        (cold, changes[98])
    })
}

/// KiB of this process in memory.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}

/// Bytes of kernel memory that the pinned maps take.
fn maps(root: PathBuf) -> u64 {
    let hash = fs::read_dir(root).expect("the root").flatten().next().expect("a directory").path();
    let pins = fs::read_dir(hash).expect("pins").flatten().map(|entry| entry.path()).filter(|path| !path.is_dir());
    pins.map(|pin| {
        let map = aya::maps::MapData::from_pin(pin).expect("a map");
        let info = format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd());
        let info = fs::read_to_string(info.replace("self", "thread-self")).expect("fdinfo");
        let line = info.lines().find_map(|line| line.strip_prefix("memlock:")).expect("memlock");
        line.trim().parse::<u64>().expect("a number")
    })
    .sum()
}

#[test]
fn ten_thousand_services_load_and_change_within_generous_bounds() {
    measure(1_000);
    let (cold, change) = measure(10_000);
    // An unoptimised build on a busy machine: the budgets themselves are the benchmarks' business.
    assert!(cold < Duration::from_secs(10) && change < Duration::from_millis(200), "cold {cold:?}, change {change:?}");
}
