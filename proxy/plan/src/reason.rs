//! Why a packet fares as it does: the rules that applied to it, in their order, for a person to read.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::{Frontend, FrontendKind, Masquerade, NodePortAddresses, ServicePortName, WhenEmpty};

/// Who calls, where a Local policy asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A process of this node.
    Node,
    /// A pod.
    Pod,
    /// Anybody else.
    Stranger,
}

/// One rule that applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No Service has this address and port.
    Nobodys,
    /// A cluster IP refuses the ports that its Services do not have.
    UnusedPort,
    /// The port is a NodePort, but a packet from a device cannot be for a loopback address.
    Martian,
    /// The port is a NodePort, but not on this address.
    NodePortElsewhere {
        /// Whose.
        name: ServicePortName,
        /// Where it answers.
        node_ports: NodePortAddresses,
    },
    /// A Service has this frontend.
    Claimed {
        /// The frontend.
        frontend: Frontend,
        /// Whose.
        name: ServicePortName,
        /// What it is.
        kind: FrontendKind,
    },
    /// `loadBalancerSourceRanges`.
    SourceRanges {
        /// The ranges.
        ranges: Arc<[IpNet]>,
        /// Whether the caller is in one.
        admitted: bool,
    },
    /// `externalTrafficPolicy: Local`.
    LocalPolicy {
        /// Who calls.
        caller: Caller,
        /// How many endpoints the caller may have.
        endpoints: usize,
        /// How many callers inside the cluster may have.
        of: usize,
    },
    /// Whose source becomes the node's.
    Masquerade {
        /// The frontend's rule.
        rule: Masquerade,
        /// Whether it masquerades this caller.
        applies: bool,
    },
    /// The caller is an endpoint itself: if it gets itself, its source becomes the node's.
    Hairpin,
    /// `sessionAffinity: ClientIP`, in seconds.
    Affinity(u32),
    /// Nothing to forward to.
    NoEndpoints(WhenEmpty),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobodys => f.write_str("no Service has this address and port: left alone"),
            Self::UnusedPort => f.write_str("a cluster IP refuses ports that none of its Services has: refused"),
            Self::Martian => f.write_str("a loopback address is out of reach for what arrives on a device"),
            Self::NodePortElsewhere { name, node_ports } => {
                write!(f, "the port is a NodePort of {name}, but it answers only on {}", answering(node_ports))
            }
            Self::Claimed { frontend, name, kind } => {
                let kind = match kind {
                    FrontendKind::ClusterIp => "the cluster IP",
                    FrontendKind::NodePort => "the NodePort",
                    FrontendKind::ExternalIp => "an external IP",
                    FrontendKind::LoadBalancer => "a load balancer IP",
                };
                write!(f, "{frontend} is {kind} of {name}")
            }
            Self::SourceRanges { ranges, admitted } => {
                let ranges = ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let verdict = if *admitted { "the caller is in one" } else { "the caller is in none: dropped" };
                write!(f, "loadBalancerSourceRanges are {ranges}: {verdict}")
            }
            Self::LocalPolicy { caller, endpoints, of } => match caller {
                Caller::Node => {
                    write!(
                        f,
                        "externalTrafficPolicy is Local, which does not bind the node itself: {of} endpoints, masqueraded"
                    )
                }
                Caller::Pod => {
                    write!(f, "externalTrafficPolicy is Local, which does not bind pods: {of} endpoints, source kept")
                }
                Caller::Stranger => {
                    write!(f, "externalTrafficPolicy is Local: {endpoints} endpoints on this node, source kept")
                }
            },
            Self::Masquerade { rule, applies } => f.write_str(match (rule, applies) {
                (Masquerade::Never, _) => "nobody is masqueraded",
                (Masquerade::Always, _) => "every caller is masqueraded",
                (Masquerade::Outside, true) => "callers that are no pods are masqueraded, as this one is",
                (Masquerade::Outside, false) => "callers that are no pods are masqueraded; this one keeps its source",
            }),
            Self::Hairpin => f.write_str("the caller is an endpoint itself: masqueraded if it gets itself"),
            Self::Affinity(seconds) => {
                write!(
                    f,
                    "sessionAffinity is ClientIP: the endpoint this caller had in the last {seconds} s, if it lives"
                )
            }
            Self::NoEndpoints(WhenEmpty::Reject) => f.write_str("no endpoint is ready anywhere: refused"),
            Self::NoEndpoints(WhenEmpty::Drop) => {
                f.write_str("there are endpoints, but a Local policy permits none of them here: dropped")
            }
        }
    }
}

fn answering(node_ports: &NodePortAddresses) -> String {
    match node_ports {
        NodePortAddresses::AnyLocal => "this node's own addresses".into(),
        NodePortAddresses::Only(list) if list.is_empty() => "no address of this node".into(),
        NodePortAddresses::Only(list) => list.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", "),
    }
}
