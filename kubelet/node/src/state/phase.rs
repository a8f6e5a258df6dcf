//! The pod's phase from the statuses of its containers, by the rules of the kubelet's `getPhase`. Pure.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::pod::{self, RestartPolicy};

enum State {
    Running,
    Waiting,
    Stopped(i32),
    Unknown,
}

fn state(statuses: &[ContainerStatus], name: &str) -> State {
    let Some(status) = statuses.iter().find(|status| status.name == name) else { return State::Unknown };
    let terminated = |state: &Option<k8s_openapi::api::core::v1::ContainerState>| {
        state.as_ref().and_then(|state| state.terminated.as_ref()).map(|terminated| terminated.exit_code)
    };
    let current = status.state.clone().unwrap_or_default();
    if current.running.is_some() {
        return State::Running;
    }
    if let Some(code) = current.terminated.map(|terminated| terminated.exit_code) {
        return State::Stopped(code);
    }
    if current.waiting.is_some() {
        return terminated(&status.last_state).map_or(State::Waiting, State::Stopped);
    }
    State::Unknown
}

/// The phase. `terminating` when no container will be started again whatever the restart policy says; `initialized` when one of
/// the pod's main containers has run.
pub fn phase(pod: &Pod, statuses: &[ContainerStatus], terminating: bool, initialized: bool) -> &'static str {
    let policy = pod::restart_policy(pod);
    let (mut pending_init, mut pending_sidecars, mut failed_init) = (0, 0, 0);
    let (mut running, mut waiting, mut unknown) = (0, 0, 0);
    let (mut stopped, mut succeeded, mut final_stops) = (0, 0, 0);
    for container in pod::init_containers(pod) {
        let state = state(statuses, &container.name);
        if pod::is_sidecar(container) {
            match state {
                State::Running => {
                    let started = statuses.iter().find(|status| status.name == container.name);
                    pending_sidecars += i32::from(started.and_then(|status| status.started) != Some(true));
                    running += 1;
                }
                State::Stopped(_) => {}
                State::Waiting => (pending_sidecars, waiting) = (pending_sidecars + 1, waiting + 1),
                State::Unknown => unknown += 1,
            }
        } else {
            match state {
                State::Stopped(0) => {}
                State::Stopped(_) => failed_init += 1,
                _ => pending_init += 1,
            }
        }
    }
    for container in pod::containers(pod) {
        match state(statuses, &container.name) {
            State::Running => running += 1,
            State::Waiting => waiting += 1,
            State::Unknown => unknown += 1,
            State::Stopped(code) => {
                stopped += 1;
                succeeded += i32::from(code == 0);
                final_stops += i32::from(!policy.restarts_after(code));
            }
        }
    }
    if failed_init > 0 && policy == RestartPolicy::Never {
        return "Failed";
    }
    if pending_init > 0 || (pending_sidecars > 0 && !initialized) || waiting > 0 {
        return "Pending";
    }
    if running > 0 && unknown == 0 {
        return "Running";
    }
    if running == 0 && stopped > 0 && unknown == 0 {
        if !terminating && stopped != final_stops {
            return "Running";
        }
        return if stopped == succeeded { "Succeeded" } else { "Failed" };
    }
    "Pending"
}

/// The pod has ended by itself: this phase is final.
pub fn is_finished(phase: Option<&str>) -> bool {
    matches!(phase, Some("Succeeded" | "Failed"))
}
