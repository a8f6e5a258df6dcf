//! `orlop server`: its flags, with kube-apiserver's names where it has them.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use ipnet::Ipv4Net;
use orlop_server::{Config, ServiceRanges};
use tokio_util::sync::CancellationToken;

/// Flags of `orlop server`.
#[derive(Args)]
pub struct Flags {
    /// Keys, the store, and the administrator's kubeconfig.
    #[arg(long, default_value = "/var/lib/orlop/orlop")]
    data_dir: PathBuf,
    /// Where to listen.
    #[arg(long, default_value = "0.0.0.0")]
    bind_address: IpAddr,
    /// The port to listen on.
    #[arg(long, default_value_t = 6443)]
    secure_port: u16,
    /// The address at which the cluster reaches this server.
    #[arg(long)]
    advertise_address: IpAddr,
    /// Addresses of Services: one range, or one of each IP family with a comma between.
    #[arg(long, default_value = "10.96.0.0/12")]
    service_cluster_ip_range: ServiceRanges,
    /// Ports of NodePort Services.
    #[arg(long, default_value = "30000-32767", value_parser = crate::flags::port_range)]
    service_node_port_range: (u16, u16),
    /// Let nodes introduce themselves with bootstrap tokens, which are Secrets in kube-system.
    #[arg(long)]
    enable_bootstrap_token_auth: bool,
    /// How many requests run at once, together with the mutating ones: priority levels share them.
    #[arg(long, default_value_t = 400)]
    max_requests_inflight: u32,
    /// How many mutating requests are added to these.
    #[arg(long, default_value_t = 200)]
    max_mutating_requests_inflight: u32,
    /// Addresses of pods.
    #[arg(long, default_value = "10.244.0.0/16")]
    cluster_cidr: Ipv4Net,
    /// How long a Node may be silent before it counts as unreachable.
    #[arg(long, default_value = "50s", value_parser = crate::flags::duration)]
    node_monitor_grace_period: Duration,
    /// How often Nodes are looked at for that.
    #[arg(long, default_value = "5s", value_parser = crate::flags::duration)]
    node_monitor_period: Duration,
    /// The address of cluster DNS, which each node's proxy answers; by default the tenth of the Services' addresses, and `none`
    /// leaves cluster DNS to others.
    #[arg(long)]
    cluster_dns: Option<String>,
    /// Leave the controllers to a kube-controller-manager of your own.
    #[arg(long)]
    disable_controller_manager: bool,
    /// Leave scheduling to a kube-scheduler of your own.
    #[arg(long)]
    disable_scheduler: bool,
    /// A listening socket inherited from the parent process (several may be given).
    #[arg(long)]
    listen_fd: Vec<RawFd>,
}

/// Runs the control plane.
pub async fn run(flags: Flags, stop: CancellationToken) -> Result<()> {
    let (first, last) = flags.service_node_port_range;
    let cluster_dns = match flags.cluster_dns.as_deref() {
        Some("none") => None,
        Some(address) => {
            Some(address.parse::<IpAddr>().with_context(|| format!("--cluster-dns {address:?}: no address"))?)
        }
        None => flags.service_cluster_ip_range.primary().hosts().nth(9),
    };
    let requests_in_flight = flags.max_requests_inflight.saturating_add(flags.max_mutating_requests_inflight);
    ensure!(
        requests_in_flight > 0,
        "--max-requests-inflight and --max-mutating-requests-inflight must add up to something positive"
    );
    let config = Config {
        data_dir: flags.data_dir,
        listen: SocketAddr::new(flags.bind_address, flags.secure_port),
        inherited: flags.listen_fd,
        advertise_address: flags.advertise_address,
        service_cidr: flags.service_cluster_ip_range,
        node_port_range: first..=last,
        bootstrap_tokens: flags.enable_bootstrap_token_auth,
        requests_in_flight,
        cluster_cidr: flags.cluster_cidr,
        node_monitor_grace_period: flags.node_monitor_grace_period,
        node_monitor_period: flags.node_monitor_period,
        cluster_dns,
        controllers: !flags.disable_controller_manager,
        scheduler: !flags.disable_scheduler,
    };
    orlop_server::run(config, stop).await
}
