//! What of a configuration does nothing here.

use super::{Ipvs, KubeProxyConfiguration, Logging, Winkernel};

/// The gates that mean something here.
pub(super) const KNOWN_GATES: [&str; 1] = ["AllowServiceExternalIPs"];

impl KubeProxyConfiguration {
    /// One line for each field that was set to something and is not obeyed. Fields at their default are not mentioned.
    pub fn unsupported(&self) -> Vec<String> {
        let usual = Self::with_defaults();
        let mut lines = Vec::new();
        let mut say = |differs: bool, field: &str, why: &str| {
            if differs {
                lines.push(format!("{field} is not supported: {why}"));
            }
        };
        match self.mode.as_str() {
            "iptables" => say(true, "mode: iptables", "nftables does its work, with the same results"),
            "ipvs" => say(true, "mode: ipvs", "nftables does its work; schedulers other than random are not to be had"),
            _ => {}
        }
        let same_ipvs = Ipvs { sync_period: usual.ipvs.sync_period, ..Ipvs::default() };
        let ipvs = Ipvs {
            sync_period: same_ipvs.sync_period,
            min_sync_period: same_ipvs.min_sync_period,
            ..self.ipvs.clone()
        };
        say(ipvs != same_ipvs, "ipvs", "there is no IPVS mode");
        say(self.winkernel != Winkernel::default() || self.windows_run_as_service, "winkernel", "this is Linux");
        say(self.enable_profiling, "enableProfiling", "there are no profiling handlers");
        say(!self.show_hidden_metrics_for_version.is_empty(), "showHiddenMetricsForVersion", "no metric is hidden");
        let client = &self.client_connection;
        let limited = (client.qps, client.burst) != (usual.client_connection.qps, usual.client_connection.burst);
        say(limited, "clientConnection.qps and burst", "three watches need no limit");
        let types = (&client.content_type, &client.accept_content_types);
        let usual_types = (&usual.client_connection.content_type, &usual.client_connection.accept_content_types);
        say(types != usual_types, "clientConnection.contentType", "JSON is spoken");
        say(
            self.config_sync_period != usual.config_sync_period,
            "configSyncPeriod",
            "watches are not refreshed while they live",
        );
        let quiet = Logging { verbosity: 0, ..self.logging.clone() };
        say(quiet != usual.logging, "logging", "the environment variable ORLOP_LOG says what is logged, as text");
        for gate in self.feature_gates.keys().filter(|gate| !KNOWN_GATES.contains(&gate.as_str())) {
            say(true, &format!("featureGates.{gate}"), "no such gate here");
        }
        lines
    }
}
