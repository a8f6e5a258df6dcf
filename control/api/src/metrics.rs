//! `/metrics`: what is asked, how long it takes and what is kept, under kube-apiserver's names.

use std::fmt::Error;
use std::time::Duration;

use http::Response;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::admission::WebhookMetrics;
use crate::catalog::Catalog;
use crate::request::RequestInfo;
use crate::server::ApiServer;
use crate::status::Status;
use crate::wire::{self, Body};

mod storage;
mod traffic;

pub use storage::StorageMetrics;
pub use traffic::{Events, Traffic};

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Seconds; kube-apiserver's buckets, thinned out.
const BUCKETS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    verb: &'static str,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    verb: &'static str,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stored {
    resource: String,
}

#[derive(Clone, Debug)]
struct Seconds;

impl MetricConstructor<Histogram> for Seconds {
    fn new_metric(&self) -> Histogram {
        Histogram::new(BUCKETS)
    }
}

/// What is counted.
pub struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    durations: Family<Asked, Histogram, Seconds>,
    long_running: Family<Asked, Gauge>,
    objects: Family<Stored, Gauge>,
    resident: Gauge,
    /// Of admission webhooks.
    pub webhooks: WebhookMetrics,
    /// What is under way and what goes out.
    pub traffic: Traffic,
}

/// One of the requests that last; it is counted until it is dropped.
pub struct LongRunning(Gauge);

impl Drop for LongRunning {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Nothing counted yet; what the store is asked is counted elsewhere.
    pub fn new(storage: &StorageMetrics) -> Self {
        let mut registry = Registry::default();
        let webhooks = WebhookMetrics::new(&mut registry);
        let mut metrics = Self {
            registry,
            webhooks,
            traffic: Traffic::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(Seconds),
            long_running: Family::default(),
            objects: Family::default(),
            resident: Gauge::default(),
        };
        let registry = &mut metrics.registry;
        storage.register(registry);
        metrics.traffic.register(registry);
        registry.register("apiserver_request", "Requests by verb, resource and HTTP code", metrics.requests.clone());
        registry.register(
            "apiserver_request_duration_seconds",
            "Time from a request's arrival to the head of its answer",
            metrics.durations.clone(),
        );
        registry.register(
            "apiserver_longrunning_requests",
            "Watches that are being served",
            metrics.long_running.clone(),
        );
        registry.register("apiserver_storage_objects", "Objects that are stored", metrics.objects.clone());
        registry.register("process_resident_memory_bytes", "Resident memory size in bytes", metrics.resident.clone());
        metrics
    }

    /// Counts a request that was answered, with so many bytes if that is known yet.
    pub fn answered(&self, catalog: &Catalog, info: &RequestInfo, code: u16, took: Duration, bytes: Option<u64>) {
        if let Some(bytes) = bytes {
            self.traffic.answered(catalog, info, bytes);
        }
        let asked = asked(catalog, info);
        self.durations.get_or_create(&asked).observe(took.as_secs_f64());
        let Asked { verb, group, version, resource, subresource, scope } = asked;
        let answered = Answered { verb, group, version, resource, subresource, scope, code };
        self.requests.get_or_create(&answered).inc();
    }

    /// Counts a request that lasts.
    pub fn long_running(&self, catalog: &Catalog, info: &RequestInfo) -> LongRunning {
        let gauge = self.long_running.get_or_create_owned(&asked(catalog, info));
        gauge.inc();
        LongRunning(gauge)
    }

    /// The page.
    pub fn answer(&self, server: &ApiServer) -> Result<Response<Body>, Status> {
        for resource in server.catalog().iter().filter(|r| !r.storage.is_empty() && r.is_storage_version()) {
            let Ok(cache) = server.registry().hub().cache(resource) else { continue };
            let name = if resource.group.is_empty() {
                resource.plural.clone()
            } else {
                format!("{}.{}", resource.plural, resource.group)
            };
            let count = i64::try_from(cache.snapshot().0.len()).unwrap_or(i64::MAX);
            self.objects.get_or_create(&Stored { resource: name }).set(count);
        }
        self.resident.set(resident().unwrap_or(0));
        let mut text = String::new();
        encode(&mut text, &self.registry).map_err(|error: Error| Status::internal(error))?;
        Ok(wire::respond(200, CONTENT_TYPE, text))
    }
}

/// What a request asks for. Names that are not served are left out, so that nobody can invent series.
fn asked(catalog: &Catalog, info: &RequestInfo) -> Asked {
    let known = catalog.get(&info.group, &info.version, &info.resource);
    let subresource = known.and_then(|r| r.subresource(&info.subresource)).map(|s| s.name.clone());
    let scope = match (info.is_resource, info.name.is_empty(), info.namespace.is_empty()) {
        (false, ..) => "",
        (true, false, _) => "resource",
        (true, true, false) => "namespace",
        (true, true, true) => "cluster",
    };
    let verb = match info.verb {
        "create" => "POST",
        "update" => "PUT",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        "list" => "LIST",
        "watch" => "WATCH",
        "get" => "GET",
        _ => "other",
    };
    Asked {
        verb,
        group: known.map(|r| r.group.clone()).unwrap_or_default(),
        version: known.map(|r| r.version.clone()).unwrap_or_default(),
        resource: known.map(|r| r.plural.clone()).unwrap_or_default(),
        subresource: subresource.unwrap_or_default(),
        scope,
    }
}

/// Bytes, from the second field of `/proc/self/statm` in pages of 4 KiB.
fn resident() -> Option<i64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    text.split_whitespace().nth(1)?.parse::<i64>().ok()?.checked_mul(4096)
}
