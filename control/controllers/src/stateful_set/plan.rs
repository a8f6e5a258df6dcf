//! The pure decision: the next step of a StatefulSet (`pkg/controller/statefulset`). One pod at a time in order, unless
//! `podManagementPolicy: Parallel`; scaling comes before updating.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{RollingUpdateStatefulSetStrategy, StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt as _;

use crate::history::HASH_LABEL;
use crate::replicas::{BURST, is_available, phase, ready_since};

use super::pods::{ordinal, start};

/// The revisions between which a set is, by name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Revisions<'a> {
    pub(super) current: &'a str,
    pub(super) update: &'a str,
}

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Ordinals that get a pod, and whether of the update revision.
    pub(super) create: Vec<(i32, bool)>,
    pub(super) delete: Vec<Arc<Pod>>,
    pub(super) status: StatefulSetStatus,
    /// A pod becomes available by the mere passing of time.
    pub(super) waits: bool,
}

/// Plans the next step of a set that owns these pods.
pub(super) fn plan(set: &StatefulSet, revisions: Revisions<'_>, pods: &[Arc<Pod>], now: Timestamp) -> Plan {
    let min_ready = set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
    let serves = |pod: &Pod| !is_leaving(pod) && phase(pod) == "Running" && is_available(pod, min_ready, now);
    let mut plan = Plan { status: status(set, revisions, pods, min_ready, now), ..Plan::default() };
    plan.waits = pods.iter().any(|pod| ready_since(pod).is_some() && !is_available(pod, min_ready, now));
    if set.metadata.deletion_timestamp.is_none() {
        step(set, revisions, pods, &serves, &mut plan);
    }
    plan
}

fn step(
    set: &StatefulSet,
    revisions: Revisions<'_>,
    pods: &[Arc<Pod>],
    serves: &dyn Fn(&Pod) -> bool,
    plan: &mut Plan,
) {
    let (first, wanted) = (start(set), replicas(set));
    let in_order = set.spec.as_ref().and_then(|spec| spec.pod_management_policy.as_deref()) != Some("Parallel");
    let of = |wanted: i32| pods.iter().find(|pod| ordinal(set, pod) == Some(wanted));
    for place in first..first.saturating_add(wanted) {
        if plan.create.len() == BURST {
            return;
        }
        let blocked = match of(place) {
            None => {
                plan.create.push((place, !is_kept_back(set, place)));
                true
            }
            Some(pod) if has_ended(pod) => {
                plan.delete.push(pod.clone());
                true
            }
            Some(pod) => !serves(pod),
        };
        if blocked && in_order {
            return;
        }
    }
    if condemn(set, pods, first, wanted, in_order, serves, plan) {
        return;
    }
    let strategy = set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    if plan.create.is_empty() && strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete") {
        update(set, revisions, &of, serves, plan);
    }
}

/// Removes pods beyond the wanted ones, the highest first. Says whether there is anything to wait for.
fn condemn(
    set: &StatefulSet,
    pods: &[Arc<Pod>],
    first: i32,
    wanted: i32,
    in_order: bool,
    serves: &dyn Fn(&Pod) -> bool,
    plan: &mut Plan,
) -> bool {
    let beyond =
        |pod: &&Arc<Pod>| ordinal(set, pod).is_some_and(|place| place < first || place >= first.saturating_add(wanted));
    let mut condemned: Vec<&Arc<Pod>> = pods.iter().filter(beyond).collect();
    condemned.sort_by_key(|pod| std::cmp::Reverse(ordinal(set, pod)));
    if !in_order {
        plan.delete.extend(condemned.iter().map(|pod| (*pod).clone()));
        return false;
    }
    let Some(highest) = condemned.first() else { return false };
    // One that does not serve goes only if it is the only such one: the lowest is mended or removed first.
    let lowest_unhealthy = condemned.iter().rev().find(|pod| !serves(pod));
    let may_go = serves(highest) || lowest_unhealthy.is_some_and(|lowest| lowest.uid() == highest.uid());
    if !is_leaving(highest) && may_go {
        plan.delete.push((*highest).clone());
    }
    true
}

/// Replaces pods of another revision, the highest first, and waits for each.
fn update<'a>(
    set: &StatefulSet,
    revisions: Revisions<'_>,
    of: &dyn Fn(i32) -> Option<&'a Arc<Pod>>,
    serves: &dyn Fn(&Pod) -> bool,
    plan: &mut Plan,
) {
    let (first, wanted) = (start(set), replicas(set));
    let mut budget = max_unavailable(set);
    for place in (first.max(first.saturating_add(partition(set).unwrap_or(0)))..first.saturating_add(wanted)).rev() {
        if budget == 0 {
            return;
        }
        let Some(pod) = of(place) else { return };
        if revision(pod) != revisions.update && !is_leaving(pod) {
            plan.delete.push(pod.clone());
            budget -= 1;
        } else if !serves(pod) {
            budget -= 1;
        }
    }
}

fn replicas(set: &StatefulSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

fn rolling(set: &StatefulSet) -> Option<&RollingUpdateStatefulSetStrategy> {
    set.spec.as_ref()?.update_strategy.as_ref()?.rolling_update.as_ref()
}

fn partition(set: &StatefulSet) -> Option<i32> {
    rolling(set)?.partition
}

fn max_unavailable(set: &StatefulSet) -> i32 {
    let limit = match rolling(set).and_then(|rolling| rolling.max_unavailable.as_ref()) {
        None => 1,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(text)) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            i32::try_from(percent.saturating_mul(i64::from(replicas(set))) / 100).unwrap_or(i32::MAX)
        }
    };
    limit.max(1)
}

/// Whether an ordinal is made of the current revision and not yet of the update.
fn is_kept_back(set: &StatefulSet, place: i32) -> bool {
    let strategy = set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete") {
        return false;
    }
    let current = || set.status.as_ref().and_then(|status| status.current_replicas).unwrap_or(0);
    let below = if rolling(set).is_some() { partition(set).unwrap_or(0) } else { current() };
    place < start(set).saturating_add(below)
}

fn is_leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

fn has_ended(pod: &Pod) -> bool {
    matches!(phase(pod), "Failed" | "Succeeded")
}

fn revision(pod: &Pod) -> &str {
    pod.labels().get(HASH_LABEL).map_or("", String::as_str)
}

fn status(
    set: &StatefulSet,
    revisions: Revisions<'_>,
    pods: &[Arc<Pod>],
    min_ready: i32,
    now: Timestamp,
) -> StatefulSetStatus {
    let old = set.status.clone().unwrap_or_default();
    let count = |wanted: &dyn Fn(&Pod) -> bool| {
        i32::try_from(pods.iter().filter(|pod| wanted(pod)).count()).unwrap_or(i32::MAX)
    };
    let running = |pod: &Pod| phase(pod) == "Running" && ready_since(pod).is_some();
    let of = |name: &str| count(&|pod| revision(pod) == name && !is_leaving(pod));
    let (ready, updated) = (count(&running), of(revisions.update));
    let some = |count: i32| (count != 0).then_some(count);
    let mut status = StatefulSetStatus {
        observed_generation: set.metadata.generation,
        replicas: count(&|_| true),
        ready_replicas: some(ready),
        available_replicas: Some(count(&|pod| running(pod) && is_available(pod, min_ready, now))),
        current_replicas: some(of(revisions.current)),
        updated_replicas: some(updated),
        current_revision: Some(revisions.current.to_owned()),
        update_revision: Some(revisions.update.to_owned()),
        collision_count: old.collision_count.or(Some(0)),
        conditions: old.conditions,
    };
    // The rollout has ended: what was the update is the current revision.
    let all = replicas(set);
    if updated == all && ready == all && status.replicas == all {
        status.current_revision = status.update_revision.clone();
        status.current_replicas = status.updated_replicas;
    }
    status
}

#[cfg(test)]
mod tests;
