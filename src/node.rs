//! `orlop node`: kubelet, overlay and proxy of one machine, each under its own user.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use ipnet::{IpNet, Ipv4Net};
use kube::config::{KubeConfigOptions, Kubeconfig};
use orlop_proxy::{DetectLocal, DetectLocalMode};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// CoreDNS' own, and the Service's.
pub const DNS_METRICS_PORT: u16 = 9153;

/// Which parts of a node run in this process.
#[derive(Clone, Copy)]
pub struct Rooms {
    kubelet: bool,
    overlay: bool,
    proxy: bool,
}

impl Rooms {
    /// A whole node.
    pub const ALL: Self = Self { kubelet: true, overlay: true, proxy: true };
    /// Only the kubelet.
    pub const KUBELET: Self = Self { kubelet: true, overlay: false, proxy: false };
    /// Only the overlay.
    pub const OVERLAY: Self = Self { kubelet: false, overlay: true, proxy: false };
}

/// Flags of `orlop node`.
#[derive(Args, Clone)]
pub struct Flags {
    /// The Node's name.
    #[arg(long)]
    node_name: String,
    /// The Node's InternalIP.
    #[arg(long)]
    node_ip: IpAddr,
    /// A folder with kubelet.kubeconfig, proxy.kubeconfig, overlay.kubeconfig, kubelet.crt, kubelet.key and ca.crt.
    #[arg(long)]
    kubeconfig_dir: PathBuf,
    /// The container runtime's socket.
    #[arg(long, default_value = "/run/containerd/containerd.sock")]
    cri_socket: PathBuf,
    /// Pods' volumes.
    #[arg(long, default_value = "/var/lib/kubelet")]
    root_dir: PathBuf,
    /// Containers' logs.
    #[arg(long, default_value = "/var/log/pods")]
    log_dir: PathBuf,
    /// Files that need not survive a reboot (subnet.env).
    #[arg(long, default_value = "/run/orlop")]
    run_dir: PathBuf,
    /// Where the CNI configuration goes.
    #[arg(long, default_value = "/etc/cni/net.d")]
    cni_conf_dir: PathBuf,
    /// Where the CNI plugin keeps its leases.
    #[arg(long, default_value = "/var/lib/cni")]
    cni_data_dir: PathBuf,
    /// ebpf or nftables; none leaves Services, and cluster DNS with them, to another proxy (`orlop manifest proxy`).
    #[arg(long, default_value = "ebpf", value_parser = ["ebpf", "nftables", "none"])]
    proxy_mode: String,
    /// How eBPF chooses an endpoint for a packet from a device.
    #[arg(long, value_enum, default_value_t)]
    ebpf_selection: crate::flags::EbpfSelection,
    /// How eBPF sends a packet from outside to an endpoint on another node, where the Service's externalTrafficPolicy is
    /// Cluster; the same on every node.
    #[arg(long, value_enum, default_value_t)]
    ebpf_forwarding: crate::flags::EbpfForwarding,
    /// Whether eBPF translates packets of established connections in the drivers of devices that have an address (XDP).
    #[arg(long, value_enum, default_value_t)]
    ebpf_xdp: crate::flags::EbpfXdp,
    /// vxlan or host-gw.
    #[arg(long, default_value = "vxlan", value_parser = ["vxlan", "host-gw"])]
    overlay: String,
    /// The addresses of cluster DNS, which pods are told; `none` for a cluster without.
    #[arg(long, default_value = "10.96.0.10", value_delimiter = ',')]
    cluster_dns: Vec<String>,
    /// The cluster's domain.
    #[arg(long, default_value = "cluster.local")]
    cluster_domain: String,
    /// The port of the node's address at which its proxy answers cluster DNS, UDP and TCP; 0 leaves cluster DNS to others.
    #[arg(long, default_value_t = 10_053)]
    dns_port: u16,
    /// The name servers of everything that is not the cluster's.
    #[arg(long, default_value = "/etc/resolv.conf")]
    resolv_conf: PathBuf,
    /// Addresses of pods.
    #[arg(long, default_value = "10.244.0.0/16")]
    cluster_cidr: Ipv4Net,
    /// A folder on a bpffs for the proxy's pins.
    #[arg(long, default_value = "/sys/fs/bpf/orlop")]
    bpf_root: PathBuf,
    /// The cgroup2 group of every process whose connections the proxy balances.
    #[arg(long, default_value = "/sys/fs/cgroup")]
    cgroup_root: PathBuf,
    /// How long the node counts as alive after its last heartbeat (its Lease's leaseDurationSeconds; renewed four times as often).
    #[arg(long, default_value = "40s", value_parser = crate::flags::duration)]
    node_lease_duration: Duration,
    /// When the node tells of pressure: `memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%` unless told otherwise.
    #[arg(long, default_value = "")]
    eviction_hard: orlop_kubelet::EvictionThresholds,
}

/// Runs the rooms until one fails or all are told to stop.
pub async fn run(flags: Flags, rooms: Rooms, stop: CancellationToken) -> Result<()> {
    let mut tasks = JoinSet::new();
    if rooms.overlay {
        let (flags, stop) = (flags.clone(), stop.clone());
        tasks.spawn(async move { overlay(&flags, stop).await.context("the pod network failed") });
    }
    if rooms.proxy && flags.proxy_mode != "none" {
        let (flags, stop) = (flags.clone(), stop.clone());
        tasks.spawn(async move { proxy(&flags, stop).await.context("the service proxy failed") });
    }
    if rooms.kubelet {
        let (flags, stop) = (flags.clone(), stop.clone());
        tasks.spawn(async move { kubelet(&flags, stop).await.context("the kubelet failed") });
    }
    let mut result = Ok(());
    while let Some(ended) = tasks.join_next().await {
        let ended = ended.map_err(|error| anyhow!("a room panicked: {error}")).and_then(|ended| ended);
        if result.is_ok() {
            result = ended;
        }
        stop.cancel();
    }
    result
}

async fn client(path: &Path, agent: &'static str) -> Result<kube::Client> {
    let doing = || format!("reading kubeconfig {}", path.display());
    let kubeconfig = Kubeconfig::read_from(path).with_context(doing)?;
    let config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.with_context(doing)?;
    crate::client::connect(config, agent).with_context(doing)
}

async fn overlay(flags: &Flags, stop: CancellationToken) -> Result<()> {
    let client = client(&flags.kubeconfig_dir.join("overlay.kubeconfig"), "orlop-overlay").await?;
    let IpAddr::V4(node_ip) = flags.node_ip else { bail!("--node-ip {}: the overlay speaks IPv4 only", flags.node_ip) };
    let settings = orlop_overlay::Settings {
        node_name: flags.node_name.clone(),
        node_ip,
        mode: match flags.overlay.as_str() {
            "vxlan" => orlop_overlay::Mode::Vxlan { vni: 1, port: 8472 },
            _ => orlop_overlay::Mode::HostGw,
        },
        nft: PathBuf::from("nft"),
        cluster_cidr: flags.cluster_cidr,
        run_dir: flags.run_dir.clone(),
        cni_conf_dir: flags.cni_conf_dir.clone(),
        cni_data_dir: flags.cni_data_dir.clone(),
    };
    Ok(orlop_overlay::run(orlop_overlay::Config { client, settings }, stop).await?)
}

async fn proxy(flags: &Flags, stop: CancellationToken) -> Result<()> {
    let client = client(&flags.kubeconfig_dir.join("proxy.kubeconfig"), "kube-proxy").await?;
    let config = orlop_proxy::Config {
        mode: if flags.proxy_mode == "ebpf" { orlop_proxy::Mode::Ebpf } else { orlop_proxy::Mode::Nftables },
        node_ip: Some(flags.node_ip),
        detect_local: DetectLocalMode::Known(DetectLocal::Cidrs(vec![IpNet::V4(flags.cluster_cidr)])),
        selection: flags.ebpf_selection.into(),
        forwarding: flags.ebpf_forwarding.into(),
        xdp: flags.ebpf_xdp.into(),
        conntrack: Some(orlop_proxy::KubeProxyConfiguration::with_defaults().conntrack_limits()),
        bpf_root: flags.bpf_root.clone(),
        cgroup_root: flags.cgroup_root.clone(),
        cluster_dns: (flags.dns_port != 0).then(|| orlop_proxy::ClusterDns {
            serve: orlop_dns::Config {
                domain: flags.cluster_domain.clone(),
                resolv_conf: flags.resolv_conf.clone(),
                clients: vec![IpNet::V4(flags.cluster_cidr)],
                ..orlop_dns::Config::new(vec![SocketAddr::new(flags.node_ip, flags.dns_port)])
            },
            metrics_bind_address: Some(SocketAddr::new(flags.node_ip, DNS_METRICS_PORT)),
            take_over: None,
        }),
        ..orlop_proxy::Config::new(flags.node_name.clone(), client)
    };
    Ok(orlop_proxy::run(config, stop).await?)
}

async fn kubelet(flags: &Flags, stop: CancellationToken) -> Result<()> {
    let client = client(&flags.kubeconfig_dir.join("kubelet.kubeconfig"), "kubelet").await?;
    let read = |name: &str| {
        let path = flags.kubeconfig_dir.join(name);
        std::fs::read(&path).with_context(|| format!("reading {}", path.display()))
    };
    let tls = orlop_kubelet::server_tls(&read("kubelet.crt")?, &read("kubelet.key")?, &read("ca.crt")?)?;
    let mut config =
        orlop_kubelet::Config::new(flags.node_name.clone(), flags.node_ip, client, flags.cri_socket.clone(), tls);
    config.root_dir.clone_from(&flags.root_dir);
    config.log_dir.clone_from(&flags.log_dir);
    config.cluster_dns = match &flags.cluster_dns[..] {
        [none] if none == "none" => Vec::new(),
        addresses => addresses
            .iter()
            .map(|address| address.parse::<IpAddr>().with_context(|| format!("--cluster-dns {address:?}: no address")))
            .collect::<Result<_>>()?,
    };
    config.cluster_domain.clone_from(&flags.cluster_domain);
    config.resolv_conf.clone_from(&flags.resolv_conf);
    config.eviction_hard = flags.eviction_hard;
    config.node_lease_duration = flags.node_lease_duration;
    config.node_lease_renew_interval = flags.node_lease_duration / 4;
    Ok(orlop_kubelet::run(config, stop).await?)
}
