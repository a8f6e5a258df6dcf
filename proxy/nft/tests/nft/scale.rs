//! A change costs what it touches, however many Services there are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use orlop_nft::NftBackend;
use orlop_plan::{Backend, Endpoint, EndpointSet, Frontend, FrontendKind, Masquerade, Plan, Protocol, diff};

use crate::plans::{empty, target};
use crate::world::Namespace;

/// So many Services of so many endpoints each, with or without affinity and source ranges.
#[derive(Clone, Copy, Debug)]
struct Shape {
    services: u32,
    endpoints: u32,
    policies: bool,
}

const fn shape(services: u32, endpoints: u32) -> Shape {
    Shape { services, endpoints, policies: false }
}

/// What a shape costs, for the one who reads the test's output.
#[derive(Debug)]
#[allow(dead_code)]
struct Cost {
    cold: Duration,
    /// What a restart costs.
    adoption: Duration,
    p50: Duration,
    p99: Duration,
    /// Netlink messages of the cold load, and the most that a change took.
    messages: (usize, usize),
}

impl Shape {
    fn endpoints(self, service: u32, count: u32) -> EndpointSet {
        let endpoint = |n: u32| {
            let ip = (10 << 24) + (128 << 16) + service * self.endpoints + n;
            Endpoint {
                address: std::net::Ipv4Addr::from(ip).into(),
                port: 8080,
                local: n == 0 && service.is_multiple_of(20),
            }
        };
        (0..count).map(endpoint).collect()
    }

    fn put(self, plan: &mut Plan, service: u32, count: u32) {
        let mut target =
            target(&format!("default/s{service}"), FrontendKind::ClusterIp, self.endpoints(service, count));
        if self.policies {
            // Few kinds of policies, as in a cluster: an affinity on all, ranges on some.
            target.kind = FrontendKind::LoadBalancer;
            target.masquerade = Masquerade::Always;
            target.affinity_seconds = Some(10_800);
            let ranges = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"].map(|range| range.parse().unwrap());
            target.source_ranges = Some(ranges[..1 + service as usize % 3].into());
        }
        let ip = std::net::Ipv4Addr::from((10 << 24) + (96 << 16) + service);
        plan.frontends.insert(Frontend::ip(ip.into(), Protocol::Tcp, 80), Arc::new(target));
    }

    /// Loads it, changes one endpoint at a time, and starts again.
    fn measure(self, rounds: u32) -> Cost {
        Namespace::new().run(move || {
            let mut plan = empty();
            (1..=self.services).for_each(|service| self.put(&mut plan, service, self.endpoints));
            let mut backend = NftBackend::open().unwrap();
            let start = Instant::now();
            backend.resync(&plan).unwrap();
            let (cold, loaded) = (start.elapsed(), backend.messages());
            let mut most = 0;
            let mut changes: Vec<Duration> = (0..rounds)
                .map(|round| {
                    let mut next = plan.clone();
                    self.put(&mut next, 1 + round / 2 * 7 % self.services, self.endpoints - (round + 1) % 2);
                    let start = Instant::now();
                    backend.sync(&next, &diff(&plan, &next)).unwrap();
                    let cost = start.elapsed();
                    // The first step to a number of endpoints makes the chain for it.
                    most = most.max(if round > 1 { backend.messages() } else { 0 });
                    plan = next;
                    cost
                })
                .collect();
            changes.sort_unstable();
            let start = Instant::now();
            let mut second = NftBackend::open().unwrap();
            second.resync(&plan).unwrap();
            // The chain for a number of endpoints that nobody has any more.
            assert!(second.messages() <= 4, "a restart writes {}", second.messages());
            let at = |share: usize| changes[(changes.len() * share / 100).min(changes.len() - 1)];
            let cost = Cost { cold, adoption: start.elapsed(), p50: at(50), p99: at(99), messages: (loaded, most) };
            eprintln!("{self:?}: {cost:?}");
            cost
        })
    }
}

#[test]
fn ten_thousand_services_load_and_change_within_generous_bounds() {
    shape(1_000, 5).measure(100);
    let cost = shape(10_000, 5).measure(100);
    // An unoptimised build on a busy machine: the budgets themselves are the benchmarks' business.
    assert!(cost.cold < Duration::from_secs(10) && cost.p50 < Duration::from_millis(100), "{cost:?}");
    assert!(cost.messages.1 <= 4, "{cost:?}");
}

#[test]
fn thirty_thousand_services_and_a_quarter_million_endpoints_cost_no_more_for_a_change() {
    let few = shape(1_000, 5).measure(20);
    let shapes = [shape(30_000, 1), Shape { policies: true, ..shape(30_000, 8) }, shape(2_500, 100), shape(250, 1_000)];
    for shape in shapes {
        let cost = shape.measure(20);
        assert!(cost.messages.1 <= 4, "{shape:?}: {cost:?}");
        // A list of elements is one message of 64 KiB.
        let elements = (shape.services * (shape.endpoints + 4)) as usize;
        assert!(cost.messages.0 <= elements / 400 + 100, "{shape:?}: {cost:?}");
        let limit = few.p50 * 4 + Duration::from_millis(50);
        assert!(cost.p50 < limit, "{shape:?}: {cost:?}, a small cluster {few:?}");
    }
}
