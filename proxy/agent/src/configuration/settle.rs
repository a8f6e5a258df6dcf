//! From a valid configuration to what the agent needs.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use orlop_bpf::Selection;
use orlop_plan::DetectLocal;
use serde_json::json;

use super::duration::GoDuration;
use super::{API_VERSION, KubeProxyConfiguration};
use crate::{Config, ConntrackLimits, DetectLocalMode, Mode, NodePortAddressPolicy};

/// What a configuration cannot say.
pub struct Environment {
    /// The Node this agent runs on.
    pub node_name: String,
    /// The cluster.
    pub client: kube::Client,
    /// See [`Config::bpf_root`].
    pub bpf_root: PathBuf,
    /// See [`Config::cgroup_root`].
    pub cgroup_root: PathBuf,
    /// See [`Config::node_port_range`].
    pub node_port_range: (u16, u16),
}

impl KubeProxyConfiguration {
    /// The backend it asks for.
    pub fn wanted_mode(&self) -> Mode {
        if matches!(self.mode.as_str(), "" | "ebpf") { Mode::Ebpf } else { Mode::Nftables }
    }

    /// What [`crate::run`] takes; the configuration must be valid.
    pub fn config(&self, environment: Environment) -> Config {
        let settings = self.mode_settings();
        let node_ip = self.bind_address.parse().ok().filter(|ip: &IpAddr| !ip.is_unspecified());
        let defaults = Config::new(environment.node_name, environment.client);
        Config {
            mode: self.wanted_mode(),
            node_ip,
            detect_local: self.detect_local(),
            masquerade_all: settings.masquerade_all,
            masquerade_bit: settings.masquerade_bit,
            external_ips: self.feature_gates.get("AllowServiceExternalIPs").copied().unwrap_or(true),
            node_port_addresses: self.node_port_addresses(),
            node_port_range: environment.node_port_range,
            selection: Selection::Random,
            bpf_root: environment.bpf_root,
            cgroup_root: environment.cgroup_root,
            healthz_bind_address: self.healthz_bind_address.parse().ok(),
            metrics_bind_address: self.metrics_bind_address.parse().ok(),
            bind_address_hard_fail: self.bind_address_hard_fail,
            min_sync_period: settings.min_sync_period.duration().unwrap_or_default(),
            sync_period: settings.sync_period.positive().unwrap_or(Duration::from_secs(30)),
            oom_score_adj: self.oom_score_adj,
            conntrack: Some(self.conntrack_limits()),
            configz: self.configz(),
            ..defaults
        }
    }

    /// `conntrack`.
    pub fn conntrack_limits(&self) -> ConntrackLimits {
        let set = &self.conntrack;
        let count = |value: Option<i32>| value.and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        ConntrackLimits {
            max_per_core: count(set.max_per_core),
            min: count(set.min),
            tcp_established_timeout: set.tcp_established_timeout.and_then(GoDuration::positive),
            tcp_close_wait_timeout: set.tcp_close_wait_timeout.and_then(GoDuration::positive),
            tcp_be_liberal: set.tcp_be_liberal,
            udp_timeout: set.udp_timeout.positive(),
            udp_stream_timeout: set.udp_stream_timeout.positive(),
        }
    }

    /// `oomScoreAdj`.
    pub const fn oom_score_adj(&self) -> Option<i32> {
        self.oom_score_adj
    }

    /// The body of `/configz`.
    fn configz(&self) -> String {
        let group = API_VERSION.split('/').next().unwrap_or_default();
        json!({ group: self }).to_string()
    }

    pub(super) fn detect_local(&self) -> DetectLocalMode {
        let settings = &self.detect_local;
        DetectLocalMode::Known(match self.detect_local_mode.as_str() {
            "NodeCIDR" => return DetectLocalMode::NodeCidr,
            "BridgeInterface" => DetectLocal::Bridge(settings.bridge_interface.clone()),
            "InterfaceNamePrefix" => DetectLocal::InterfacePrefix(settings.interface_name_prefix.clone()),
            _ => DetectLocal::Cidrs(self.cluster_cidrs().iter().filter_map(|cidr| cidr.parse().ok()).collect()),
        })
    }

    /// Unset means primary in nftables mode and everything otherwise, as in kube-proxy; where the legacy of iptables asks
    /// for it (`localhostNodePorts`), loopback too.
    pub(super) fn node_port_addresses(&self) -> NodePortAddressPolicy {
        let listed = self.node_port_addresses.as_deref().unwrap_or_default();
        let any = |cidr: &str| cidr.parse::<IpNet>().ok();
        match listed {
            [] if self.mode == "nftables" => NodePortAddressPolicy::Primary,
            [] => {
                let everything = ["0.0.0.0/0", "::/0"].into_iter();
                let loopback = self.iptables.localhost_node_ports.unwrap_or(true) && self.wanted_mode() == Mode::Ebpf;
                let loopback = ["127.0.0.0/8", "::1/128"].into_iter().filter(|_| loopback);
                NodePortAddressPolicy::Cidrs(everything.chain(loopback).filter_map(any).collect())
            }
            [one] if one == "primary" => NodePortAddressPolicy::Primary,
            cidrs => NodePortAddressPolicy::Cidrs(cidrs.iter().filter_map(|cidr| any(cidr)).collect()),
        }
    }
}
