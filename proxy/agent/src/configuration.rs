//! `KubeProxyConfiguration` of `kubeproxy.config.k8s.io/v1alpha1`, whole: every field is read, kept and written by its
//! own name, and [`KubeProxyConfiguration::unsupported`] tells which of those that were set do nothing here.
//!
//! The one addition is the mode `ebpf`, and a blank mode means it. A default differs in `minSyncPeriod`: a change costs
//! so little here that nothing is gained by waiting a second for the next one.

mod defaults;
mod duration;
mod read;
mod settle;
mod unsupported;
mod validate;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use read::ReadError;
pub use settle::Environment;

use duration::GoDuration;

/// The group and version that a file must name.
pub const API_VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";
/// The kind that a file must name.
pub const KIND: &str = "KubeProxyConfiguration";

/// What kube-proxy is told, field by field as the API has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct KubeProxyConfiguration {
    pub(crate) kind: String,
    pub(crate) api_version: String,
    pub(crate) feature_gates: BTreeMap<String, bool>,
    pub(crate) client_connection: ClientConnection,
    pub(crate) logging: Logging,
    pub(crate) hostname_override: String,
    pub(crate) bind_address: String,
    pub(crate) healthz_bind_address: String,
    pub(crate) metrics_bind_address: String,
    pub(crate) bind_address_hard_fail: bool,
    pub(crate) enable_profiling: bool,
    pub(crate) show_hidden_metrics_for_version: String,
    pub(crate) mode: String,
    pub(crate) iptables: Iptables,
    pub(crate) ipvs: Ipvs,
    pub(crate) nftables: Nftables,
    pub(crate) winkernel: Winkernel,
    pub(crate) detect_local_mode: String,
    pub(crate) detect_local: DetectLocalSettings,
    #[serde(rename = "clusterCIDR")]
    pub(crate) cluster_cidr: String,
    pub(crate) node_port_addresses: Option<Vec<String>>,
    pub(crate) oom_score_adj: Option<i32>,
    pub(crate) conntrack: ConntrackSettings,
    pub(crate) config_sync_period: GoDuration,
    pub(crate) port_range: String,
    pub(crate) windows_run_as_service: bool,
}

/// `clientConnection`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ClientConnection {
    pub kubeconfig: String,
    pub accept_content_types: String,
    pub content_type: String,
    pub qps: f32,
    pub burst: i32,
}

/// `logging`: kept as it is; see [`KubeProxyConfiguration::unsupported`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Logging {
    pub format: String,
    pub flush_frequency: Value,
    pub verbosity: u32,
    pub vmodule: Value,
    pub options: Value,
}

/// `iptables`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Iptables {
    pub masquerade_bit: Option<i32>,
    pub masquerade_all: bool,
    pub localhost_node_ports: Option<bool>,
    pub sync_period: GoDuration,
    pub min_sync_period: GoDuration,
}

/// `ipvs`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Ipvs {
    pub sync_period: GoDuration,
    pub min_sync_period: GoDuration,
    pub scheduler: String,
    #[serde(rename = "excludeCIDRs")]
    pub exclude_cidrs: Option<Vec<String>>,
    #[serde(rename = "strictARP")]
    pub strict_arp: bool,
    pub tcp_timeout: GoDuration,
    pub tcp_fin_timeout: GoDuration,
    pub udp_timeout: GoDuration,
}

/// `nftables`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Nftables {
    pub masquerade_bit: Option<i32>,
    pub masquerade_all: bool,
    pub sync_period: GoDuration,
    pub min_sync_period: GoDuration,
}

/// `conntrack`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ConntrackSettings {
    pub max_per_core: Option<i32>,
    pub min: Option<i32>,
    pub tcp_established_timeout: Option<GoDuration>,
    pub tcp_close_wait_timeout: Option<GoDuration>,
    pub tcp_be_liberal: bool,
    pub udp_timeout: GoDuration,
    pub udp_stream_timeout: GoDuration,
}

/// `winkernel`: Windows only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Winkernel {
    pub network_name: String,
    pub source_vip: String,
    #[serde(rename = "enableDSR")]
    pub enable_dsr: bool,
    pub root_hns_endpoint_name: String,
    pub forward_health_check_vip: bool,
}

/// `detectLocal`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct DetectLocalSettings {
    pub bridge_interface: String,
    pub interface_name_prefix: String,
}

/// The settings that kube-proxy keeps once for each of its modes.
pub(crate) struct ModeSettings {
    pub masquerade_all: bool,
    pub masquerade_bit: u8,
    pub sync_period: GoDuration,
    pub min_sync_period: GoDuration,
}

impl KubeProxyConfiguration {
    /// The kubeconfig it names; empty for the one that a pod's service account makes.
    pub fn kubeconfig(&self) -> &str {
        &self.client_connection.kubeconfig
    }

    /// `hostnameOverride`, if it is set.
    pub fn hostname_override(&self) -> Option<&str> {
        Some(self.hostname_override.as_str()).filter(|name| !name.is_empty())
    }

    /// The settings of the mode that it asks for. What eBPF is told stands under `nftables`.
    pub(crate) fn mode_settings(&self) -> ModeSettings {
        let (iptables, nftables) = (&self.iptables, &self.nftables);
        let (masquerade_all, bit, sync_period, min_sync_period) = match self.mode.as_str() {
            "ipvs" => {
                let ipvs = &self.ipvs;
                (iptables.masquerade_all, iptables.masquerade_bit, ipvs.sync_period, ipvs.min_sync_period)
            }
            "nftables" | "ebpf" => {
                (nftables.masquerade_all, nftables.masquerade_bit, nftables.sync_period, nftables.min_sync_period)
            }
            _ => (iptables.masquerade_all, iptables.masquerade_bit, iptables.sync_period, iptables.min_sync_period),
        };
        let masquerade_bit = bit.and_then(|bit| u8::try_from(bit).ok()).unwrap_or(orlop_plan::MASQUERADE_BIT);
        ModeSettings { masquerade_all, masquerade_bit, sync_period, min_sync_period }
    }

    /// The pod networks of `clusterCIDR`.
    pub(crate) fn cluster_cidrs(&self) -> Vec<&str> {
        self.cluster_cidr.split(',').filter(|_| !self.cluster_cidr.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests;
