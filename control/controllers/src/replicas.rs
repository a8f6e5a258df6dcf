//! The pure core of ReplicationController and ReplicaSet: which pods count, how many are missing, which go first.
//!
//! Rules of `pkg/controller/replicaset` and `controller.ActivePodsWithRanks`.

use std::cmp::Reverse;
use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

/// At most so many pods are created or deleted in one go.
pub(crate) const BURST: usize = 500;

/// Whether a pod still counts: not finished, not being deleted.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !matches!(phase(pod), "Succeeded" | "Failed") && pod.metadata.deletion_timestamp.is_none()
}

pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// When the pod became Ready; `None` if it is not.
pub(crate) fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready" && condition.status == "True")?;
    Some(ready.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0))
}

/// Whether a pod has been Ready for `min_ready_seconds`.
pub(crate) fn is_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> bool {
    ready_since(pod).is_some_and(|since| {
        min_ready_seconds <= 0 || now.duration_since(since).as_secs() >= i64::from(min_ready_seconds)
    })
}

/// The pods to delete when there are `surplus` too many, in order: what is lost least first.
pub(crate) fn to_delete<'a>(active: &[&'a Pod], surplus: usize) -> Vec<&'a Pod> {
    let mut on_node: HashMap<&str, usize> = HashMap::new();
    let node = |pod: &'a Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
    for pod in active {
        *on_node.entry(node(pod)).or_default() += 1;
    }
    let mut pods = active.to_vec();
    pods.sort_by_cached_key(|pod| {
        let phase_rank = match phase(pod) {
            "Pending" => 0,
            "Unknown" => 1,
            _ => 2,
        };
        let since = ready_since(pod);
        let restarts = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        let restarts = restarts.map(|container| container.restart_count).max().unwrap_or(0);
        (
            !node(pod).is_empty(),
            phase_rank,
            since.is_some(),
            deletion_cost(pod),
            Reverse(on_node[node(pod)]),
            Reverse(since),
            Reverse(restarts),
            Reverse(pod.metadata.creation_timestamp.as_ref().map(|time| time.0)),
            pod.name_any(),
        )
    });
    pods.truncate(surplus);
    pods
}

/// `controller.kubernetes.io/pod-deletion-cost` (KEP-2255): the lowest goes first.
fn deletion_cost(pod: &Pod) -> i32 {
    let cost = pod.annotations().get("controller.kubernetes.io/pod-deletion-cost");
    cost.and_then(|cost| cost.parse().ok()).unwrap_or(0)
}

/// The counts of a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub replicas: i32,
    pub fully_labeled: i32,
    pub ready: i32,
    pub available: i32,
}

/// Counts pods for the status; `labels` are the template's.
pub(crate) fn count(
    pods: &[&Pod],
    labels: &std::collections::BTreeMap<String, String>,
    min_ready_seconds: i32,
    now: Timestamp,
) -> Counts {
    let mut counts = Counts::default();
    for pod in pods {
        counts.replicas += 1;
        counts.fully_labeled += i32::from(labels.iter().all(|(key, value)| pod.labels().get(key) == Some(value)));
        counts.ready += i32::from(ready_since(pod).is_some());
        counts.available += i32::from(is_available(pod, min_ready_seconds, now));
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, node: &str, phase: &str, ready: bool) -> Pod {
        let conditions = if ready {
            json!([{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}])
        } else {
            json!([])
        };
        let spec =
            if node.is_empty() { json!({"containers": []}) } else { json!({"containers": [], "nodeName": node}) };
        serde_json::from_value(json!({
            "metadata": {"name": name}, "spec": spec, "status": {"phase": phase, "conditions": conditions},
        }))
        .unwrap()
    }

    #[test]
    fn what_is_lost_least_goes_first() {
        let pods = [
            pod("ready-alone", "n2", "Running", true),
            pod("ready-crowded", "n1", "Running", true),
            pod("ready-crowded2", "n1", "Running", true),
            pod("not-ready", "n3", "Running", false),
            pod("pending", "n4", "Pending", false),
            pod("unassigned", "", "Pending", false),
        ];
        let active: Vec<&Pod> = pods.iter().collect();
        let names: Vec<String> = to_delete(&active, 5).iter().map(|pod| pod.name_any()).collect();
        assert_eq!(names, ["unassigned", "pending", "not-ready", "ready-crowded", "ready-crowded2"]);
    }

    #[test]
    fn finished_and_deleted_pods_do_not_count() {
        assert!(is_active(&pod("a", "n", "Running", false)));
        assert!(!is_active(&pod("a", "n", "Failed", false)));
        assert!(!is_active(&pod("a", "n", "Succeeded", false)));
    }

    #[test]
    fn a_pod_is_available_after_min_ready_seconds() {
        let pod = pod("a", "n", "Running", true);
        let at = |text: &str| text.parse().unwrap();
        assert!(is_available(&pod, 0, at("2026-01-01T00:00:00Z")));
        assert!(!is_available(&pod, 10, at("2026-01-01T00:00:09Z")));
        assert!(is_available(&pod, 10, at("2026-01-01T00:00:10Z")));
    }
}
