//! What the plan must know of the node it is for.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use crate::Family;

/// On which of the node's addresses NodePorts answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodePortAddresses {
    /// On these (`nodePortAddresses: primary`, or CIDRs resolved to addresses).
    Only(Vec<IpAddr>),
    /// On every local address that is not loopback.
    AnyLocal,
}

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
    /// Pod networks; a source outside them is outside the cluster. Empty: unknown, nobody is masqueraded for it.
    pub cluster_cidrs: Vec<IpNet>,
}

impl NodeFacts {
    /// Facts of a node of this name with these addresses, whose NodePorts answer on the first address of each family.
    pub fn primary(name: impl Into<String>, addresses: Vec<IpAddr>, cluster_cidrs: Vec<IpNet>) -> Self {
        let first = |family| addresses.iter().copied().find(|ip| Family::of(*ip) == family);
        let node_ports = [Family::V4, Family::V6].into_iter().filter_map(first).collect();
        Self {
            name: name.into(),
            zone: None,
            addresses,
            node_ports: NodePortAddresses::Only(node_ports),
            cluster_cidrs,
        }
    }

    /// Whether a source address belongs to the pod network. With no CIDR of its family known, everything does.
    pub fn in_cluster(&self, source: IpAddr) -> bool {
        let family = Family::of(source);
        let mut known = false;
        for cidr in self.cluster_cidrs.iter().filter(|cidr| Family::of(cidr.addr()) == family) {
            known = true;
            if cidr.contains(&source) {
                return true;
            }
        }
        !known
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
