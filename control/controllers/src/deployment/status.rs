//! What a Deployment tells of itself: counts, and the conditions Available, Progressing and ReplicaFailure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

use super::plan::{Sets, available, size, sum};
use super::strategy::{is_paused, max_unavailable, progress_deadline, replicas};

const AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";
const RESUMED: &str = "DeploymentResumed";

/// Whether the stored status tells of a rollout that has ended.
pub(super) fn is_complete(deployment: &Deployment) -> bool {
    deployment.status.as_ref().is_some_and(|status| ends(deployment, status))
}

fn ends(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = replicas(deployment);
    let is = |count: Option<i32>| count.unwrap_or(0) == wanted;
    is(status.updated_replicas)
        && is(status.replicas)
        && is(status.available_replicas)
        && status.observed_generation >= deployment.metadata.generation
}

/// The status as it should be.
pub(super) fn status(deployment: &Deployment, sets: &Sets, now: Timestamp) -> DeploymentStatus {
    let old = deployment.status.clone().unwrap_or_default();
    let all: Vec<&ReplicaSet> = sets.old.iter().chain(&sets.new).collect();
    let sum = |of: &dyn Fn(&ReplicaSet) -> i32| sum(all.iter().copied(), of);
    let counted = |set: &ReplicaSet| set.status.as_ref().map_or(0, |status| status.replicas);
    let ready = |set: &ReplicaSet| set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
    let count = |number: i32| (number != 0).then_some(number);
    let available_now = sum(&available);
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: count(sum(&counted)),
        updated_replicas: count(sets.new.as_ref().map_or(0, counted)),
        ready_replicas: count(sum(&ready)),
        available_replicas: count(available_now),
        unavailable_replicas: count(sum(&size).saturating_sub(available_now).max(0)),
        collision_count: old.collision_count,
        terminating_replicas: old.terminating_replicas,
        conditions: old.conditions.clone(),
    };
    let enough = available_now >= replicas(deployment).saturating_sub(max_unavailable(deployment));
    let (condition, reason, message) = if enough {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    set(&mut status, "Available", condition, reason, message.to_owned(), now);
    progress(deployment, sets, &old, &mut status, now);
    failure(&all, &mut status, now);
    status
}

fn progress(
    deployment: &Deployment,
    sets: &Sets,
    old: &DeploymentStatus,
    status: &mut DeploymentStatus,
    now: Timestamp,
) {
    let Some(deadline) = progress_deadline(deployment) else { return remove(status, "Progressing") };
    let before = find(old, "Progressing").cloned();
    let reason = before.as_ref().and_then(|condition| condition.reason.as_deref());
    if is_paused(deployment) {
        if reason != Some(PAUSED) && reason != Some(TIMED_OUT) {
            set(status, "Progressing", "Unknown", PAUSED, "Deployment is paused".into(), now);
        }
        return;
    }
    if reason == Some(PAUSED) {
        return set(status, "Progressing", "Unknown", RESUMED, "Deployment is resumed".into(), now);
    }
    let what = match &sets.new {
        Some(new) => format!("ReplicaSet \"{}\"", new.name_any()),
        None => format!("Deployment \"{}\"", deployment.name_any()),
    };
    // A rollout that has ended stays so while pods merely come and go.
    if status.replicas == status.updated_replicas && reason == Some(AVAILABLE) && sets.new.is_some() {
        return;
    }
    if ends(deployment, status) {
        return set(status, "Progressing", "True", AVAILABLE, format!("{what} has successfully progressed."), now);
    }
    let Some(before) = before else {
        let (reason, verb) =
            if sets.new.is_some() { ("FoundNewReplicaSet", "Found") } else { ("ReplicaSetUpdated", "") };
        let message = match &sets.new {
            Some(new) => format!("{verb} new replica set \"{}\"", new.name_any()),
            None => format!("{what} is progressing."),
        };
        return set(status, "Progressing", "True", reason, message, now);
    };
    if has_progressed(old, status) {
        remove(status, "Progressing");
        let since = before.last_transition_time.clone().filter(|_| before.status == "True");
        status.conditions.get_or_insert_default().push(DeploymentCondition {
            type_: "Progressing".into(),
            status: "True".into(),
            reason: Some("ReplicaSetUpdated".into()),
            message: Some(format!("{what} is progressing.")),
            last_update_time: Some(Time(now)),
            last_transition_time: since.or(Some(Time(now))),
        });
    } else if deadline_of(&before, deadline).is_some_and(|at| at < now) {
        set(status, "Progressing", "False", TIMED_OUT, format!("{what} has timed out progressing."), now);
    }
}

/// When a rollout that does not progress has failed; `None` if it has ended one way or the other.
pub(super) fn times_out_at(deployment: &Deployment, status: &DeploymentStatus) -> Option<Timestamp> {
    let condition = find(status, "Progressing").filter(|_| !ends(deployment, status) && !is_paused(deployment))?;
    deadline_of(condition, progress_deadline(deployment)?)
}

fn deadline_of(condition: &DeploymentCondition, seconds: i64) -> Option<Timestamp> {
    if matches!(condition.reason.as_deref(), Some(TIMED_OUT | AVAILABLE)) {
        return None;
    }
    condition.last_update_time.as_ref()?.0.checked_add(SignedDuration::from_secs(seconds)).ok()
}

fn has_progressed(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let of = |count: Option<i32>| count.unwrap_or(0);
    let old_ones = |status: &DeploymentStatus| of(status.replicas).saturating_sub(of(status.updated_replicas));
    of(new.updated_replicas) > of(old.updated_replicas)
        || old_ones(new) < old_ones(old)
        || of(new.ready_replicas) > of(old.ready_replicas)
        || of(new.available_replicas) > of(old.available_replicas)
}

/// Takes over that a ReplicaSet cannot make its pods, the newest one's word first.
fn failure(all: &[&ReplicaSet], status: &mut DeploymentStatus, now: Timestamp) {
    let conditions =
        all.iter().rev().flat_map(|set| set.status.iter().flat_map(|status| status.conditions.iter().flatten()));
    let Some(failure) = conditions.into_iter().find(|condition| condition.type_ == "ReplicaFailure") else {
        return remove(status, "ReplicaFailure");
    };
    let (reason, message) = (failure.reason.clone().unwrap_or_default(), failure.message.clone().unwrap_or_default());
    set(status, "ReplicaFailure", &failure.status, &reason, message, now);
}

fn find<'a>(status: &'a DeploymentStatus, type_: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.as_ref()?.iter().find(|condition| condition.type_ == type_)
}

fn remove(status: &mut DeploymentStatus, type_: &str) {
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|condition| condition.type_ != type_);
    }
}

/// Sets a condition; with the same status and reason it stays as it is.
pub(super) fn set(
    status: &mut DeploymentStatus,
    type_: &str,
    value: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) {
    let old = find(status, type_).cloned().filter(|old| old.status == value);
    if old.as_ref().is_some_and(|old| old.reason.as_deref() == Some(reason)) {
        return;
    }
    remove(status, type_);
    status.conditions.get_or_insert_default().push(DeploymentCondition {
        type_: type_.to_owned(),
        status: value.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_update_time: Some(Time(now)),
        last_transition_time: old.and_then(|old| old.last_transition_time).or(Some(Time(now))),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn deployment(status: Value) -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "generation": 1},
            "spec": {"replicas": 2, "selector": {}, "template": {}, "progressDeadlineSeconds": 60}, "status": status}))
        .unwrap()
    }

    fn sets(available: i32) -> Sets {
        let set = json!({"metadata": {"name": "web-1"}, "spec": {"replicas": 2, "selector": {}},
            "status": {"replicas": 2, "readyReplicas": available, "availableReplicas": available}});
        Sets { new: Some(serde_json::from_value(set).unwrap()), old: Vec::new() }
    }

    fn told(status: &DeploymentStatus, type_: &str) -> (String, String) {
        let condition = find(status, type_).unwrap();
        (condition.status.clone(), condition.reason.clone().unwrap())
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_rollout_is_found_progresses_and_succeeds() {
        let mut web = deployment(json!({}));
        web.status = Some(status(&web, &sets(0), at(0)));
        assert_eq!(told(web.status.as_ref().unwrap(), "Progressing"), ("True".into(), "FoundNewReplicaSet".into()));
        assert_eq!(
            told(web.status.as_ref().unwrap(), "Available"),
            ("False".into(), "MinimumReplicasUnavailable".into())
        );
        web.status = Some(status(&web, &sets(1), at(10)));
        assert_eq!(told(web.status.as_ref().unwrap(), "Progressing"), ("True".into(), "ReplicaSetUpdated".into()));
        assert_eq!(times_out_at(&web, web.status.as_ref().unwrap()), Some(at(70)));
        web.status = Some(status(&web, &sets(2), at(20)));
        assert_eq!(told(web.status.as_ref().unwrap(), "Progressing"), ("True".into(), "NewReplicaSetAvailable".into()));
        assert_eq!(times_out_at(&web, web.status.as_ref().unwrap()), None);
        assert_eq!(status(&web, &sets(2), at(99)), web.status.clone().unwrap(), "settled");
    }

    #[test]
    fn a_rollout_without_progress_times_out() {
        let mut web = deployment(json!({}));
        web.status = Some(status(&web, &sets(0), at(0)));
        web.status = Some(status(&web, &sets(0), at(61)));
        assert_eq!(
            told(web.status.as_ref().unwrap(), "Progressing"),
            ("False".into(), "ProgressDeadlineExceeded".into())
        );
    }

    #[test]
    fn pausing_and_resuming_are_told_and_do_not_time_out() {
        let mut web = deployment(json!({}));
        web.status = Some(status(&web, &sets(0), at(0)));
        web.spec.as_mut().unwrap().paused = Some(true);
        web.status = Some(status(&web, &sets(0), at(100)));
        assert_eq!(told(web.status.as_ref().unwrap(), "Progressing"), ("Unknown".into(), "DeploymentPaused".into()));
        web.spec.as_mut().unwrap().paused = None;
        web.status = Some(status(&web, &sets(0), at(200)));
        assert_eq!(told(web.status.as_ref().unwrap(), "Progressing"), ("Unknown".into(), "DeploymentResumed".into()));
        assert_eq!(times_out_at(&web, web.status.as_ref().unwrap()), Some(at(260)));
    }
}
