//! Changes of a pod's processors and memory while it runs (KEP-1287): what its spec desires is allocated once the node has room
//! for it, and what is allocated is made so, container by container. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, ResourceRequirements};
use serde_json::json;

use super::{Memory, Observed, RunState, Waiting};
use crate::pod;
use crate::quantity::{milli, whole};
use crate::spec::{PodLimits, pod_limits};

/// Thousandths of a processor and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    pub cpu: i64,
    pub memory: i64,
}

impl Amount {
    fn plus(self, other: Self) -> Self {
        Self { cpu: self.cpu.saturating_add(other.cpu), memory: self.memory.saturating_add(other.memory) }
    }
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

/// What a pod asks for: all its containers together, or the init container that asks for most; and the runtime's overhead.
pub fn requests(pod: &Pod) -> Amount {
    let of = |container: &Container| {
        let [cpu, _, memory, _] = amounts(container.resources.as_ref());
        Amount { cpu: cpu.unwrap_or(0), memory: memory.unwrap_or(0) }
    };
    let most = |a: Amount, b: Amount| Amount { cpu: a.cpu.max(b.cpu), memory: a.memory.max(b.memory) };
    let (sidecars, inits): (Vec<&Container>, Vec<&Container>) =
        pod::init_containers(pod).iter().partition(|container| pod::is_sidecar(container));
    let together = pod::containers(pod).iter().chain(sidecars).map(of).fold(Amount::default(), Amount::plus);
    let overhead = |name: &str| pod::spec(pod).overhead.as_ref()?.get(name);
    let overhead = Amount {
        cpu: overhead("cpu").and_then(milli).unwrap_or(0),
        memory: overhead("memory").and_then(whole).unwrap_or(0),
    };
    inits.into_iter().map(of).fold(together, most).plus(overhead)
}

/// What pods have of the node: what is allocated to each by UID; what it asks for while nothing is.
pub fn used<'a>(pods: impl Iterator<Item = &'a Pod>, allocated: &HashMap<String, Amount>) -> Amount {
    let of = |pod: &Pod| allocated.get(pod::uid(pod)).copied().unwrap_or_else(|| requests(pod));
    pods.map(of).fold(Amount::default(), Amount::plus)
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
        (requested > 0 && requested.saturating_add(used) > capacity).then_some(words)
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
    memory.resize_kills.retain(|id| observed.containers.iter().any(|record| record.id == *id));
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

/// The limits that the pod's own group needs now: of each resource the greater of what its running containers have and of what
/// is allocated. A group of the kernel may not give one of its own more than it has itself.
pub fn group_limits(pod: &Pod, observed: &Observed, memory: &Memory) -> PodLimits {
    let mut present = pod.clone();
    let spec = present.spec.get_or_insert_default();
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        let running = observed.newest(&container.name).filter(|record| record.state == RunState::Running);
        if let Some(actuated) = running.and_then(|record| memory.actuated.get(&record.id)) {
            container.resources = Some(actuated.clone());
        }
    }
    pod_limits(&present).most(&pod_limits(pod))
}

/// One step of giving a running container what is allocated to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Limit the pod's own group.
    Group(PodLimits),
    /// Tell the runtime of the container.
    Container,
}

/// The steps in their order: the pod's group grows before its container does, and shrinks after it, each resource by itself.
pub fn steps(pod: &Pod, observed: &Observed, memory: &Memory, id: &str, container: &Container) -> [Step; 3] {
    let before = group_limits(pod, observed, memory);
    let mut done = Memory { actuated: memory.actuated.clone(), ..Memory::default() };
    done.actuated.insert(id.to_owned(), container.resources.clone().unwrap_or_default());
    [Step::Group(before), Step::Container, Step::Group(group_limits(pod, observed, &done))]
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
    use super::super::Record;
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
        let observed = Observed { sandboxes: Vec::new(), containers: vec![Record::running("1", "c")] };
        recall(&allowed, &observed, &mut memory);
        assert!(in_progress(&allowed, &observed, &memory), "the container has what it had");
        assert!(!wants_restart(&memory, "1", &pod::containers(&allowed)[0]));
    }

    #[test]
    fn one_change_that_waits_for_room_leaves_it_to_others() {
        let sized = |uid: &str, cpu: &str, overhead: &str| -> Pod {
            let mut pod = Pod::clone(&pod(cpu, json!([])));
            pod.metadata.uid = Some(uid.into());
            let quantity = k8s_openapi::apimachinery::pkg::api::resource::Quantity(overhead.into());
            pod.spec.as_mut().unwrap().overhead = Some([("cpu".to_owned(), quantity)].into());
            pod
        };
        let pods = [sized("waits", "9", "100m"), sized("new", "300m", "50m"), sized("huge", "1", "0")];
        let allocated = |uid: &str, cpu: i64| (uid.to_owned(), Amount { cpu, memory: 0 });
        let table = HashMap::from([allocated("waits", 600)]);
        assert_eq!(used(pods[..2].iter(), &table).cpu, 600 + 350, "what is desired is not had yet");
        let table = HashMap::from([allocated("waits", 600), allocated("huge", i64::MAX)]);
        assert_eq!(used(pods.iter(), &table).cpu, i64::MAX);
    }

    #[test]
    fn the_group_of_the_pod_grows_first_and_shrinks_last_each_resource_by_itself() {
        let limits = |cpu: &str, memory: &str| json!({ "limits": { "cpu": cpu, "memory": memory } });
        let pod: Pod = serde_json::from_value(json!({ "spec": { "containers": [
            { "name": "a", "resources": limits("200m", "32Mi") },
            { "name": "b", "resources": limits("100m", "16Mi") },
        ] } }))
        .unwrap();
        let had = |cpu: &str, memory: &str| serde_json::from_value(limits(cpu, memory)).unwrap();
        let mut memory = Memory::default();
        memory.actuated.insert("1".into(), had("100m", "64Mi"));
        memory.actuated.insert("2".into(), had("300m", "16Mi"));
        let observed =
            Observed { sandboxes: Vec::new(), containers: vec![Record::running("1", "a"), Record::running("2", "b")] };
        let group = |steps: &[Step; 3]| {
            let [Step::Group(first), Step::Container, Step::Group(last)] = steps else { panic!("{steps:?}") };
            [first, last].map(|limits| (limits.cpu_quota.unwrap(), limits.memory_limit.unwrap() >> 20))
        };
        let first = steps(&pod, &observed, &memory, "1", &pod::containers(&pod)[0]);
        assert_eq!(group(&first), [(40_000, 80), (50_000, 48)], "b still has what it had");
        memory.actuated.insert("1".into(), had("200m", "32Mi"));
        let second = steps(&pod, &observed, &memory, "2", &pod::containers(&pod)[1]);
        assert_eq!(group(&second), [(50_000, 48), (30_000, 48)]);
    }
}
