//! The service proxy's backends: cold load, and one endpoint changed, beside kube-proxy's shape in the same run.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, anyhow};
use ipnet::IpNet;
use orlop_bpf::EbpfBackend;
use orlop_nft::NftBackend;
use orlop_plan::{
    Backend, Endpoint, EndpointSet, Frontend, FrontendKind, Masquerade, NodeFacts, Plan, Protocol, ServicePortName,
    Target, WhenEmpty, diff,
};

use crate::ground::{self, Ground};
use crate::kube_proxy;
use crate::report::{Baseline, Report, quantile};

/// Changes that are timed.
const ROUNDS: u32 = 200;
/// Changes of kube-proxy's shape that are timed: each takes long.
const PEER_ROUNDS: u32 = 5;

/// A Service's cluster IP.
pub fn service_ip(service: u32) -> Ipv4Addr {
    Ipv4Addr::from((10 << 24) + (96 << 16) + service)
}

/// An endpoint of a Service.
pub fn endpoint_ip(service: u32, n: u32) -> Ipv4Addr {
    Ipv4Addr::from((10 << 24) + (128 << 16) + service * kube_proxy::ENDPOINTS + n)
}

/// Milliseconds.
struct Figures {
    cold: f64,
    change_p50: f64,
    change_p99: f64,
}

/// Measures 1,000 and 10,000 Services of five endpoints.
pub fn run(report: &mut Report) -> Result<()> {
    for services in [1_000, 10_000] {
        let peer = ground::on(|ground| kube_proxys(ground, services))?;
        let nftables = ground::on(|_| ours(&mut NftBackend::open()?, services))?;
        let ebpf = ground::on(|ground| {
            let options = orlop_bpf::Options {
                bpf_root: ground.bpf.clone(),
                cgroup_root: ground.cgroup.clone(),
                node_port_range: (30_000, 32_767),
                tcx: true,
                selection: orlop_bpf::Selection::default(),
            };
            ours(&mut EbpfBackend::open(options)?, services)
        })?;
        let peer_name = "kube-proxy's nftables shape";
        let limit = |figure: f64| (services == 10_000).then_some(figure);
        for (name, figures, slowest_change) in [("nftables", nftables, 5.0), ("ebpf", ebpf, 1.0)] {
            let of = format!("{services} Services x {}", kube_proxy::ENDPOINTS);
            let baseline = Baseline::measured(peer.cold, peer_name);
            report.row(format!("{name}: cold load of {of}"), figures.cold, "ms", baseline, limit(500.0));
            let baseline = Baseline::measured(peer.change_p50, peer_name);
            report.row(format!("{name}: one endpoint changed at {of}, p50"), figures.change_p50, "ms", baseline, None);
            let baseline = Baseline::measured(peer.change_p99, peer_name);
            report.row(
                format!("{name}: one endpoint changed at {of}, p99"),
                figures.change_p99,
                "ms",
                baseline,
                limit(slowest_change),
            );
        }
    }
    Ok(())
}

fn ours(backend: &mut dyn Backend, services: u32) -> Result<Figures> {
    let mut plan = Plan { node: Arc::new(node()), ..Plan::default() };
    (1..=services).for_each(|service| put(&mut plan, service, kube_proxy::ENDPOINTS));
    let start = Instant::now();
    backend.resync(&plan).map_err(|error| anyhow!(error))?;
    let cold = milliseconds(start);
    let mut changes = Vec::new();
    for round in 0..ROUNDS {
        let mut next = plan.clone();
        put(&mut next, changed(round, services), kube_proxy::ENDPOINTS - 1 + round % 2);
        // Comparing the plans is part of what a change costs.
        let start = Instant::now();
        backend.sync(&next, &diff(&plan, &next)).map_err(|error| anyhow!(error))?;
        changes.push(milliseconds(start));
        plan = next;
    }
    Ok(Figures { cold, change_p50: quantile(&changes, 0.5), change_p99: quantile(&changes, 0.99) })
}

fn kube_proxys(ground: &Ground, services: u32) -> Result<Figures> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), kube_proxy::ruleset(services))?;
    let start = Instant::now();
    ground.nft(file.path())?;
    let cold = milliseconds(start);
    let mut changes = Vec::new();
    for round in 0..PEER_ROUNDS {
        let change = kube_proxy::change(changed(round, services), kube_proxy::ENDPOINTS - 1 + round % 2);
        std::fs::write(file.path(), change)?;
        let start = Instant::now();
        ground.nft(file.path())?;
        changes.push(milliseconds(start));
    }
    Ok(Figures { cold, change_p50: quantile(&changes, 0.5), change_p99: quantile(&changes, 0.99) })
}

/// Two rounds for each Service: an endpoint goes, then it comes back.
fn changed(round: u32, services: u32) -> u32 {
    1 + round / 2 * 7 % services
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

fn node() -> NodeFacts {
    let pods = IpNet::new_assert(Ipv4Addr::new(10, 128, 0, 0).into(), 9);
    NodeFacts::primary("node", vec![Ipv4Addr::new(192, 0, 2, 1).into()], vec![pods])
}

fn put(plan: &mut Plan, service: u32, count: u32) {
    let endpoints: EndpointSet =
        (0..count).map(|n| Endpoint { address: endpoint_ip(service, n).into(), port: 8080, local: false }).collect();
    let target = Target {
        name: ServicePortName { service: format!("default/s{service}").into(), port: "".into() },
        kind: FrontendKind::ClusterIp,
        endpoints,
        local: None,
        masquerade: Masquerade::Outside,
        when_empty: WhenEmpty::Reject,
        affinity_seconds: None,
        source_ranges: None,
    };
    plan.frontends.insert(Frontend::ip(service_ip(service).into(), Protocol::Tcp, 80), Arc::new(target));
}
