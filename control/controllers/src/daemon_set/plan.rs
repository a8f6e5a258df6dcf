//! The pure decision: on which Nodes a DaemonSet makes or removes a pod (`pkg/controller/daemon`).

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt as _;

use crate::history::HASH_LABEL;
use crate::replicas::{is_available, phase, ready_since};

use super::pods::{node_of, suits};

/// A pod that failed is replaced this long after it was made, so that one that fails at once is not made again at once.
const FAILED_REST: SignedDuration = SignedDuration::from_secs(10);

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Nodes that get a pod.
    pub(super) create: Vec<String>,
    pub(super) delete: Vec<Arc<Pod>>,
    /// Those of `delete` that have failed.
    pub(super) failed: Vec<Arc<Pod>>,
    pub(super) status: DaemonSetStatus,
    pub(super) again: Option<SignedDuration>,
}

struct OnNode<'a> {
    name: String,
    run: bool,
    stay: bool,
    /// The oldest first, those on their way out included.
    pods: Vec<&'a Arc<Pod>>,
}

/// Plans for a DaemonSet that owns these pods; `hash` is that of its present template.
pub(super) fn plan(set: &DaemonSet, nodes: &[Arc<Node>], pods: &[Arc<Pod>], hash: &str, now: Timestamp) -> Plan {
    let mut by_node: BTreeMap<&str, Vec<&Arc<Pod>>> = BTreeMap::new();
    for pod in pods {
        by_node.entry(node_of(pod).unwrap_or_default()).or_default().push(pod);
    }
    for pods in by_node.values_mut() {
        pods.sort_by_cached_key(|pod| (pod.metadata.creation_timestamp.as_ref().map(|time| time.0), pod.name_any()));
    }
    let on_nodes: Vec<OnNode<'_>> = nodes
        .iter()
        .map(|node| {
            let (name, suits) = (node.name_any(), suits(set, node));
            let pods = by_node.remove(name.as_str()).unwrap_or_default();
            OnNode { name, run: suits.run, stay: suits.stay, pods }
        })
        .collect();
    let mut plan = Plan { status: status(set, &on_nodes, hash, now), ..Plan::default() };
    // A pod that waits for a Node that is gone waits for ever.
    let unplaced = |pod: &&&Arc<Pod>| pod.spec.as_ref().is_none_or(|spec| spec.node_name.is_none());
    plan.delete.extend(by_node.values().flatten().filter(unplaced).map(|pod| (*pod).clone()));
    for node in &on_nodes {
        manage(set, node, now, &mut plan);
    }
    if is_rolling(set) {
        roll(set, &on_nodes, hash, now, &mut plan);
    }
    let mut seen = HashSet::new();
    plan.delete.retain(|pod| seen.insert(pod.uid()));
    let min_ready = min_ready_seconds(set);
    let waits = pods.iter().any(|pod| ready_since(pod).is_some() && !is_available(pod, min_ready, now));
    if waits {
        plan.again = Some(SignedDuration::from_secs(1));
    }
    plan
}

fn min_ready_seconds(set: &DaemonSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
}

fn is_leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

fn has_ended(pod: &Pod) -> bool {
    matches!(phase(pod), "Failed" | "Succeeded")
}

fn is_new(pod: &Pod, hash: &str) -> bool {
    pod.labels().get(HASH_LABEL).is_some_and(|label| label == hash)
}

fn manage(set: &DaemonSet, node: &OnNode<'_>, now: Timestamp, plan: &mut Plan) {
    if !node.stay {
        plan.delete.extend(node.pods.iter().map(|pod| (*pod).clone()));
        return;
    }
    if node.pods.is_empty() && node.run {
        plan.create.push(node.name.clone());
        return;
    }
    let mut running = Vec::new();
    for pod in node.pods.iter().filter(|pod| !is_leaving(pod)) {
        if !has_ended(pod) {
            running.push(*pod);
            continue;
        }
        let made = pod.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
        let left = FAILED_REST - now.duration_since(made);
        if left.is_positive() {
            plan.again = Some(plan.again.map_or(left, |again| again.min(left)));
        } else {
            plan.delete.push((*pod).clone());
            plan.failed.push((*pod).clone());
        }
    }
    if surge(set, 1) == 0 && running.len() > 1 {
        plan.delete.extend(running.into_iter().skip(1).cloned());
    }
}

fn is_rolling(set: &DaemonSet) -> bool {
    let strategy = set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete")
}

/// Replaces old pods, keeping within `maxUnavailable`, or beside them within `maxSurge`.
fn roll(set: &DaemonSet, nodes: &[OnNode<'_>], hash: &str, now: Timestamp, plan: &mut Plan) {
    let min_ready = min_ready_seconds(set);
    let desired = nodes.iter().filter(|node| node.run).count();
    let (most_surge, most_missing) = (surge(set, desired), unavailable(set, desired));
    let (mut surging, mut missing) = (0, 0);
    let (mut add, mut replace): (Vec<&OnNode<'_>>, Vec<&Arc<Pod>>) = (Vec::new(), Vec::new());
    let available = |pod: &Pod| is_available(pod, min_ready, now);
    for node in nodes.iter().filter(|node| node.run) {
        let alive = || node.pods.iter().filter(|pod| !is_leaving(pod) && !has_ended(pod));
        let old = alive().find(|pod| !is_new(pod, hash));
        let new = alive().find(|pod| is_new(pod, hash));
        match (old, new) {
            (Some(old), None) if most_surge > 0 => {
                // One that serves nobody need not be waited for.
                if available(old) { add.push(node) } else { plan.create.push(node.name.clone()) }
            }
            (Some(old), Some(new)) if most_surge > 0 => {
                surging += 1;
                if available(new) || !available(old) {
                    plan.delete.push((*old).clone());
                }
            }
            (Some(old), _) if !available(old) => {
                missing += 1;
                plan.delete.push((*old).clone());
            }
            (Some(old), _) => replace.push(old),
            (None, Some(new)) if available(new) => {}
            (None, _) => missing += 1,
        }
    }
    let room = most_surge.saturating_sub(surging);
    plan.create.extend(add.into_iter().take(room).map(|node| node.name.clone()));
    let room = most_missing.saturating_sub(missing);
    plan.delete.extend(replace.into_iter().take(room).cloned());
}

fn surge(set: &DaemonSet, desired: usize) -> usize {
    limit(set, desired, |rolling| rolling.max_surge.as_ref()).unwrap_or(0)
}

fn unavailable(set: &DaemonSet, desired: usize) -> usize {
    if surge(set, desired) > 0 {
        return 0;
    }
    limit(set, desired, |rolling| rolling.max_unavailable.as_ref()).unwrap_or(1).max(1)
}

fn limit(
    set: &DaemonSet,
    desired: usize,
    of: fn(&k8s_openapi::api::apps::v1::RollingUpdateDaemonSet) -> Option<&IntOrString>,
) -> Option<usize> {
    let rolling = set.spec.as_ref()?.update_strategy.as_ref()?.rolling_update.as_ref()?;
    match of(rolling)? {
        IntOrString::Int(number) => usize::try_from(*number).ok(),
        IntOrString::String(text) => {
            let percent: usize = text.trim_end_matches('%').parse().ok()?;
            Some(percent.saturating_mul(desired).div_ceil(100))
        }
    }
}

fn status(set: &DaemonSet, nodes: &[OnNode<'_>], hash: &str, now: Timestamp) -> DaemonSetStatus {
    let old = set.status.clone().unwrap_or_default();
    let (mut desired, mut current, mut misplaced, mut ready, mut available, mut updated) = (0, 0, 0, 0, 0, 0);
    for node in nodes {
        if !node.run {
            misplaced += i32::from(!node.pods.is_empty());
            continue;
        }
        desired += 1;
        // During a surge the newest that serves is what counts.
        let serving = node.pods.iter().rev().find(|pod| ready_since(pod).is_some() && !is_leaving(pod));
        let Some(pod) = serving.or(node.pods.first()) else { continue };
        current += 1;
        if ready_since(pod).is_some() && !is_leaving(pod) {
            ready += 1;
            available += i32::from(is_available(pod, min_ready_seconds(set), now));
        }
        updated += i32::from(is_new(pod, hash));
    }
    let some = |count: i32| (count != 0).then_some(count);
    DaemonSetStatus {
        desired_number_scheduled: desired,
        current_number_scheduled: current,
        number_misscheduled: misplaced,
        number_ready: ready,
        updated_number_scheduled: some(updated),
        number_available: some(available),
        number_unavailable: some(desired - available),
        observed_generation: set.metadata.generation,
        collision_count: old.collision_count,
        conditions: old.conditions,
    }
}

#[cfg(test)]
mod tests;
