//! What an agent is told. Names and defaults follow kube-proxy's `KubeProxyConfiguration`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
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
    /// Local addresses in these networks; `0.0.0.0/0` and `::/0` mean every one but loopback's.
    Cidrs(Vec<IpNet>),
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
    /// The node's address, for the time before its Node object says so.
    pub node_ip: Option<IpAddr>,
    /// `detectLocalMode` with what it needs.
    pub detect_local: DetectLocal,
    /// `nftables.masqueradeAll`: callers of cluster IPs are always masqueraded.
    pub masquerade_all: bool,
    /// Where NodePorts answer.
    pub node_port_addresses: NodePortAddressPolicy,
    /// The API server's `--service-node-port-range`, inclusive.
    pub node_port_range: (u16, u16),
    /// A directory on a bpffs for eBPF's pins.
    pub bpf_root: PathBuf,
    /// The cgroup2 directory that holds every process whose connections eBPF balances.
    pub cgroup_root: PathBuf,
    /// `healthzBindAddress`; none serves no health.
    pub healthz_bind_address: Option<SocketAddr>,
    /// `metricsBindAddress`; none serves no metrics.
    pub metrics_bind_address: Option<SocketAddr>,
    /// `minSyncPeriod`: changes within it are programmed together.
    pub min_sync_period: Duration,
    /// `syncPeriod`: how often the kernel is compared with the plan although nothing changed.
    pub sync_period: Duration,
}

impl Config {
    /// Defaults for a node.
    pub fn new(node_name: impl Into<String>, client: kube::Client) -> Self {
        Self {
            node_name: node_name.into(),
            client,
            mode: Mode::Ebpf,
            node_ip: None,
            detect_local: DetectLocal::Cidrs(Vec::new()),
            masquerade_all: false,
            node_port_addresses: NodePortAddressPolicy::Primary,
            node_port_range: (30_000, 32_767),
            bpf_root: PathBuf::from("/sys/fs/bpf/orlop"),
            cgroup_root: PathBuf::from("/sys/fs/cgroup"),
            healthz_bind_address: Some((Ipv4Addr::UNSPECIFIED, 10_256).into()),
            metrics_bind_address: Some((Ipv4Addr::LOCALHOST, 10_249).into()),
            min_sync_period: Duration::from_millis(10),
            sync_period: Duration::from_secs(60),
        }
    }
}
