//! CoreDNS' metrics, by its names, so that its dashboards and alerts go on working.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::message::Transport;

/// The label CoreDNS gives to the server on port 53.
const SERVER: &str = "dns://:53";

/// `family` is that of the client's address, as 1 (IPv4) or 2 (IPv6).
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    server: &'static str,
    zone: &'static str,
    proto: &'static str,
    family: u8,
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Said {
    server: &'static str,
    zone: &'static str,
    rcode: &'static str,
    plugin: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Where {
    server: &'static str,
    zone: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Hit {
    server: &'static str,
    zones: &'static str,
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Missed {
    server: &'static str,
    zones: &'static str,
}

/// CoreDNS' buckets: 0.25 ms to 8 s.
#[derive(Clone)]
struct Buckets;

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(exponential_buckets(0.000_25, 2.0, 16))
    }
}

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The table.
    Kubernetes,
    /// The cache of upstream's answers.
    Cache { denial: bool },
    /// Upstream.
    Forward,
    /// Nobody: the request was wrong.
    Nobody,
}

/// Every metric and the registry that encodes them.
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    /// The cluster's domain; a name of one cluster, so it lives as long as the process.
    zone: &'static str,
    requests: Family<Asked, Counter>,
    responses: Family<Said, Counter>,
    durations: Family<Where, Histogram, Buckets>,
    hits: Family<Hit, Counter>,
    misses: Family<Missed, Counter>,
    entries: Gauge,
    rejects: Counter,
}

impl Metrics {
    pub fn new(domain: &str) -> Self {
        let metrics = Self {
            registry: Mutex::new(Registry::with_prefix("coredns")),
            zone: Box::leak(domain.to_owned().into_boxed_str()),
            requests: Family::default(),
            responses: Family::default(),
            durations: Family::new_with_constructor(Buckets),
            hits: Family::default(),
            misses: Family::default(),
            entries: Gauge::default(),
            rejects: Counter::default(),
        };
        {
            let mut registry = metrics.registry.lock().unwrap_or_else(PoisonError::into_inner);
            registry.register(
                "dns_requests",
                "Counter of DNS requests made per zone, protocol and family",
                metrics.requests.clone(),
            );
            registry.register("dns_responses", "Counter of response status codes", metrics.responses.clone());
            let help = "Histogram of the time (in seconds) each request took per zone";
            registry.register("dns_request_duration_seconds", help, metrics.durations.clone());
            registry.register("cache_hits", "The count of cache hits", metrics.hits.clone());
            registry.register("cache_misses", "The count of cache misses", metrics.misses.clone());
            registry.register("cache_entries", "The number of elements in the cache", metrics.entries.clone());
            let help = "Counter of the number of queries rejected because the concurrent queries were at maximum";
            registry.register("forward_max_concurrent_rejects", help, metrics.rejects.clone());
        }
        metrics
    }

    /// The label of a question's zone.
    pub fn zone(&self, ours: bool) -> &'static str {
        if ours { self.zone } else { "." }
    }

    pub fn asked(&self, transport: Transport, is_ipv4: bool, kind: RecordType, ours: bool) {
        let proto = if transport == Transport::Udp { "udp" } else { "tcp" };
        let family = if is_ipv4 { 1 } else { 2 };
        let labels = Asked { server: SERVER, zone: self.zone(ours), proto, family, r#type: type_label(kind) };
        self.requests.get_or_create(&labels).inc();
    }

    pub fn said(&self, code: ResponseCode, by: By, ours: bool, took: Duration) {
        let zone = self.zone(ours);
        let plugin = match by {
            By::Kubernetes => "kubernetes",
            By::Cache { .. } => "cache",
            By::Forward => "forward",
            By::Nobody => "",
        };
        self.responses.get_or_create(&Said { server: SERVER, zone, rcode: code_label(code), plugin }).inc();
        self.durations.get_or_create(&Where { server: SERVER, zone }).observe(took.as_secs_f64());
        match by {
            By::Cache { denial } => {
                let r#type = if denial { "denial" } else { "success" };
                self.hits.get_or_create(&Hit { server: SERVER, zones: ".", r#type }).inc();
            }
            By::Forward => {
                self.misses.get_or_create(&Missed { server: SERVER, zones: "." }).inc();
            }
            By::Kubernetes | By::Nobody => {}
        }
    }

    /// A question found no place among those that wait for upstream.
    pub fn rejected(&self) {
        self.rejects.inc();
    }

    /// The OpenMetrics text; `kept` is the size of the cache.
    pub fn text(&self, kept: usize) -> String {
        self.entries.set(i64::try_from(kept).unwrap_or(i64::MAX));
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner));
        text
    }
}

/// The types that CoreDNS tells apart; a client cannot make up more.
fn type_label(kind: RecordType) -> &'static str {
    match kind {
        RecordType::A => "A",
        RecordType::AAAA => "AAAA",
        RecordType::CNAME => "CNAME",
        RecordType::DNSKEY => "DNSKEY",
        RecordType::DS => "DS",
        RecordType::MX => "MX",
        RecordType::NS => "NS",
        RecordType::NSEC => "NSEC",
        RecordType::NSEC3 => "NSEC3",
        RecordType::PTR => "PTR",
        RecordType::RRSIG => "RRSIG",
        RecordType::SOA => "SOA",
        RecordType::SRV => "SRV",
        RecordType::TXT => "TXT",
        RecordType::HTTPS => "HTTPS",
        _ => "other",
    }
}

fn code_label(code: ResponseCode) -> &'static str {
    match code {
        ResponseCode::NoError => "NOERROR",
        ResponseCode::FormErr => "FORMERR",
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::NotImp => "NOTIMP",
        ResponseCode::Refused => "REFUSED",
        ResponseCode::BADVERS => "BADVERS",
        _ => "other",
    }
}
