//! What a configuration must not say, in kube-proxy's words.

use std::fmt::{Debug, Display};
use std::net::IpAddr;

use ipnet::IpNet;

use super::KubeProxyConfiguration;
use super::duration::GoDuration;

const MODES: [&str; 4] = ["ebpf", "iptables", "ipvs", "nftables"];
const LOCAL_MODES: [&str; 5] = ["ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix", ""];
const CONNTRACK: &str = "KubeProxyLinuxConfiguration.KubeProxyConntrackConfiguration";
const NOT_NEGATIVE: &str = "must be greater than or equal to 0";
const POSITIVE: &str = "must be greater than 0";
const CLUSTER_CIDRS: &str = "DetectLocalConfiguration.ClusterCIDRs";
const PAIR: &str =
    "must be a either a single CIDR or dual-stack pair of CIDRs (e.g. [10.100.0.0/16, fde4:8dba:82e1::/48]";

#[derive(Default)]
struct Errors(Vec<String>);

impl Errors {
    fn add(&mut self, field: &str, kind: &str, value: impl Display, detail: &str) {
        self.0.push(format!("KubeProxyConfiguration.{field}: {kind} value: {value}: {detail}"));
    }

    fn text(&mut self, field: &str, value: impl Debug, detail: &str) {
        self.add(field, "Invalid", format_args!("{value:?}"), detail);
    }

    fn number(&mut self, refused: bool, field: &str, value: impl Display, detail: &str) {
        if refused {
            self.add(field, "Invalid", value, detail);
        }
    }

    fn host_port(&mut self, field: &str, value: &str) {
        let Some((host, port)) =
            value.rsplit_once(':').filter(|(host, _)| !host.contains(':') || host.starts_with('['))
        else {
            return self.text(field, value, "must be IP:port");
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.parse::<IpAddr>().is_err() {
            self.text(field, host, "must be a valid IP");
        }
        if !port.parse::<u16>().is_ok_and(|port| port != 0) {
            self.text(field, port, "must be a valid port");
        }
    }
}

impl KubeProxyConfiguration {
    /// Everything that is wrong; empty if nothing is.
    pub fn validate(&self) -> Vec<String> {
        let mut errors = Errors::default();
        self.validate_modes(&mut errors);
        self.validate_conntrack(&mut errors);
        let out_of_range = |value: Option<i32>, range: std::ops::RangeInclusive<i32>| {
            value.filter(|value| !range.contains(value)).map(|value| value.to_string())
        };
        if let Some(bit) = out_of_range(self.iptables.masquerade_bit, 0..=31) {
            errors.number(
                true,
                "KubeProxyIPTablesConfiguration.MasqueradeBit",
                bit,
                "must be within the range [0, 31]",
            );
        }
        if let Some(bit) = out_of_range(self.nftables.masquerade_bit, 0..=31).filter(|_| self.mode == "nftables") {
            errors.number(
                true,
                "KubeProxyNFTablesConfiguration.MasqueradeBit",
                bit,
                "must be within the range [0, 31]",
            );
        }
        if let Some(score) = out_of_range(self.oom_score_adj, -1000..=1000) {
            let detail = "must be within the range [-1000, 1000]";
            errors.number(true, "KubeProxyLinuxConfiguration.OOMScoreAdj", score, detail);
        }
        let burst = self.client_connection.burst;
        errors.number(burst < 0, "ClientConnection.Burst", burst, NOT_NEGATIVE);
        self.validate_periods(&mut errors);
        if self.bind_address.parse::<IpAddr>().is_err() {
            let detail = "not a valid textual representation of an IP address";
            errors.text("BindAddress", &self.bind_address, detail);
        }
        errors.host_port("HealthzBindAddress", &self.healthz_bind_address);
        errors.host_port("MetricsBindAddress", &self.metrics_bind_address);
        self.validate_node_port_addresses(&mut errors);
        self.validate_detect_local(&mut errors);
        errors.0
    }

    fn validate_modes(&self, errors: &mut Errors) {
        if !self.mode.is_empty() && !MODES.contains(&self.mode.as_str()) {
            let modes = MODES.join(", ");
            let detail = format!("must be {modes} or blank (blank means the best-available proxy [currently ebpf])");
            errors.text("Mode.ProxyMode", &self.mode, &detail);
        }
        if !LOCAL_MODES.contains(&self.detect_local_mode.as_str()) {
            let known = LOCAL_MODES.map(|mode| format!("{mode:?}")).join(", ");
            let detail = format!("supported values: {known}");
            errors.add("DetectLocalMode", "Unsupported", format_args!("{:?}", self.detect_local_mode), &detail);
        }
    }

    fn validate_conntrack(&self, errors: &mut Errors) {
        let settings = &self.conntrack;
        for (value, field) in [(settings.max_per_core, "MaxPerCore"), (settings.min, "Min")] {
            if let Some(value) = value.filter(|value| *value < 0) {
                errors.number(true, &format!("{CONNTRACK}.{field}"), value, NOT_NEGATIVE);
            }
        }
        for (value, field) in [
            (settings.tcp_established_timeout.unwrap_or_default(), "TCPEstablishedTimeout"),
            (settings.tcp_close_wait_timeout.unwrap_or_default(), "TCPCloseWaitTimeout"),
            (settings.udp_timeout, "UDPTimeout"),
            (settings.udp_stream_timeout, "UDPStreamTimeout"),
        ] {
            errors.number(value.0 < 0, &format!("{CONNTRACK}.{field}"), value, NOT_NEGATIVE);
        }
    }

    fn validate_periods(&self, errors: &mut Errors) {
        let settings = self.mode_settings();
        let (sync, min): (GoDuration, GoDuration) = (settings.sync_period, settings.min_sync_period);
        errors.number(self.config_sync_period.0 <= 0, "ConfigSyncPeriod", self.config_sync_period, POSITIVE);
        errors.number(sync.0 <= 0, "SyncPeriod", sync, POSITIVE);
        errors.number(min.0 < 0, "MinSyncPeriod", min, NOT_NEGATIVE);
        let detail = "must be greater than or equal to KubeProxyConfiguration.MinSyncPeriod";
        errors.number(min > sync, "SyncPeriod", min, detail);
    }

    fn validate_node_port_addresses(&self, errors: &mut Errors) {
        let all = self.node_port_addresses.as_deref().unwrap_or_default();
        for (index, address) in all.iter().enumerate() {
            let field = format!("NodePortAddresses[{index}]");
            if address == "primary" {
                if all.len() != 1 {
                    errors.text(&field, address, "can't use both 'primary' and CIDRs");
                }
                break;
            }
            if address.parse::<IpNet>().is_err() {
                errors.text(&field, address, "must be a valid CIDR");
            }
        }
    }

    fn validate_detect_local(&self, errors: &mut Errors) {
        let settings = &self.detect_local;
        let mut named = |name: &str, field: &str| {
            if name.is_empty() {
                errors.text(&format!("DetectLocalConfiguration.{field}"), name, "must not be empty");
            }
        };
        match self.detect_local_mode.as_str() {
            "BridgeInterface" => named(&settings.bridge_interface, "InterfaceName"),
            "InterfaceNamePrefix" => named(&settings.interface_name_prefix, "InterfacePrefix"),
            "ClusterCIDR" | "" => self.validate_cluster_cidrs(errors),
            _ => {}
        }
    }

    fn validate_cluster_cidrs(&self, errors: &mut Errors) {
        let cidrs = self.cluster_cidrs();
        // As Go prints a []string.
        let shown = format!("[]string{{{}}}", cidrs.iter().map(|c| format!("{c:?}")).collect::<Vec<_>>().join(", "));
        let parsed: Vec<Option<IpNet>> = cidrs.iter().map(|cidr| cidr.parse().ok()).collect();
        if parsed.len() > 2 {
            return errors.add(CLUSTER_CIDRS, "Invalid", shown, PAIR);
        }
        let detail = "must be a valid CIDR block (e.g. 10.100.0.0/16 or fde4:8dba:82e1::/48)";
        for (index, cidr) in cidrs.iter().enumerate().filter(|(index, _)| parsed[*index].is_none()) {
            errors.text(&format!("{CLUSTER_CIDRS}[{index}]"), cidr, detail);
        }
        if let [Some(one), Some(other)] = parsed[..]
            && one.addr().is_ipv4() == other.addr().is_ipv4()
        {
            errors.add(CLUSTER_CIDRS, "Invalid", shown, PAIR);
        }
    }
}
