//! The taints that a Node's conditions ask for (KEP-166): NoSchedule for each trouble, NoExecute for a Node that is not ready.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::condition;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Conditions that are trouble when True, with their taints.
const TROUBLES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
];

/// What may be done to a Node that is not ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Eviction {
    /// Its pods may be evicted.
    Begin,
    /// Not (yet): what has begun goes on.
    Hold,
    /// Every Node is not ready: more likely it is us. What has begun is taken back.
    Stop,
}

/// The taint that the Ready condition asks for. A Node that has none yet is only not ready: nobody gave it up.
fn of_ready(node: &Node) -> Option<&'static str> {
    match condition(node, "Ready").map(|condition| condition.status.as_str()) {
        Some("True") => None,
        None | Some("False") => Some(NOT_READY),
        Some(_) => Some(UNREACHABLE),
    }
}

/// Whether the Node's pods are to be evicted.
pub(super) fn is_lost(node: &Node) -> bool {
    condition(node, "Ready").is_some_and(|condition| condition.status != "True")
}

/// Whether the Node has already a NoExecute taint of ours.
pub(super) fn is_evicting(node: &Node) -> bool {
    present(node)
        .iter()
        .any(|taint| taint.effect == "NoExecute" && [NOT_READY, UNREACHABLE].contains(&taint.key.as_str()))
}

/// The taints that the Node should have; `None` if it has them.
pub(super) fn desired(node: &Node, eviction: Eviction, now: Timestamp) -> Option<Vec<Taint>> {
    let mut wanted: Vec<(&str, &str)> = of_ready(node).map(|key| (key, "NoSchedule")).into_iter().collect();
    let troubled = |(type_, _): &&(&str, &str)| condition(node, type_).is_some_and(|c| c.status == "True");
    wanted.extend(TROUBLES.iter().filter(troubled).map(|(_, key)| (*key, "NoSchedule")));
    if node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true)) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let evict = is_lost(node)
        && match eviction {
            Eviction::Begin => true,
            Eviction::Hold => is_evicting(node),
            Eviction::Stop => false,
        };
    wanted.extend(of_ready(node).filter(|_| evict).map(|key| (key, "NoExecute")));

    let present = present(node);
    let is = |taint: &Taint, (key, effect): (&str, &str)| taint.key == key && taint.effect == effect;
    let mut taints: Vec<Taint> = present
        .iter()
        .filter(|taint| !is_ours(taint) || wanted.iter().any(|wanted| is(taint, *wanted)))
        .cloned()
        .collect();
    let added = wanted.iter().filter(|wanted| !present.iter().any(|taint| is(taint, **wanted)));
    taints.extend(added.map(|(key, effect)| Taint {
        key: (*key).to_owned(),
        effect: (*effect).to_owned(),
        time_added: Some(Time(now)),
        value: None,
    }));
    (taints != present).then_some(taints)
}

fn present(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
}

fn is_ours(taint: &Taint) -> bool {
    let key = taint.key.as_str();
    let of_ready = [NOT_READY, UNREACHABLE].contains(&key);
    match taint.effect.as_str() {
        "NoExecute" => of_ready,
        "NoSchedule" => of_ready || key == UNSCHEDULABLE || TROUBLES.iter().any(|(_, ours)| *ours == key),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node(ready: &str, spec: Value) -> Node {
        serde_json::from_value(json!({"metadata": {"name": "n"}, "spec": spec,
            "status": {"conditions": [{"type": "Ready", "status": ready}]}}))
        .unwrap()
    }

    fn tainted(node: &Node, eviction: Eviction) -> Option<Vec<String>> {
        let taints = desired(node, eviction, Timestamp::UNIX_EPOCH)?;
        let short = |key: &str| key.rsplit('/').next().unwrap().to_owned();
        Some(taints.iter().map(|taint| format!("{}:{}", short(&taint.key), taint.effect)).collect())
    }

    #[test]
    fn a_node_that_is_not_ready_is_tainted_and_a_ready_one_is_freed() {
        assert_eq!(
            tainted(&node("Unknown", json!({})), Eviction::Begin).unwrap(),
            ["unreachable:NoSchedule", "unreachable:NoExecute"]
        );
        assert_eq!(tainted(&node("False", json!({})), Eviction::Hold).unwrap(), ["not-ready:NoSchedule"]);
        let spec = json!({"taints": [
            {"key": UNREACHABLE, "effect": "NoExecute"}, {"key": NOT_READY, "effect": "NoSchedule"},
            {"key": "mine", "effect": "NoExecute"}]});
        assert_eq!(tainted(&node("True", spec), Eviction::Begin).unwrap(), ["mine:NoExecute"]);
        assert_eq!(tainted(&node("True", json!({})), Eviction::Begin), None);
    }

    #[test]
    fn a_node_that_never_spoke_is_not_given_up() {
        let node: Node = serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap();
        assert_eq!(tainted(&node, Eviction::Begin).unwrap(), ["not-ready:NoSchedule"]);
    }

    #[test]
    fn what_has_begun_goes_on_unless_every_node_is_lost() {
        let spec = json!({"taints": [{"key": UNREACHABLE, "effect": "NoSchedule"}, {"key": UNREACHABLE, "effect": "NoExecute"}]});
        assert_eq!(tainted(&node("Unknown", spec.clone()), Eviction::Hold), None);
        assert_eq!(tainted(&node("Unknown", spec), Eviction::Stop).unwrap(), ["unreachable:NoSchedule"]);
    }

    #[test]
    fn cordoned_and_troubled_nodes_take_no_new_pods() {
        let mut node = node("True", json!({"unschedulable": true}));
        let pressure = serde_json::from_value(json!({"type": "DiskPressure", "status": "True"})).unwrap();
        node.status.as_mut().unwrap().conditions.as_mut().unwrap().push(pressure);
        assert_eq!(tainted(&node, Eviction::Begin).unwrap(), ["disk-pressure:NoSchedule", "unschedulable:NoSchedule"]);
    }
}
