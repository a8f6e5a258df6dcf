//! kube-proxy's metrics, by its names, so that its dashboards and alerts go on working.

use std::time::{Duration, SystemTime};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets, linear_buckets};
use prometheus_client::registry::Registry;

/// The label of the health counters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: u16,
}

/// Every metric and the registry that encodes them.
pub(crate) struct Metrics {
    registry: Registry,
    sync_duration: Histogram,
    programming_duration: Histogram,
    last_sync: Gauge<f64, std::sync::atomic::AtomicU64>,
    endpoint_changes: Counter,
    service_changes: Counter,
    endpoint_pending: Gauge,
    service_pending: Gauge,
    healthz: Family<Code, Counter>,
    livez: Family<Code, Counter>,
}

impl Metrics {
    pub fn new() -> Self {
        let programming = [0.0].into_iter().chain(linear_buckets(0.25, 0.25, 2)).chain(linear_buckets(1.0, 1.0, 59));
        let programming = programming.chain(linear_buckets(60.0, 5.0, 12)).chain(linear_buckets(120.0, 30.0, 7));
        let mut metrics = Self {
            registry: Registry::with_prefix("kubeproxy"),
            sync_duration: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            programming_duration: Histogram::new(programming),
            last_sync: Gauge::default(),
            endpoint_changes: Counter::default(),
            service_changes: Counter::default(),
            endpoint_pending: Gauge::default(),
            service_pending: Gauge::default(),
            healthz: Family::default(),
            livez: Family::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let Self { registry, .. } = self;
        registry.register(
            "sync_proxy_rules_duration_seconds",
            "SyncProxyRules latency in seconds",
            self.sync_duration.clone(),
        );
        registry.register(
            "network_programming_duration_seconds",
            "In Cluster Network Programming Latency in seconds",
            self.programming_duration.clone(),
        );
        registry.register(
            "sync_proxy_rules_last_timestamp_seconds",
            "The last time proxy rules were successfully synced",
            self.last_sync.clone(),
        );
        registry.register(
            "sync_proxy_rules_endpoint_changes",
            "Cumulative proxy rules Endpoint changes",
            self.endpoint_changes.clone(),
        );
        registry.register(
            "sync_proxy_rules_service_changes",
            "Cumulative proxy rules Service changes",
            self.service_changes.clone(),
        );
        registry.register(
            "sync_proxy_rules_endpoint_changes_pending",
            "Pending proxy rules Endpoint changes",
            self.endpoint_pending.clone(),
        );
        registry.register(
            "sync_proxy_rules_service_changes_pending",
            "Pending proxy rules Service changes",
            self.service_pending.clone(),
        );
        registry.register("proxy_healthz", "Cumulative proxy healthz HTTP status", self.healthz.clone());
        registry.register("proxy_livez", "Cumulative proxy livez HTTP status", self.livez.clone());
    }

    /// A Service changed.
    pub fn service_changed(&self) {
        self.service_changes.inc();
        self.service_pending.inc();
    }

    /// An EndpointSlice changed.
    pub fn endpoints_changed(&self) {
        self.endpoint_changes.inc();
        self.endpoint_pending.inc();
    }

    /// The kernel was programmed; `triggers` are the times at which the changes happened at their origin.
    pub fn synced(&self, took: Duration, triggers: &[SystemTime]) {
        self.sync_duration.observe(took.as_secs_f64());
        self.endpoint_pending.set(0);
        self.service_pending.set(0);
        let now = SystemTime::now();
        self.last_sync.set(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64());
        for trigger in triggers {
            self.programming_duration.observe(now.duration_since(*trigger).unwrap_or_default().as_secs_f64());
        }
    }

    /// A health request was answered.
    pub fn health_answered(&self, mind_node: bool, code: u16) {
        let family = if mind_node { &self.healthz } else { &self.livez };
        family.get_or_create(&Code { code }).inc();
    }

    /// The OpenMetrics text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_carry_kube_proxys_names() {
        let metrics = Metrics::new();
        metrics.service_changed();
        metrics.synced(Duration::from_millis(3), &[SystemTime::now()]);
        metrics.health_answered(true, 200);
        let text = metrics.text();
        for name in [
            "kubeproxy_sync_proxy_rules_duration_seconds_bucket",
            "kubeproxy_network_programming_duration_seconds_count 1",
            "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
            "kubeproxy_sync_proxy_rules_service_changes_total 1",
            "kubeproxy_sync_proxy_rules_service_changes_pending 0",
            "kubeproxy_proxy_healthz_total{code=\"200\"} 1",
        ] {
            assert!(text.contains(name), "{name} is missing in\n{text}");
        }
    }
}
