//! The backend the agent drives.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use orlop_ebpf::{Address, Cidr, Config, address_flags, config_flags};
use orlop_plan::{
    Backend, BackendError, Changes, Counters, DetectLocal, Endpoint, Family, FlowFilter, Flows, Frontend, NodeFacts,
    NodePortAddresses, Plan, Protocol,
};

use crate::convert::{address, key, mapped_prefix, service, stranger_flags};
use crate::devices::Follower;
use crate::inherit::{self, Inheritance};
use crate::kernel::Held;
use crate::maps::{self, Maps};
use crate::pins::Pins;
use crate::programs::{self, Programs};
use crate::steps::{Edits, Steps};
use crate::stranded::Sweeper;
use crate::table::Table;
use crate::{Error, counters, flows, held, netns, ports, requirements, sizes, takeover};

/// Where the backend works.
#[derive(Clone, Debug)]
pub struct Options {
    /// A directory on a bpffs: maps and links are pinned below it.
    pub bpf_root: PathBuf,
    /// The cgroup2 directory that holds every process whose connections are to be balanced.
    pub cgroup_root: PathBuf,
    /// The cluster's NodePort range (inclusive), which masquerading keeps out of.
    pub node_port_range: (u16, u16),
    /// Whether to attach to devices with TCX links where the kernel has them (6.6), and not with clsact filters.
    pub tcx: bool,
    /// How packets that arrive on devices are given an endpoint.
    pub selection: Selection,
    /// How they get to an endpoint on another node.
    pub forwarding: Forwarding,
    /// Whether devices' drivers translate what they can.
    pub xdp: Xdp,
}

/// Whether packets are translated, and connections begun, in the drivers of devices that have an address of the node's (XDP),
/// without passing the stack; Cilium's names. Never by the kernel's generic substitute for a driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Xdp {
    /// No.
    #[default]
    Disabled,
    /// Where the driver can, virtual cables (veth) among them: whoever sends on those must finish its checksums itself.
    Native,
    /// Where the driver can and nothing else is asked of anybody: not on virtual cables.
    BestEffort,
}

/// How a packet for a NodePort, load balancer or external IP from outside the cluster gets to an endpoint on another node,
/// where the Service's policy is Cluster; Cilium's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forwarding {
    /// With an address of this node as its source, to which the answers return.
    #[default]
    Snat,
    /// Direct server return: with its own source, and the endpoint's node answers the client. Endpoints of this node see the
    /// client, too. Every node of the cluster must do so. The endpoint must be a pod, by the pod networks' CIDRs: what is
    /// to be known of others is too little, and they get [`Self::Snat`].
    Dsr,
    /// TCP as [`Self::Dsr`], UDP as [`Self::Snat`].
    Hybrid,
}

impl Forwarding {
    const fn flags(self) -> u32 {
        match self {
            Self::Snat => 0,
            Self::Dsr => config_flags::DIRECT_TCP | config_flags::DIRECT_UDP,
            Self::Hybrid => config_flags::DIRECT_TCP,
        }
    }
}

/// How an endpoint is chosen for a packet from a device. Sockets of the node's processes choose by chance in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// By chance, each with the same.
    #[default]
    Random,
    /// By the flow (with ClientIP affinity, by the client), where a frontend is reached from outside (NodePort, load
    /// balancer and external IPs): by Maglev tables, which are the same on every node. A connection that comes to another
    /// node goes on with its endpoint, and an endpoint that is removed moves few flows but its own.
    Maglev,
}

/// Makes the kernel equal to the plan. Lives in the node's network namespace.
#[derive(Debug)]
pub struct EbpfBackend {
    options: Options,
    pins: Pins,
    maps: Maps,
    programs: Arc<Programs>,
    devices: Option<Follower>,
    sweeper: Sweeper,
    table: Table,
    /// What another build left, until its programs are gone.
    inheritance: Inheritance,
}

impl EbpfBackend {
    /// Loads the programs over the maps an earlier process left, or fresh ones. Nothing is attached before the first
    /// [`Backend::resync`] has filled them.
    pub fn open(options: Options) -> Result<Self, Error> {
        requirements::check(&options)?;
        let pins = Pins::create(&options.bpf_root)?;
        let inheritance = inherit::take(&pins)?;
        let programs = Arc::new(Programs::load(&pins, options.tcx, options.xdp != Xdp::Disabled)?);
        inherit::note(&pins)?;
        inheritance.copy();
        let maps = Maps::open(&pins.maps)?;
        let sweeper = Sweeper::start(&pins.maps, options.cgroup_root.clone())?;
        Ok(Self { options, pins, maps, programs, devices: None, sweeper, table: Table::default(), inheritance })
    }

    fn put_changes(&mut self, changes: &Changes) -> Result<(), Error> {
        let mut steps = Steps::default();
        let mut udp_lost = false;
        for change in &changes.frontends {
            let Some(key) = key(&change.frontend) else { continue };
            let lost = steps.members.gone.len();
            match &change.after {
                Some(target) => self.table.put(key, &service(target), &mut steps)?,
                None => self.table.remove(&key, &mut steps),
            }
            udp_lost |= change.frontend.protocol == Protocol::Udp && steps.members.gone.len() > lost;
        }
        if let Some(node) = &changes.node {
            self.put_node(node)?;
            if let Some(devices) = &self.devices {
                devices.cover(&node.detect_local)?;
            }
            self.table.set_node(node_addresses(node), &mut steps);
        }
        self.table.finish(&mut steps);
        steps.apply(&self.maps)?;
        if udp_lost {
            self.sweeper.sweep();
        }
        Ok(())
    }

    fn put_all(&mut self, plan: &Plan) -> Result<(), Error> {
        self.put_node(&plan.node)?;
        let held = Held::read(&self.maps)?;
        // Nothing is served yet, or by another backend.
        let first = held.is_idle();
        let mut table = if first { held.table_after(&self.inheritance.frontends) } else { held.table() };
        if self.options.selection == Selection::Maglev {
            table.set_lookups(sizes::of("MAGLEV"));
        }
        let adopted = table.len();
        let mut unused = Steps::default();
        let wanted: HashSet<_> = plan.frontends.keys().filter_map(key).collect();
        let gone: Vec<_> = table.keys().filter(|key| !wanted.contains(key)).copied().collect();
        gone.iter().for_each(|key| table.remove(key, &mut unused));
        for (frontend, target) in &plan.frontends {
            if let Some(key) = key(frontend) {
                table.put(key, &service(target), &mut unused)?;
            }
        }
        table.set_node(node_addresses(&plan.node), &mut unused);
        table.finish(&mut unused);
        let mut steps = held.steps_to(&table);
        tracing::info!(adopted, frontends = table.len(), written = steps.len(), "made the eBPF maps equal to the plan");
        // No address means anything until every device has its programs: the answers would come in where there is none.
        let addresses = if first { std::mem::take(&mut steps.addresses.set) } else { Vec::new() };
        steps.apply(&self.maps)?;
        self.table = table;
        self.attach(&plan.node.detect_local)?;
        if first {
            self.take_over(&plan.node);
        }
        self.maps.addresses.update(&addresses)?;
        // Only now is another build not needed any more.
        std::mem::take(&mut self.inheritance).copy();
        self.pins.remove_others()?;
        self.sweeper.sweep();
        Ok(())
    }

    /// Flows that nftables translates go on with their endpoints.
    fn take_over(&self, node: &NodeFacts) {
        let ours = node.addresses.iter().map(|ip| address(*ip)).collect();
        match takeover::import(&self.pins.maps, &self.options.cgroup_root, &self.table, &ours) {
            Ok(0) => {}
            Ok(flows) => tracing::info!(flows, "flows of connection tracking go on with their endpoints"),
            Err(error) => tracing::warn!(%error, "UDP flows may change their endpoints"),
        }
    }

    fn put_node(&self, node: &NodeFacts) -> Result<(), Error> {
        let (port_min, port_count) = ports::ours(netns::local_ports(), self.options.node_port_range);
        let config = Config {
            netns: netns::cookie()?,
            flags: stranger_flags(node) | self.options.forwarding.flags(),
            port_min: port_min.into(),
            port_count: port_count.into(),
            talked: 0,
            v4: node_address(node, Family::V4).map_or(Address::v4(0), address),
            v6: node_address(node, Family::V6).map_or(Address::default(), address),
        };
        let mut cidrs = Edits::<Cidr, u32>::default();
        for cidr in node.detect_local.cidrs() {
            let prefix = mapped_prefix(cidr.addr(), cidr.prefix_len());
            cidrs.set.push((Cidr { prefix, address: address(cidr.network()) }, 0));
        }
        cidrs.less_held(self.maps.cluster_cidrs.dump()?);
        self.maps.cluster_cidrs.update_each(&cidrs.set)?;
        self.maps.config.update(&[(0, config)])?;
        self.maps.cluster_cidrs.delete_each(&cidrs.gone)
    }

    fn attach(&mut self, pods: &DetectLocal) -> Result<(), Error> {
        let path = &self.options.cgroup_root;
        let cgroup = File::open(path).map_err(Error::file(path))?;
        let inode = cgroup.metadata().map_err(Error::file(path))?.ino();
        match &self.devices {
            Some(devices) => devices.cover(pods)?,
            None => {
                let map = maps::devices(&self.pins.maps)?;
                self.devices = Some(Follower::start(self.programs.clone(), map, pods.clone(), self.options.xdp)?);
            }
        }
        self.programs.attach_to_cgroup(cgroup.as_fd(), inode)
    }
}

impl Backend for EbpfBackend {
    fn mode(&self) -> &'static str {
        "ebpf"
    }

    fn sync(&mut self, _plan: &Plan, changes: &Changes) -> Result<(), BackendError> {
        Ok(self.put_changes(changes)?)
    }

    fn resync(&mut self, plan: &Plan) -> Result<(), BackendError> {
        Ok(self.put_all(plan)?)
    }

    fn cleanup(&mut self) -> Result<(), BackendError> {
        self.devices = None;
        self.table = Table::default();
        Ok(remove(&self.options.bpf_root)?)
    }

    fn limits(&self) -> Vec<String> {
        let mut limits = vec![
            "packets that arrive on devices without Ethernet headers (WireGuard, tun) are not translated".to_owned(),
            "loadBalancerSourceRanges judge a process of the node by the address its socket is bound to, or else by the \
             node's first"
                .to_owned(),
        ];
        if self.options.forwarding != Forwarding::Snat {
            limits.push(
                "clients are answered directly where the endpoint's address is in a cluster CIDR and every node forwards \
                 so; other endpoints see an address of this node"
                    .to_owned(),
            );
        }
        if self.options.xdp != Xdp::Disabled {
            limits.push(
                "drivers (XDP) send on what leaves by a device that takes frames of them; what is for endpoints on this \
                 node, or behind an overlay's device, comes in fragments, has options, is refused or too large, and \
                 ICMP errors pass the stack's own hook"
                    .to_owned(),
            );
        }
        limits.extend(requirements::without_sys_admin());
        limits
    }

    fn keeps_source(&self, node: &NodeFacts, protocol: Protocol, endpoint: &Endpoint) -> bool {
        let flag = match protocol {
            Protocol::Tcp => config_flags::DIRECT_TCP,
            Protocol::Udp => config_flags::DIRECT_UDP,
            // It is nftables'.
            Protocol::Sctp => return false,
        };
        let is_pod = || node.detect_local.cidrs().iter().any(|cidr| cidr.contains(&endpoint.address));
        self.options.forwarding.flags() & flag != 0 && (endpoint.local || is_pod())
    }

    fn held(&mut self, frontend: &Frontend) -> Result<Option<orlop_plan::Held>, BackendError> {
        match key(frontend) {
            Some(key) => Ok(held::read(&self.maps, &key)?),
            None => Ok(None),
        }
    }

    fn flows(&mut self, wanted: &FlowFilter) -> Result<Flows, BackendError> {
        Ok(flows::read(&self.pins.maps, &self.options.cgroup_root, wanted)?)
    }

    fn counters(&mut self) -> Result<Counters, BackendError> {
        Ok(counters::read(&self.maps, &self.table)?)
    }
}

/// Removes what any agent attached in this network namespace and pinned under this directory, whatever its build;
/// nothing is translated when the kernel has let go of them, a moment later.
pub fn remove(bpf_root: &Path) -> Result<(), Error> {
    Pins::under(bpf_root).remove_all()?;
    programs::detach_filters()
}

/// The node's address of a family: the first that NodePorts answer on, or its first.
fn node_address(node: &NodeFacts, family: Family) -> Option<IpAddr> {
    let ours = |ip: &&IpAddr| Family::of(**ip) == family && !ip.is_loopback() && !ip.is_unspecified();
    let first = node.addresses.iter().filter(ours).find(|ip| node.answers_node_ports(**ip));
    first.or_else(|| node.addresses.iter().find(ours)).copied()
}

fn node_addresses(node: &NodeFacts) -> HashMap<Address, u32> {
    let only = match &node.node_ports {
        NodePortAddresses::Only(list) => list.as_slice(),
        NodePortAddresses::AnyLocal => &[],
    };
    let mut all = HashMap::new();
    for ip in node.addresses.iter().chain(only).filter(|ip| !ip.is_unspecified()) {
        let node_ports = if node.answers_node_ports(*ip) { address_flags::NODE_PORTS } else { 0 };
        let loopback = if ip.is_loopback() { address_flags::LOOPBACK } else { 0 };
        all.insert(address(*ip), address_flags::NODE | node_ports | loopback);
    }
    all
}
