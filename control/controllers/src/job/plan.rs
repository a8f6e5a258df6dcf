//! The pure decision: what a Job does next, given its pods (`pkg/controller/job`).
//!
//! A finished pod is counted exactly once although nothing here is remembered: first its UID is written to
//! `status.uncountedTerminatedPods`, then its finalizer is removed, and only a UID whose pod has no finalizer any more becomes a
//! number (KEP-2307). Each look does the next of these steps.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

use crate::replicas::{phase, ready_since, to_delete};

use super::indexes;
use super::pods::{index, is_tracked};

/// At most so many pods are created, and counted, in one go.
const MOST: usize = 500;
const FIRST_BACKOFF: i64 = 10;
const LONGEST_BACKOFF: i64 = 600;

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) status: JobStatus,
    /// One pod each, for this index if the Job is Indexed.
    pub(super) create: Vec<Option<i32>>,
    /// Pods that must end; they will be counted.
    pub(super) end: Vec<Arc<Pod>>,
    /// Pods that are too many: not counted, and deleted.
    pub(super) discard: Vec<Arc<Pod>>,
    /// Pods that are counted and may go.
    pub(super) release: Vec<Arc<Pod>>,
    /// When to look again though nothing changes.
    pub(super) again: Option<SignedDuration>,
}

/// The condition of a Job that has ended.
pub(super) fn finished(status: &JobStatus) -> Option<&JobCondition> {
    condition(status, "Complete").or_else(|| condition(status, "Failed"))
}

fn condition<'a>(status: &'a JobStatus, type_: &str) -> Option<&'a JobCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == type_ && condition.status == "True")
}

/// Sets a condition; with the same status it stays as it is.
fn set(status: &mut JobStatus, type_: &str, value: &str, reason: &str, message: &str, now: Timestamp) {
    let conditions = status.conditions.get_or_insert_default();
    if conditions.iter().any(|condition| condition.type_ == type_ && condition.status == value) {
        return;
    }
    conditions.retain(|condition| condition.type_ != type_);
    conditions.push(JobCondition {
        type_: type_.to_owned(),
        status: value.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    });
}

/// Plans the next step of a Job that owns these pods.
pub(super) fn plan(job: &Job, pods: &[Arc<Pod>], now: Timestamp) -> Plan {
    let stored = job.status.clone().unwrap_or_default();
    let mut plan = Plan { status: stored.clone(), ..Plan::default() };
    let Some(spec) = &job.spec else { return plan };
    if finished(&stored).is_some() {
        plan.release = pods.iter().filter(|pod| is_tracked(pod)).cloned().collect();
        return plan;
    }
    let counted = count(spec, &stored, pods, &mut plan);
    let active: Vec<&Arc<Pod>> = pods.iter().filter(|pod| is_active(pod)).collect();
    let terminating = pods.iter().filter(|pod| is_running(pod) && !is_active(pod)).count();
    let ready = active.iter().filter(|pod| ready_since(pod).is_some()).count();
    let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    plan.status.active = Some(number(active.len())).filter(|count| *count != 0);
    plan.status.ready = Some(number(ready));
    plan.status.terminating = Some(number(terminating));

    let suspended = spec.suspend == Some(true);
    if plan.status.start_time.is_none() && !suspended {
        plan.status.start_time = Some(Time(now));
    }
    if condition(&plan.status, "FailureTarget").is_none() && condition(&plan.status, "SuccessCriteriaMet").is_none() {
        if let Some((reason, message)) = failure(spec, &plan.status, &counted, &active, now) {
            set(&mut plan.status, "FailureTarget", "True", reason, message, now);
        } else if is_complete(spec, &counted, active.len()) {
            let (reason, message) = ("CompletionsReached", "Reached expected number of succeeded pods");
            set(&mut plan.status, "SuccessCriteriaMet", "True", reason, message, now);
        }
    }
    let end =
        condition(&plan.status, "FailureTarget").or_else(|| condition(&plan.status, "SuccessCriteriaMet")).cloned();
    if let Some(end) = end {
        plan.end = active.into_iter().cloned().collect();
        // The end is told when nothing runs any more and everything is counted.
        if plan.end.is_empty() && terminating == 0 && counted.pending == 0 {
            let (reason, message) = (end.reason.unwrap_or_default(), end.message.unwrap_or_default());
            let type_ = if end.type_ == "FailureTarget" { "Failed" } else { "Complete" };
            set(&mut plan.status, type_, "True", &reason, &message, now);
            if type_ == "Complete" {
                plan.status.completion_time = Some(Time(now));
            }
        }
        return plan;
    }
    if suspended {
        plan.discard = active.into_iter().cloned().collect();
        plan.status.start_time = None;
        set(&mut plan.status, "Suspended", "True", "JobSuspended", "Job suspended", now);
        return plan;
    }
    if condition(&plan.status, "Suspended").is_some() {
        set(&mut plan.status, "Suspended", "False", "JobResumed", "Job resumed", now);
    }
    scale(spec, pods, &active, &counted, now, &mut plan);
    if let (Some(seconds), Some(start)) = (spec.active_deadline_seconds, &plan.status.start_time) {
        let left = after(start.0, seconds).duration_since(now);
        plan.again = Some(plan.again.map_or(left, |again| again.min(left)));
    }
    plan
}

/// Neither finished nor told to go.
fn is_active(pod: &Pod) -> bool {
    is_running(pod) && pod.metadata.deletion_timestamp.is_none()
}

fn is_running(pod: &Pod) -> bool {
    !matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether a pod has failed: also one that was deleted, which may never say so itself.
fn has_failed(pod: &Pod, replace_failed_only: bool) -> bool {
    phase(pod) == "Failed"
        || (pod.metadata.deletion_timestamp.is_some() && phase(pod) != "Succeeded" && !replace_failed_only)
}

struct Counted {
    succeeded: i32,
    failed: i32,
    /// Indexes that have succeeded, of an Indexed Job.
    completed: BTreeSet<i32>,
    /// Pods whose counting is not yet over.
    pending: usize,
}

fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode.as_deref() == Some("Indexed")
}

fn replace_failed_only(spec: &JobSpec) -> bool {
    spec.pod_replacement_policy.as_deref() == Some("Failed") || spec.pod_failure_policy.is_some()
}

/// Does the next step of counting each finished pod.
fn count(spec: &JobSpec, stored: &JobStatus, pods: &[Arc<Pod>], plan: &mut Plan) -> Counted {
    let tracked: HashMap<String, &Arc<Pod>> =
        pods.iter().filter(|pod| is_tracked(pod)).filter_map(|pod| Some((pod.uid()?, pod))).collect();
    let uncounted = stored.uncounted_terminated_pods.clone().unwrap_or_default();
    let (mut succeeded, mut failed) = (stored.succeeded.unwrap_or(0), stored.failed.unwrap_or(0));
    let mut settle = |uids: Option<Vec<String>>, sum: &mut i32| -> Vec<String> {
        let (waiting, settled): (Vec<_>, Vec<_>) =
            uids.unwrap_or_default().into_iter().partition(|uid| tracked.contains_key(uid));
        *sum = sum.saturating_add(i32::try_from(settled.len()).unwrap_or(i32::MAX));
        plan.release.extend(waiting.iter().filter_map(|uid| tracked.get(uid).map(|pod| (*pod).clone())));
        waiting
    };
    let mut waiting_succeeded = settle(uncounted.succeeded, &mut succeeded);
    let mut waiting_failed = settle(uncounted.failed, &mut failed);
    let known: HashSet<String> = waiting_succeeded.iter().chain(&waiting_failed).cloned().collect();

    let completions = spec.completions.unwrap_or(i32::MAX);
    let stored_indexes = indexes::parse(stored.completed_indexes.as_deref().unwrap_or_default(), completions);
    let mut completed = stored_indexes.clone();
    let mut pending = known.len();
    let mut finished: Vec<(&String, &Arc<Pod>)> = tracked.iter().map(|(uid, pod)| (uid, *pod)).collect();
    finished.sort_by_key(|(uid, _)| *uid);
    for (uid, pod) in finished.into_iter().filter(|(uid, _)| !known.contains(*uid)) {
        if waiting_succeeded.len() + waiting_failed.len() >= MOST {
            break;
        }
        if phase(pod) == "Succeeded" {
            pending += 1;
            match index(pod).filter(|_| is_indexed(spec)) {
                // The index is memory enough.
                Some(index) if stored_indexes.contains(&index) => plan.release.push(pod.clone()),
                Some(index) if index < completions => {
                    completed.insert(index);
                }
                Some(_) => plan.release.push(pod.clone()),
                None => waiting_succeeded.push(uid.clone()),
            }
        } else if has_failed(pod, replace_failed_only(spec)) {
            pending += 1;
            waiting_failed.push(uid.clone());
        }
    }
    let total = |sum: i32, waiting: &[String]| sum.saturating_add(i32::try_from(waiting.len()).unwrap_or(i32::MAX));
    let counted = Counted {
        succeeded: if is_indexed(spec) {
            total(0, &[]) + completed.len() as i32
        } else {
            total(succeeded, &waiting_succeeded)
        },
        failed: total(failed, &waiting_failed),
        pending,
        completed,
    };
    let some = |count: i32| (count != 0).then_some(count);
    if is_indexed(spec) {
        plan.status.completed_indexes = Some(indexes::format(&counted.completed)).filter(|text| !text.is_empty());
        plan.status.succeeded = some(counted.succeeded);
    } else {
        plan.status.succeeded = some(succeeded);
    }
    plan.status.failed = some(failed);
    let list = |uids: Vec<String>| (!uids.is_empty()).then_some(uids);
    let uncounted = plan.status.uncounted_terminated_pods.get_or_insert_default();
    uncounted.succeeded = list(waiting_succeeded);
    uncounted.failed = list(waiting_failed);
    counted
}

/// Why the Job has failed.
fn failure(
    spec: &JobSpec,
    status: &JobStatus,
    counted: &Counted,
    active: &[&Arc<Pod>],
    now: Timestamp,
) -> Option<(&'static str, &'static str)> {
    let limit = spec.backoff_limit.unwrap_or(6);
    let restarts: i32 = active
        .iter()
        .filter(|_| spec.template.spec.as_ref().is_some_and(|spec| spec.restart_policy.as_deref() == Some("OnFailure")))
        .flat_map(|pod| pod.status.iter())
        .flat_map(|status| status.container_statuses.iter().chain(&status.init_container_statuses).flatten())
        .map(|container| container.restart_count)
        .fold(0, i32::saturating_add);
    if counted.failed > limit || (restarts > 0 && restarts >= limit) {
        return Some(("BackoffLimitExceeded", "Job has reached the specified backoff limit"));
    }
    let start = status.start_time.as_ref()?.0;
    let deadline = after(start, spec.active_deadline_seconds?);
    let passed = spec.suspend != Some(true) && deadline <= now;
    passed.then_some(("DeadlineExceeded", "Job was active longer than specified deadline"))
}

fn is_complete(spec: &JobSpec, counted: &Counted, active: usize) -> bool {
    match spec.completions {
        // A work queue is done when one pod says so and the others have ended.
        None => counted.succeeded > 0 && active == 0,
        Some(completions) => counted.succeeded >= completions,
    }
}

fn scale(spec: &JobSpec, pods: &[Arc<Pod>], active: &[&Arc<Pod>], counted: &Counted, now: Timestamp, plan: &mut Plan) {
    let parallelism = usize::try_from(spec.parallelism.unwrap_or(1)).unwrap_or(0);
    let wanted = match spec.completions {
        None if counted.succeeded > 0 => active.len().min(parallelism),
        None => parallelism,
        Some(completions) => {
            parallelism.min(usize::try_from(completions.saturating_sub(counted.succeeded)).unwrap_or(0))
        }
    };
    let mut kept: Vec<&Pod> = active.iter().map(|pod| pod.as_ref()).collect();
    let mut surplus: Vec<&Pod> = Vec::new();
    if is_indexed(spec) {
        // Of two with the same index the older stays, and one that nobody needs goes.
        kept.sort_by_key(|pod| {
            (index(pod), pod.metadata.creation_timestamp.as_ref().map(|time| time.0), pod.name_any())
        });
        let mut taken = BTreeSet::new();
        let completions = spec.completions.unwrap_or(0);
        let needed = |pod: &&Pod| {
            index(pod).is_some_and(|i| i < completions && !counted.completed.contains(&i) && taken.insert(i))
        };
        (kept, surplus) = kept.into_iter().partition(needed);
    }
    if kept.len() > wanted {
        let count = kept.len() - wanted;
        surplus.extend(to_delete(&kept, count));
    }
    let discarded: HashSet<Option<String>> = surplus.iter().map(|pod| pod.uid()).collect();
    plan.discard = active.iter().filter(|pod| discarded.contains(&pod.uid())).map(|pod| (*pod).clone()).collect();
    // Pods on their way out still have their place if only failed ones are replaced.
    let leaving: Vec<&Arc<Pod>> =
        pods.iter().filter(|pod| replace_failed_only(spec) && is_running(pod) && !is_active(pod)).collect();
    let missing = wanted.saturating_sub(kept.len() + leaving.len()).min(MOST);
    if missing == 0 || !plan.discard.is_empty() {
        return;
    }
    if let Some(left) = backoff(pods, now).filter(|left| left.is_positive()) {
        plan.again = Some(left);
        return;
    }
    if is_indexed(spec) {
        let taken: BTreeSet<i32> =
            kept.iter().copied().chain(leaving.iter().map(|pod| pod.as_ref())).filter_map(index).collect();
        let free = (0..spec.completions.unwrap_or(0)).filter(|i| !taken.contains(i) && !counted.completed.contains(i));
        plan.create = free.take(missing).map(Some).collect();
    } else {
        plan.create = vec![None; missing];
    }
}

/// How long to wait before the next pod: 10 s after a failure, doubling with each one that no success came between.
fn backoff(pods: &[Arc<Pod>], now: Timestamp) -> Option<SignedDuration> {
    let ended = |wanted: &'static str| pods.iter().filter(move |pod| phase(pod) == wanted).map(|pod| ended_at(pod));
    let success = ended("Succeeded").max();
    let failures: Vec<Timestamp> = ended("Failed").filter(|at| success.is_none_or(|success| *at > success)).collect();
    let last = failures.iter().max()?;
    let doublings = u32::try_from(failures.len() - 1).unwrap_or(u32::MAX).min(10);
    let wait = (FIRST_BACKOFF << doublings).min(LONGEST_BACKOFF);
    Some(after(*last, wait).duration_since(now))
}

/// So many seconds later, or the end of time.
fn after(at: Timestamp, seconds: i64) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

/// When the last container of a finished pod ended, or the best guess.
fn ended_at(pod: &Pod) -> Timestamp {
    let status = pod.status.as_ref();
    let containers = status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let ended = containers.filter_map(|c| Some(c.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()?.0)).max();
    let conditions =
        || status?.conditions.as_ref()?.iter().filter_map(|c| Some(c.last_transition_time.as_ref()?.0)).max();
    let created = || pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    ended.or_else(conditions).or_else(created).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
