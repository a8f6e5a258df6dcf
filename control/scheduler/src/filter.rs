//! The filters that look at one Node alone: why it cannot take a pod. Texts are kube-scheduler's.

use k8s_openapi::api::core::v1::Taint;
use orlop_placement::taints;

use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;

const UNSCHEDULABLE_TAINT: &str = "node.kubernetes.io/unschedulable";

/// The reasons of the first filter that refuses; empty if all let the pod pass.
pub(crate) fn reasons(pod: &PodInfo, node: &NodeInfo) -> Vec<String> {
    let first = unschedulable(pod, node)
        .or_else(|| node_name(pod, node))
        .or_else(|| tainted(pod, node))
        .or_else(|| affinity(pod, node))
        .or_else(|| ports(pod, node));
    first.map(|reason| vec![reason.to_owned()]).unwrap_or_else(|| resources(pod, node))
}

fn unschedulable(pod: &PodInfo, node: &NodeInfo) -> Option<&'static str> {
    let taint = Taint { key: UNSCHEDULABLE_TAINT.into(), effect: "NoSchedule".into(), ..Taint::default() };
    let refuses = node.is_unschedulable() && !taints::tolerated(pod.tolerations(), &taint);
    refuses.then_some("node(s) were unschedulable")
}

fn node_name(pod: &PodInfo, node: &NodeInfo) -> Option<&'static str> {
    let wanted = pod.spec().and_then(|spec| spec.node_name.as_deref()).filter(|name| !name.is_empty())?;
    (wanted != node.name()).then_some("node(s) didn't match the requested node name")
}

fn tainted(pod: &PodInfo, node: &NodeInfo) -> Option<&'static str> {
    taints::untolerated(pod.tolerations(), node.taints()).map(|_| "node(s) had untolerated taint(s)")
}

fn affinity(pod: &PodInfo, node: &NodeInfo) -> Option<&'static str> {
    (!node.is_demanded(pod)).then_some("node(s) didn't match Pod's node affinity/selector")
}

fn ports(pod: &PodInfo, node: &NodeInfo) -> Option<&'static str> {
    let taken = || node.pods.values().flat_map(|other| &other.ports);
    let conflict = pod.ports.iter().any(|port| taken().any(|other| port.conflicts(other)));
    conflict.then_some("node(s) didn't have free ports for the requested pod ports")
}

fn resources(pod: &PodInfo, node: &NodeInfo) -> Vec<String> {
    let mut reasons = Vec::new();
    let count = i64::try_from(node.pods.len()).unwrap_or(i64::MAX);
    if count + 1 > node.allocatable.get("pods") {
        reasons.push("Too many pods".to_owned());
    }
    for (name, wanted) in pod.requests.iter() {
        let free = node.allocatable.get(name).saturating_sub(node.requested.get(name));
        if wanted > 0 && wanted > free {
            reasons.push(format!("Insufficient {name}"));
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn pod(spec: Value) -> PodInfo {
        let mut value =
            json!({"metadata": {"name": "p", "namespace": "d", "uid": spec.to_string()}, "spec": {"containers": []}});
        for (key, field) in spec.as_object().unwrap() {
            value["spec"][key] = field.clone();
        }
        PodInfo::new(Arc::new(serde_json::from_value(value).unwrap()))
    }

    fn node(spec: Value) -> NodeInfo {
        let mut info = NodeInfo::default();
        let node = json!({
            "metadata": {"name": "n", "labels": {"disk": "ssd", "cpus": "8"}}, "spec": spec,
            "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "2"}},
        });
        info.set_node(Some(Arc::new(serde_json::from_value(node).unwrap())));
        info
    }

    fn container(resources: Value, ports: Value) -> Value {
        json!({"containers": [{"name": "c", "resources": {"requests": resources}, "ports": ports}]})
    }

    #[test]
    fn a_pod_that_asks_for_more_than_is_free_is_told_of_each_resource() {
        let mut node = node(json!({}));
        node.add(pod(container(json!({"cpu": "1500m"}), json!([]))));
        node.add(pod(json!({})));
        let pod = pod(container(json!({"cpu": "1", "memory": "2Gi", "example.com/gpu": "1"}), json!([])));
        assert_eq!(
            reasons(&pod, &node),
            ["Too many pods", "Insufficient cpu", "Insufficient example.com/gpu", "Insufficient memory"]
        );
    }

    #[test]
    fn a_cordoned_or_tainted_node_takes_only_pods_that_tolerate_it() {
        let cordoned = node(json!({"unschedulable": true}));
        assert_eq!(reasons(&pod(json!({})), &cordoned), ["node(s) were unschedulable"]);
        let tolerant = pod(json!({"tolerations": [{"operator": "Exists"}]}));
        assert_eq!(reasons(&tolerant, &cordoned), [""; 0]);
        let tainted = node(json!({"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}));
        assert_eq!(reasons(&pod(json!({})), &tainted), ["node(s) had untolerated taint(s)"]);
        let other = pod(json!({"tolerations": [{"key": "k", "value": "w", "effect": "NoSchedule"}]}));
        assert_eq!(reasons(&other, &tainted), ["node(s) had untolerated taint(s)"]);
        let same = pod(json!({"tolerations": [{"key": "k", "value": "v"}]}));
        assert_eq!(reasons(&same, &tainted), [""; 0]);
        let soft = node(json!({"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}));
        assert_eq!(reasons(&pod(json!({})), &soft), [""; 0]);
    }

    #[test]
    fn node_selector_and_affinity_must_both_match() {
        let terms = |expression: Value| {
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [expression]}]}}}})
        };
        let fits = |spec: Value| reasons(&pod(spec), &node(json!({}))).is_empty();
        assert!(fits(json!({"nodeSelector": {"disk": "ssd"}})));
        assert!(!fits(json!({"nodeSelector": {"disk": "hdd"}})));
        assert!(fits(terms(json!({"key": "cpus", "operator": "Gt", "values": ["4"]}))));
        assert!(!fits(terms(json!({"key": "cpus", "operator": "Lt", "values": ["4"]}))));
        assert!(fits(terms(json!({"key": "disk", "operator": "In", "values": ["ssd", "nvme"]}))));
        assert!(!fits(terms(json!({"key": "disk", "operator": "DoesNotExist"}))));
        assert!(fits(terms(json!({"key": "colour", "operator": "NotIn", "values": ["red"]}))));
        let by_name = json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["m"]}]}]}}}});
        assert!(!fits(by_name));
    }

    #[test]
    fn two_pods_cannot_have_one_host_port() {
        let with = |ip: &str, protocol: &str| {
            pod(container(json!({}), json!([{"containerPort": 1, "hostPort": 53, "hostIP": ip, "protocol": protocol}])))
        };
        let mut node = node(json!({}));
        node.add(with("10.0.0.1", "TCP"));
        let refused = ["node(s) didn't have free ports for the requested pod ports"];
        assert_eq!(reasons(&with("", "TCP"), &node), refused);
        assert_eq!(reasons(&with("10.0.0.2", "TCP"), &node), [""; 0]);
        assert_eq!(reasons(&with("10.0.0.1", "UDP"), &node), [""; 0]);
    }
}
