//! Node facts from configuration, the Node object and the machine's own addresses.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use orlop_plan::{DetectLocal, Family, NodeFacts, NodePortAddresses};

use crate::{Config, DetectLocalMode, NodePortAddressPolicy};

const ZONE: &str = "topology.kubernetes.io/zone";
/// The cluster autoscaler's mark on a node that is about to go.
const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";

/// What of a Node matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeInfo {
    addresses: Vec<IpAddr>,
    zone: Option<String>,
    pod_cidrs: Vec<IpNet>,
    /// Load balancers may send traffic: it is not being deleted.
    pub eligible: bool,
}

impl NodeInfo {
    pub fn of(node: &Node) -> Self {
        let listed = |kind: &'static str| {
            let all = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
            all.filter(move |address| address.type_ == kind).filter_map(|address| address.address.parse().ok())
        };
        let spec = node.spec.as_ref();
        let pod_cidrs = spec.and_then(|spec| spec.pod_cidrs.as_ref()).into_iter().flatten();
        let tainted = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
        Self {
            // kube-proxy takes an ExternalIP where there is no other.
            addresses: listed("InternalIP").chain(listed("ExternalIP")).collect(),
            pod_cidrs: pod_cidrs.filter_map(|cidr| cidr.parse().ok()).collect(),
            zone: node.metadata.labels.as_ref().and_then(|labels| labels.get(ZONE)).cloned(),
            eligible: node.metadata.deletion_timestamp.is_none()
                && !tainted.into_iter().any(|t| t.key == TO_BE_DELETED),
        }
    }

    /// What must be known before anything can be programmed, and is not.
    pub fn lacks(&self, config: &Config) -> Option<&'static str> {
        let placed = config.node_ip.is_some() || !self.addresses.is_empty();
        let pods_known = config.detect_local != DetectLocalMode::NodeCidr || !self.pod_cidrs.is_empty();
        match (placed, pods_known) {
            (false, _) => Some("an address of the Node"),
            (_, false) => Some("the Node's spec.podCIDRs"),
            _ => None,
        }
    }

    /// The facts for a plan.
    pub fn facts(&self, config: &Config) -> NodeFacts {
        let mut primary: Vec<IpAddr> = config.node_ip.into_iter().collect();
        for address in &self.addresses {
            if !primary.iter().any(|known| Family::of(*known) == Family::of(*address)) {
                primary.push(*address);
            }
        }
        let machine = machine_addresses();
        let node_ports = match &config.node_port_addresses {
            NodePortAddressPolicy::Primary => NodePortAddresses::Only(primary.clone()),
            NodePortAddressPolicy::Cidrs(cidrs) => answering(&machine, cidrs),
        };
        let local = machine.into_iter().filter(|ip| is_reachable(*ip));
        let mut addresses = primary;
        addresses.extend(self.addresses.iter().copied().chain(local));
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
            detect_local: match &config.detect_local {
                DetectLocalMode::Known(detect) => detect.clone(),
                DetectLocalMode::NodeCidr => DetectLocal::Cidrs(self.pod_cidrs.clone()),
            },
            masquerade_all: config.masquerade_all,
            masquerade_bit: config.masquerade_bit,
        }
    }
}

/// `nodePortAddresses` as kube-proxy reads it: a family without a network has them all.
fn answering(machine: &[IpAddr], cidrs: &[IpNet]) -> NodePortAddresses {
    let of = |family| cidrs.iter().filter(move |cidr| Family::of(cidr.addr()) == family);
    let all = |family| of(family).next().is_none() || of(family).any(|cidr| cidr.prefix_len() == 0);
    let loopback_named = cidrs.iter().any(|cidr| cidr.addr().is_loopback() && cidr.prefix_len() > 0);
    if all(Family::V4) && all(Family::V6) && !loopback_named {
        return NodePortAddresses::AnyLocal;
    }
    let named = |ip: &IpAddr| cidrs.iter().any(|cidr| cidr.prefix_len() > 0 && cidr.contains(ip));
    let answers = |ip: &&IpAddr| named(ip) || (all(Family::of(**ip)) && is_reachable(**ip));
    NodePortAddresses::Only(machine.iter().filter(answers).copied().collect())
}

/// Loopback and link-local addresses are nobody's to reach.
const fn is_reachable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    }
}

/// The addresses of this network namespace's devices, sorted.
fn machine_addresses() -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = match nix::ifaddrs::getifaddrs() {
        Ok(interfaces) => interfaces
            .filter_map(|interface| {
                let address = interface.address?;
                let v4 = address.as_sockaddr_in().map(|a| IpAddr::from(a.ip()));
                v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::from(a.ip())))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_port_addresses_are_read_as_kube_proxy_reads_them() {
        let ips = |all: &[&str]| all.iter().map(|ip| ip.parse().expect("an address")).collect::<Vec<IpAddr>>();
        let machine = ips(&["127.0.0.1", "172.30.0.11", "192.0.2.1", "::1", "fe80::1", "fd00::1"]);
        let cidrs = |all: &[&str]| all.iter().map(|cidr| cidr.parse().expect("a CIDR")).collect::<Vec<IpNet>>();
        let only = |all: &[&str]| NodePortAddresses::Only(ips(all));
        for (given, expected) in [
            (&["0.0.0.0/0", "::/0"][..], NodePortAddresses::AnyLocal),
            (&["0.0.0.0/0"], NodePortAddresses::AnyLocal),
            (&[], NodePortAddresses::AnyLocal),
            (&["172.30.0.0/24"], only(&["172.30.0.11", "fd00::1"])),
            (&["172.30.0.0/24", "fd01::/64"], only(&["172.30.0.11"])),
            (&["127.0.0.0/8", "::1/128"], only(&["127.0.0.1", "::1"])),
            (&["0.0.0.0/0", "::/0", "127.0.0.0/8"], only(&["127.0.0.1", "172.30.0.11", "192.0.2.1", "fd00::1"])),
        ] {
            assert_eq!(answering(&machine, &cidrs(given)), expected, "{given:?}");
        }
    }
}
