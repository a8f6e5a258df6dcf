//! Traffic by Service and by endpoint as metrics: out of the kernel's counters, for the busiest Services only, so that a
//! large cluster does not make a large scrape.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use orlop_plan::{Counters, Latency, Plan, ServicePortName, Tally};

/// So many Service ports have lines of their own; the others are one, called `other`.
const SERVICES: usize = 200;
/// So many endpoints of a Service port have.
const ENDPOINTS: usize = 20;

/// The names of the counters, without their prefix, in the order of [`values`].
const NAMES: [(&str, &str); 5] = [
    ("connections", "Connections, or first packets of flows, that were given an endpoint"),
    ("packets", "Packets both ways"),
    ("bytes", "Bytes both ways"),
    ("connects", "Connections whose time to be established was taken"),
    ("connect_seconds", "Time that these took in all"),
];

#[derive(Default)]
struct Service {
    tally: Tally,
    endpoints: BTreeMap<(IpAddr, u16), Tally>,
}

/// Adds what was counted to an OpenMetrics text that has no end yet.
pub(crate) fn write(text: &mut String, plan: &Plan, counters: &Counters) {
    let mut services: Vec<(ServicePortName, Service)> = by_service(plan, counters).into_iter().collect();
    services.sort_by_key(|(_, service)| std::cmp::Reverse(weight(&service.tally)));
    let rest = services.split_off(services.len().min(SERVICES));
    let mut lines: Vec<(String, Tally)> =
        services.iter().map(|(name, service)| (labels(name), service.tally)).collect();
    if !rest.is_empty() {
        let mut other = Tally::default();
        rest.iter().for_each(|(_, service)| add(&mut other, &service.tally));
        lines.push(("namespace=\"\",service=\"other\",port=\"\"".into(), other));
    }
    families(text, "orlop_service", "of a Service port", &lines);
    let mut lines = Vec::new();
    for (name, service) in &services {
        let mut endpoints: Vec<_> = service.endpoints.iter().collect();
        endpoints.sort_by_key(|(_, tally)| std::cmp::Reverse(weight(tally)));
        for ((address, port), tally) in endpoints.into_iter().take(ENDPOINTS) {
            lines.push((format!("{},endpoint=\"{}\"", labels(name), SocketAddr::new(*address, *port)), *tally));
        }
    }
    families(text, "orlop_endpoint", "of an endpoint of a Service port", &lines);
}

fn by_service(plan: &Plan, counters: &Counters) -> BTreeMap<ServicePortName, Service> {
    let mut services: BTreeMap<ServicePortName, Service> = BTreeMap::new();
    for (frontend, tally) in &counters.frontends {
        if let Some(target) = plan.get(frontend) {
            add(&mut services.entry(target.name.clone()).or_default().tally, tally);
        }
    }
    for counted in &counters.endpoints {
        if let Some(target) = plan.get(&counted.frontend) {
            let service = services.entry(target.name.clone()).or_default();
            add(service.endpoints.entry(counted.endpoint).or_default(), &counted.tally);
        }
    }
    services
}

fn weight(tally: &Tally) -> (u64, u64) {
    (tally.connections.unwrap_or(0), tally.packets.unwrap_or(0))
}

fn add(sum: &mut Tally, more: &Tally) {
    let plus = |sum: &mut Option<u64>, more: Option<u64>| {
        if let Some(more) = more {
            *sum = Some(sum.unwrap_or(0).saturating_add(more));
        }
    };
    plus(&mut sum.connections, more.connections);
    plus(&mut sum.packets, more.packets);
    plus(&mut sum.bytes, more.bytes);
    if let Some(more) = more.connect_latency {
        let so_far = sum.connect_latency.unwrap_or_default();
        sum.connect_latency = Some(Latency {
            count: so_far.count.saturating_add(more.count),
            nanoseconds: so_far.nanoseconds.saturating_add(more.nanoseconds),
        });
    }
}

fn values(tally: &Tally) -> [Option<String>; 5] {
    let text = |value: Option<u64>| value.map(|value| value.to_string());
    let latency = tally.connect_latency;
    [
        text(tally.connections),
        text(tally.packets),
        text(tally.bytes),
        latency.map(|latency| latency.count.to_string()),
        latency.map(|latency| {
            format!("{}.{:09}", latency.nanoseconds / 1_000_000_000, latency.nanoseconds % 1_000_000_000)
        }),
    ]
}

fn labels(name: &ServicePortName) -> String {
    let (namespace, service) = name.service.split_once('/').unwrap_or(("", &name.service));
    format!("namespace=\"{namespace}\",service=\"{service}\",port=\"{}\"", name.port)
}

fn families(text: &mut String, prefix: &str, of: &str, lines: &[(String, Tally)]) {
    let lines: Vec<_> = lines.iter().map(|(labels, tally)| (labels, values(tally))).collect();
    for (index, (name, help)) in NAMES.iter().enumerate() {
        let counted: Vec<_> =
            lines.iter().filter_map(|(labels, values)| Some((labels, values[index].as_ref()?))).collect();
        if counted.is_empty() {
            continue;
        }
        // Writing into a String cannot fail.
        let _ = writeln!(text, "# HELP {prefix}_{name} {help} {of}.\n# TYPE {prefix}_{name} counter");
        for (labels, value) in counted {
            let _ = writeln!(text, "{prefix}_{name}_total{{{labels}}} {value}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_plan::{EndpointTally, Frontend, FrontendKind, Masquerade, Protocol, Target, WhenEmpty};
    use std::sync::Arc;

    fn frontend(n: u16) -> Frontend {
        Frontend::ip(IpAddr::from([10, 96, 0, 1]), Protocol::Tcp, n)
    }

    fn target(service: &str) -> Arc<Target> {
        Arc::new(Target {
            name: ServicePortName { service: service.into(), port: "http".into() },
            kind: FrontendKind::ClusterIp,
            endpoints: Default::default(),
            local: None,
            masquerade: Masquerade::Outside,
            when_empty: WhenEmpty::Reject,
            affinity_seconds: None,
            source_ranges: None,
        })
    }

    #[test]
    fn frontends_of_a_service_are_added_up_and_what_is_not_counted_is_left_out() {
        let mut plan = Plan::default();
        plan.frontends.insert(frontend(80), target("default/web"));
        plan.frontends.insert(frontend(30001), target("default/web"));
        let tally = |connections| Tally { connections: Some(connections), ..Tally::default() };
        let endpoint = (IpAddr::from([10, 244, 0, 2]), 8080);
        let counters = Counters {
            frontends: vec![(frontend(80), tally(3)), (frontend(30001), tally(4)), (frontend(9), tally(100))],
            endpoints: vec![EndpointTally { frontend: frontend(80), endpoint, tally: tally(2) }],
        };
        let mut text = String::new();
        write(&mut text, &plan, &counters);
        assert!(
            text.contains("orlop_service_connections_total{namespace=\"default\",service=\"web\",port=\"http\"} 7\n")
        );
        assert!(text.contains("port=\"http\",endpoint=\"10.244.0.2:8080\"} 2\n"), "{text}");
        assert!(!text.contains("bytes") && !text.contains("100"), "{text}");
    }

    #[test]
    fn the_number_of_lines_is_bounded_and_nothing_is_lost() {
        let mut plan = Plan::default();
        let mut counters = Counters::default();
        for n in 1..=500u16 {
            plan.frontends.insert(frontend(n), target(&format!("default/s{n}")));
            counters.frontends.push((frontend(n), Tally { connections: Some(n.into()), ..Tally::default() }));
        }
        let mut text = String::new();
        write(&mut text, &plan, &counters);
        let counts: Vec<u64> =
            text.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.rsplit(' ').next()?.parse().ok()).collect();
        assert_eq!((counts.len(), counts.iter().sum::<u64>()), (SERVICES + 1, 500 * 501 / 2));
        assert!(text.contains("service=\"s500\"") && !text.contains("service=\"s1\""));
    }
}
