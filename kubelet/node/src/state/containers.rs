//! `containerStatuses`: each container of the pod as the runtime's records show it. Pure.

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    Pod, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Memory, Observed, Record, RunState, timestamp};
use crate::pod;

/// The statuses of `containers`, in the order of the spec. `old` is what was last reported.
pub fn statuses(
    pod: &Pod,
    containers: &[Container],
    observed: &Observed,
    memory: &Memory,
    old: &[ContainerStatus],
    terminating: bool,
) -> Vec<ContainerStatus> {
    containers.iter().map(|container| status(pod, container, observed, memory, old, terminating)).collect()
}

/// The statuses of the ephemeral containers. Nobody probes them, and the pod does not wait for them.
pub fn ephemeral_statuses(
    pod: &Pod,
    observed: &Observed,
    memory: &Memory,
    old: &[ContainerStatus],
    terminating: bool,
) -> Vec<ContainerStatus> {
    let containers: Vec<Container> = pod::ephemeral_containers(pod).iter().map(pod::as_container).collect();
    let statuses = statuses(pod, &containers, observed, memory, old, terminating);
    statuses.into_iter().map(|status| ContainerStatus { ready: false, started: None, ..status }).collect()
}

fn status(
    pod: &Pod,
    container: &Container,
    observed: &Observed,
    memory: &Memory,
    old: &[ContainerStatus],
    terminating: bool,
) -> ContainerStatus {
    let old = old.iter().find(|old| old.name == container.name);
    let mut records = observed.containers.iter().filter(|record| record.name == container.name);
    let (newest, previous) = (records.next(), records.next());
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        started: Some(false),
        volume_mounts: volume_mounts(container),
        ..ContainerStatus::default()
    };
    if let Some(old) = old {
        status.restart_count = old.restart_count;
        status.last_state = old.last_state.clone();
    }
    let Some(record) = newest else {
        status.state = Some(absent(pod, container, observed, old, &mut status.last_state));
        if let Some(waiting) = memory.waiting.get(&container.name).filter(|_| !terminating)
            && status.state.as_ref().is_some_and(|state| state.waiting.is_some())
        {
            status.state = Some(waiting_state(&waiting.reason, &waiting.message));
        }
        return status;
    };
    status.restart_count = i32::try_from(record.restart_count).unwrap_or(i32::MAX);
    status.container_id = Some(format!("containerd://{}", record.id));
    status.image = record.image.clone();
    status.image_id = record.image_id.clone();
    status.state = Some(state_of(record));
    if let Some(previous) = previous.filter(|record| record.state == RunState::Exited) {
        status.last_state = Some(state_of(previous));
    }
    // What a running container has, and what another would have. Empty ones are told, too: they say that the node knows of resizing.
    let actuated = memory.actuated.get(&record.id).filter(|_| record.state == RunState::Running);
    status.resources = Some(actuated.or(container.resources.as_ref()).cloned().unwrap_or_default());
    status.allocated_resources = container.resources.as_ref().and_then(|resources| resources.requests.clone());
    if record.state == RunState::Running {
        let (started, ready) = running_verdict(container, record, memory, old);
        status.started = Some(started);
        status.ready = ready;
    } else if let Some(waiting) = memory.waiting.get(&container.name).filter(|_| !terminating) {
        // A container that is to be started again is waiting; how it ended moves to lastState.
        if record.state == RunState::Exited {
            status.last_state = status.state.take();
        }
        status.state = Some(waiting_state(&waiting.reason, &waiting.message));
    }
    // An init container that has done its work counts as ready.
    let is_plain_init =
        !pod::is_sidecar(container) && pod::init_containers(pod).iter().any(|c| c.name == container.name);
    if is_plain_init {
        let exit = status.state.as_ref().and_then(|state| state.terminated.as_ref()).map(|state| state.exit_code);
        status.ready = exit == Some(0);
    }
    status
}

/// `(started, ready)` of a running container.
fn running_verdict(
    container: &Container,
    record: &Record,
    memory: &Memory,
    old: Option<&ContainerStatus>,
) -> (bool, bool) {
    let verdict = memory.verdicts.get(&record.id).copied().unwrap_or_default();
    // What a former life of the kubelet found out holds until this one's first probe.
    let same = old.filter(|old| old.container_id.as_deref() == Some(&format!("containerd://{}", record.id)));
    let started = match (&container.startup_probe, verdict.started) {
        (None, _) => true,
        (Some(_), Some(started)) => started,
        (Some(_), None) => same.and_then(|old| old.started).unwrap_or(false),
    };
    let ready = match (&container.readiness_probe, verdict.ready) {
        (None, _) => true,
        (Some(_), Some(ready)) => ready,
        (Some(_), None) => same.is_some_and(|old| old.ready),
    };
    (started, started && ready)
}

/// The state of a container that the runtime has no record of.
fn absent(
    pod: &Pod,
    container: &Container,
    observed: &Observed,
    old: Option<&ContainerStatus>,
    last_state: &mut Option<ContainerState>,
) -> ContainerState {
    let old_state = old.and_then(|old| old.state.clone()).unwrap_or_default();
    if old_state.terminated.is_some() {
        return old_state;
    }
    let is_init = pod::init_containers(pod).iter().any(|init| init.name == container.name);
    let initialized = pod::containers(pod).iter().any(|container| observed.newest(&container.name).is_some());
    if is_init && initialized && !pod::is_sidecar(container) {
        let message = "Unable to get init container status from container runtime and pod has been initialized, treat it as exited normally";
        let terminated = ContainerStateTerminated {
            reason: Some("Completed".into()),
            message: Some(message.into()),
            ..ContainerStateTerminated::default()
        };
        return ContainerState { terminated: Some(terminated), ..ContainerState::default() };
    }
    if old_state.running.is_some() && last_state.as_ref().is_none_or(|last| last.terminated.is_none()) {
        let message = "The container could not be located when the pod was deleted.  The container used to be Running";
        let terminated = ContainerStateTerminated {
            reason: Some("ContainerStatusUnknown".into()),
            message: Some(message.into()),
            exit_code: 137,
            ..ContainerStateTerminated::default()
        };
        *last_state = Some(ContainerState { terminated: Some(terminated), ..ContainerState::default() });
    }
    let creating = if pod::init_containers(pod).is_empty() { "ContainerCreating" } else { "PodInitializing" };
    waiting_state(creating, "")
}

fn waiting_state(reason: &str, message: &str) -> ContainerState {
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let waiting = ContainerStateWaiting { reason: text(reason), message: text(message) };
    ContainerState { waiting: Some(waiting), ..ContainerState::default() }
}

fn time(nanoseconds: i64) -> Option<Time> {
    // The API keeps whole seconds; a status that differs only in less would be sent for nothing.
    (nanoseconds > 0).then(|| Time(super::status::whole_seconds(timestamp(nanoseconds))))
}

fn state_of(record: &Record) -> ContainerState {
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    match record.state {
        RunState::Running => ContainerState {
            running: Some(ContainerStateRunning { started_at: time(record.started_at) }),
            ..ContainerState::default()
        },
        RunState::Created => {
            ContainerState { waiting: Some(ContainerStateWaiting::default()), ..ContainerState::default() }
        }
        RunState::Exited => ContainerState {
            terminated: Some(ContainerStateTerminated {
                container_id: Some(format!("containerd://{}", record.id)),
                exit_code: record.exit_code,
                started_at: time(record.started_at),
                finished_at: time(record.finished_at),
                reason: text(&record.reason),
                message: text(&record.message),
                signal: None,
            }),
            ..ContainerState::default()
        },
        RunState::Unknown => ContainerState {
            terminated: Some(ContainerStateTerminated {
                reason: Some("ContainerStatusUnknown".into()),
                message: Some("The container could not be located when the pod was terminated".into()),
                exit_code: 137,
                ..ContainerStateTerminated::default()
            }),
            ..ContainerState::default()
        },
    }
}

fn volume_mounts(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let mounts = container.volume_mounts.as_ref().filter(|mounts| !mounts.is_empty())?;
    let status = |mount: &k8s_openapi::api::core::v1::VolumeMount| VolumeMountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only: mount.read_only,
        recursive_read_only: mount.read_only.filter(|&read_only| read_only).map(|_| "Disabled".to_owned()),
        ..VolumeMountStatus::default()
    };
    Some(mounts.iter().map(status).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_told_even_if_there_are_none() {
        let pod: Pod =
            serde_json::from_value(serde_json::json!({ "spec": { "containers": [{ "name": "c" }, { "name": "d" }] } }))
                .unwrap();
        let observed = Observed { sandboxes: Vec::new(), containers: vec![Record::running("1", "c")] };
        let statuses = statuses(&pod, pod::containers(&pod), &observed, &Memory::default(), &[], false);
        assert_eq!(serde_json::to_value(&statuses[0]).unwrap()["resources"], serde_json::json!({}));
        assert_eq!(statuses[1].resources, None, "it has not been made yet");
    }
}
