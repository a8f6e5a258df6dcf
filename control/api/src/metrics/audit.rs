//! What is written into the audit log, and what could not be.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Plugin {
    plugin: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Level {
    level: &'static str,
}

/// What is counted. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct AuditMetrics {
    events: Counter,
    errors: Family<Plugin, Counter>,
    levels: Family<Level, Counter>,
    rejected: Counter,
}

impl AuditMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let help = "Counter of audit events generated and sent to the audit backend.";
        registry.register("apiserver_audit_event", help, self.events.clone());
        let help = "Counter of audit events that failed to be audited properly. Plugin identifies the plugin affected by the error.";
        registry.register("apiserver_audit_error", help, self.errors.clone());
        let help = "Counter of policy levels for audit events (1 per request).";
        registry.register("apiserver_audit_level", help, self.levels.clone());
        let help = "Counter of apiserver requests rejected due to an error in audit logging backend.";
        registry.register("apiserver_audit_requests_rejected", help, self.rejected.clone());
    }

    /// An event was made.
    pub fn event(&self) {
        self.events.inc();
    }

    /// An event is lost.
    pub fn error(&self, plugin: &'static str) {
        self.errors.get_or_create(&Plugin { plugin }).inc();
    }

    /// The policy says this of a request.
    pub fn level(&self, level: &'static str) {
        self.levels.get_or_create(&Level { level }).inc();
    }

    /// A request is refused because its event is lost.
    pub fn rejected(&self) {
        self.rejected.inc();
    }
}
