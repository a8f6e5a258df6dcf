//! What the plan must know of the node it is for.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use crate::Family;

/// On which of the node's addresses NodePorts answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodePortAddresses {
    /// On these (`nodePortAddresses: primary`, or CIDRs resolved to addresses). Loopback addresses among them are asked
    /// for by name and serve processes of the node alone; a backend that cannot says so in [`crate::Backend::limits`].
    Only(Vec<IpAddr>),
    /// On every local address that is not loopback.
    AnyLocal,
}

/// How a pod's packet is told from a stranger's: `detectLocalMode` of `KubeProxyConfiguration`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DetectLocal {
    /// `ClusterCIDR` and `NodeCIDR`: by its source. With no CIDR of a family, nobody of that family is a stranger (nothing
    /// is masqueraded for it) and nobody is known to be a pod.
    Cidrs(Vec<IpNet>),
    /// `BridgeInterface`: it came in on the device of this name.
    Bridge(String),
    /// `InterfaceNamePrefix`: it came in on a device whose name begins so.
    InterfacePrefix(String),
}

impl DetectLocal {
    /// Whether a packet is known to be a pod's, by its source and the device it came in on (none: the node's own).
    pub fn is_pod(&self, source: IpAddr, device: Option<&str>) -> bool {
        match self {
            Self::Cidrs(cidrs) => cidrs.iter().any(|cidr| cidr.contains(&source)),
            Self::Bridge(name) => device == Some(name),
            Self::InterfacePrefix(prefix) => device.is_some_and(|device| device.starts_with(prefix.as_str())),
        }
    }

    /// Whether a packet is known to come from outside the pod network.
    pub fn is_stranger(&self, source: IpAddr, device: Option<&str>) -> bool {
        let unknown = match self {
            Self::Cidrs(cidrs) => !cidrs.iter().any(|cidr| Family::of(cidr.addr()) == Family::of(source)),
            Self::Bridge(_) | Self::InterfacePrefix(_) => false,
        };
        !unknown && !self.is_pod(source, device)
    }

    /// The pod networks, where those decide.
    pub fn cidrs(&self) -> &[IpNet] {
        match self {
            Self::Cidrs(cidrs) => cidrs,
            Self::Bridge(_) | Self::InterfacePrefix(_) => &[],
        }
    }
}

/// kube-proxy's default of `masqueradeBit`.
pub const MASQUERADE_BIT: u8 = 14;

/// Facts of the node: who it is and what counts as inside the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// The Node's name: endpoints with this `nodeName` are local.
    pub name: String,
    /// The Node's `topology.kubernetes.io/zone`, for topology hints.
    pub zone: Option<String>,
    /// The node's own addresses: every one that the kernel delivers locally, as far as known.
    pub addresses: Vec<IpAddr>,
    /// Where NodePorts answer.
    pub node_ports: NodePortAddresses,
    /// How pods are told from strangers.
    pub detect_local: DetectLocal,
    /// `masqueradeAll`: a [`crate::Tracker`] makes every cluster IP [`crate::Masquerade::Always`]; backends need not look.
    pub masquerade_all: bool,
    /// `masqueradeBit`: the bit of the packet mark, from 0 to 31, by which a backend that needs one notes what to masquerade.
    pub masquerade_bit: u8,
}

impl NodeFacts {
    /// Facts of a node of this name with these addresses, whose NodePorts answer on the first address of each family.
    pub fn primary(name: impl Into<String>, addresses: Vec<IpAddr>, cluster_cidrs: Vec<IpNet>) -> Self {
        let facts = Self {
            name: name.into(),
            zone: None,
            addresses,
            node_ports: NodePortAddresses::AnyLocal,
            detect_local: DetectLocal::Cidrs(cluster_cidrs),
            masquerade_all: false,
            masquerade_bit: MASQUERADE_BIT,
        };
        let first = [Family::V4, Family::V6].into_iter().filter_map(|family| facts.first_address(family)).collect();
        Self { node_ports: NodePortAddresses::Only(first), ..facts }
    }

    /// The node's first address of a family, which is its primary one.
    pub fn first_address(&self, family: Family) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|ip| Family::of(*ip) == family)
    }

    /// Whether NodePorts answer on this address.
    pub fn answers_node_ports(&self, destination: IpAddr) -> bool {
        match &self.node_ports {
            NodePortAddresses::Only(list) => list.contains(&destination),
            NodePortAddresses::AnyLocal => !destination.is_loopback() && self.addresses.contains(&destination),
        }
    }
}

impl Default for NodeFacts {
    fn default() -> Self {
        Self::primary("", vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)], Vec::new())
    }
}
