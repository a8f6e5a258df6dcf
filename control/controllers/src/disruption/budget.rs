//! The pure part: how many pods of a budget may be disturbed now (`pkg/controller/disruption`).

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt as _;

use crate::replicas::ready_since;

/// A pod that was evicted and is still there after this long was not evicted after all.
const DELETION_TIMEOUT: SignedDuration = SignedDuration::from_secs(120);
const CONDITION: &str = "DisruptionAllowed";

/// Whether the budget is relative to what the workloads behind the pods want.
pub(super) fn needs_scale(budget: &PodDisruptionBudget) -> bool {
    let Some(spec) = &budget.spec else { return false };
    spec.max_unavailable.is_some() || matches!(spec.min_available, Some(IntOrString::String(_)))
}

/// The status; `scale` is how many pods the workloads behind them want, if [`needs_scale`].
pub(super) fn status(
    budget: &PodDisruptionBudget,
    pods: &[&Pod],
    scale: i32,
    now: Timestamp,
) -> PodDisruptionBudgetStatus {
    let (expected, desired) = wanted(budget, pods.len(), scale);
    let old = budget.status.clone().unwrap_or_default();
    let disrupted = still_disrupted(old.disrupted_pods.unwrap_or_default(), pods, now);
    let healthy = pods.iter().filter(|pod| {
        pod.metadata.deletion_timestamp.is_none()
            && !disrupted.contains_key(&pod.name_any())
            && ready_since(pod).is_some()
    });
    let healthy = i32::try_from(healthy.count()).unwrap_or(i32::MAX);
    let allowed = if expected <= 0 { 0 } else { healthy.saturating_sub(desired).max(0) };
    let (value, reason) = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    PodDisruptionBudgetStatus {
        conditions: Some(condition(old.conditions, budget, value, reason, "", now)),
        current_healthy: Some(healthy),
        desired_healthy: Some(desired),
        expected_pods: Some(expected),
        disruptions_allowed: Some(allowed),
        disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
        observed_generation: budget.metadata.generation,
    }
}

/// The status when the workloads cannot be found: nothing may be disturbed.
pub(super) fn failed(budget: &PodDisruptionBudget, why: &str, now: Timestamp) -> PodDisruptionBudgetStatus {
    let old = budget.status.clone().unwrap_or_default();
    PodDisruptionBudgetStatus {
        conditions: Some(condition(old.conditions.clone(), budget, "False", "SyncFailed", why, now)),
        disruptions_allowed: Some(0),
        observed_generation: budget.metadata.generation,
        ..old
    }
}

fn wanted(budget: &PodDisruptionBudget, pods: usize, scale: i32) -> (i32, i32) {
    let Some(spec) = &budget.spec else { return (0, 0) };
    let pods = i32::try_from(pods).unwrap_or(i32::MAX);
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => (scale, scale.saturating_sub(scaled(most, scale)).max(0)),
        (None, Some(IntOrString::Int(least))) => (pods, *least),
        (None, Some(least)) => (scale, scaled(least, scale)),
        (None, None) => (pods, 0),
    }
}

/// Percentages are rounded up.
fn scaled(value: &IntOrString, total: i32) -> i32 {
    match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let product = percent.saturating_mul(i64::from(total));
            i32::try_from(product.saturating_add(99).div_euclid(100)).unwrap_or(i32::MAX)
        }
    }
}

/// Pods that the API server has let go and that have not begun to.
fn still_disrupted(disrupted: BTreeMap<String, Time>, pods: &[&Pod], now: Timestamp) -> BTreeMap<String, Time> {
    let waits = |name: &String, since: &Time| {
        let there = pods.iter().find(|pod| pod.name_any() == *name);
        there.is_some_and(|pod| pod.metadata.deletion_timestamp.is_none())
            && now.duration_since(since.0) < DELETION_TIMEOUT
    };
    disrupted.into_iter().filter(|(name, since)| waits(name, since)).collect()
}

fn condition(
    old: Option<Vec<Condition>>,
    budget: &PodDisruptionBudget,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Vec<Condition> {
    let mut conditions = old.unwrap_or_default();
    let before = conditions.iter().find(|condition| condition.type_ == CONDITION && condition.status == status);
    let since = before.map_or(Time(now), |before| before.last_transition_time.clone());
    conditions.retain(|condition| condition.type_ != CONDITION);
    conditions.push(Condition {
        type_: CONDITION.into(),
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        last_transition_time: since,
        observed_generation: budget.metadata.generation,
    });
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn budget(spec: Value, status: Value) -> PodDisruptionBudget {
        serde_json::from_value(json!({"metadata": {"name": "b"}, "spec": spec, "status": status})).unwrap()
    }

    fn pods(ready: usize, not_ready: usize) -> Vec<Pod> {
        let pod = |name: String, ready: &str| {
            serde_json::from_value(
                json!({"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}),
            )
            .unwrap()
        };
        let ready = (0..ready).map(|n| pod(format!("r{n}"), "True"));
        ready.chain((0..not_ready).map(|n| pod(format!("n{n}"), "False"))).collect()
    }

    fn allowed(budget: &PodDisruptionBudget, pods: &[Pod], scale: i32) -> (i32, i32, i32) {
        let status = status(budget, &pods.iter().collect::<Vec<_>>(), scale, Timestamp::from_second(1000).unwrap());
        (status.expected_pods.unwrap(), status.desired_healthy.unwrap(), status.disruptions_allowed.unwrap())
    }

    fn empty() -> Value {
        json!({"currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0, "disruptionsAllowed": 0})
    }

    #[test]
    fn a_budget_is_absolute_or_relative_to_what_the_workload_wants() {
        assert_eq!(allowed(&budget(json!({"minAvailable": 2}), empty()), &pods(3, 1), 0), (4, 2, 1));
        assert_eq!(allowed(&budget(json!({"minAvailable": "50%"}), empty()), &pods(4, 0), 5), (5, 3, 1));
        assert_eq!(allowed(&budget(json!({"maxUnavailable": 1}), empty()), &pods(5, 0), 5), (5, 4, 1));
        assert_eq!(allowed(&budget(json!({"maxUnavailable": 1}), empty()), &pods(4, 1), 5), (5, 4, 0));
        assert_eq!(allowed(&budget(json!({"maxUnavailable": "100%"}), empty()), &pods(2, 0), 2), (2, 0, 2));
        assert_eq!(allowed(&budget(json!({"minAvailable": 0}), empty()), &pods(0, 0), 0), (0, 0, 0));
    }

    #[test]
    fn an_evicted_pod_counts_as_gone_until_it_is_or_too_long_has_passed() {
        let evicted = |second: &str| {
            let mut status = empty();
            status["disruptedPods"] = json!({"r0": second, "unknown": second});
            budget(json!({"minAvailable": 1}), status)
        };
        assert_eq!(allowed(&evicted("1970-01-01T00:16:00Z"), &pods(3, 0), 0).2, 1);
        assert_eq!(allowed(&evicted("1970-01-01T00:10:00Z"), &pods(3, 0), 0).2, 2, "it was not evicted after all");
    }
}
