//! What a kubelet is told at its start.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::quantity;

/// The configuration of one node's kubelet.
#[derive(Clone)]
pub struct Config {
    /// The Node's name; also the value of its label `kubernetes.io/hostname` unless `hostname` differs.
    pub node_name: String,
    /// The machine's host name.
    pub hostname: String,
    /// The cluster, as the user `system:node:<node_name>`.
    pub client: kube::Client,
    /// The unix socket of the container runtime.
    pub cri_socket: PathBuf,
    /// Where pods' volumes and files live. The runtime must see the mounts made below it.
    pub root_dir: PathBuf,
    /// Where containers' logs live, as the kubelet and the runtime see it: `/var/log/pods` on an ordinary node.
    pub log_dir: PathBuf,
    /// The Node's `InternalIP`; the primary address first.
    pub node_ips: Vec<IpAddr>,
    /// The port of the kubelet's HTTP API, 10250.
    pub port: u16,
    /// Serving certificate and the client CA. Must ask for client certificates (they may be optional).
    pub tls: Arc<rustls::ServerConfig>,
    /// The addresses of the cluster DNS; empty when there is none.
    pub cluster_dns: Vec<IpAddr>,
    /// The cluster's domain, `cluster.local`.
    pub cluster_domain: String,
    /// The node's resolver configuration, for pods with `dnsPolicy: Default`.
    pub resolv_conf: PathBuf,
    /// How and where pods' cgroups are made.
    pub cgroups: CgroupConfig,
    /// How many pods the node takes.
    pub max_pods: u32,
    /// Labels to register the Node with, beside the well-known ones.
    pub node_labels: Vec<(String, String)>,
    /// Taints to register the Node with.
    pub node_taints: Vec<k8s_openapi::api::core::v1::Taint>,
    /// How often the Node's status is computed, and sent if it changed.
    pub node_status_update_frequency: Duration,
    /// How often the Node's status is sent though nothing changed.
    pub node_status_report_frequency: Duration,
    /// For how long a renewed Lease says that the node is alive. The API counts it in whole seconds.
    pub node_lease_duration: Duration,
    /// How often the Lease is renewed: the heartbeat. A quarter of the duration, by default.
    pub node_lease_renew_interval: Duration,
    /// What the node must have left. The kubelet says when it has less, and evicts nobody.
    pub eviction_hard: EvictionThresholds,
    /// A container's log is rotated when it has grown to so many bytes.
    pub container_log_max_size: u64,
    /// How many log files of one container are kept, the current one among them; at least 2.
    pub container_log_max_files: usize,
    /// How often logs are looked at.
    pub container_log_monitor_interval: Duration,
    /// Resources kept for the system, which `allocatable` leaves out: `cpu` in thousandths and memory in bytes.
    pub system_reserved: (i64, i64),
}

/// Below which the node has the conditions `MemoryPressure` and `DiskPressure`. On a machine that a person shares with the cluster
/// zeros keep a nearly full disk from making the node useless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvictionThresholds {
    /// `memory.available`, in bytes. Pods are not given it either.
    pub memory_available: i64,
    /// `nodefs.available`, in percent.
    pub nodefs_available: u64,
    /// `nodefs.inodesFree`, in percent.
    pub nodefs_inodes_free: u64,
}

impl Default for EvictionThresholds {
    fn default() -> Self {
        Self { memory_available: 100 << 20, nodefs_available: 10, nodefs_inodes_free: 5 }
    }
}

impl FromStr for EvictionThresholds {
    type Err = String;

    /// `--eviction-hard`: `memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%`. What is not named keeps its default.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut thresholds = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let wrong = || format!("{part:?}: write it as memory.available<100Mi or nodefs.available<10%");
            let (signal, value) = part.split_once('<').ok_or_else(wrong)?;
            let percent = || value.strip_suffix('%')?.parse().ok().filter(|percent| *percent <= 100);
            match signal {
                "memory.available" => {
                    let quantity = Quantity(value.to_owned());
                    thresholds.memory_available = quantity::whole(&quantity).filter(|n| *n >= 0).ok_or_else(wrong)?;
                }
                "nodefs.available" => thresholds.nodefs_available = percent().ok_or_else(wrong)?,
                "nodefs.inodesFree" => thresholds.nodefs_inodes_free = percent().ok_or_else(wrong)?,
                _ => return Err(format!("{signal:?} is not watched here")),
            }
        }
        Ok(thresholds)
    }
}

/// Where the pods' cgroups are.
#[derive(Debug, Clone)]
pub struct CgroupConfig {
    /// The mount point of the controllers (v1) or of the hierarchy (v2).
    pub mount: PathBuf,
    /// The group below which `kubepods` is made, such as `/` on a machine with a cgroup root of its own.
    pub parent: String,
    /// Whether the runtime asks systemd for groups; then parents are named `kubepods-burstable.slice`.
    pub systemd: bool,
}

impl Default for CgroupConfig {
    fn default() -> Self {
        Self { mount: PathBuf::from("/sys/fs/cgroup"), parent: "/".into(), systemd: false }
    }
}

impl Config {
    /// A configuration with Kubernetes' defaults and the ordinary paths.
    pub fn new(
        node_name: impl Into<String>,
        node_ip: IpAddr,
        client: kube::Client,
        cri_socket: impl Into<PathBuf>,
        tls: Arc<rustls::ServerConfig>,
    ) -> Self {
        let node_name = node_name.into();
        Self {
            hostname: node_name.clone(),
            node_name,
            client,
            cri_socket: cri_socket.into(),
            root_dir: PathBuf::from("/var/lib/kubelet"),
            log_dir: PathBuf::from("/var/log/pods"),
            node_ips: vec![node_ip],
            port: 10250,
            tls,
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".into(),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            cgroups: CgroupConfig::default(),
            max_pods: 110,
            node_labels: Vec::new(),
            node_taints: Vec::new(),
            node_status_update_frequency: Duration::from_secs(10),
            node_status_report_frequency: Duration::from_secs(300),
            node_lease_duration: Duration::from_secs(40),
            node_lease_renew_interval: Duration::from_secs(10),
            eviction_hard: EvictionThresholds::default(),
            container_log_max_size: 10 << 20,
            container_log_max_files: 5,
            container_log_monitor_interval: Duration::from_secs(10),
            system_reserved: (0, 0),
        }
    }

    /// The folder of one pod's volumes and files.
    pub(crate) fn pod_dir(&self, uid: &str) -> PathBuf {
        self.root_dir.join("pods").join(uid)
    }

    /// The folder of one pod's container logs.
    pub(crate) fn pod_log_dir(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.log_dir.join(format!("{namespace}_{name}_{uid}"))
    }

    /// Where one container's termination message is written, seen from the node.
    pub(crate) fn termination_message_file(pod_dir: &Path, container: &str, restart_count: u32) -> PathBuf {
        pod_dir.join("containers").join(container).join(format!("{restart_count:08x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::EvictionThresholds;

    #[test]
    fn thresholds_are_read_as_the_kubelet_writes_them() {
        let read = |text: &str| text.parse::<EvictionThresholds>();
        assert_eq!(read(""), Ok(EvictionThresholds::default()));
        let wanted = EvictionThresholds { memory_available: 1 << 30, nodefs_available: 0, nodefs_inodes_free: 5 };
        assert_eq!(read("memory.available<1Gi,nodefs.available<0%"), Ok(wanted));
        for text in ["nodefs.available<10", "nodefs.available<101%", "memory.available<-1", "imagefs.available<5%", "x"]
        {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
