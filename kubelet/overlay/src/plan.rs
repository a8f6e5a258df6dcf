//! What must be in the kernel for the Nodes that there are: a function of values.

use crate::node::{Mac, NodeNet, Unusable};
use ipnet::Ipv4Net;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// How packets reach another node's pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// In UDP, over any network.
    Vxlan {
        /// The network identifier, 1 by default.
        vni: u32,
        /// The UDP port, 8472 by default.
        port: u16,
    },
    /// As they are, by way of the node: all nodes are on one layer-2 network.
    HostGw,
}

impl Mode {
    /// flannel's word for it.
    pub fn backend_type(&self) -> &'static str {
        match self {
            Self::Vxlan { .. } => "vxlan",
            Self::HostGw => "host-gw",
        }
    }

    /// Bytes that encapsulation takes from the uplink's MTU.
    pub(crate) fn overhead(&self) -> u32 {
        match self {
            Self::Vxlan { .. } => 50,
            Self::HostGw => 0,
        }
    }
}

/// Where a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextHop {
    /// The gateway.
    pub gateway: Ipv4Addr,
    /// The gateway is reached through the device though no address there says so.
    pub onlink: bool,
}

/// Kernel state for all other Nodes. In vxlan mode all of it is on the VXLAN device, in host-gw mode routes are on the uplink and the rest is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// podCIDR to next hop.
    pub routes: BTreeMap<Ipv4Net, NextHop>,
    /// Permanent ARP entries of the VXLAN device.
    pub neighbours: BTreeMap<Ipv4Addr, Mac>,
    /// Permanent forwarding entries of the VXLAN device.
    pub fdb: BTreeMap<Mac, Ipv4Addr>,
    /// Nodes that cannot be reached yet, and why.
    pub skipped: BTreeMap<String, Unusable>,
}

/// Computes the state that node `me` needs; `uplink` is the address and network of its uplink.
pub fn desired(nodes: &[NodeNet], me: &str, mode: &Mode, uplink: Ipv4Net) -> Desired {
    let mut sorted: Vec<_> = nodes.iter().collect();
    // Mine first: a Node that wrongly has my podCIDR must not take it away from me.
    sorted.sort_by_key(|node| (node.name != me, &node.name));
    let mut taken: Vec<Ipv4Net> = Vec::new();
    let mut desired = Desired::default();
    for node in sorted {
        let overlaps = taken.iter().any(|cidr| cidr.contains(&node.pod_cidr) || node.pod_cidr.contains(cidr));
        let added = match overlaps {
            true => Err(Unusable::Overlap(node.pod_cidr)),
            false if node.name == me => Ok(()),
            false => add(&mut desired, node, mode, uplink),
        };
        match added {
            Ok(()) => taken.push(node.pod_cidr),
            Err(reason) => drop(desired.skipped.insert(node.name.clone(), reason)),
        }
    }
    desired
}

fn add(desired: &mut Desired, node: &NodeNet, mode: &Mode, uplink: Ipv4Net) -> Result<(), Unusable> {
    if node.backend.as_deref() != Some(mode.backend_type()) {
        return Err(Unusable::OtherBackend(node.backend.clone()));
    }
    match mode {
        Mode::Vxlan { vni, .. } => {
            let vtep = node.vtep.filter(|vtep| vtep.vni == *vni).ok_or(Unusable::NoVtep)?;
            // flannel's convention: the podCIDR's first address is that of the node's VXLAN device.
            let gateway = node.pod_cidr.network();
            desired.routes.insert(node.pod_cidr, NextHop { gateway, onlink: true });
            desired.neighbours.insert(gateway, vtep.mac);
            desired.fdb.insert(vtep.mac, node.public_ip);
        }
        Mode::HostGw => {
            if !uplink.trunc().contains(&node.public_ip) {
                return Err(Unusable::NotOnLink(node.public_ip));
            }
            desired.routes.insert(node.pod_cidr, NextHop { gateway: node.public_ip, onlink: false });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Vtep;

    const VXLAN: Mode = Mode::Vxlan { vni: 1, port: 8472 };

    fn node(n: u8, mode: &Mode) -> NodeNet {
        NodeNet {
            name: format!("node{n}"),
            pod_cidr: Ipv4Net::new_assert(Ipv4Addr::new(10, 244, n, 0), 24),
            public_ip: Ipv4Addr::new(172, 30, 0, 10 + n),
            backend: Some(mode.backend_type().into()),
            vtep: Some(Vtep { vni: 1, mac: Mac([2, 0, 0, 0, 0, n]) }),
        }
    }

    fn uplink() -> Ipv4Net {
        "172.30.0.11/24".parse().unwrap()
    }

    #[test]
    fn vxlan_reaches_each_other_node_through_its_vxlan_end() {
        let plan = desired(&[node(1, &VXLAN), node(2, &VXLAN), node(3, &VXLAN)], "node1", &VXLAN, uplink());
        let gateway = Ipv4Addr::new(10, 244, 2, 0);
        assert_eq!(plan.routes.len(), 2);
        assert_eq!(plan.routes[&"10.244.2.0/24".parse().unwrap()], NextHop { gateway, onlink: true });
        assert_eq!(plan.neighbours[&gateway], Mac([2, 0, 0, 0, 0, 2]));
        assert_eq!(plan.fdb[&Mac([2, 0, 0, 0, 0, 2])], Ipv4Addr::new(172, 30, 0, 12));
        assert!(plan.skipped.is_empty());
    }

    #[test]
    fn host_gw_routes_by_way_of_the_node_and_needs_nothing_else() {
        let plan = desired(&[node(1, &Mode::HostGw), node(2, &Mode::HostGw)], "node1", &Mode::HostGw, uplink());
        let gateway = Ipv4Addr::new(172, 30, 0, 12);
        assert_eq!(plan.routes[&"10.244.2.0/24".parse().unwrap()], NextHop { gateway, onlink: false });
        assert!(plan.neighbours.is_empty() && plan.fdb.is_empty());
    }

    #[test]
    fn nodes_that_cannot_be_reached_are_named_with_the_reason() {
        let far = NodeNet { public_ip: Ipv4Addr::new(10, 0, 0, 1), ..node(2, &Mode::HostGw) };
        let vxlan = node(3, &VXLAN);
        let plan = desired(&[node(1, &Mode::HostGw), far, vxlan], "node1", &Mode::HostGw, uplink());
        assert!(plan.routes.is_empty());
        assert_eq!(plan.skipped["node2"], Unusable::NotOnLink(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(plan.skipped["node3"], Unusable::OtherBackend(Some("vxlan".into())));

        let other = NodeNet { vtep: Some(Vtep { vni: 7, mac: Mac([0; 6]) }), ..node(2, &VXLAN) };
        let plan = desired(&[node(1, &VXLAN), other], "node1", &VXLAN, uplink());
        assert_eq!(plan.skipped["node2"], Unusable::NoVtep);
    }

    #[test]
    fn nobody_takes_my_pod_cidr_away() {
        let thief = NodeNet { pod_cidr: "10.244.0.0/16".parse().unwrap(), ..node(0, &VXLAN) };
        let plan = desired(&[thief, node(1, &VXLAN), node(2, &VXLAN)], "node1", &VXLAN, uplink());
        assert_eq!(plan.routes.len(), 1);
        assert_eq!(plan.skipped["node0"], Unusable::Overlap("10.244.0.0/16".parse().unwrap()));
    }
}
