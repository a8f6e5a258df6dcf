//! A case: a node, its Services and the packets to try.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use orlop_plan::{DetectLocal, Family, FrontendAddress, NodeFacts, NodePortAddresses, Plan, Protocol};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::service::{Service, services};
use crate::{Shot, Way, world};

/// A plan with packets; its `Debug` is what a person reads when a backend disagrees.
#[derive(Clone)]
pub struct Case {
    /// The plan.
    pub plan: Plan,
    /// The packets.
    pub shots: Vec<Shot>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = &self.plan.node;
        writeln!(f, "node ports {:?}, {:?}", node.node_ports, node.detect_local)?;
        for (frontend, target) in &self.plan.frontends {
            let list = |set: &[orlop_plan::Endpoint]| {
                let show = |e: &orlop_plan::Endpoint| format!("{e}{}", if e.local { " (here)" } else { "" });
                set.iter().map(show).collect::<Vec<_>>().join(", ")
            };
            write!(f, "{frontend} {:?} of {}: [{}]", target.kind, target.name, list(&target.endpoints))?;
            if let Some(local) = &target.local {
                write!(f, ", local [{}]", list(local))?;
            }
            write!(f, ", masquerade {:?}, when empty {:?}", target.masquerade, target.when_empty)?;
            writeln!(f, ", affinity {:?}, sources {:?}", target.affinity_seconds, target.source_ranges)?;
        }
        self.shots.iter().try_for_each(|shot| writeln!(f, "{shot:?}"))
    }
}

/// What a packet is aimed at, before it is known what there is.
#[derive(Clone, Debug)]
struct Aim {
    /// One of the frontends; none for anything at all.
    at: Option<Index>,
    family: Family,
    protocol: Protocol,
    destination: Index,
    port: Index,
    way: Way,
    source: Index,
}

fn aims() -> impl Strategy<Value = Aim> {
    let way = select(vec![Way::Node, Way::Uplink, Way::Uplink, Way::Uplink, Way::Pod(0), Way::Pod(1)]);
    let family = select(vec![Family::V4, Family::V6]);
    let protocol = select(vec![Protocol::Tcp, Protocol::Udp, Protocol::Sctp]);
    let at = prop::option::weighted(0.85, any::<Index>());
    (at, family, protocol, any::<Index>(), any::<Index>(), way, any::<Index>()).prop_map(
        |(at, family, protocol, destination, port, way, source)| Aim {
            at,
            family,
            protocol,
            destination,
            port,
            way,
            source,
        },
    )
}

impl Aim {
    fn shot(&self, plan: &Plan) -> Shot {
        let frontend = self
            .at
            .filter(|_| !plan.frontends.is_empty())
            .and_then(|at| plan.frontends.keys().nth(at.index(plan.frontends.len())).copied());
        let family = frontend.map_or(self.family, |frontend| frontend.family());
        let (destination, protocol, port) = match frontend {
            Some(frontend) => {
                let destination = match frontend.address {
                    FrontendAddress::Ip(ip) => ip,
                    FrontendAddress::NodePort(family) => *self.destination.get(&world::node(family)),
                };
                (destination, frontend.protocol, frontend.port)
            }
            None => {
                let mut known = world::node(family);
                known.extend(world::cluster_ips(family));
                known.extend(world::external_ips(family));
                // A pod's packets to its own address never leave it.
                let other = usize::from(self.way == Way::Pod(0));
                known.extend([world::pods(family)[other], world::nobody(family)]);
                let port = *self.port.get(&[world::PORTS, world::NODE_PORTS].concat());
                (*self.destination.get(&known), self.protocol, port)
            }
        };
        let cluster_ip = world::cluster_ips(family).contains(&destination);
        Shot { way: self.way, source: self.source(family, cluster_ip), destination, protocol, port }
    }

    fn source(&self, family: Family, cluster_ip: bool) -> IpAddr {
        match self.way {
            Way::Node => *self.source.get(&world::node(family)),
            // A pod of another node reaches cluster IPs by its own node: it never meets itself here.
            Way::Uplink => *self.source.get(&world::remote(family)[usize::from(cluster_ip)..]),
            Way::Pod(index) => world::pods(family)[index.min(1)],
        }
    }
}

fn nodes() -> impl Strategy<Value = NodeFacts> {
    let addresses: Vec<IpAddr> = [Family::V4, Family::V6].into_iter().flat_map(world::node).collect();
    let first: Vec<IpAddr> = [Family::V4, Family::V6].into_iter().map(|family| world::node(family)[0]).collect();
    let node_ports = select(vec![
        NodePortAddresses::AnyLocal,
        NodePortAddresses::Only(first),
        NodePortAddresses::Only(addresses.clone()),
        NodePortAddresses::Only(Vec::new()),
    ]);
    let network = |family| world::pod_network(family).parse().unwrap_or_default();
    let both = vec![network(Family::V4), network(Family::V6)];
    let detect_local = prop_oneof![
        4 => Just(DetectLocal::Cidrs(both)),
        1 => Just(DetectLocal::Cidrs(vec![network(Family::V4)])),
        1 => Just(DetectLocal::Cidrs(Vec::new())),
        2 => Just(DetectLocal::Bridge(world::POD_DEVICES[0].into())),
        2 => Just(DetectLocal::InterfacePrefix("pod".into())),
    ];
    (node_ports, detect_local, prop::bool::weighted(0.2)).prop_map(move |(node_ports, detect_local, masquerade_all)| {
        let facts = NodeFacts::primary("node-1", addresses.clone(), Vec::new());
        NodeFacts { node_ports, detect_local, masquerade_all, ..facts }
    })
}

fn plan(node: NodeFacts, services: &[Service]) -> Plan {
    let mut plan = Plan { node: Arc::new(node), ..Plan::default() };
    for (number, service) in services.iter().enumerate() {
        for (frontend, target) in service.frontends(number, plan.node.masquerade_all) {
            plan.frontends.entry(frontend).or_insert(target);
        }
    }
    plan
}

impl Case {
    /// The smallest case found that still fails: one packet and as few frontends, endpoints and policies as it takes.
    /// Faster than shrinking what the case was drawn from, because the packet that failed is known.
    pub fn smallest(&self, failed: usize, mut fails: impl FnMut(&Self) -> bool) -> Self {
        // Endpoints are chosen at random: once may not be enough.
        let shots = self.shots.get(failed).map_or(Vec::new(), |shot| vec![*shot; 16]);
        let alone = Self { plan: self.plan.clone(), shots };
        // A client's earlier packets may matter to its affinity.
        let source = alone.shots.first().map(|shot| shot.source);
        let kin = self.shots.iter().take(failed + 1).filter(|shot| Some(shot.source) == source).copied().collect();
        let mut best = [alone, Self { plan: self.plan.clone(), shots: kin }]
            .into_iter()
            .find(&mut fails)
            .unwrap_or_else(|| self.clone());
        let mut keep = |best: &mut Self, plan: Plan| {
            let candidate = Self { plan, shots: best.shots.clone() };
            if fails(&candidate) {
                *best = candidate;
            }
        };
        for frontend in best.plan.frontends.keys().copied().collect::<Vec<_>>() {
            let mut plan = best.plan.clone();
            plan.frontends.remove(&frontend);
            keep(&mut best, plan);
        }
        for frontend in best.plan.frontends.keys().copied().collect::<Vec<_>>() {
            for simpler in SIMPLER {
                let mut plan = best.plan.clone();
                if let Some(target) = plan.frontends.get_mut(&frontend) {
                    simpler(Arc::make_mut(target));
                }
                if plan != best.plan {
                    keep(&mut best, plan);
                }
            }
        }
        best.shots.dedup();
        best
    }
}

/// Ways to make a target simpler.
const SIMPLER: [fn(&mut orlop_plan::Target); 5] = [
    |target| target.affinity_seconds = None,
    |target| target.source_ranges = None,
    |target| target.endpoints = target.endpoints.iter().take(1).copied().collect(),
    |target| target.endpoints = target.endpoints.iter().skip(1).copied().collect(),
    |target| target.local = None,
];

/// Cases of up to this many Services and packets.
pub fn cases(services_at_most: usize, packets: usize) -> impl Strategy<Value = Case> {
    (nodes(), prop::collection::vec(services(), 0..=services_at_most), prop::collection::vec(aims(), 1..=packets))
        .prop_map(|(node, services, aims)| {
            let plan = plan(node, &services);
            let shots = aims.iter().map(|aim| aim.shot(&plan)).collect();
            Case { plan, shots }
        })
}
