//! The service proxy's backends: cold load, one endpoint changed, and what both cost as Services and endpoints grow, beside kube-proxy's
//! rules in the same run.

use anyhow::{Context as _, Result};

use crate::backends::{Proxy, resident};
use crate::ground;
use crate::report::{Baseline, Report, quantile};
use crate::services::{Service, many};

/// Changes that are timed.
const ROUNDS: u32 = 200;
/// Changes of kube-proxy's rules that are timed: each takes long.
const PEER_ROUNDS: u32 = 6;
/// Services and endpoints of each; the last ones are a quarter of a million endpoints.
const SHAPES: [(u32, u32); 4] = [(30_000, 1), (30_000, 8), (2_500, 100), (250, 1_000)];

/// Milliseconds, and KiB that this process grew by.
struct Figures {
    cold: f64,
    change_p50: f64,
    change_p99: f64,
    memory: u32,
}

/// Measures.
pub fn run(report: &mut Report) -> Result<()> {
    let mut small = Vec::new();
    for proxy in Proxy::OURS {
        small.push(measure(proxy, 100, 5, ROUNDS)?.change_p50);
    }
    for services in [1_000, 10_000] {
        let nftables = measure(Proxy::KubeProxyNftables, services, 5, PEER_ROUNDS)?;
        let iptables = measure(Proxy::KubeProxyIptables, services, 5, PEER_ROUNDS)?;
        let limit = |figure: f64| (services == 10_000).then_some(figure);
        for (proxy, slowest_change) in [(Proxy::Ebpf, 1.0), (Proxy::Nftables, 5.0)] {
            let ours = measure(proxy, services, 5, ROUNDS)?;
            for (peer, name) in [(&nftables, Proxy::KubeProxyNftables), (&iptables, Proxy::KubeProxyIptables)] {
                let than = |figure| Baseline::measured(figure, name.name());
                let of = format!("{}: {{}} {services} Services x 5", proxy.name());
                let row = |what: &str| of.replace("{}", what);
                report.row(row("cold load of"), ours.cold, "ms", than(peer.cold), limit(500.0));
                report.row(row("one change, p50, at"), ours.change_p50, "ms", than(peer.change_p50), None);
                report.row(
                    row("one change, p99, at"),
                    ours.change_p99,
                    "ms",
                    than(peer.change_p99),
                    limit(slowest_change),
                );
            }
        }
    }
    for (services, endpoints) in SHAPES {
        for (proxy, small) in Proxy::OURS.into_iter().zip(&small) {
            let ours = measure(proxy, services, endpoints, ROUNDS)?;
            let of = format!("{services} Services x {endpoints}");
            let name = proxy.name();
            report.row(format!("{name}: cold load of {of}"), ours.cold, "ms", None, None);
            // Flat within twofold as Services grow; a Service of many endpoints is a larger change.
            let limit = (endpoints <= 8).then_some(small * 2.0);
            let than = Baseline::measured(*small, "100 Services x 5");
            report.row(format!("{name}: one change, p50, at {of}"), ours.change_p50, "ms", than, limit);
            report.row(format!("{name}: one change, p99, at {of}"), ours.change_p99, "ms", None, None);
            report.row(format!("{name}: memory for {of}"), f64::from(ours.memory) / 1024.0, "MiB", None, None);
        }
    }
    Ok(())
}

fn measure(proxy: Proxy, services: u32, endpoints: u32, rounds: u32) -> Result<Figures> {
    let empty = resident("self")?;
    ground::on(|ground| {
        let services = many(services, endpoints);
        let mut loaded = proxy.load(ground, &services)?;
        let mut changes = Vec::new();
        // Two rounds for each Service: an endpoint goes, then it comes back. The first make chains that stay.
        for round in 0..rounds + 2 {
            let service = services.get(round as usize / 2 * 7 % services.len()).context("no Services")?;
            let without = Service { endpoints: service.endpoints.iter().skip(1).copied().collect(), ..service.clone() };
            let (before, after) = if round % 2 == 0 { (service, &without) } else { (&without, service) };
            let seconds = loaded.change(before, after)?;
            if round > 1 {
                changes.push(seconds * 1000.0);
            }
        }
        Ok(Figures {
            cold: loaded.seconds * 1000.0,
            change_p50: quantile(&changes, 0.5),
            change_p99: quantile(&changes, 0.99),
            memory: resident("self")?.saturating_sub(empty),
        })
    })
}
