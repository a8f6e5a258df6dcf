//! One node's overlay: a network namespace kept equal to what the Nodes ask for.

use crate::device::{self, Uplink, Vxlan};
use crate::error::Result;
use crate::files::{self, PodNetwork};
use crate::kernel;
use crate::nft::Nft;
use crate::node::{Mac, NodeNet, announcement};
use crate::plan::{Mode, desired};
use ipnet::Ipv4Net;
use orlop_netns::{Net, NetNs};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// What the overlay is told once.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The Node's name.
    pub node_name: String,
    /// The node's address; the device that has it is the uplink.
    pub node_ip: Ipv4Addr,
    /// How packets travel.
    pub mode: Mode,
    /// All pods' addresses: what leaves this range is masqueraded.
    pub cluster_cidr: Ipv4Net,
    /// Where the CNI configuration list goes.
    pub cni_conf_dir: PathBuf,
    /// Where the plugin keeps its leases.
    pub cni_data_dir: PathBuf,
    /// Where `subnet.env` goes.
    pub run_dir: PathBuf,
    /// The `nft` program.
    pub nft: PathBuf,
}

/// The overlay of one network namespace.
pub struct Overlay {
    settings: Settings,
    ns: NetNs,
    net: Net,
    nft: Nft,
}

/// What [`Overlay::prepare`] found or made.
struct Ground {
    uplink: Uplink,
    vxlan: Option<(u32, Mac)>,
}

impl Overlay {
    /// An overlay in `ns`, usually [`NetNs::current`].
    pub async fn new(settings: Settings, ns: NetNs) -> Result<Self> {
        let net = ns.connect().await?;
        let nft = Nft::new(settings.nft.clone(), ns.clone());
        Ok(Self { settings, ns, net, nft })
    }

    /// Brings the node's own side up for its podCIDR: device, sysctls, masquerade, files. Returns the annotations that its Node must carry.
    /// `announced` is the MAC address of its VXLAN end that the Node carries already.
    pub async fn prepare(&mut self, pod_cidr: Ipv4Net, announced: Option<Mac>) -> Result<BTreeMap<String, String>> {
        let mode = self.settings.mode;
        self.ns.sysctl(&[
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv4/conf/all/rp_filter", "0"),
            ("net/ipv4/conf/default/rp_filter", "0"),
        ])?;
        let ground = self.ground(pod_cidr, announced).await?;
        let cluster = self.settings.cluster_cidr;
        if self.nft.masquerade(cluster)? {
            tracing::info!(%cluster, "masquerading what leaves the cluster");
        }
        if self.nft.open_forward(cluster)? {
            tracing::warn!("the FORWARD chain drops: pods are now let through it");
        }
        let network = PodNetwork {
            cluster_cidr: cluster,
            pod_cidr,
            mtu: ground.uplink.mtu - mode.overhead(),
            data_dir: &self.settings.cni_data_dir,
            nft: &self.settings.nft,
        };
        files::write_subnet_env(&self.settings.run_dir, &network)?;
        files::write_conflist(&self.settings.cni_conf_dir, &network)?;
        Ok(announcement(&mode, self.settings.node_ip, ground.vxlan.map(|(_, mac)| mac)))
    }

    /// Makes routes, neighbours and forwarding entries those that `nodes` ask for; says how many were changed.
    /// The node's own side must have been prepared.
    pub async fn sync(&mut self, nodes: &[NodeNet]) -> Result<usize> {
        let uplink = device::uplink(&self.net, self.settings.node_ip).await?;
        let plan = desired(nodes, &self.settings.node_name, &self.settings.mode, uplink.address);
        for (node, reason) in &plan.skipped {
            tracing::debug!(node, %reason, "node has no route");
        }
        let vxlan = match self.settings.mode {
            Mode::Vxlan { vni, .. } => Some(self.net.index(&device::vxlan_name(vni)).await?),
            Mode::HostGw => None,
        };
        let changes = kernel::sync(&self.net, &plan, vxlan.unwrap_or(uplink.index), vxlan).await?;
        if changes > 0 {
            tracing::info!(changes, routes = plan.routes.len(), "pod network repaired or changed");
        }
        Ok(changes)
    }

    async fn ground(&self, pod_cidr: Ipv4Net, announced: Option<Mac>) -> Result<Ground> {
        let uplink = device::uplink(&self.net, self.settings.node_ip).await?;
        let Mode::Vxlan { vni, port } = self.settings.mode else {
            // Left from the other mode; its routes go with it.
            self.net.delete_link(&device::vxlan_name(1)).await?;
            return Ok(Ground { uplink, vxlan: None });
        };
        let wanted = Vxlan {
            vni,
            port,
            uplink,
            address: pod_cidr.network(),
            mtu: uplink.mtu - self.settings.mode.overhead(),
            mac: announced,
        };
        let vxlan = device::ensure_vxlan(&self.net, &wanted).await?;
        Ok(Ground { uplink, vxlan: Some(vxlan) })
    }
}
