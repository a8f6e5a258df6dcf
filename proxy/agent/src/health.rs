//! Whether the proxy keeps up: kube-proxy's rules and answers for `/healthz` and `/livez`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::StatusCode;

/// What is known of the proxy's health.
pub(crate) struct Health {
    timeout: Duration,
    state: Mutex<State>,
}

struct State {
    /// Since when a change waits to be programmed.
    pending_since: Option<Instant>,
    last_updated: Option<jiff::Timestamp>,
    node_eligible: bool,
    mode: &'static str,
}

impl Health {
    /// A change may wait `timeout` before the proxy counts as unhealthy.
    pub fn new(timeout: Duration) -> Self {
        let state = State { pending_since: None, last_updated: None, node_eligible: true, mode: "" };
        Self { timeout, state: Mutex::new(state) }
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

    pub fn set_node_eligible(&self, eligible: bool) {
        self.lock().node_eligible = eligible;
    }

    pub fn set_mode(&self, mode: &'static str) {
        self.lock().mode = mode;
    }

    /// The backend in use; empty until it has programmed the first plan.
    pub fn mode(&self) -> &'static str {
        self.lock().mode
    }

    /// The answer of `/healthz` (which minds the node) or `/livez` (which does not).
    pub fn answer(&self, mind_node: bool) -> (StatusCode, String) {
        let state = self.lock();
        let now = jiff::Timestamp::now();
        let alive = state.pending_since.is_none_or(|since| since.elapsed() < self.timeout);
        let healthy = alive && (!mind_node || state.node_eligible);
        // kube-proxy says "now" while healthy, and the last success otherwise.
        let updated = if healthy { now } else { state.last_updated.unwrap_or(jiff::Timestamp::UNIX_EPOCH) };
        let eligible = if mind_node { format!(", \"nodeEligible\": {}", state.node_eligible) } else { String::new() };
        let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, format!("{{\"lastUpdated\": \"{updated}\",\"currentTime\": \"{now}\"{eligible}}}"))
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
        assert_eq!(health.answer(true).0, StatusCode::OK);
        health.queued();
        assert_eq!(health.answer(true).0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(health.answer(false).0, StatusCode::SERVICE_UNAVAILABLE);
        health.updated();
        assert_eq!(health.answer(true).0, StatusCode::OK);
    }

    #[test]
    fn a_node_that_is_about_to_go_is_unhealthy_but_alive() {
        let health = Health::new(Duration::from_secs(60));
        health.set_node_eligible(false);
        let (status, body) = health.answer(true);
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(body.ends_with("\"nodeEligible\": false}"), "{body}");
        assert_eq!(health.answer(false).0, StatusCode::OK);
    }
}
