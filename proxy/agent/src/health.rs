//! Whether the proxy keeps up: kube-proxy's rules and answers for `/healthz` and `/livez`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use serde::Serialize;

/// What Go writes for a time that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// What is known of the proxy's health.
pub(crate) struct Health {
    timeout: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Since when a change waits to be programmed.
    pending_since: Option<Instant>,
    last_updated: Option<jiff::Timestamp>,
    node_eligible: bool,
    mode: &'static str,
    limits: Vec<String>,
}

/// The body of an answer; both families are programmed at once.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    last_updated: String,
    current_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_eligible: Option<bool>,
    healthy: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

#[derive(Serialize)]
#[serde(rename_all = "UPPERCASE")]
struct Status {
    #[serde(rename = "IPv4")]
    v4: FamilyStatus,
    #[serde(rename = "IPv6")]
    v6: FamilyStatus,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct FamilyStatus {
    last_updated: String,
    healthy: bool,
}

impl State {
    /// It starts healthy: until the first plan is programmed there is nothing to be late with.
    fn keeps_up(&self, timeout: Duration) -> bool {
        self.last_updated.is_none() || self.pending_since.is_none_or(|since| since.elapsed() < timeout)
    }
}

impl Health {
    /// A change may wait `timeout` before the proxy counts as unhealthy.
    pub fn new(timeout: Duration) -> Self {
        Self { timeout, state: Mutex::default() }
    }

    /// A change came in.
    pub fn queued(&self) {
        self.lock().pending_since.get_or_insert_with(Instant::now);
    }

    /// Everything that came in is programmed.
    pub fn updated(&self) {
        let mut state = self.lock();
        state.pending_since = None;
        state.last_updated = Some(jiff::Timestamp::now());
    }

    /// Whether load balancers may send traffic here: the Node is known and not about to go.
    pub fn set_node_eligible(&self, eligible: bool) {
        self.lock().node_eligible = eligible;
    }

    /// The backend in use, and what it cannot do.
    pub fn set_mode(&self, mode: &'static str, limits: Vec<String>) {
        let mut state = self.lock();
        state.mode = mode;
        state.limits = limits;
    }

    /// The backend in use; empty until there is one.
    pub fn mode(&self) -> &'static str {
        self.lock().mode
    }

    /// What the backend cannot do, one line each.
    pub fn limits(&self) -> Vec<String> {
        self.lock().limits.clone()
    }

    /// Whether a Service's health check may send traffic here.
    pub fn admits_traffic(&self) -> bool {
        let state = self.lock();
        state.node_eligible && state.keeps_up(self.timeout)
    }

    /// The answer of `/healthz` (which minds the node) or `/livez` (which does not).
    pub fn answer(&self, mind_node: bool) -> (StatusCode, String) {
        let state = self.lock();
        let now = jiff::Timestamp::now().to_string();
        let healthy = state.keeps_up(self.timeout);
        let well = healthy && (!mind_node || state.node_eligible);
        let synced = state.last_updated.map(|at| at.to_string());
        let family = synced.clone().map(|last_updated| FamilyStatus { last_updated, healthy });
        let answer = Answer {
            // kube-proxy says "now" while healthy, and the last success otherwise.
            last_updated: if well { now.clone() } else { synced.unwrap_or_else(|| NEVER.into()) },
            current_time: now,
            node_eligible: mind_node.then_some(state.node_eligible),
            healthy,
            status: family.map(|family| Status { v4: family.clone(), v6: family }),
        };
        let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, serde_json::to_string(&answer).unwrap_or_default())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_waits_too_long_is_unhealthy_until_it_is_programmed() {
        let health = Health::new(Duration::ZERO);
        health.set_node_eligible(true);
        health.queued();
        assert_eq!(health.answer(true).0, StatusCode::OK, "nothing was programmed yet");
        health.updated();
        health.queued();
        assert_eq!(health.answer(true).0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(health.answer(false).0, StatusCode::SERVICE_UNAVAILABLE);
        assert!(!health.admits_traffic());
        health.updated();
        assert_eq!(health.answer(true).0, StatusCode::OK);
        assert!(health.admits_traffic());
    }

    #[test]
    fn a_node_that_is_about_to_go_is_unhealthy_but_alive() {
        let health = Health::new(Duration::from_secs(60));
        let (status, body) = health.answer(true);
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "a Node that nobody has seen");
        assert!(body.starts_with("{\"lastUpdated\":\"0001-01-01T00:00:00Z\",\"currentTime\":\""), "{body}");
        assert!(body.ends_with("\"nodeEligible\":false,\"healthy\":true}"), "{body}");
        assert_eq!(health.answer(false).0, StatusCode::OK);
        health.set_node_eligible(true);
        health.updated();
        let (status, body) = health.answer(false);
        assert_eq!(status, StatusCode::OK);
        let value: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(value["status"]["IPv6"]["healthy"], true);
        assert!(value.get("nodeEligible").is_none());
    }
}
