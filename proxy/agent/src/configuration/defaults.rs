//! What is taken where a configuration says nothing.

use std::net::{IpAddr, SocketAddr};

use serde_json::json;

use super::duration::GoDuration;
use super::{API_VERSION, KIND, KubeProxyConfiguration};

/// Changes this close together are programmed together.
const MIN_SYNC_PERIOD: GoDuration = GoDuration(10_000_000);
const SYNC_PERIOD: GoDuration = GoDuration::seconds(30);
pub(super) const HEALTHZ_PORT: u16 = 10_256;
pub(super) const METRICS_PORT: u16 = 10_249;
/// The bit of the packet mark that says "masquerade".
pub(super) const MASQUERADE_BIT: i32 = 14;

impl KubeProxyConfiguration {
    /// A configuration in which nothing was set.
    pub fn with_defaults() -> Self {
        let mut empty = Self::default();
        empty.set_defaults();
        empty
    }

    /// Fills in what is absent.
    pub(super) fn set_defaults(&mut self) {
        let text = |field: &mut String, value: &str| {
            if field.is_empty() {
                *field = value.into();
            }
        };
        let period = |field: &mut GoDuration, value| {
            if field.0 == 0 {
                *field = value;
            }
        };
        text(&mut self.kind, KIND);
        text(&mut self.api_version, API_VERSION);
        text(&mut self.bind_address, "0.0.0.0");
        let v6 = !self.bind_address.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_ipv4());
        let (healthz, metrics) = if v6 { ("[::]", "[::1]") } else { ("0.0.0.0", "127.0.0.1") };
        text(&mut self.healthz_bind_address, &format!("{healthz}:{HEALTHZ_PORT}"));
        text(&mut self.metrics_bind_address, &format!("{metrics}:{METRICS_PORT}"));
        append_port(&mut self.healthz_bind_address, HEALTHZ_PORT);
        append_port(&mut self.metrics_bind_address, METRICS_PORT);
        self.oom_score_adj.get_or_insert(-999);
        period(&mut self.iptables.sync_period, SYNC_PERIOD);
        period(&mut self.iptables.min_sync_period, MIN_SYNC_PERIOD);
        period(&mut self.ipvs.sync_period, SYNC_PERIOD);
        period(&mut self.nftables.sync_period, SYNC_PERIOD);
        period(&mut self.nftables.min_sync_period, MIN_SYNC_PERIOD);
        self.iptables.localhost_node_ports.get_or_insert(true);
        self.iptables.masquerade_bit.get_or_insert(MASQUERADE_BIT);
        self.nftables.masquerade_bit.get_or_insert(MASQUERADE_BIT);
        let conntrack = &mut self.conntrack;
        conntrack.max_per_core.get_or_insert(32 * 1024);
        conntrack.min.get_or_insert(128 * 1024);
        conntrack.tcp_established_timeout.get_or_insert(GoDuration::seconds(24 * 3600));
        // A half-closed connection that conntrack forgets can never be closed: kubernetes #32551.
        conntrack.tcp_close_wait_timeout.get_or_insert(GoDuration::seconds(3600));
        period(&mut self.config_sync_period, GoDuration::seconds(15 * 60));
        let client = &mut self.client_connection;
        text(&mut client.content_type, "application/vnd.kubernetes.protobuf");
        if client.qps == 0.0 {
            client.qps = 5.0;
        }
        if client.burst == 0 {
            client.burst = 10;
        }
        let logging = &mut self.logging;
        text(&mut logging.format, "text");
        if logging.flush_frequency.is_null() || logging.flush_frequency == json!(0) {
            logging.flush_frequency = json!("5s");
        }
        if logging.options.is_null() {
            logging.options = json!({"json": {"infoBufferSize": "0"}, "text": {"infoBufferSize": "0"}});
        }
    }
}

/// An address alone gets the port; what is no address stays, for validation to name.
fn append_port(address: &mut String, port: u16) {
    if let Ok(ip) = address.parse::<IpAddr>() {
        *address = SocketAddr::new(ip, port).to_string();
    }
}
