//! What an agent is told. Names and defaults follow kube-proxy's `KubeProxyConfiguration`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use orlop_bpf::{Forwarding, Selection, Xdp};
use orlop_plan::DetectLocal;

/// Which backend programs the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// eBPF at the sockets and devices; falls back to nftables, saying why, where the kernel or a privilege is missing.
    Ebpf,
    /// Elements of nftables maps.
    Nftables,
}

/// `nodePortAddresses`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodePortAddressPolicy {
    /// `primary`: the Node's first InternalIP of each family, kube-proxy's default in nftables mode.
    Primary,
    /// Local addresses in these networks. `0.0.0.0/0` and `::/0`, which are also what a family without a network has,
    /// mean every one but loopback's, which must be named.
    Cidrs(Vec<IpNet>),
}

/// How pods are told from strangers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DetectLocalMode {
    /// By something that does not change.
    Known(DetectLocal),
    /// `NodeCIDR`: by the Node's `spec.podCIDRs`; nothing is programmed before it has any.
    NodeCidr,
}

/// `conntrack`: what is none or 0 stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConntrackLimits {
    /// `maxPerCore`.
    pub max_per_core: u32,
    /// `min`.
    pub min: u32,
    /// `tcpEstablishedTimeout`.
    pub tcp_established_timeout: Option<Duration>,
    /// `tcpCloseWaitTimeout`.
    pub tcp_close_wait_timeout: Option<Duration>,
    /// `tcpBeLiberal`.
    pub tcp_be_liberal: bool,
    /// `udpTimeout`.
    pub udp_timeout: Option<Duration>,
    /// `udpStreamTimeout`.
    pub udp_stream_timeout: Option<Duration>,
}

/// Everything [`crate::run`] needs.
#[derive(Clone)]
pub struct Config {
    /// The Node this agent runs on.
    pub node_name: String,
    /// The cluster, as `system:kube-proxy`: list and watch services, endpointslices and nodes.
    pub client: kube::Client,
    /// The wanted backend.
    pub mode: Mode,
    /// The node's first address of its family, whatever its Node object says: kube-proxy's `bindAddress`.
    pub node_ip: Option<IpAddr>,
    /// `detectLocalMode` with what it needs.
    pub detect_local: DetectLocalMode,
    /// `nftables.masqueradeAll`: callers of cluster IPs are always masqueraded.
    pub masquerade_all: bool,
    /// `nftables.masqueradeBit`, or in mode iptables its own: the bit of the packet mark that says masquerade.
    pub masquerade_bit: u8,
    /// The gate `AllowServiceExternalIPs`.
    pub external_ips: bool,
    /// Where NodePorts answer.
    pub node_port_addresses: NodePortAddressPolicy,
    /// The API server's `--service-node-port-range`, inclusive.
    pub node_port_range: (u16, u16),
    /// A directory on a bpffs for eBPF's pins.
    pub bpf_root: PathBuf,
    /// The cgroup2 directory that holds every process whose connections eBPF balances.
    pub cgroup_root: PathBuf,
    /// How eBPF chooses an endpoint for a packet from a device.
    pub selection: Selection,
    /// How eBPF sends such a packet to an endpoint on another node; the same on every node.
    pub forwarding: Forwarding,
    /// Whether devices' drivers translate what they can.
    pub xdp: Xdp,
    /// `healthzBindAddress`; none serves no health.
    pub healthz_bind_address: Option<SocketAddr>,
    /// `metricsBindAddress`; none serves no metrics.
    pub metrics_bind_address: Option<SocketAddr>,
    /// Whether an address that cannot be bound is an end; otherwise it is tried again for ever.
    pub bind_address_hard_fail: bool,
    /// `minSyncPeriod`: changes within it are programmed together.
    pub min_sync_period: Duration,
    /// `syncPeriod`: how often the kernel is compared with the plan although nothing changed.
    pub sync_period: Duration,
    /// `oomScoreAdj` for this process; a refusal is reported and survived.
    pub oom_score_adj: Option<i32>,
    /// Limits of conntrack; a refusal is reported and survived.
    pub conntrack: Option<ConntrackLimits>,
    /// Cluster DNS on this node; none leaves it to others.
    pub cluster_dns: Option<crate::ClusterDns>,
    /// The body of `/configz`.
    pub configz: String,
    /// What `/flagz` lists.
    pub flagz: BTreeMap<String, String>,
}

impl Config {
    /// Defaults for a node.
    pub fn new(node_name: impl Into<String>, client: kube::Client) -> Self {
        Self {
            node_name: node_name.into(),
            client,
            mode: Mode::Ebpf,
            node_ip: None,
            detect_local: DetectLocalMode::Known(DetectLocal::Cidrs(Vec::new())),
            masquerade_all: false,
            masquerade_bit: orlop_plan::MASQUERADE_BIT,
            external_ips: true,
            node_port_addresses: NodePortAddressPolicy::Primary,
            node_port_range: (30_000, 32_767),
            selection: Selection::Random,
            forwarding: Forwarding::Snat,
            xdp: Xdp::Disabled,
            bpf_root: PathBuf::from("/sys/fs/bpf/orlop"),
            cgroup_root: PathBuf::from("/sys/fs/cgroup"),
            healthz_bind_address: Some((Ipv4Addr::UNSPECIFIED, 10_256).into()),
            metrics_bind_address: Some((Ipv4Addr::LOCALHOST, 10_249).into()),
            min_sync_period: Duration::from_millis(10),
            bind_address_hard_fail: true,
            sync_period: Duration::from_secs(60),
            oom_score_adj: None,
            conntrack: None,
            cluster_dns: None,
            configz: "{}".into(),
            flagz: BTreeMap::new(),
        }
    }
}
