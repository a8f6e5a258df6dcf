//! Changes of a pod's processors and memory while it runs (KEP-1287): what its spec desires is allocated once the node has room
//! for it, and what is allocated is made so, container by container. Pure.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, ResourceRequirements};
use serde_json::json;

use super::{Memory, Observed, RunState, Waiting};
use crate::pod;
use crate::quantity::{milli, whole};

/// Thousandths of a processor and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    pub cpu: i64,
    pub memory: i64,
}

/// What the node can give, and what its other pods have of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Room {
    pub capacity: Amount,
    pub used: Amount,
}

/// What has become of a desired change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Started,
    Deferred(String),
}

fn amounts(resources: Option<&ResourceRequirements>) -> [Option<i64>; 4] {
    let of = |limits: bool, name: &str| {
        let resources = resources?;
        let quantity = if limits { &resources.limits } else { &resources.requests }.as_ref()?.get(name)?;
        if name == "cpu" { milli(quantity) } else { whole(quantity) }
    };
    [of(false, "cpu"), of(true, "cpu"), of(false, "memory"), of(true, "memory")]
}

/// What a pod asks for: all its containers together, or the init container that asks for most.
pub fn requests(pod: &Pod) -> Amount {
    let of = |container: &Container| {
        let [cpu, _, memory, _] = amounts(container.resources.as_ref());
        Amount { cpu: cpu.unwrap_or(0), memory: memory.unwrap_or(0) }
    };
    let add = |a: Amount, b: Amount| Amount { cpu: a.cpu + b.cpu, memory: a.memory + b.memory };
    let most = |a: Amount, b: Amount| Amount { cpu: a.cpu.max(b.cpu), memory: a.memory.max(b.memory) };
    let (sidecars, inits): (Vec<&Container>, Vec<&Container>) =
        pod::init_containers(pod).iter().partition(|container| pod::is_sidecar(container));
    let together = pod::containers(pod).iter().chain(sidecars).map(of).fold(Amount::default(), add);
    inits.into_iter().map(of).fold(together, most)
}

fn reported<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod::status(pod);
    let all = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    all.into_iter().find(|status| status.name == name)
}

/// The pod with what is allocated to it, which is what its spec says unless the node has no room for that.
pub fn allocate(pod: &Arc<Pod>, memory: &mut Memory, room: impl FnOnce() -> Room) -> (Arc<Pod>, Option<Change>) {
    let mut differs = false;
    for container in pod::init_containers(pod).iter().chain(pod::containers(pod)) {
        let desired = container.resources.clone().unwrap_or_default();
        let allocated = memory.allocated.entry(container.name.clone()).or_insert_with(|| {
            // What a former life of the kubelet has allocated.
            let status = reported(pod, &container.name);
            let resources = status.and_then(|status| Some((status.resources.as_ref()?, status)));
            resources.map_or_else(
                || desired.clone(),
                |(resources, status)| ResourceRequirements {
                    requests: status.allocated_resources.clone().or_else(|| resources.requests.clone()),
                    ..resources.clone()
                },
            )
        });
        differs |= amounts(Some(&desired)) != amounts(Some(allocated));
    }
    if !differs {
        memory.resize_pending = None;
        return (pod.clone(), None);
    }
    let (desired, room) = (requests(pod), room());
    let lacks = |name: &str, requested: i64, used: i64, capacity: i64| {
        let words = format!(
            "Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
        );
        (requested > 0 && requested + used > capacity).then_some(words)
    };
    let lack = lacks("cpu", desired.cpu, room.used.cpu, room.capacity.cpu)
        .or_else(|| lacks("memory", desired.memory, room.used.memory, room.capacity.memory));
    let Some(message) = lack else {
        for container in pod::init_containers(pod).iter().chain(pod::containers(pod)) {
            memory.allocated.insert(container.name.clone(), container.resources.clone().unwrap_or_default());
        }
        (memory.resize_pending, memory.resize_error) = (None, None);
        return (pod.clone(), Some(Change::Started));
    };
    let mut allowed = Pod::clone(pod);
    let spec = allowed.spec.get_or_insert_default();
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        container.resources = memory.allocated.get(&container.name).cloned();
    }
    let pending = Waiting { reason: "Deferred".into(), message: message.clone() };
    let news = memory.resize_pending.as_ref() != Some(&pending);
    memory.resize_pending = Some(pending);
    (Arc::new(allowed), news.then_some(Change::Deferred(message)))
}

/// Notes what running containers have, as far as a former life of the kubelet reported it.
pub fn recall(pod: &Pod, observed: &Observed, memory: &mut Memory) {
    memory.actuated.retain(|id, _| observed.containers.iter().any(|record| record.id == *id));
    for record in observed.containers.iter().filter(|record| record.state == RunState::Running) {
        let Some(container) = pod::container(pod, &record.name) else { continue };
        memory.actuated.entry(record.id.clone()).or_insert_with(|| {
            let id = format!("containerd://{}", record.id);
            let status = reported(pod, &record.name).filter(|status| status.container_id.as_deref() == Some(&id));
            let has = status.and_then(|status| status.resources.clone());
            has.or_else(|| container.resources.clone()).unwrap_or_default()
        });
    }
}

/// A running container has not what is allocated to it.
pub fn differs(memory: &Memory, id: &str, container: &Container) -> bool {
    let actuated = memory.actuated.get(id);
    actuated.is_some_and(|actuated| amounts(Some(actuated)) != amounts(container.resources.as_ref()))
}

/// The container wants to be started anew for the change that is due.
pub fn wants_restart(memory: &Memory, id: &str, container: &Container) -> bool {
    let [cpu, cpu_limit, bytes, bytes_limit] = amounts(memory.actuated.get(id));
    let [new_cpu, new_cpu_limit, new_bytes, new_bytes_limit] = amounts(container.resources.as_ref());
    let restarts = |name: &str| {
        let policies = container.resize_policy.iter().flatten();
        policies.into_iter().any(|policy| policy.resource_name == name && policy.restart_policy == "RestartContainer")
    };
    ((cpu, cpu_limit) != (new_cpu, new_cpu_limit) && restarts("cpu"))
        || ((bytes, bytes_limit) != (new_bytes, new_bytes_limit) && restarts("memory"))
}

/// The change takes nothing from the container.
pub fn grows(memory: &Memory, id: &str, container: &Container) -> bool {
    let [_, cpu, _, bytes] = amounts(memory.actuated.get(id));
    let [_, new_cpu, _, new_bytes] = amounts(container.resources.as_ref());
    let limit = |limit: Option<i64>| limit.unwrap_or(i64::MAX);
    limit(new_cpu) >= limit(cpu) && limit(new_bytes) >= limit(bytes)
}

/// Some container's change is under way.
pub fn in_progress(pod: &Pod, observed: &Observed, memory: &Memory) -> bool {
    observed
        .containers
        .iter()
        .filter(|record| record.state == RunState::Running)
        .any(|record| pod::container(pod, &record.name).is_some_and(|container| differs(memory, &record.id, container)))
}

/// What events say of a change: the resources that all containers shall have.
pub fn summary(pod: &Pod, error: Option<&str>) -> String {
    let list = |containers: &[Container]| -> Vec<_> {
        let item = |container: &Container| json!({ "name": container.name, "resources": container.resources.clone().unwrap_or_default() });
        containers.iter().map(item).collect()
    };
    let mut summary = serde_json::Map::new();
    if !pod::init_containers(pod).is_empty() {
        summary.insert("initContainers".into(), list(pod::init_containers(pod)).into());
    }
    summary.insert("containers".into(), list(pod::containers(pod)).into());
    summary.insert("generation".into(), pod.metadata.generation.into());
    if let Some(error) = error {
        summary.insert("error".into(), error.into());
    }
    serde_json::Value::Object(summary).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(cpu: &str, status: serde_json::Value) -> Arc<Pod> {
        let resources = json!({ "requests": { "cpu": cpu }, "limits": { "cpu": cpu } });
        let pod = json!({
            "spec": { "containers": [{ "name": "c", "resources": resources }] },
            "status": { "containerStatuses": status },
        });
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn room(used: i64) -> impl Fn() -> Room {
        move || Room { capacity: Amount { cpu: 2000, memory: 0 }, used: Amount { cpu: used, memory: 0 } }
    }

    fn cpu(pod: &Pod) -> i64 {
        requests(pod).cpu
    }

    #[test]
    fn a_change_waits_until_there_is_room_for_it() {
        let mut memory = Memory::default();
        let (first, change) = allocate(&pod("500m", json!([])), &mut memory, room(1000));
        assert_eq!((cpu(&first), change), (500, None), "what a pod begins with, the scheduler has found room for");
        let more = pod("1500m", json!([]));
        let (allowed, change) = allocate(&more, &mut memory, room(1000));
        let message = "Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000";
        assert_eq!((cpu(&allowed), change), (500, Some(Change::Deferred(message.into()))));
        assert_eq!(allocate(&more, &mut memory, room(1000)).1, None, "told once");
        let (allowed, change) = allocate(&more, &mut memory, room(500));
        assert_eq!((cpu(&allowed), change, memory.resize_pending), (1500, Some(Change::Started), None));
    }

    #[test]
    fn a_restarted_kubelet_remembers_what_was_allocated_and_what_containers_have() {
        let has = json!({ "requests": { "cpu": "0.5" }, "limits": { "cpu": "0.5" } });
        let status = json!([{
            "name": "c", "containerID": "containerd://1", "allocatedResources": { "cpu": "500m" }, "resources": has,
            "image": "", "imageID": "", "ready": true, "restartCount": 0,
        }]);
        let mut memory = Memory::default();
        let (allowed, _) = allocate(&pod("1500m", status.clone()), &mut memory, room(1000));
        assert_eq!(cpu(&allowed), 500, "still deferred");
        let (allowed, change) = allocate(&pod("1500m", status), &mut memory, room(0));
        assert_eq!((cpu(&allowed), change), (1500, Some(Change::Started)));
        let record = super::super::Record {
            id: "1".into(),
            name: "c".into(),
            sandbox: String::new(),
            restart_count: 0,
            state: RunState::Running,
            created_at: 1,
            started_at: 1,
            finished_at: 0,
            exit_code: 0,
            reason: String::new(),
            message: String::new(),
            image: String::new(),
            image_id: String::new(),
            hash: String::new(),
        };
        let observed = Observed { sandboxes: Vec::new(), containers: vec![record] };
        recall(&allowed, &observed, &mut memory);
        assert!(in_progress(&allowed, &observed, &memory), "the container has what it had");
        assert!(grows(&memory, "1", &pod::containers(&allowed)[0]));
        assert!(!wants_restart(&memory, "1", &pod::containers(&allowed)[0]));
    }
}
