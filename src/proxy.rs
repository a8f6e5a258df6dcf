//! `orlop proxy`: the service proxy alone, told what to do as kube-proxy is: `--config` with a `KubeProxyConfiguration`, or
//! kube-proxy's own flags.

mod settings;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use kube::config::{KubeConfigOptions, Kubeconfig};
use orlop_proxy::{Environment, KubeProxyConfiguration};
use tokio_util::sync::CancellationToken;

use crate::flags::{EbpfForwarding, EbpfSelection, EbpfXdp};
use settings::Settings;

/// How often the configuration file is looked at.
const CONFIG_PERIOD: Duration = Duration::from_secs(5);

/// Flags of `orlop proxy`.
#[derive(Args)]
pub struct Flags {
    /// The path to the configuration file (KubeProxyConfiguration, YAML or JSON).
    #[arg(long)]
    config: Option<PathBuf>,
    /// Write the default configuration values to this file and exit.
    #[arg(long)]
    write_config_to: Option<PathBuf>,
    /// Remove everything that a proxy of any mode left in this network namespace, and exit.
    #[arg(long)]
    cleanup: bool,
    /// Set what needs full root privileges (conntrack's limits) and exit.
    #[arg(long)]
    init_only: bool,
    /// The address of the Kubernetes API server (overrides any value in kubeconfig).
    #[arg(long)]
    master: Option<http::Uri>,
    /// The name of the Node that this runs on; otherwise the configuration's hostnameOverride, NODE_NAME, or the host's name.
    #[arg(long)]
    hostname_override: Option<String>,
    /// The Node's name, where no hostname-override is given.
    #[arg(long, env = "NODE_NAME", hide = true)]
    node_name: Option<String>,
    /// A folder on a bpffs for pins.
    #[arg(long, default_value = "/sys/fs/bpf/orlop")]
    bpf_root: PathBuf,
    /// The cgroup2 group of every process whose connections are balanced.
    #[arg(long, default_value = "/sys/fs/cgroup")]
    cgroup_root: PathBuf,
    /// How eBPF chooses an endpoint for a packet from a device.
    #[arg(long, value_enum, default_value_t)]
    ebpf_selection: EbpfSelection,
    /// How eBPF sends a packet from outside to an endpoint on another node, where the Service's externalTrafficPolicy is
    /// Cluster; the same on every node.
    #[arg(long, value_enum, default_value_t)]
    ebpf_forwarding: EbpfForwarding,
    /// Whether eBPF translates packets of established connections in the drivers of devices that have an address (XDP).
    #[arg(long, value_enum, default_value_t)]
    ebpf_xdp: EbpfXdp,
    /// The API server's --service-node-port-range.
    #[arg(long, default_value = "30000-32767", value_parser = crate::flags::port_range)]
    service_node_port_range: (u16, u16),
    /// Answer cluster DNS at this address of the node (10.0.0.7:10053), UDP and TCP, and lead this node's callers of the cluster's
    /// own DNS Service there.
    #[arg(long, value_name = "ADDRESS:PORT")]
    take_over_cluster_dns: Option<SocketAddr>,
    /// The DNS Service to take over from.
    #[arg(long, default_value = "kube-system/kube-dns", requires = "take_over_cluster_dns")]
    cluster_dns_service: String,
    /// The cluster's domain.
    #[arg(long, default_value = "cluster.local", requires = "take_over_cluster_dns")]
    cluster_domain: String,
    #[command(flatten)]
    settings: Settings,
}

/// Runs the proxy until it is told to stop, or does the one thing it was asked for.
pub async fn run(flags: Flags, stop: CancellationToken) -> Result<()> {
    if let Some(path) = &flags.write_config_to {
        let yaml = KubeProxyConfiguration::with_defaults().to_yaml()?;
        return std::fs::write(path, yaml).with_context(|| format!("writing {}", path.display()));
    }
    if flags.cleanup {
        return cleanup(&flags).await;
    }
    let text = flags.config.as_deref().map(read).transpose()?;
    let configuration = match &text {
        Some(text) => {
            let (configuration, unknown) = KubeProxyConfiguration::read(text)?;
            unknown
                .iter()
                .for_each(|field| tracing::warn!("using lenient decoding as strict decoding failed: {field}"));
            configuration
        }
        None => KubeProxyConfiguration::of(flags.settings.fields.clone())?,
    };
    match configuration.validate().as_slice() {
        [] => {}
        [one] => bail!("failed validate: {one}"),
        all => bail!("failed validate: [{}]", all.join(", ")),
    }
    configuration.unsupported().iter().for_each(|line| tracing::warn!("{line}"));
    if flags.init_only {
        orlop_proxy::set_limits(Some(&configuration.conntrack_limits()), None);
        return Ok(());
    }
    let client = client(&configuration, flags.master.as_ref()).await?;
    let mut config = configuration.config(Environment {
        node_name: node_name(&flags, &configuration)?,
        client,
        bpf_root: flags.bpf_root.clone(),
        cgroup_root: flags.cgroup_root.clone(),
        node_port_range: flags.service_node_port_range,
    });
    config.cluster_dns = flags.take_over_cluster_dns.map(|address| orlop_proxy::ClusterDns {
        serve: orlop_dns::Config { domain: flags.cluster_domain.clone(), ..orlop_dns::Config::new(vec![address]) },
        metrics_bind_address: Some(SocketAddr::new(address.ip(), crate::node::DNS_METRICS_PORT)),
        take_over: Some(flags.cluster_dns_service.clone()),
    });
    config.flagz = flags.settings.shown()?;
    for (name, value) in [
        ("config", flags.config.as_ref().map(|path| path.display().to_string())),
        ("hostname-override", flags.hostname_override.clone()),
    ] {
        config.flagz.insert(name.into(), value.unwrap_or_default());
    }
    config.selection = flags.ebpf_selection.into();
    config.forwarding = flags.ebpf_forwarding.into();
    config.xdp = flags.ebpf_xdp.into();
    if text.is_none() {
        // Empty addresses in flags serve nothing; in a file they mean the default.
        config.healthz_bind_address =
            config.healthz_bind_address.filter(|_| !flags.settings.is_empty("healthzBindAddress"));
        config.metrics_bind_address =
            config.metrics_bind_address.filter(|_| !flags.settings.is_empty("metricsBindAddress"));
    }
    let watched = async {
        match (&flags.config, &text) {
            (Some(path), Some(text)) => changed(path, text).await,
            _ => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = orlop_proxy::run(config, stop) => Ok(ended?),
        // As kube-proxy: whoever keeps it running starts it again with the new one. No connection notices.
        () = watched => bail!("content of the proxy server's configuration file was updated"),
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("failed complete: reading {}", path.display()))
}

/// Ends when the file has other content. One that is gone for a moment is being replaced.
async fn changed(path: &Path, text: &str) {
    loop {
        tokio::time::sleep(CONFIG_PERIOD).await;
        if tokio::fs::read_to_string(path).await.is_ok_and(|now| now != text) {
            return;
        }
    }
}

async fn cleanup(flags: &Flags) -> Result<()> {
    let bpf_root = flags.bpf_root.clone();
    let cleaned = tokio::task::spawn_blocking(move || orlop_proxy::cleanup(&bpf_root)).await?;
    cleaned.map_err(|error| anyhow!("encountered an error while tearing down rules: {error}"))
}

fn node_name(flags: &Flags, configuration: &KubeProxyConfiguration) -> Result<String> {
    let given = flags.hostname_override.as_deref().or(configuration.hostname_override()).or(flags.node_name.as_deref());
    let name = match given {
        Some(name) => name.to_owned(),
        None => std::fs::read_to_string("/proc/sys/kernel/hostname").context("reading the host's name")?,
    };
    match name.trim().to_lowercase() {
        name if name.is_empty() => bail!("empty hostname-override is invalid"),
        name => Ok(name),
    }
}

async fn client(configuration: &KubeProxyConfiguration, master: Option<&http::Uri>) -> Result<kube::Client> {
    let path = configuration.kubeconfig();
    let mut config = match (path, master) {
        ("", None) => {
            tracing::info!("Neither kubeconfig file nor master URL was specified, falling back to in-cluster config");
            kube::Config::incluster().context("in-cluster config")?
        }
        ("", Some(master)) => kube::Config::new(master.clone()),
        (path, _) => {
            let doing = || format!("reading kubeconfig {path}");
            let kubeconfig = Kubeconfig::read_from(path).with_context(doing)?;
            kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.with_context(doing)?
        }
    };
    if let Some(master) = master {
        config.cluster_url = master.clone();
    }
    crate::client::connect(config, "kube-proxy").context("connecting to the API server")
}
