//! `/metrics`: what is asked, how long it takes and what is kept, under kube-apiserver's names.

use std::fmt::Error;
use std::time::Duration;

use http::header::ACCEPT;
use http::{HeaderMap, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::admission::WebhookMetrics;
use crate::catalog::Catalog;
use crate::request::{Query, RequestInfo};
use crate::server::ApiServer;
use crate::status::Status;
use crate::wire::{self, Body};

mod access;
mod audit;
mod classic;
mod flow;
mod process;
mod storage;
mod traffic;

pub use access::Access;
pub use audit::AuditMetrics;
use classic::classic;
pub use flow::{FlowCounts, FlowMetrics, InQueue, LevelLimits};
use process::Process;
pub use storage::StorageMetrics;
pub use traffic::{Events, Traffic};

const OPEN_METRICS: &str = "application/openmetrics-text";
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Seconds; kube-apiserver's buckets.
const SECONDS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];
const APPLY: &str = "application/apply-patch+yaml";
/// Paths that are no resources and are counted as what they are.
const PATHS: [&str; 9] =
    ["/healthz", "/livez", "/readyz", "/metrics", "/version", "/apis", "/api", "/openapi/v2", "/openapi/v3"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    component: &'static str,
    group: String,
    resource: String,
    scope: &'static str,
    subresource: String,
    verb: &'static str,
    version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Lasted {
    dry_run: &'static str,
    #[prometheus(flatten)]
    asked: Asked,
}

impl Lasted {
    fn of(catalog: &Catalog, request: &Request<'_>) -> Self {
        let mut asked = asked(catalog, request.info);
        if request.applies {
            asked.verb = "APPLY";
        }
        Self { dry_run: if request.dry_run { "All" } else { "" }, asked }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    code: u16,
    system_client: &'static str,
    #[prometheus(flatten)]
    lasted: Lasted,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stored {
    resource: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Held {
    group: String,
    resource: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    git_version: &'static str,
    major: &'static str,
    minor: &'static str,
    compiler: &'static str,
    platform: String,
}

/// Makes the histograms of a family, all with these buckets.
#[derive(Clone, Debug)]
pub(crate) struct Buckets(pub(crate) &'static [f64]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

/// What is counted.
pub struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    durations: Family<Lasted, Histogram, Buckets>,
    long_running: Family<Asked, Gauge>,
    objects: Family<Stored, Gauge>,
    held: Family<Held, Gauge>,
    process: Process,
    /// Of admission webhooks.
    pub webhooks: WebhookMetrics,
    /// What is under way and what goes out.
    pub traffic: Traffic,
    /// Of who asks, and whether they may.
    pub access: Access,
}

/// A request, as far as it is told apart.
pub struct Request<'a> {
    /// What it asks for.
    pub info: &'a RequestInfo,
    /// Whether nothing comes of it.
    pub dry_run: bool,
    /// Whether it is a server-side apply.
    pub applies: bool,
}

impl<'a> Request<'a> {
    /// A request with such a query and a body of such a media type.
    pub fn new(info: &'a RequestInfo, query: &Query, content: &str) -> Self {
        let dry_run = query.get("dryRun").is_some_and(|value| !value.is_empty());
        Self { info, dry_run, applies: info.verb == "patch" && content == APPLY }
    }
}

/// One of the requests that last; it is counted until it is dropped.
pub struct LongRunning(Gauge);

impl Drop for LongRunning {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Nothing counted yet; what the store is asked, who waits and what is audited is counted elsewhere.
    pub fn new(storage: &StorageMetrics, flows: &FlowMetrics, audit: &AuditMetrics) -> Self {
        let mut registry = Registry::default();
        let webhooks = WebhookMetrics::new(&mut registry);
        let mut metrics = Self {
            registry,
            webhooks,
            traffic: Traffic::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(Buckets(&SECONDS)),
            long_running: Family::default(),
            objects: Family::default(),
            held: Family::default(),
            process: Process::default(),
            access: Access::default(),
        };
        let registry = &mut metrics.registry;
        storage.register(registry);
        flows.register(registry);
        metrics.traffic.register(registry);
        registry.register("apiserver_request", "Requests by verb, resource and HTTP code", metrics.requests.clone());
        registry.register(
            "apiserver_request_duration_seconds",
            "Time from the moment a request is let in to the head of its answer",
            metrics.durations.clone(),
        );
        // The time in the queues of flow control is counted there, so that the time that counts is the whole.
        registry.register(
            "apiserver_request_sli_duration_seconds",
            "Time from the moment a request is let in to the head of its answer, without what others took of it",
            metrics.durations.clone(),
        );
        let build = Family::<Build, Gauge>::default();
        let about = Build {
            git_version: crate::version::GIT_VERSION,
            major: "1",
            minor: "36",
            compiler: "rustc",
            platform: crate::version::platform(),
        };
        build.get_or_create(&about).set(1);
        registry.register("kubernetes_build_info", "A constant 1, with what this server is as labels", build);
        metrics.access.register(registry);
        audit.register(registry);
        metrics.process.register(registry);
        registry.register(
            "apiserver_longrunning_requests",
            "Watches that are being served",
            metrics.long_running.clone(),
        );
        registry.register("apiserver_storage_objects", "Objects that are stored", metrics.objects.clone());
        registry.register("apiserver_resource_objects", "Objects that are stored", metrics.held.clone());
        metrics
    }

    /// Counts a request that was answered, with so many bytes if that is known yet.
    pub fn answered(&self, catalog: &Catalog, request: &Request<'_>, code: u16, took: Duration, bytes: Option<u64>) {
        let lasted = Lasted::of(catalog, request);
        if let Some(bytes) = bytes {
            self.traffic.answered(&lasted.asked, bytes);
        }
        self.durations.get_or_create(&lasted).observe(took.as_secs_f64());
        self.requests.get_or_create(&Answered { code, system_client: "", lasted }).inc();
    }

    /// Counts a request that was not let in.
    pub fn dropped(&self, catalog: &Catalog, request: &Request<'_>) {
        let lasted = Lasted::of(catalog, request);
        self.requests.get_or_create(&Answered { code: 429, system_client: "", lasted }).inc();
    }

    /// Counts a request that lasts.
    pub fn long_running(&self, catalog: &Catalog, info: &RequestInfo) -> LongRunning {
        let gauge = self.long_running.get_or_create_owned(&asked(catalog, info));
        gauge.inc();
        LongRunning(gauge)
    }

    /// The page, in the older format unless the client takes the newer.
    pub fn answer(&self, server: &ApiServer, headers: &HeaderMap) -> Result<Response<Body>, Status> {
        // Of what is served no more nothing is told.
        self.objects.clear();
        self.held.clear();
        for resource in server.catalog().iter().filter(|r| !r.storage.is_empty() && r.is_storage_version()) {
            let Ok(cache) = server.registry().hub().cache(resource) else { continue };
            let name = if resource.group.is_empty() {
                resource.plural.clone()
            } else {
                format!("{}.{}", resource.plural, resource.group)
            };
            let count = i64::try_from(cache.snapshot().0.len()).unwrap_or(i64::MAX);
            self.objects.get_or_create(&Stored { resource: name }).set(count);
            let held = Held { group: resource.group.clone(), resource: resource.plural.clone() };
            self.held.get_or_create(&held).set(count);
        }
        self.process.look();
        let mut text = String::new();
        encode(&mut text, &self.registry).map_err(|error: Error| Status::internal(error))?;
        let accepted = headers.get_all(ACCEPT).iter().filter_map(|header| header.to_str().ok());
        if accepted.flat_map(|header| header.split(',')).any(|part| part.trim().starts_with(OPEN_METRICS)) {
            return Ok(wire::respond(200, CONTENT_TYPE, text));
        }
        Ok(wire::respond(200, CLASSIC, classic(&text)))
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
        "post" => "POST",
        "put" => "PUT",
        _ => "other",
    };
    let connects = matches!(info.subresource.as_str(), "exec" | "attach" | "portforward" | "proxy");
    let path = || PATHS.iter().find(|path| info.path.starts_with(**path)).map(ToString::to_string);
    Asked {
        component: if info.is_resource { "apiserver" } else { "" },
        verb: if connects && info.is_resource { "CONNECT" } else { verb },
        group: known.map(|r| r.group.clone()).unwrap_or_default(),
        version: known.map(|r| r.version.clone()).unwrap_or_default(),
        resource: known.map(|r| r.plural.clone()).unwrap_or_default(),
        subresource: if info.is_resource { subresource } else { path() }.unwrap_or_default(),
        scope,
    }
}
