//! Requests and limits as the kernel's numbers. Pure.

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use orlop_cri::v1::LinuxContainerResources;

use crate::pod::{self, Qos, qos};
use crate::quantity::{milli, whole};

/// 100 ms, the period of the processor quota.
const PERIOD: i64 = 100_000;
const MIN_QUOTA: i64 = 1000;
const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;

/// cgroup v1 `cpu.shares` of a request in thousandths of a processor.
pub fn shares(milli_cpu: i64) -> i64 {
    if milli_cpu == 0 { MIN_SHARES } else { (milli_cpu.saturating_mul(1024) / 1000).clamp(MIN_SHARES, MAX_SHARES) }
}

/// `cpu.cfs_quota_us` of a limit in thousandths of a processor.
pub fn quota(milli_cpu: i64) -> i64 {
    (milli_cpu.saturating_mul(PERIOD) / 1000).max(MIN_QUOTA)
}

struct Amounts {
    cpu_request: Option<i64>,
    cpu_limit: Option<i64>,
    memory_request: Option<i64>,
    memory_limit: Option<i64>,
}

fn amounts(resources: Option<&ResourceRequirements>) -> Amounts {
    let of = |requests: bool, name: &str| {
        let resources = resources?;
        let list = if requests { &resources.requests } else { &resources.limits };
        let quantity = list.as_ref()?.get(name)?;
        if name == "cpu" { milli(quantity) } else { whole(quantity) }.filter(|&value| value > 0)
    };
    let (cpu_limit, memory_limit) = (of(false, "cpu"), of(false, "memory"));
    Amounts {
        cpu_request: of(true, "cpu").or(cpu_limit),
        cpu_limit,
        memory_request: of(true, "memory").or(memory_limit),
        memory_limit,
    }
}

/// The limits of one container on a node with `memory_capacity` bytes.
pub fn container_resources(pod: &Pod, container: &Container, memory_capacity: i64) -> LinuxContainerResources {
    let amounts = amounts(container.resources.as_ref());
    let score = qos(pod).oom_score_adj(amounts.memory_request.unwrap_or(0), memory_capacity);
    LinuxContainerResources {
        cpu_period: amounts.cpu_limit.map_or(0, |_| PERIOD),
        cpu_quota: amounts.cpu_limit.map_or(0, quota),
        cpu_shares: shares(amounts.cpu_request.unwrap_or(0)),
        memory_limit_in_bytes: amounts.memory_limit.unwrap_or(0),
        oom_score_adj: if is_critical(pod) { -997 } else { score },
        ..LinuxContainerResources::default()
    }
}

fn is_critical(pod: &Pod) -> bool {
    pod::spec(pod).priority.is_some_and(|priority| priority >= 2_000_000_000)
}

/// The limits of a pod's own cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodLimits {
    pub cpu_shares: i64,
    /// Only when every container has a limit.
    pub cpu_quota: Option<i64>,
    pub memory_limit: Option<i64>,
}

impl PodLimits {
    /// Of each resource the greater of two limits; none is greater than any.
    pub fn most(&self, other: &Self) -> Self {
        let most = |a: Option<i64>, b: Option<i64>| Some(a?.max(b?));
        Self {
            cpu_shares: self.cpu_shares.max(other.cpu_shares),
            cpu_quota: most(self.cpu_quota, other.cpu_quota),
            memory_limit: most(self.memory_limit, other.memory_limit),
        }
    }
}

/// Sums over the containers; init containers run one after the other and count with their largest.
pub fn pod_limits(pod: &Pod) -> PodLimits {
    let all: Vec<Amounts> = pod::containers(pod)
        .iter()
        .chain(pod::init_containers(pod).iter().filter(|container| pod::is_sidecar(container)))
        .map(|container| amounts(container.resources.as_ref()))
        .collect();
    let inits: Vec<Amounts> = pod::init_containers(pod)
        .iter()
        .filter(|container| !pod::is_sidecar(container))
        .map(|container| amounts(container.resources.as_ref()))
        .collect();
    let sum = |of: fn(&Amounts) -> Option<i64>| {
        let sum: Option<i64> = all.iter().map(of).try_fold(0, |sum: i64, amount| Some(sum.saturating_add(amount?)));
        let largest: Option<i64> = inits.iter().map(of).try_fold(0, |largest, amount| Some(largest.max(amount?)));
        Some(sum?.max(largest?))
    };
    let requests = all.iter().filter_map(|amounts| amounts.cpu_request).fold(0, i64::saturating_add);
    let requests = inits.iter().filter_map(|amounts| amounts.cpu_request).fold(requests, i64::max);
    PodLimits {
        cpu_shares: if qos(pod) == Qos::BestEffort { MIN_SHARES } else { shares(requests) },
        cpu_quota: sum(|amounts| amounts.cpu_limit).map(quota),
        memory_limit: sum(|amounts| amounts.memory_limit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(resources: serde_json::Value) -> Pod {
        let container = serde_json::json!({ "name": "a", "resources": resources });
        serde_json::from_value(serde_json::json!({ "spec": { "containers": [container, { "name": "b" }] } })).unwrap()
    }

    #[test]
    fn requests_become_shares_and_limits_become_quotas() {
        let pod =
            pod(serde_json::json!({ "requests": { "cpu": "250m" }, "limits": { "cpu": "500m", "memory": "64Mi" } }));
        let resources = container_resources(&pod, &pod::containers(&pod)[0], 4 << 30);
        assert_eq!((resources.cpu_shares, resources.cpu_quota, resources.cpu_period), (256, 50_000, 100_000));
        assert_eq!(resources.memory_limit_in_bytes, 64 << 20);
        let unlimited = container_resources(&pod, &pod::containers(&pod)[1], 4 << 30);
        assert_eq!((unlimited.cpu_shares, unlimited.cpu_quota, unlimited.memory_limit_in_bytes), (2, 0, 0));
    }

    #[test]
    fn a_pod_is_limited_only_when_all_its_containers_are() {
        let pod = pod(serde_json::json!({ "limits": { "cpu": "500m", "memory": "64Mi" } }));
        let limits = pod_limits(&pod);
        assert_eq!(limits, PodLimits { cpu_shares: 512, cpu_quota: None, memory_limit: None });
    }
}
