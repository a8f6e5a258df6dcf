//! What a Deployment's spec means in numbers.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Means "never" where a number of seconds or revisions is asked for.
const NEVER: i32 = i32::MAX;

pub(super) fn replicas(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

pub(super) fn is_recreate(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    strategy.is_some_and(|strategy| strategy.type_.as_deref() == Some("Recreate"))
}

pub(super) fn is_paused(deployment: &Deployment) -> bool {
    deployment.spec.as_ref().is_some_and(|spec| spec.paused == Some(true))
}

pub(super) fn min_ready_seconds(deployment: &Deployment) -> Option<i32> {
    deployment.spec.as_ref().and_then(|spec| spec.min_ready_seconds)
}

/// Seconds without progress after which a rollout has failed.
pub(super) fn progress_deadline(deployment: &Deployment) -> Option<i64> {
    let seconds = deployment.spec.as_ref()?.progress_deadline_seconds.filter(|seconds| *seconds != NEVER)?;
    Some(i64::from(seconds))
}

/// How many old ReplicaSets are kept.
pub(super) fn history_limit(deployment: &Deployment) -> Option<usize> {
    let limit = deployment.spec.as_ref()?.revision_history_limit.filter(|limit| *limit != NEVER)?;
    usize::try_from(limit).ok()
}

/// How many pods there may be more than asked for during a rollout.
pub(super) fn max_surge(deployment: &Deployment) -> i32 {
    fenceposts(deployment).0
}

/// How many pods may be missing during a rollout.
pub(super) fn max_unavailable(deployment: &Deployment) -> i32 {
    fenceposts(deployment).1.min(replicas(deployment))
}

/// Surge is rounded up and unavailability down; both zero would forbid any step.
fn fenceposts(deployment: &Deployment) -> (i32, i32) {
    if is_recreate(deployment) {
        return (0, 0);
    }
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let of = |value: Option<&IntOrString>, up| value.map_or(0, |value| scaled(value, replicas(deployment), up));
    let surge = of(rolling.and_then(|rolling| rolling.max_surge.as_ref()), true);
    let unavailable = of(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()), false);
    (surge, if surge == 0 && unavailable == 0 { 1 } else { unavailable })
}

fn scaled(value: &IntOrString, total: i32, up: bool) -> i32 {
    match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let product = percent.saturating_mul(i64::from(total));
            let result = if up { product.saturating_add(99).div_euclid(100) } else { product.div_euclid(100) };
            i32::try_from(result).unwrap_or(i32::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn deployment(replicas: i32, surge: Value, unavailable: Value) -> Deployment {
        serde_json::from_value(json!({"metadata": {}, "spec": {
            "replicas": replicas, "selector": {}, "template": {},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}}))
        .unwrap()
    }

    #[test]
    fn surge_is_rounded_up_unavailability_down_and_not_both_are_zero() {
        let limits = |d: &Deployment| (max_surge(d), max_unavailable(d));
        assert_eq!(limits(&deployment(10, json!("25%"), json!("25%"))), (3, 2));
        assert_eq!(limits(&deployment(1, json!("25%"), json!("25%"))), (1, 0));
        assert_eq!(limits(&deployment(4, json!(0), json!("1%"))), (0, 1));
        assert_eq!(limits(&deployment(2, json!(1), json!(5))), (1, 2), "no more than there are");
    }
}
