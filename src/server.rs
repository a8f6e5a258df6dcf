//! `orlop server`: its flags, with kube-apiserver's names where it has them.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use ipnet::Ipv4Net;
use orlop_server::{AuditLimits, AuditMode, AuditOptions, Config, ServiceRanges};
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
    #[command(flatten)]
    audit: AuditFlags,
    /// A listening socket inherited from the parent process (several may be given).
    #[arg(long)]
    listen_fd: Vec<RawFd>,
}

/// Flags of the audit log, which is written if there are both a policy and a path.
#[derive(Args)]
struct AuditFlags {
    /// Path to the file that defines the audit policy configuration (audit.k8s.io/v1 Policy).
    #[arg(long)]
    audit_policy_file: Option<PathBuf>,
    /// If set, the requests that the policy chooses are logged to this file; `-` means standard out.
    #[arg(long)]
    audit_log_path: Option<PathBuf>,
    /// The days that old audit log files are kept, by the time in their names; 0 is for ever.
    #[arg(long, default_value_t = AuditLimits::default().age)]
    audit_log_maxage: u32,
    /// How many old audit log files are kept; 0 is all of them.
    #[arg(long, default_value_t = AuditLimits::default().backups)]
    audit_log_maxbackup: u32,
    /// The megabytes after which the audit log file is set aside and a new one begun; 0 is never.
    #[arg(long, default_value_t = AuditLimits::default().size)]
    audit_log_maxsize: u32,
    /// Format of saved audits: json.
    #[arg(long, default_value = "json", value_parser = crate::flags::audit_log_format)]
    audit_log_format: crate::flags::AuditLogFormat,
    /// Whether requests wait until their events are written.
    #[arg(long, value_enum, default_value_t)]
    audit_log_mode: crate::flags::AuditLogMode,
}

impl From<AuditFlags> for AuditOptions {
    fn from(flags: AuditFlags) -> Self {
        let limits = AuditLimits {
            age: flags.audit_log_maxage,
            backups: flags.audit_log_maxbackup,
            size: flags.audit_log_maxsize,
        };
        let crate::flags::AuditLogFormat::Json = flags.audit_log_format;
        // An empty flag is none, as for kube-apiserver.
        let set = |path: Option<PathBuf>| path.filter(|path| !path.as_os_str().is_empty());
        Self {
            policy: set(flags.audit_policy_file),
            path: set(flags.audit_log_path),
            limits,
            mode: AuditMode::from(flags.audit_log_mode),
        }
    }
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
        audit: flags.audit.into(),
        cluster_cidr: flags.cluster_cidr,
        node_monitor_grace_period: flags.node_monitor_grace_period,
        node_monitor_period: flags.node_monitor_period,
        cluster_dns,
        controllers: !flags.disable_controller_manager,
        scheduler: !flags.disable_scheduler,
    };
    orlop_server::run(config, stop).await
}
