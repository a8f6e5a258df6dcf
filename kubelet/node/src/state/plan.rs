//! The next actions for a pod that shall run. The rules are those of the kubelet's `computePodActions`.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod};

use super::{Memory, Observed, Record, RunState, Waiting, resize};
use crate::backoff::go_duration;
use crate::pod::{self, RestartPolicy};
use crate::spec::definition_hash;

/// One step towards the desired pod. The steps of a plan are taken in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Stop a sandbox that is not to be used (any more), with everything in it.
    StopSandbox { id: String },
    /// Make a new sandbox; attempt 0 is the pod's first.
    CreateSandbox { attempt: u32 },
    /// Pull the image, create and start a container in the newest sandbox.
    Start { name: String, restart_count: u32 },
    /// Give a running container the resources that are allocated to it.
    Resize { id: String, name: String },
    /// Stop a running container; what follows is decided once it has stopped.
    Kill { id: String, name: String, message: String, why: KillReason },
    /// Remove a dead container that no status needs.
    Remove { id: String },
    /// Remove a dead sandbox without containers.
    RemoveSandbox { id: String },
}

/// What a container is killed for; it chooses the grace period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillReason {
    StartupProbe,
    LivenessProbe,
    Other,
}

/// What to do now and when to look again if nothing happens.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    pub actions: Vec<Action>,
    pub wake_at: Option<Timestamp>,
    /// Containers that wait for their back-off to pass: for the event `BackOff`.
    pub backing_off: Vec<(String, Waiting)>,
}

/// Decides for a pod that is neither being deleted nor finished. Notes the back-offs in `memory`.
pub fn plan(pod: &Pod, observed: &Observed, memory: &mut Memory, now: Timestamp) -> Plan {
    let mut planner = Planner { pod, observed, memory, now, plan: Plan::default() };
    planner.collect_garbage();
    if observed.ready_sandbox().is_none() {
        planner.sandbox();
    } else {
        planner.stop_older_sandboxes();
        planner.ephemeral_containers();
        if planner.init_containers() {
            planner.containers();
        }
    }
    planner.plan
}

struct Planner<'a> {
    pod: &'a Pod,
    observed: &'a Observed,
    memory: &'a mut Memory,
    now: Timestamp,
    plan: Plan,
}

impl<'a> Planner<'a> {
    /// There is no sandbox to run in: make one, unless nothing is left to run.
    fn sandbox(&mut self) {
        let policy = pod::restart_policy(self.pod);
        let newest = self.observed.sandbox();
        let created_before = !self.observed.containers.is_empty();
        let nothing_left = match policy {
            RestartPolicy::Never => created_before,
            _ => {
                created_before
                    && pod::containers(self.pod).iter().all(|container| {
                        self.observed.newest(&container.name).is_some_and(|record| {
                            record.state == RunState::Exited && !restarts(self.memory, policy, record)
                        })
                    })
            }
        };
        for record in self.observed.alive() {
            let message = "Pod sandbox changed, it will be killed and re-created.".to_owned();
            self.plan.actions.push(kill(record, message, KillReason::Other));
        }
        for sandbox in &self.observed.sandboxes {
            // Stopped sandboxes too: only StopPodSandbox gives the address back after a crash of the runtime.
            if sandbox.ready || newest.is_some_and(|newest| newest.id == sandbox.id) {
                self.plan.actions.push(Action::StopSandbox { id: sandbox.id.clone() });
            }
        }
        if !nothing_left {
            self.plan.actions.push(Action::CreateSandbox { attempt: newest.map_or(0, |sandbox| sandbox.attempt + 1) });
        }
    }

    fn stop_older_sandboxes(&mut self) {
        for sandbox in self.observed.sandboxes.iter().skip(1).filter(|sandbox| sandbox.ready) {
            self.plan.actions.push(Action::StopSandbox { id: sandbox.id.clone() });
        }
    }

    /// Each ephemeral container is started once, whatever the other containers do, and never again.
    fn ephemeral_containers(&mut self) {
        for container in pod::ephemeral_containers(self.pod) {
            if self.observed.newest(&container.name).is_none() {
                self.start(&container.name, None);
            }
        }
    }

    /// Starts the next init container that is due. True when all have done their part.
    fn init_containers(&mut self) -> bool {
        let sandbox = self.observed.sandbox().map(|sandbox| sandbox.id.as_str()).unwrap_or_default();
        let in_sandbox = |name: &str| self.observed.newest(name).filter(|record| record.sandbox == sandbox);
        let initialized = pod::containers(self.pod).iter().any(|container| in_sandbox(&container.name).is_some());
        for container in pod::init_containers(self.pod) {
            let record = in_sandbox(&container.name);
            if pod::is_sidecar(container) {
                let running = record.filter(|record| record.state == RunState::Running);
                match running {
                    None => self.start(&container.name, record),
                    Some(record) => self.keep(container, record, RestartPolicy::Always),
                }
                let started = running.is_some_and(|record| self.has_started(container, record));
                if !started && !initialized {
                    return false;
                }
                continue;
            }
            if initialized {
                continue;
            }
            match record {
                Some(record) if record.state == RunState::Exited && record.exit_code == 0 => {}
                Some(record) if record.state == RunState::Running => return false,
                Some(record) if record.state == RunState::Unknown => {
                    let message = format!("Init container is in {:?} state, try killing it before restart", "unknown");
                    self.plan.actions.push(kill(record, message, KillReason::Other));
                    return false;
                }
                Some(record)
                    if record.state == RunState::Exited && pod::restart_policy(self.pod) == RestartPolicy::Never =>
                {
                    let _ = record;
                    return false;
                }
                other => {
                    self.start(&container.name, other);
                    return false;
                }
            }
        }
        true
    }

    fn containers(&mut self) {
        let policy = pod::restart_policy(self.pod);
        for container in pod::containers(self.pod) {
            match self.observed.newest(&container.name) {
                None => self.start(&container.name, None),
                Some(record) => match record.state {
                    RunState::Running => self.keep(container, record, policy),
                    RunState::Unknown => {
                        let message = format!("Container is in {:?} state, try killing it before restart", "unknown");
                        self.plan.actions.push(kill(record, message, KillReason::Other));
                    }
                    RunState::Created => self.start(&container.name, Some(record)),
                    RunState::Exited if restarts(self.memory, policy, record) => {
                        self.start(&container.name, Some(record))
                    }
                    RunState::Exited => {}
                },
            }
        }
    }

    /// A running container stays, unless its definition changed or a probe gave up on it.
    fn keep(&mut self, container: &Container, record: &Record, policy: RestartPolicy) {
        let verdict = self.memory.verdicts.get(&record.id).copied().unwrap_or_default();
        let (message, why) = if record.hash != definition_hash(container) {
            (format!("Container {} definition changed", container.name), KillReason::Other)
        } else if verdict.live == Some(false) {
            (format!("Container {} failed liveness probe", container.name), KillReason::LivenessProbe)
        } else if verdict.started == Some(false) {
            (format!("Container {} failed startup probe", container.name), KillReason::StartupProbe)
        } else if !resize::differs(self.memory, &record.id, container) {
            self.memory.waiting.remove(&container.name);
            return;
        } else if resize::wants_restart(self.memory, &record.id, container) {
            let message = format!("Container {} resize requires restart", container.name);
            self.memory.resize_kills.insert(record.id.clone());
            return self.plan.actions.push(kill(record, message, KillReason::Other));
        } else {
            let (id, name) = (record.id.clone(), container.name.clone());
            return self.plan.actions.push(Action::Resize { id, name });
        };
        let restarts = policy != RestartPolicy::Never || why == KillReason::Other;
        let message = if restarts { format!("{message}, will be restarted") } else { message };
        self.plan.actions.push(kill(record, message, why));
    }

    fn has_started(&self, container: &Container, record: &Record) -> bool {
        container.startup_probe.is_none()
            || self.memory.verdicts.get(&record.id).is_some_and(|verdict| verdict.started == Some(true))
    }

    /// Starts a container, or notes until when its back-off lasts.
    fn start(&mut self, name: &str, last: Option<&Record>) {
        if let Some(until) = self.memory.holds.get(name).copied().filter(|&until| self.now < until) {
            return self.wake_at(until);
        }
        if let Some(last) = last.filter(|last| last.state != RunState::Running) {
            let ended = last.ended();
            if let Some((until, delay)) = self.memory.restarts.waiting_until(name, ended, self.now) {
                self.wake_at(until);
                let waiting = crash_loop(self.pod, name, delay);
                // A start that failed for another reason keeps that reason: it says more.
                if last.state == RunState::Exited || !self.memory.waiting.contains_key(name) {
                    self.memory.waiting.insert(name.to_owned(), waiting.clone());
                }
                self.plan.backing_off.push((name.to_owned(), waiting));
                return;
            }
            self.memory.restarts.next(name, ended, self.now);
        }
        let restart_count = match self.observed.newest(name) {
            Some(record) => record.restart_count + 1,
            None => reported_restarts(self.pod, name),
        };
        self.plan.actions.push(Action::Start { name: name.to_owned(), restart_count });
    }

    /// Two records of each container are enough: the newest, and the one before it for `lastState`.
    fn collect_garbage(&mut self) {
        let mut seen = std::collections::HashMap::<&str, usize>::new();
        for record in &self.observed.containers {
            let count = seen.entry(record.name.as_str()).or_default();
            *count += 1;
            if *count > 2 && matches!(record.state, RunState::Exited | RunState::Created) {
                self.plan.actions.push(Action::Remove { id: record.id.clone() });
            }
        }
        for sandbox in self.observed.sandboxes.iter().skip(1).filter(|sandbox| !sandbox.ready) {
            if self.observed.containers.iter().all(|record| record.sandbox != sandbox.id) {
                self.plan.actions.push(Action::RemoveSandbox { id: sandbox.id.clone() });
            }
        }
    }

    fn wake_at(&mut self, at: Timestamp) {
        self.plan.wake_at = Some(self.plan.wake_at.map_or(at, |earlier| earlier.min(at)));
    }
}

/// A container that has ended is to be started again.
fn restarts(memory: &Memory, policy: RestartPolicy, record: &Record) -> bool {
    policy.restarts_after(record.exit_code) || memory.resize_kills.contains(&record.id)
}

fn kill(record: &Record, message: String, why: KillReason) -> Action {
    Action::Kill { id: record.id.clone(), name: record.name.clone(), message, why }
}

fn crash_loop(pod: &Pod, name: &str, delay: SignedDuration) -> Waiting {
    let delay = go_duration(delay);
    let message = format!("back-off {delay} restarting failed container={name} pod={}", pod::display(pod));
    Waiting { reason: "CrashLoopBackOff".into(), message }
}

/// The restart count to go on with when the runtime has no record of the container: one more than the API server knows of.
fn reported_restarts(pod: &Pod, name: &str) -> u32 {
    let status = pod::status(pod);
    let all = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    let reported = all.filter(|status| status.name == name).find(|status| status.container_id.is_some());
    reported.map_or(0, |status| u32::try_from(status.restart_count).unwrap_or(0) + 1)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{PodStatus, ResourceRequirements};
    use serde_json::json;

    use super::super::{Reporter, Sandbox, report};
    use super::*;

    #[test]
    fn what_was_stopped_for_other_resources_comes_back_even_when_it_ends_well() {
        let pod: Pod = serde_json::from_value(json!({ "spec": { "restartPolicy": "OnFailure", "containers": [{
            "name": "c",
            "resources": { "limits": { "memory": "64Mi" } },
            "resizePolicy": [{ "resourceName": "memory", "restartPolicy": "RestartContainer" }],
        }] } }))
        .unwrap();
        let sandbox = Sandbox { id: "s".into(), attempt: 0, ready: true, created_at: 1, ips: Vec::new() };
        let hash = definition_hash(&pod::containers(&pod)[0]);
        let record = Record { sandbox: "s".into(), hash, ..Record::running("1", "c") };
        let mut observed = Observed { sandboxes: vec![sandbox], containers: vec![record] };
        let mut memory = Memory::default();
        memory.actuated.insert("1".into(), ResourceRequirements::default());
        let now = Timestamp::from_second(100).unwrap();
        let actions = plan(&pod, &observed, &mut memory, now).actions;
        assert!(matches!(actions.as_slice(), [Action::Kill { id, .. }] if id == "1"), "{actions:?}");

        let record = &mut observed.containers[0];
        (record.state, record.finished_at) = (RunState::Exited, 2);
        let reporter = Reporter { node_ips: vec!["192.0.2.1".into()] };
        let phase =
            |memory: &Memory| report(&reporter, &pod, &observed, memory, &PodStatus::default(), false, now).phase;
        assert_eq!(phase(&memory).as_deref(), Some("Running"));
        assert_eq!(phase(&Memory::default()).as_deref(), Some("Succeeded"), "but for the change of resources");
        let start = Action::Start { name: "c".into(), restart_count: 1 };
        assert_eq!(plan(&pod, &observed, &mut memory, now).actions, [start]);
        observed.sandboxes[0].ready = false;
        let actions = plan(&pod, &observed, &mut memory, now).actions;
        assert!(actions.contains(&Action::CreateSandbox { attempt: 1 }), "{actions:?}");
    }
}
