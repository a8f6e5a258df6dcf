//! What the store is asked and how long it takes. The names are those that dashboards know kube-apiserver's etcd by.

use std::time::Instant;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{Buckets, SECONDS};
use crate::catalog::Resource;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    operation: &'static str,
    group: String,
    resource: String,
}

/// `etcd_request_duration_seconds`.
#[derive(Clone, Debug)]
pub struct StorageMetrics {
    durations: Family<Asked, Histogram, Buckets>,
}

impl Default for StorageMetrics {
    fn default() -> Self {
        Self { durations: Family::new_with_constructor(Buckets(&SECONDS)) }
    }
}

impl StorageMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Time until the store has done what it was asked; for writes, until they are durable";
        registry.register("etcd_request_duration_seconds", help, self.durations.clone());
    }

    /// Something that began then is done.
    pub fn done(&self, operation: &'static str, resource: &Resource, begun: Instant) {
        let asked = Asked { operation, group: resource.group.clone(), resource: resource.plural.clone() };
        self.durations.get_or_create(&asked).observe(begun.elapsed().as_secs_f64());
    }
}
