//! Node facts from configuration, the Node object and the machine's own addresses.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use orlop_plan::{Family, NodeFacts, NodePortAddresses};

use crate::{Config, NodePortAddressPolicy};

const ZONE: &str = "topology.kubernetes.io/zone";
/// The cluster autoscaler's mark on a node that is about to go.
const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";

/// What of a Node matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeInfo {
    addresses: Vec<IpAddr>,
    zone: Option<String>,
    /// Load balancers may send traffic: it is not being deleted.
    pub eligible: bool,
}

impl NodeInfo {
    pub fn of(node: &Node) -> Self {
        let listed = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
        let internal = listed.filter(|address| address.type_ == "InternalIP");
        let tainted = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
        Self {
            addresses: internal.filter_map(|address| address.address.parse().ok()).collect(),
            zone: node.metadata.labels.as_ref().and_then(|labels| labels.get(ZONE)).cloned(),
            eligible: node.metadata.deletion_timestamp.is_none()
                && !tainted.into_iter().any(|t| t.key == TO_BE_DELETED),
        }
    }

    /// Whether anything says where this node is.
    pub fn knows_addresses(&self, config: &Config) -> bool {
        config.node_ip.is_some() || !self.addresses.is_empty()
    }

    /// The facts for a plan.
    pub fn facts(&self, config: &Config) -> NodeFacts {
        let mut primary: Vec<IpAddr> = config.node_ip.into_iter().collect();
        for address in &self.addresses {
            if !primary.iter().any(|known| Family::of(*known) == Family::of(*address)) {
                primary.push(*address);
            }
        }
        let local = local_addresses();
        let node_ports = match &config.node_port_addresses {
            NodePortAddressPolicy::Primary => NodePortAddresses::Only(primary.clone()),
            NodePortAddressPolicy::Cidrs(cidrs) if cidrs.iter().any(|cidr| cidr.prefix_len() == 0) => {
                NodePortAddresses::AnyLocal
            }
            NodePortAddressPolicy::Cidrs(cidrs) => NodePortAddresses::Only(within(&local, cidrs)),
        };
        let mut addresses = primary;
        addresses.extend(self.addresses.iter().chain(&local).copied());
        let mut seen = Vec::with_capacity(addresses.len());
        addresses.retain(|address| {
            !seen.contains(address) && {
                seen.push(*address);
                true
            }
        });
        NodeFacts {
            name: config.node_name.clone(),
            zone: self.zone.clone(),
            addresses,
            node_ports,
            detect_local: config.detect_local.clone(),
            masquerade_all: config.masquerade_all,
        }
    }
}

fn within(addresses: &[IpAddr], cidrs: &[IpNet]) -> Vec<IpAddr> {
    addresses.iter().copied().filter(|ip| cidrs.iter().any(|cidr| cidr.contains(ip))).collect()
}

/// The addresses of this network namespace's devices, sorted; loopback and link-local ones are nobody's to reach.
fn local_addresses() -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = match nix::ifaddrs::getifaddrs() {
        Ok(interfaces) => interfaces
            .filter_map(|interface| {
                let address = interface.address?;
                let v4 = address.as_sockaddr_in().map(|a| IpAddr::from(a.ip()));
                v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::from(a.ip())))
            })
            .filter(|ip| match ip {
                IpAddr::V4(ip) => !ip.is_loopback(),
                IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
            })
            .collect(),
        Err(error) => {
            tracing::warn!(%error, "cannot list the machine's addresses");
            Vec::new()
        }
    };
    all.sort_unstable();
    all.dedup();
    all
}
