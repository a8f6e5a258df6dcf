//! kube-proxy's metrics, by its names, so that its dashboards and alerts go on working; and traffic by Service.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use orlop_plan::{Counters, NoLocalEndpoints, Plan, Reconciled};
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets, linear_buckets};
use prometheus_client::registry::Registry;

use crate::{process, traffic};

/// The label of the health counters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: u16,
}

/// `IPv4` or `IPv6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct IpFamily(orlop_plan::Family);

impl EncodeLabelValue for IpFamily {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        match self.0 {
            orlop_plan::Family::V4 => "IPv4".encode(encoder),
            orlop_plan::Family::V6 => "IPv6".encode(encoder),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByFamily {
    ip_family: IpFamily,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPolicy {
    traffic_policy: &'static str,
    ip_family: IpFamily,
}

/// The stages of a change on its way from a watch event into the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// From the first event of a burst until the others have come.
    Gather,
    /// Making the plan.
    Plan,
    /// Waiting for the backend, which may be busy with an earlier plan.
    Wait,
    /// Programming the kernel.
    Kernel,
}

impl EncodeLabelValue for Stage {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        match self {
            Self::Gather => "gather",
            Self::Plan => "plan",
            Self::Wait => "wait",
            Self::Kernel => "kernel",
        }
        .encode(encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByStage {
    stage: Stage,
}

const FAMILIES: [orlop_plan::Family; 2] = [orlop_plan::Family::V4, orlop_plan::Family::V6];

type Histograms = Family<ByFamily, Histogram, fn() -> Histogram>;
type Timestamps = Family<ByFamily, Gauge<f64, AtomicU64>>;

/// How many changes had come in when a plan was made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    services: u64,
    endpoints: u64,
}

/// What was programmed, for the metrics.
pub(crate) struct Synced<'a> {
    pub took: Duration,
    /// Everything was compared, not only what changed.
    pub full: bool,
    /// The families it touched.
    pub families: &'a [orlop_plan::Family],
    /// When the changes happened at their origin.
    pub triggers: &'a [(orlop_plan::Family, SystemTime)],
}

/// Every metric and the registry that encodes them.
pub(crate) struct Metrics {
    registry: Registry,
    sync_duration: Histograms,
    full_duration: Histograms,
    partial_duration: Histograms,
    programming_duration: Histograms,
    last_sync: Timestamps,
    last_queued: Timestamps,
    endpoint_changes: Counter,
    service_changes: Counter,
    endpoint_pending: Gauge,
    service_pending: Gauge,
    no_local_endpoints: Family<ByPolicy, Gauge>,
    sync_failures: Family<ByFamily, Counter>,
    cleanup_failures: Family<ByFamily, Counter>,
    reconcile_duration: Histograms,
    reconcile_deleted: Family<ByFamily, Counter>,
    healthz: Family<Code, Counter>,
    livez: Family<Code, Counter>,
    /// The frontends in the plan.
    frontends: Gauge,
    stages: Family<ByStage, Histogram, fn() -> Histogram>,
}

fn stage_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.000_01, 4.0, 12))
}

fn sync_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

fn programming_histogram() -> Histogram {
    let buckets = linear_buckets(0.25, 0.25, 2).chain(linear_buckets(1.0, 1.0, 59));
    Histogram::new(buckets.chain(linear_buckets(60.0, 5.0, 12)).chain(linear_buckets(120.0, 30.0, 7)))
}

impl Metrics {
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            sync_duration: Family::new_with_constructor(sync_histogram),
            full_duration: Family::new_with_constructor(sync_histogram),
            partial_duration: Family::new_with_constructor(sync_histogram),
            programming_duration: Family::new_with_constructor(programming_histogram),
            last_sync: Family::default(),
            last_queued: Family::default(),
            endpoint_changes: Counter::default(),
            service_changes: Counter::default(),
            endpoint_pending: Gauge::default(),
            service_pending: Gauge::default(),
            no_local_endpoints: Family::default(),
            sync_failures: Family::default(),
            cleanup_failures: Family::default(),
            reconcile_duration: Family::new_with_constructor(sync_histogram),
            reconcile_deleted: Family::default(),
            healthz: Family::default(),
            livez: Family::default(),
            frontends: Gauge::default(),
            stages: Family::new_with_constructor(stage_histogram),
        };
        metrics.register();
        for family in FAMILIES {
            metrics.set_no_local_endpoints(family, NoLocalEndpoints::default());
            // What has not happened is shown as such. A cleanup that fails is a sync that fails here: they are one transaction.
            for counter in [&metrics.sync_failures, &metrics.cleanup_failures, &metrics.reconcile_deleted] {
                drop(counter.get_or_create(&by(family)));
            }
        }
        metrics
    }

    fn register(&mut self) {
        self.registry.register("orlop_proxy_frontends", "Addresses and ports that are proxied", self.frontends.clone());
        let help = "How long changes take in each stage from a watch event into the kernel";
        self.registry.register("orlop_proxy_change_stage_seconds", help, self.stages.clone());
        let registry = self.registry.sub_registry_with_prefix("kubeproxy");
        let durations = [
            ("sync_proxy_rules_duration_seconds", "SyncProxyRules latency in seconds", &self.sync_duration),
            (
                "sync_full_proxy_rules_duration_seconds",
                "SyncProxyRules latency in seconds for full resyncs",
                &self.full_duration,
            ),
            (
                "sync_partial_proxy_rules_duration_seconds",
                "SyncProxyRules latency in seconds for partial resyncs",
                &self.partial_duration,
            ),
            (
                "network_programming_duration_seconds",
                "In Cluster Network Programming Latency in seconds",
                &self.programming_duration,
            ),
            (
                "conntrack_reconciler_sync_duration_seconds",
                "ReconcileConntrackFlowsLatency latency in seconds",
                &self.reconcile_duration,
            ),
        ];
        for (name, help, family) in durations {
            registry.register(name, help, family.clone());
        }
        let timestamps = [
            (
                "sync_proxy_rules_last_timestamp_seconds",
                "The last time proxy rules were successfully synced",
                &self.last_sync,
            ),
            (
                "sync_proxy_rules_last_queued_timestamp_seconds",
                "The last time a sync of proxy rules was queued",
                &self.last_queued,
            ),
        ];
        for (name, help, family) in timestamps {
            registry.register(name, help, family.clone());
        }
        let changes = [
            ("endpoint", "Endpoint", &self.endpoint_changes, &self.endpoint_pending),
            ("service", "Service", &self.service_changes, &self.service_pending),
        ];
        for (name, kind, total, pending) in changes {
            let (metric, help) = (format!("sync_proxy_rules_{name}_changes"), format!("proxy rules {kind} changes"));
            registry.register(&metric, format!("Cumulative {help}"), total.clone());
            registry.register(format!("{metric}_pending"), format!("Pending {help}"), pending.clone());
        }
        registry.register(
            "sync_proxy_rules_no_local_endpoints_total",
            "Number of services with a Local traffic policy and no endpoints",
            self.no_local_endpoints.clone(),
        );
        registry.register(
            "sync_proxy_rules_nftables_sync_failures",
            "Cumulative proxy nftables sync failures",
            self.sync_failures.clone(),
        );
        registry.register(
            "sync_proxy_rules_nftables_cleanup_failures",
            "Cumulative proxy nftables cleanup failures",
            self.cleanup_failures.clone(),
        );
        registry.register(
            "conntrack_reconciler_deleted_entries",
            "Cumulative conntrack flows deleted by conntrack reconciler",
            self.reconcile_deleted.clone(),
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

    /// A plan is about to be handed on, with all changes so far.
    pub fn queued(&self) -> Seen {
        for family in FAMILIES {
            self.last_queued.get_or_create(&by(family)).set(now());
        }
        Seen { services: self.service_changes.get(), endpoints: self.endpoint_changes.get() }
    }

    /// What the last plan that was handed on leaves without local endpoints.
    pub fn set_no_local_endpoints(&self, family: orlop_plan::Family, counts: NoLocalEndpoints) {
        for (traffic_policy, count) in [("internal", counts.internal), ("external", counts.external)] {
            let labels = ByPolicy { traffic_policy, ip_family: IpFamily(family) };
            self.no_local_endpoints.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// A change has passed a stage.
    pub fn passed(&self, stage: Stage, took: Duration) {
        self.stages.get_or_create(&ByStage { stage }).observe(took.as_secs_f64());
    }

    /// The kernel was programmed.
    pub fn synced(&self, synced: &Synced<'_>) {
        for family in synced.families {
            let labels = by(*family);
            let took = synced.took.as_secs_f64();
            self.sync_duration.get_or_create(&labels).observe(took);
            let kind = if synced.full { &self.full_duration } else { &self.partial_duration };
            kind.get_or_create(&labels).observe(took);
            self.last_sync.get_or_create(&labels).set(now());
        }
        let at = SystemTime::now();
        for (family, trigger) in synced.triggers {
            let took = at.duration_since(*trigger).unwrap_or_default().as_secs_f64();
            self.programming_duration.get_or_create(&by(*family)).observe(took);
        }
    }

    /// The kernel is as the changes that were seen want it, whether or not they asked for anything.
    pub fn settled(&self, seen: Seen, plan: &Plan) {
        let left = |total: &Counter, seen: u64| i64::try_from(total.get().saturating_sub(seen)).unwrap_or(i64::MAX);
        self.service_pending.set(left(&self.service_changes, seen.services));
        self.endpoint_pending.set(left(&self.endpoint_changes, seen.endpoints));
        self.frontends.set(i64::try_from(plan.frontends.len()).unwrap_or(i64::MAX));
    }

    /// The kernel could not be programmed.
    pub fn failed(&self) {
        for family in FAMILIES {
            self.sync_failures.get_or_create(&by(family)).inc();
        }
    }

    /// Connection tracking was looked at.
    pub fn reconciled(&self, look: &Reconciled) {
        let labels = by(look.family);
        self.reconcile_duration.get_or_create(&labels).observe(look.took.as_secs_f64());
        self.reconcile_deleted.get_or_create(&labels).inc_by(look.deleted as u64);
    }

    /// A health request was answered.
    pub fn health_answered(&self, mind_node: bool, code: u16) {
        let family = if mind_node { &self.healthz } else { &self.livez };
        family.get_or_create(&Code { code }).inc();
    }

    /// The OpenMetrics text, with the traffic that a backend counted.
    pub fn text(&self, traffic: Option<(&Plan, &Counters)>) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        let end = text.trim_end().strip_suffix("# EOF").map_or(text.len(), str::len);
        text.truncate(end);
        process::write(&mut text);
        if let Some((plan, counters)) = traffic {
            traffic::write(&mut text, plan, counters);
        }
        text.push_str("# EOF\n");
        text
    }
}

const fn by(family: orlop_plan::Family) -> ByFamily {
    ByFamily { ip_family: IpFamily(family) }
}

fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_plan::Family as Ip;

    #[test]
    fn metrics_carry_kube_proxys_names_and_labels() {
        let metrics = Metrics::new();
        metrics.service_changed();
        let seen = metrics.queued();
        metrics.service_changed();
        let triggers = [(Ip::V4, SystemTime::now())];
        let took = Duration::from_millis(3);
        metrics.synced(&Synced { took, full: true, families: &[Ip::V4], triggers: &triggers });
        metrics.settled(seen, &Plan::default());
        metrics.health_answered(true, 200);
        metrics.set_no_local_endpoints(Ip::V6, NoLocalEndpoints { internal: 2, external: 0 });
        let text = metrics.text(None);
        for name in [
            "kubeproxy_sync_proxy_rules_duration_seconds_bucket{le=\"0.004\",ip_family=\"IPv4\"} 1",
            "kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"} 1",
            "kubeproxy_network_programming_duration_seconds_count{ip_family=\"IPv4\"} 1",
            "kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family=\"IPv4\"} 1",
            "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family=\"IPv6\"} 1",
            "kubeproxy_sync_proxy_rules_service_changes_total 2",
            // One came after the plan was made.
            "kubeproxy_sync_proxy_rules_service_changes_pending 1",
            "kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy=\"internal\",ip_family=\"IPv6\"} 2",
            "kubeproxy_proxy_healthz_total{code=\"200\"} 1",
        ] {
            assert!(text.contains(name), "{name} is missing in\n{text}");
        }
    }

    /// Every metric of kube-proxy 1.36 that is not of its iptables mode alone, as it names and labels them.
    const KUBE_PROXYS: [(&str, &str); 19] = [
        ("kubeproxy_sync_proxy_rules_duration_seconds", "histogram"),
        ("kubeproxy_sync_full_proxy_rules_duration_seconds", "histogram"),
        ("kubeproxy_sync_partial_proxy_rules_duration_seconds", "histogram"),
        ("kubeproxy_sync_proxy_rules_last_timestamp_seconds", "gauge"),
        ("kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", "gauge"),
        ("kubeproxy_network_programming_duration_seconds", "histogram"),
        ("kubeproxy_sync_proxy_rules_endpoint_changes_pending", "gauge"),
        ("kubeproxy_sync_proxy_rules_endpoint_changes_total", "counter"),
        ("kubeproxy_sync_proxy_rules_service_changes_pending", "gauge"),
        ("kubeproxy_sync_proxy_rules_service_changes_total", "counter"),
        ("kubeproxy_sync_proxy_rules_no_local_endpoints_total", "gauge"),
        ("kubeproxy_sync_proxy_rules_nftables_sync_failures_total", "counter"),
        ("kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total", "counter"),
        ("kubeproxy_conntrack_reconciler_sync_duration_seconds", "histogram"),
        ("kubeproxy_conntrack_reconciler_deleted_entries_total", "counter"),
        ("kubeproxy_proxy_healthz_total", "counter"),
        ("kubeproxy_proxy_livez_total", "counter"),
        ("process_start_time_seconds", "gauge"),
        ("process_resident_memory_bytes", "gauge"),
    ];

    #[test]
    fn every_metric_of_kube_proxy_is_there() {
        let metrics = Metrics::new();
        let triggers = [(Ip::V4, SystemTime::now())];
        metrics.queued();
        for full in [true, false] {
            metrics.synced(&Synced { took: Duration::ZERO, full, families: &[Ip::V4], triggers: &triggers });
        }
        metrics.reconciled(&Reconciled { family: Ip::V6, took: Duration::ZERO, deleted: 3 });
        metrics.health_answered(true, 200);
        metrics.health_answered(false, 200);
        let text = metrics.text(None);
        for (name, kind) in KUBE_PROXYS {
            // Text of OpenMetrics names a counter without its end.
            let named = if kind == "counter" { name.trim_end_matches("_total") } else { name };
            assert!(text.contains(&format!("# TYPE {named} {kind}\n")), "{name} is missing in\n{text}");
            let value = |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ', '_']));
            assert!(text.lines().any(value), "{name} has no value in\n{text}");
        }
        assert!(
            text.contains("kubeproxy_conntrack_reconciler_deleted_entries_total{ip_family=\"IPv6\"} 3\n"),
            "{text}"
        );
        assert!(text.ends_with("# EOF\n"));
    }
}
