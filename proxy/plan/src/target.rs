//! What a frontend's packets get: policy and endpoints.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::EndpointSet;

/// How a frontend came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrontendKind {
    /// `spec.clusterIPs`.
    ClusterIp,
    /// `spec.ports[].nodePort`.
    NodePort,
    /// `spec.externalIPs`.
    ExternalIp,
    /// `status.loadBalancer.ingress[].ip` with ipMode VIP.
    LoadBalancer,
}

/// Which packets get this node's address as their source, hairpin aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Masquerade {
    /// The source is kept.
    Never,
    /// Callers outside the cluster CIDR are masqueraded, so that answers come back through this node.
    Outside,
    /// Every caller is masqueraded.
    Always,
}

/// What happens when the endpoint set that applies to a packet is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WhenEmpty {
    /// The Service has no usable endpoint anywhere: refuse at once (TCP reset or ICMP port unreachable).
    Reject,
    /// It has some, but a Local policy forbids them here: drop silently, as kube-proxy does.
    Drop,
}

/// Which Service port a target belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServicePortName {
    /// `namespace/name`.
    pub service: Arc<str>,
    /// The port's name, possibly empty.
    pub port: Arc<str>,
}

impl fmt::Display for ServicePortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.port.is_empty() { f.write_str(&self.service) } else { write!(f, "{}:{}", self.service, self.port) }
    }
}

/// Policy and endpoints of one frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The Service port.
    pub name: ServicePortName,
    /// What the frontend is.
    pub kind: FrontendKind,
    /// Endpoints for every caller or, when [`Target::local`] is set, for callers inside the cluster only.
    pub endpoints: EndpointSet,
    /// `externalTrafficPolicy: Local`: the endpoints for callers outside the cluster, whose source address is kept.
    /// (Pods of the cluster CIDR use [`Target::endpoints`] with their source kept; the node itself uses them masqueraded.)
    pub local: Option<EndpointSet>,
    /// Which callers of [`Target::endpoints`] are masqueraded. An endpoint that reaches itself always is.
    pub masquerade: Masquerade,
    /// What an empty set means.
    pub when_empty: WhenEmpty,
    /// `sessionAffinity: ClientIP`: seconds a client stays with its endpoint.
    pub affinity_seconds: Option<u32>,
    /// `loadBalancerSourceRanges` of the frontend's family: callers elsewhere are dropped.
    pub source_ranges: Option<Arc<[IpNet]>>,
}

impl Target {
    /// Whether `loadBalancerSourceRanges` admits a caller.
    pub fn admits(&self, source: IpAddr) -> bool {
        self.source_ranges.as_ref().is_none_or(|ranges| ranges.iter().any(|range| range.contains(&source)))
    }
}
