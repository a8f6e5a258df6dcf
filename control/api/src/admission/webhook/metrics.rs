//! `apiserver_admission_webhook_*`: how often webhooks are asked, how long they take and what they refuse.

use std::time::Instant;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::hooks::Hook;
use crate::admission::attributes::Operation;
use crate::metrics::Buckets;

/// Seconds; kube-apiserver's buckets.
const SECONDS: [f64; 10] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 25.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    name: String,
    r#type: &'static str,
    operation: &'static str,
    code: u16,
    rejected: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Lasted {
    name: String,
    r#type: &'static str,
    operation: &'static str,
    rejected: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Rejected {
    name: String,
    r#type: &'static str,
    operation: &'static str,
    error_type: &'static str,
    rejection_code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Open {
    name: String,
    r#type: &'static str,
}

/// One question that was put.
pub struct Observation {
    name: String,
    ty: &'static str,
    operation: &'static str,
    seconds: f64,
}

impl Observation {
    /// It ends now.
    pub(super) fn new(hook: &Hook, operation: Operation, started: Instant) -> Self {
        let seconds = started.elapsed().as_secs_f64();
        Self { name: hook.name.clone(), ty: hook.ty.as_str(), operation: operation.as_str(), seconds }
    }
}

/// What is counted of webhooks.
pub struct WebhookMetrics {
    durations: Family<Lasted, Histogram, Buckets>,
    requests: Family<Asked, Counter>,
    // Gauges, because their names are kube-apiserver's, and this encoder has counters end in `_total`.
    rejections: Family<Rejected, Gauge>,
    open: Family<Open, Gauge>,
}

impl WebhookMetrics {
    /// Nothing counted yet.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            durations: Family::new_with_constructor(Buckets(&SECONDS)),
            requests: Family::default(),
            rejections: Family::default(),
            open: Family::default(),
        };
        registry.register(
            "apiserver_admission_webhook_admission_duration_seconds",
            "Time that a webhook takes to answer",
            metrics.durations.clone(),
        );
        registry.register(
            "apiserver_admission_webhook_request",
            "Questions put to webhooks, by their answer's code",
            metrics.requests.clone(),
        );
        registry.register(
            "apiserver_admission_webhook_rejection_count",
            "Requests refused by webhooks, or because webhooks failed",
            metrics.rejections.clone(),
        );
        registry.register(
            "apiserver_admission_webhook_fail_open_count",
            "Webhooks that failed and were passed over",
            metrics.open.clone(),
        );
        metrics
    }

    /// A question was answered, or not.
    pub fn observe(&self, seen: &Observation, code: u16, rejected: bool) {
        let (name, r#type, operation) = (seen.name.clone(), seen.ty, seen.operation);
        let rejected = if rejected { "true" } else { "false" };
        let lasted = Lasted { name: name.clone(), r#type, operation, rejected };
        self.durations.get_or_create(&lasted).observe(seen.seconds);
        self.requests.get_or_create(&Asked { name, r#type, operation, code, rejected }).inc();
    }

    /// The request was refused.
    pub fn rejected(&self, seen: &Observation, error_type: &'static str, rejection_code: u16) {
        let (name, r#type, operation) = (seen.name.clone(), seen.ty, seen.operation);
        self.rejections.get_or_create(&Rejected { name, r#type, operation, error_type, rejection_code }).inc();
    }

    /// The webhook failed, which its configuration ignores.
    pub fn failed_open(&self, seen: &Observation) {
        self.open.get_or_create(&Open { name: seen.name.clone(), r#type: seen.ty }).inc();
    }
}
