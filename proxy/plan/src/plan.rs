//! The plan itself: every frontend with its target, as one cheaply cloned value.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use imbl::OrdMap;

use crate::{Frontend, FrontendKind, NodeFacts, Protocol, Target};

/// What the kernel must do. Clones are cheap and share what is equal, which makes [`crate::diff`] cheap too.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Every frontend and what its packets get.
    pub frontends: OrdMap<Frontend, Arc<Target>>,
    /// The node the plan is for.
    pub node: Arc<NodeFacts>,
}

impl Plan {
    /// The target of a frontend.
    pub fn get(&self, frontend: &Frontend) -> Option<&Arc<Target>> {
        self.frontends.get(frontend)
    }

    /// Whether some Service has this cluster IP: then its other ports refuse connections.
    pub fn is_cluster_ip(&self, address: IpAddr) -> bool {
        let range = Frontend::ip(address, Protocol::Tcp, 0)..=Frontend::ip(address, Protocol::Sctp, u16::MAX);
        self.frontends.range(range).any(|(_, target)| target.kind == FrontendKind::ClusterIp)
    }

    /// Every distinct cluster IP.
    pub fn cluster_ips(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let mut last = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        self.frontends.iter().filter_map(move |(frontend, target)| match frontend.address {
            crate::FrontendAddress::Ip(ip) if target.kind == FrontendKind::ClusterIp && ip != last => {
                last = ip;
                Some(ip)
            }
            _ => None,
        })
    }
}
