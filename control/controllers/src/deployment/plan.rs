//! The pure decision: which ReplicaSets a Deployment makes, scales and removes in this step. The rules are those of
//! `pkg/controller/deployment` (`rolling.go`, `recreate.go`, `sync.go`); a step builds on what the last one led to.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::ResourceExt as _;

use super::revision::{self, DESIRED, MAX, annotate, annotate_sizes, next_revision};
use super::strategy::{history_limit, is_paused, is_recreate, max_surge, max_unavailable, min_ready_seconds, replicas};

/// What is to be written.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) create: Option<ReplicaSet>,
    pub(super) update: Vec<ReplicaSet>,
    /// ReplicaSets of old revisions that are not kept.
    pub(super) delete: Vec<ReplicaSet>,
}

/// The ReplicaSets of a Deployment.
pub(super) struct Sets {
    pub(super) new: Option<ReplicaSet>,
    /// By age, the oldest first.
    pub(super) old: Vec<ReplicaSet>,
}

pub(super) fn size(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

pub(super) fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

fn actual(set: &ReplicaSet) -> i32 {
    set.status.as_ref().map_or(0, |status| status.replicas)
}

/// A sum over ReplicaSets; each number may be as large as a person wrote it.
pub(super) fn sum<'a>(sets: impl IntoIterator<Item = &'a ReplicaSet>, of: impl Fn(&ReplicaSet) -> i32) -> i32 {
    sets.into_iter().map(of).fold(0, i32::saturating_add)
}

fn number(set: &ReplicaSet, annotation: &str) -> Option<i32> {
    set.annotations().get(annotation)?.parse().ok()
}

/// Plans one step; `old_pods` says whether pods of old revisions are still there.
pub(super) fn plan(deployment: &Deployment, sets: &Sets, old_pods: bool) -> Plan {
    let mut plan = Plan::default();
    if is_paused(deployment) || is_scaled(deployment, sets) {
        plan.update = scale(deployment, sets);
        return plan;
    }
    let next = next_revision(&sets.old);
    if let Some(new) = &sets.new {
        let mut updated = new.clone();
        annotate(deployment, &mut updated, next);
        if let Some(spec) = &mut updated.spec
            && spec.min_ready_seconds.unwrap_or(0) != min_ready_seconds(deployment).unwrap_or(0)
        {
            spec.min_ready_seconds = min_ready_seconds(deployment);
        }
        if updated != *new {
            plan.update.push(updated);
            return plan;
        }
    }
    if is_recreate(deployment) {
        recreate(deployment, sets, old_pods, next, &mut plan);
    } else {
        roll(deployment, sets, next, &mut plan);
    }
    if plan == Plan::default() && super::status::is_complete(deployment) {
        plan.delete = surplus_revisions(deployment, &sets.old);
    }
    plan
}

/// Whether the Deployment was scaled since its ReplicaSets were.
fn is_scaled(deployment: &Deployment, sets: &Sets) -> bool {
    let mut active = sets.old.iter().chain(&sets.new).filter(|set| size(set) > 0);
    active.any(|set| number(set, DESIRED).is_some_and(|desired| desired != replicas(deployment)))
}

fn resized(deployment: &Deployment, set: &ReplicaSet, size: i32) -> ReplicaSet {
    let mut set = set.clone();
    set.spec.get_or_insert_default().replicas = Some(size);
    annotate_sizes(deployment, &mut set);
    set
}

fn recreate(deployment: &Deployment, sets: &Sets, old_pods: bool, next: i64, plan: &mut Plan) {
    let active = sets.old.iter().filter(|set| size(set) > 0);
    plan.update = active.map(|set| resized(deployment, set, 0)).collect();
    if !plan.update.is_empty() || old_pods || sets.old.iter().any(|set| actual(set) > 0) {
        return;
    }
    match &sets.new {
        None => plan.create = Some(revision::new_set(deployment, replicas(deployment), next)),
        Some(new) if size(new) != replicas(deployment) => {
            plan.update.push(resized(deployment, new, replicas(deployment)));
        }
        Some(_) => {}
    }
}

fn roll(deployment: &Deployment, sets: &Sets, next: i64, plan: &mut Plan) {
    let wanted = replicas(deployment);
    let old_size = sum(&sets.old, size);
    let Some(new) = &sets.new else {
        plan.create = Some(revision::new_set(deployment, room(deployment, 0, old_size), next));
        return;
    };
    let new_size = size(new);
    let target = if new_size > wanted { wanted } else { room(deployment, new_size, old_size.saturating_add(new_size)) };
    if target != new_size {
        plan.update.push(resized(deployment, new, target));
        return;
    }
    plan.update = shrink_old(deployment, new, &sets.old);
}

/// How large the new ReplicaSet may be while there are `all` pods.
fn room(deployment: &Deployment, new_size: i32, all: i32) -> i32 {
    let most = replicas(deployment).saturating_add(max_surge(deployment));
    let missing = replicas(deployment).saturating_sub(new_size);
    new_size.saturating_add(most.saturating_sub(all).min(missing).max(0))
}

/// Takes pods from the old ReplicaSets: first those that are of no use anyway, then as many as availability allows.
fn shrink_old(deployment: &Deployment, new: &ReplicaSet, old: &[ReplicaSet]) -> Vec<ReplicaSet> {
    let least = replicas(deployment).saturating_sub(max_unavailable(deployment));
    let old_size = sum(old, size);
    let all = old_size.saturating_add(size(new));
    let most_down = all.saturating_sub(least).saturating_sub(size(new).saturating_sub(available(new)));
    let mut sizes: Vec<i32> = old.iter().map(size).collect();
    if old_size == 0 || most_down <= 0 {
        return Vec::new();
    }
    let mut left = most_down;
    for (set, size) in old.iter().zip(&mut sizes) {
        let useless = size.saturating_sub(available(set)).clamp(0, left);
        *size -= useless;
        left -= useless;
    }
    let available_now = sum(old, available).saturating_add(available(new));
    let mut left = available_now.saturating_sub(least).max(0);
    for size in &mut sizes {
        let less = (*size).min(left);
        *size -= less;
        left -= less;
    }
    let changed = old.iter().zip(sizes).filter(|(set, target)| *target != size(set));
    changed.map(|(set, target)| resized(deployment, set, target)).collect()
}

/// Scales in proportion, so that a rollout that is under way is neither hastened nor held up.
fn scale(deployment: &Deployment, sets: &Sets) -> Vec<ReplicaSet> {
    let wanted = replicas(deployment);
    let mut active: Vec<&ReplicaSet> = sets.old.iter().chain(&sets.new).filter(|set| size(set) > 0).collect();
    let only = match active.as_slice() {
        [] => sets.new.as_ref().or(sets.old.last()),
        [only] => Some(*only),
        _ => None,
    };
    if let Some(only) = only {
        let changed = resized(deployment, only, wanted);
        return if changed == *only { Vec::new() } else { vec![changed] };
    }
    if let Some(new) = sets.new.as_ref().filter(|new| is_saturated(deployment, new)) {
        let old = active.into_iter().filter(|set| set.name_any() != new.name_any());
        return old.map(|set| resized(deployment, set, 0)).collect();
    }
    if is_recreate(deployment) {
        return Vec::new();
    }
    let allowed = if wanted > 0 { wanted.saturating_add(max_surge(deployment)) } else { 0 };
    let to_add = allowed.saturating_sub(sum(active.iter().copied(), size));
    // The largest first; of equal ones the newer grows first and the older shrinks first.
    active.sort_by_key(|set| {
        let age = set.creation_timestamp().map(|time| time.0.as_nanosecond()).unwrap_or(0);
        (std::cmp::Reverse(size(set)), if to_add > 0 { -age } else { age })
    });
    let mut added = 0_i32;
    let mut sizes = Vec::with_capacity(active.len());
    for set in &active {
        let part = proportion(deployment, set, to_add, added);
        added = added.saturating_add(part);
        sizes.push(size(set).saturating_add(part));
    }
    if let Some(first) = sizes.first_mut() {
        *first = first.saturating_add(to_add.saturating_sub(added)).max(0);
    }
    let resized = active.iter().zip(sizes).map(|(set, size)| (*set, resized(deployment, set, size)));
    resized.filter(|(set, resized)| *set != resized).map(|(_, resized)| resized).collect()
}

fn is_saturated(deployment: &Deployment, new: &ReplicaSet) -> bool {
    let wanted = replicas(deployment);
    number(new, DESIRED) == Some(wanted) && size(new) == wanted && available(new) == wanted
}

/// A ReplicaSet's part of what is to be added or (below zero) taken away.
fn proportion(deployment: &Deployment, set: &ReplicaSet, to_add: i32, added: i32) -> i32 {
    if to_add == 0 || to_add == added {
        return 0;
    }
    let fraction = if replicas(deployment) == 0 {
        size(set).saturating_neg()
    } else {
        let most = f64::from(replicas(deployment).saturating_add(max_surge(deployment)));
        let status = deployment.status.as_ref().and_then(|status| status.replicas);
        let before = number(set, MAX).filter(|max| *max > 0).or(status).unwrap_or(0).max(1);
        ((f64::from(size(set)) * most / f64::from(before)).round() as i32).saturating_sub(size(set))
    };
    let left = to_add.saturating_sub(added);
    if to_add > 0 { fraction.min(left) } else { fraction.max(left) }
}

/// Empty ReplicaSets of the oldest revisions beyond `revisionHistoryLimit`.
fn surplus_revisions(deployment: &Deployment, old: &[ReplicaSet]) -> Vec<ReplicaSet> {
    let Some(limit) = history_limit(deployment) else { return Vec::new() };
    let mut kept: Vec<&ReplicaSet> = old.iter().filter(|set| set.metadata.deletion_timestamp.is_none()).collect();
    let surplus = kept.len().saturating_sub(limit);
    kept.sort_by_key(|set| revision::revision(set));
    let observed =
        |set: &ReplicaSet| set.metadata.generation <= set.status.as_ref().and_then(|status| status.observed_generation);
    let unused = kept.into_iter().take(surplus).filter(|set| size(set) == 0 && actual(set) == 0 && observed(set));
    unused.cloned().collect()
}

#[cfg(test)]
mod tests;
