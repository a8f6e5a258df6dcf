//! The quality-of-service class, and the out-of-memory score that follows from it. Pure.

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::quantity::{milli, whole};

/// `status.qosClass`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qos {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl Qos {
    /// The API's name of the class.
    pub fn name(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }

    /// The cgroup between `kubepods` and the pod; pods with guarantees lie directly below `kubepods`.
    pub fn cgroup(self) -> Option<&'static str> {
        match self {
            Self::Guaranteed => None,
            Self::Burstable => Some("burstable"),
            Self::BestEffort => Some("besteffort"),
        }
    }

    /// The kernel's out-of-memory score of a container with this memory request, on a node with `capacity` bytes.
    pub fn oom_score_adj(self, memory_request: i64, capacity: i64) -> i64 {
        match self {
            Self::Guaranteed => -997,
            Self::BestEffort => 1000,
            // The more it asked for, the later it is killed; never below a Guaranteed, never as high as a BestEffort pod.
            Self::Burstable if capacity > 0 => (1000 - 1000 * memory_request / capacity).clamp(3, 999),
            Self::Burstable => 999,
        }
    }
}

/// The pod's class: Guaranteed when every container has equal requests and limits of processor and memory, BestEffort when
/// none has any, Burstable otherwise.
pub fn qos(pod: &Pod) -> Qos {
    if let Some(name) = super::status(pod).qos_class.as_deref() {
        match name {
            "Guaranteed" => return Qos::Guaranteed,
            "Burstable" => return Qos::Burstable,
            "BestEffort" => return Qos::BestEffort,
            _ => {}
        }
    }
    let containers: Vec<&Container> = super::init_containers(pod).iter().chain(super::containers(pod)).collect();
    let pod_level = super::spec(pod).resources.as_ref();
    let of = |container: &Container| container.resources.clone().unwrap_or_default();
    if containers.iter().all(|container| is_empty(&of(container))) && pod_level.is_none_or(is_empty) {
        return Qos::BestEffort;
    }
    if containers.iter().all(|container| is_guaranteed(&of(container))) || pod_level.is_some_and(is_guaranteed) {
        return Qos::Guaranteed;
    }
    Qos::Burstable
}

fn positive(list: Option<&std::collections::BTreeMap<String, Quantity>>, resource: &str) -> Option<i64> {
    let quantity = list?.get(resource)?;
    if resource == "cpu" { milli(quantity) } else { whole(quantity) }.filter(|&value| value > 0)
}

fn is_empty(resources: &ResourceRequirements) -> bool {
    ["cpu", "memory"].iter().all(|resource| {
        positive(resources.requests.as_ref(), resource).is_none()
            && positive(resources.limits.as_ref(), resource).is_none()
    })
}

fn is_guaranteed(resources: &ResourceRequirements) -> bool {
    ["cpu", "memory"].iter().all(|resource| {
        let limit = positive(resources.limits.as_ref(), resource);
        limit.is_some() && positive(resources.requests.as_ref(), resource).is_none_or(|request| Some(request) == limit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(resources: serde_json::Value) -> Pod {
        let spec = serde_json::json!({ "spec": { "containers": [{ "name": "a", "resources": resources }] } });
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn a_pod_without_requests_or_limits_is_best_effort() {
        assert_eq!(qos(&pod(serde_json::json!({}))), Qos::BestEffort);
    }

    #[test]
    fn a_pod_whose_limits_equal_its_requests_is_guaranteed() {
        let limits = serde_json::json!({ "limits": { "cpu": "1", "memory": "1Gi" }, "requests": { "cpu": "1000m" } });
        assert_eq!(qos(&pod(limits)), Qos::Guaranteed);
    }

    #[test]
    fn any_other_pod_is_burstable_and_is_killed_the_later_the_more_it_asked_for() {
        assert_eq!(qos(&pod(serde_json::json!({ "requests": { "memory": "1Gi" } }))), Qos::Burstable);
        assert!(Qos::Burstable.oom_score_adj(1 << 30, 4 << 30) < Qos::Burstable.oom_score_adj(1 << 20, 4 << 30));
        assert_eq!(Qos::Burstable.oom_score_adj(8 << 30, 4 << 30), 3);
    }
}
