//! The Node object from the configuration and the machine's facts. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec, NodeStatus, NodeSystemInfo,
    ObjectReference,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::machine::{Machine, Pressure};
use crate::config::Config;
use crate::kubelet::RuntimeHealth;

/// The version that this kubelet is compatible with.
const KUBELET_VERSION: &str = concat!("v1.36.0+orlop", env!("CARGO_PKG_VERSION"));

/// What changes while the kubelet runs.
#[derive(Debug, Clone)]
pub struct Facts {
    pub runtime_version: String,
    pub health: RuntimeHealth,
    pub pressure: Pressure,
}

/// The Node to register.
pub fn node(config: &Config, machine: &Machine, facts: &Facts, now: Timestamp) -> Node {
    let mut labels: BTreeMap<String, String> = config.node_labels.iter().cloned().collect();
    for (key, value) in [
        ("kubernetes.io/hostname", config.hostname.as_str()),
        ("kubernetes.io/arch", machine.architecture),
        ("kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", machine.architecture),
        ("beta.kubernetes.io/os", "linux"),
    ] {
        labels.insert(key.to_owned(), value.to_owned());
    }
    Node {
        metadata: ObjectMeta { name: Some(config.node_name.clone()), labels: Some(labels), ..ObjectMeta::default() },
        spec: Some(NodeSpec {
            taints: Some(config.node_taints.clone()).filter(|taints| !taints.is_empty()),
            ..NodeSpec::default()
        }),
        status: Some(status(config, machine, facts, None, now)),
    }
}

/// The Node's status. Transition times are kept from `old` where nothing changed.
pub fn status(
    config: &Config,
    machine: &Machine,
    facts: &Facts,
    old: Option<&NodeStatus>,
    now: Timestamp,
) -> NodeStatus {
    let (cpu, memory) = machine.allocatable(config);
    let shared = |cpu: String, memory: i64| {
        BTreeMap::from([
            ("cpu".to_owned(), Quantity(cpu)),
            ("memory".to_owned(), Quantity(format!("{}Ki", memory / 1024))),
            ("ephemeral-storage".to_owned(), Quantity(format!("{}Ki", machine.ephemeral_storage / 1024))),
            ("pods".to_owned(), Quantity(config.max_pods.to_string())),
        ])
    };
    let cpu = if cpu % 1000 == 0 { (cpu / 1000).to_string() } else { format!("{cpu}m") };
    let address = |type_: &str, address: String| NodeAddress { type_: type_.to_owned(), address };
    let mut addresses: Vec<NodeAddress> =
        config.node_ips.iter().map(|ip| address("InternalIP", ip.to_string())).collect();
    addresses.push(address("Hostname", config.hostname.clone()));
    NodeStatus {
        addresses: Some(addresses),
        capacity: Some(shared(machine.cpus.to_string(), machine.memory)),
        allocatable: Some(shared(cpu, memory)),
        conditions: Some(conditions(facts, old, now)),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(config.port) }),
        }),
        node_info: Some(NodeSystemInfo {
            architecture: machine.architecture.to_owned(),
            boot_id: machine.boot_id.clone(),
            container_runtime_version: facts.runtime_version.clone(),
            kernel_version: machine.kernel_version.clone(),
            // Deprecated and empty since v1.33.
            kube_proxy_version: String::new(),
            kubelet_version: KUBELET_VERSION.to_owned(),
            machine_id: machine.machine_id.clone(),
            operating_system: "linux".to_owned(),
            os_image: machine.os_image.clone(),
            system_uuid: machine.system_uuid.clone(),
            swap: None,
        }),
        ..NodeStatus::default()
    }
}

fn conditions(facts: &Facts, old: Option<&NodeStatus>, now: Timestamp) -> Vec<NodeCondition> {
    let now = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    let condition = |type_: &str, status: bool, reason: &str, message: String| {
        let status = if status { "True" } else { "False" };
        let old = old.into_iter().flat_map(|old| old.conditions.iter().flatten()).find(|old| old.type_ == type_);
        let since = old.filter(|old| old.status == status).and_then(|old| old.last_transition_time.clone());
        NodeCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_heartbeat_time: Some(now.clone()),
            last_transition_time: since.or_else(|| Some(now.clone())),
        }
    };
    let scarce = |type_: &str, pressure: bool, yes: (&str, &str), no: (&str, &str)| {
        let (reason, words) = if pressure { yes } else { no };
        condition(type_, pressure, &format!("KubeletHas{reason}"), format!("kubelet has {words}"))
    };
    let Pressure { memory, disk, pid } = facts.pressure;
    let problems: Vec<String> = [
        Some(&facts.health.runtime)
            .filter(|words| !words.is_empty())
            .map(|words| format!("container runtime is down: {words}")),
        Some(&facts.health.network)
            .filter(|words| !words.is_empty())
            .map(|words| format!("container runtime network not ready: {words}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    let ready = if problems.is_empty() {
        condition("Ready", true, "KubeletReady", "kubelet is posting ready status".to_owned())
    } else {
        condition("Ready", false, "KubeletNotReady", problems.join(", "))
    };
    vec![
        scarce(
            "MemoryPressure",
            memory,
            ("InsufficientMemory", "insufficient memory available"),
            ("SufficientMemory", "sufficient memory available"),
        ),
        scarce("DiskPressure", disk, ("DiskPressure", "disk pressure"), ("NoDiskPressure", "no disk pressure")),
        scarce(
            "PIDPressure",
            pid,
            ("InsufficientPID", "insufficient PID available"),
            ("SufficientPID", "sufficient PID available"),
        ),
        ready,
    ]
}

/// Whether the API server's status says the same, heartbeat times and what others own left aside.
pub fn same(old: Option<&NodeStatus>, new: &NodeStatus) -> bool {
    let Some(old) = old else { return false };
    let plain = |status: &NodeStatus| {
        let conditions: Vec<_> = status
            .conditions
            .iter()
            .flatten()
            .map(|c| (c.type_.clone(), c.status.clone(), c.reason.clone(), c.message.clone()))
            .collect();
        (
            status.addresses.clone(),
            status.capacity.clone(),
            status.allocatable.clone(),
            status.node_info.clone(),
            conditions,
        )
    };
    let (old, new) = (plain(old), plain(new));
    let kept = new.4.iter().all(|condition| old.4.contains(condition));
    (old.0, old.1, old.2, old.3) == (new.0, new.1, new.2, new.3) && kept
}

/// A reference to the Node for an Event. Kubernetes' own kubelet names it by name, in the field for the UID too.
pub fn reference(name: &str) -> ObjectReference {
    ObjectReference {
        kind: Some("Node".into()),
        name: Some(name.to_owned()),
        uid: Some(name.to_owned()),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(network: &str) -> Facts {
        Facts {
            runtime_version: "containerd://1.6.20".into(),
            health: RuntimeHealth { runtime: String::new(), network: network.into() },
            pressure: Pressure::default(),
        }
    }

    fn ready(conditions: &[NodeCondition]) -> &NodeCondition {
        conditions.iter().find(|condition| condition.type_ == "Ready").unwrap()
    }

    #[test]
    fn a_node_without_pod_network_is_not_ready_and_says_why() {
        let conditions = conditions(&facts("cni plugin not initialized"), None, Timestamp::now());
        assert_eq!(ready(&conditions).status, "False");
        assert!(ready(&conditions).message.as_ref().unwrap().contains("cni plugin not initialized"));
    }

    #[test]
    fn a_condition_that_stays_keeps_its_time() {
        let then = Timestamp::from_second(1_000_000).unwrap();
        let old = NodeStatus { conditions: Some(conditions(&facts(""), None, then)), ..NodeStatus::default() };
        let later = conditions(&facts(""), Some(&old), Timestamp::from_second(2_000_000).unwrap());
        assert_eq!(ready(&later).last_transition_time, Some(Time(then)));
        assert_ne!(ready(&later).last_heartbeat_time, Some(Time(then)));
        let new = NodeStatus { conditions: Some(later), ..NodeStatus::default() };
        assert!(same(Some(&old), &new), "a heartbeat alone is no change");
    }
}
