//! Who asks and whether they may: authentications, authorizations, and the steps of admission.

use std::time::Instant;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::Buckets;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct User {
    username: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Step {
    operation: &'static str,
    rejected: &'static str,
    r#type: &'static str,
}

/// Seconds of admission.
const STEPS: [f64; 6] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5];

/// What is counted. Two of the names are counters' and have no `_total`, which only a gauge may be called.
pub struct Access {
    users: Family<User, Gauge>,
    authentications: Family<Outcome, Gauge>,
    authorizations: Family<Outcome, Counter>,
    steps: Family<Step, Histogram, Buckets>,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            users: Family::default(),
            authentications: Family::default(),
            authorizations: Family::default(),
            steps: Family::new_with_constructor(Buckets(&STEPS)),
        }
    }
}

impl Access {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Counter of authenticated requests broken out by username";
        registry.register("authenticated_user_requests", help, self.users.clone());
        let help = "Counter of authenticated attempts";
        registry.register("authentication_attempts", help, self.authentications.clone());
        let help = "Counter of authorization attempts broken down by result";
        registry.register("authorization_attempts", help, self.authorizations.clone());
        let help = "Admission sub-step latency histogram in seconds, broken out for each operation and API resource and step type \
            (validate or admit)";
        registry.register("apiserver_admission_step_admission_duration_seconds", help, self.steps.clone());
    }

    /// A request's credentials are good, and whose they are, or not.
    pub fn authenticated(&self, user: Option<&str>) {
        let result = if user.is_some() { "success" } else { "failure" };
        self.authentications.get_or_create(&Outcome { result }).inc();
        if let Some(name) = user {
            // Names are no labels: there are too many.
            let known = ["admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default"];
            let username = known.into_iter().find(|known| *known == name).unwrap_or("other");
            self.users.get_or_create(&User { username }).inc();
        }
    }

    /// Whether a request may be made was decided.
    pub fn authorized(&self, allowed: bool) {
        let result = if allowed { "allowed" } else { "no-opinion" };
        self.authorizations.get_or_create(&Outcome { result }).inc();
    }

    /// A step of admission that began then is over.
    pub fn admitted(&self, operation: &'static str, step: &'static str, rejected: bool, begun: Instant) {
        let rejected = if rejected { "true" } else { "false" };
        let step = Step { operation, rejected, r#type: step };
        self.steps.get_or_create(&step).observe(begun.elapsed().as_secs_f64());
    }
}
