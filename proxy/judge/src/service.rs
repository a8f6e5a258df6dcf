//! A Service port as cases draw it: endpoints, policies, and the addresses it is reached by.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use orlop_plan::{
    EndpointSet, Family, Frontend, FrontendKind, Masquerade, Protocol, ServicePortName, Target, WhenEmpty,
};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::world;

/// Where a Service is reached; each is an index into the world's list.
#[derive(Clone, Debug)]
pub struct Faces {
    /// Cluster IP and port.
    pub cluster: Option<(usize, usize)>,
    /// Port of the external IP.
    pub external: Option<usize>,
    /// Port of the load balancer's IP.
    pub load_balancer: Option<usize>,
    /// NodePort.
    pub node_port: Option<usize>,
}

/// One port of a Service, of one family.
#[derive(Clone, Debug)]
pub struct Service {
    /// The family.
    pub family: Family,
    /// The protocol.
    pub protocol: Protocol,
    /// Endpoints, as indices into the world's.
    pub endpoints: Vec<usize>,
    /// Whether every endpoint of the node is gone, so that others serve a Local policy's callers: nobody.
    pub none_here: bool,
    /// `internalTrafficPolicy: Local`
    pub internal_local: bool,
    /// `externalTrafficPolicy: Local`
    pub external_local: bool,
    /// Seconds of ClientIP affinity.
    pub affinity: Option<u32>,
    /// `loadBalancerSourceRanges`, as indices into the world's.
    pub ranges: Option<Vec<usize>>,
    /// Where it is reached.
    pub faces: Faces,
}

impl Service {
    /// What a tracker would make of it.
    pub fn frontends(&self, number: usize, masquerade_all: bool) -> Vec<(Frontend, Arc<Target>)> {
        let known = world::endpoints(self.family);
        let picked = self.endpoints.iter().filter_map(|index| known.get(*index).copied());
        let cluster: EndpointSet = picked.filter(|endpoint| !(self.none_here && endpoint.local)).collect();
        let local: EndpointSet = cluster.iter().copied().filter(|endpoint| endpoint.local).collect();
        let all: [IpNet; 3] = world::source_ranges(self.family).map(|range| range.parse().unwrap_or_default());
        let ranges: Option<Arc<[IpNet]>> =
            self.ranges.as_ref().map(|picked| picked.iter().filter_map(|index| all.get(*index).copied()).collect());
        let target = |kind: FrontendKind| {
            let external = kind != FrontendKind::ClusterIp;
            let external_local = external && self.external_local;
            let masquerade = match (external, external_local) {
                (_, true) => Masquerade::Never,
                (true, false) => Masquerade::Always,
                (false, false) if masquerade_all => Masquerade::Always,
                (false, false) => Masquerade::Outside,
            };
            let endpoints = if !external && self.internal_local { &local } else { &cluster };
            Arc::new(Target {
                name: ServicePortName { service: format!("default/s{number}").into(), port: "p".into() },
                kind,
                endpoints: endpoints.clone(),
                local: external_local.then(|| local.clone()),
                masquerade,
                when_empty: if cluster.is_empty() { WhenEmpty::Reject } else { WhenEmpty::Drop },
                affinity_seconds: self.affinity,
                source_ranges: ranges.clone().filter(|_| kind == FrontendKind::LoadBalancer),
            })
        };
        let at = |ip: IpAddr, port: u16| Frontend::ip(ip, self.protocol, port);
        let [external, balancer] = world::external_ips(self.family);
        let faces = &self.faces;
        let cluster = faces.cluster.map(|(ip, port)| {
            (at(world::cluster_ips(self.family)[ip], world::PORTS[port]), target(FrontendKind::ClusterIp))
        });
        let external = faces.external.map(|port| (at(external, world::PORTS[port]), target(FrontendKind::ExternalIp)));
        let balancer =
            faces.load_balancer.map(|port| (at(balancer, world::PORTS[port]), target(FrontendKind::LoadBalancer)));
        let node_port = faces.node_port.map(|port| {
            let frontend = Frontend::node_port(self.family, self.protocol, world::NODE_PORTS[port]);
            (frontend, target(FrontendKind::NodePort))
        });
        [cluster, external, balancer, node_port].into_iter().flatten().collect()
    }
}

fn faces() -> impl Strategy<Value = Faces> {
    let cluster = prop::option::weighted(0.8, (0..2usize, 0..2usize));
    let maybe = || prop::option::of(0..2usize);
    (cluster, maybe(), maybe(), maybe()).prop_map(|(cluster, external, load_balancer, node_port)| Faces {
        cluster,
        external,
        load_balancer,
        node_port,
    })
}

/// Any Service port.
pub(crate) fn services() -> impl Strategy<Value = Service> {
    let family = select(vec![Family::V4, Family::V6]);
    let protocol = select(vec![Protocol::Tcp, Protocol::Udp, Protocol::Sctp]);
    let some = subsequence((0..5).collect::<Vec<usize>>(), 1..=5);
    let endpoints = prop_oneof![1 => Just(Vec::new()), 4 => some];
    let ranges = prop::option::weighted(0.4, subsequence(vec![0usize, 1, 2], 1..=3));
    let affinity = prop::option::weighted(0.4, select(vec![60u32, 10_800]));
    let flags = (prop::bool::weighted(0.2), prop::bool::weighted(0.3), prop::bool::weighted(0.5));
    (family, protocol, endpoints, flags, affinity, ranges, faces()).prop_map(
        |(family, protocol, endpoints, (none_here, internal_local, external_local), affinity, ranges, faces)| Service {
            family,
            protocol,
            endpoints,
            none_here,
            internal_local,
            external_local,
            affinity,
            ranges,
            faces,
        },
    )
}
