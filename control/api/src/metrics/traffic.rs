//! What is under way and what goes out: requests in flight, sizes of answers, events of watches.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{Asked, Buckets};
use crate::catalog::Resource;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    request_kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Watched {
    group: String,
    version: String,
    resource: String,
}

/// Bytes of answers and of events; kube-apiserver's buckets.
const ANSWERS: [f64; 7] = [1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
const EVENTS: [f64; 8] = [1024.0, 2048.0, 4096.0, 8192.0, 16_384.0, 32_768.0, 65_536.0, 131_072.0];

/// Of all requests.
#[derive(Clone, Debug)]
pub struct Traffic {
    in_flight: Family<Kind, Gauge>,
    sizes: Family<Asked, Histogram, Buckets>,
    events: Family<Watched, Counter>,
    event_sizes: Family<Watched, Histogram, Buckets>,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            in_flight: Family::default(),
            sizes: Family::new_with_constructor(Buckets(&ANSWERS)),
            events: Family::default(),
            event_sizes: Family::new_with_constructor(Buckets(&EVENTS)),
        }
    }
}

/// A request that is being answered, until it is dropped.
pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counts what one watch is sent.
pub struct Events {
    count: Counter,
    sizes: Histogram,
}

impl Events {
    /// One more.
    pub fn sent(&self, bytes: usize) {
        self.count.inc();
        #[allow(clippy::cast_precision_loss)]
        self.sizes.observe(bytes as f64);
    }
}

impl Traffic {
    pub(super) fn register(&self, registry: &mut Registry) {
        let in_flight = "Requests that are being answered and are not meant to last";
        registry.register("apiserver_current_inflight_requests", in_flight, self.in_flight.clone());
        registry.register("apiserver_response_sizes", "Bytes of answers before compression", self.sizes.clone());
        registry.register("apiserver_watch_events", "Events that watchers were sent", self.events.clone());
        let sizes = "Bytes of the events that watchers were sent";
        registry.register("apiserver_watch_events_sizes", sizes, self.event_sizes.clone());
    }

    /// Counts a request while it is answered.
    pub fn in_flight(&self, read_only: bool) -> InFlight {
        let request_kind = if read_only { "readOnly" } else { "mutating" };
        let gauge = self.in_flight.get_or_create_owned(&Kind { request_kind });
        gauge.inc();
        InFlight(gauge)
    }

    /// An answer of so many bytes.
    pub(super) fn answered(&self, asked: &Asked, bytes: u64) {
        #[allow(clippy::cast_precision_loss)]
        self.sizes.get_or_create(asked).observe(bytes as f64);
    }

    /// For a watch of a resource.
    pub fn events(&self, resource: &Resource) -> Events {
        let watched = Watched {
            group: resource.group.clone(),
            version: resource.version.clone(),
            resource: resource.plural.clone(),
        };
        Events {
            count: self.events.get_or_create_owned(&watched),
            sizes: self.event_sizes.get_or_create_owned(&watched),
        }
    }
}
