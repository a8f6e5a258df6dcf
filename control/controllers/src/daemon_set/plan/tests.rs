use serde_json::{Value, json};

use super::*;
use crate::daemon_set::pods;

fn set(spec: Value) -> DaemonSet {
    let mut set = json!({"metadata": {"name": "ds", "namespace": "d", "uid": "u"}, "spec": {
        "selector": {"matchLabels": {"app": "ds"}},
        "template": {"metadata": {"labels": {"app": "ds"}}, "spec": {"containers": [{"name": "c"}]}}}});
    for (key, value) in spec.as_object().unwrap() {
        set["spec"][key] = value.clone();
    }
    serde_json::from_value(set).unwrap()
}

fn node(name: &str, spec: Value) -> Arc<Node> {
    Arc::new(
        serde_json::from_value(json!({"metadata": {"name": name, "labels": {"name": name}}, "spec": spec})).unwrap(),
    )
}

fn pod(set: &DaemonSet, node: &str, hash: &str, ready: bool) -> Arc<Pod> {
    let mut pod = pods::new(set, node, hash);
    pod.metadata.name = Some(format!("{node}-{hash}"));
    pod.metadata.uid = pod.metadata.name.clone();
    pod.metadata.creation_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    pod.spec.as_mut().unwrap().node_name = Some(node.into());
    let ready = if ready { "True" } else { "False" };
    pod.status = serde_json::from_value(json!({"phase": "Running", "conditions": [
        {"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}))
    .unwrap();
    Arc::new(pod)
}

fn three() -> Vec<Arc<Node>> {
    ["a", "b", "c"].map(|name| node(name, json!({}))).into()
}

fn deleted(plan: &Plan) -> Vec<String> {
    plan.delete.iter().map(|pod| pod.name_any()).collect()
}

#[test]
fn every_node_that_suits_gets_one_pod_which_is_made_for_it() {
    let set = set(json!({}));
    let mut nodes = three();
    nodes.push(node(
        "cordoned",
        json!({"unschedulable": true, "taints": [
        {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]}),
    ));
    nodes.push(node("reserved", json!({"taints": [{"key": "mine", "effect": "NoSchedule"}]})));
    let found = plan(&set, &nodes, &[], "h1", Timestamp::now());
    assert_eq!(found.create, ["a", "b", "c", "cordoned"]);
    assert_eq!(found.status.desired_number_scheduled, 4);
    assert_eq!(pods::node_of(&pods::new(&set, "a", "h1")), Some("a"));
}

#[test]
fn pods_leave_nodes_that_no_longer_suit_and_second_ones_leave_too() {
    let mut set = set(json!({}));
    set.spec.as_mut().unwrap().template.spec.as_mut().unwrap().node_selector =
        Some([("name".into(), "a".into())].into());
    let running = [pod(&set, "a", "h1", true), pod(&set, "b", "h1", true)];
    let found = plan(&set, &three(), &running, "h1", Timestamp::now());
    assert_eq!((found.create.len(), deleted(&found)), (0, vec!["b-h1".to_owned()]));
    assert_eq!((found.status.desired_number_scheduled, found.status.number_misscheduled), (1, 1));
    let twice = [pod(&set, "a", "h1", true), pod(&set, "a", "h2", true)];
    assert_eq!(plan(&set, &three(), &twice, "h1", Timestamp::now()).delete.len(), 1);
}

#[test]
fn an_update_takes_one_pod_at_a_time_and_those_that_do_not_serve_at_once() {
    let set = set(json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}}));
    let running = ["a", "b", "c"].map(|node| pod(&set, node, "h1", true));
    assert_eq!(plan(&set, &three(), &running, "h2", Timestamp::now()).delete.len(), 1);
    let broken = [pod(&set, "a", "h1", true), pod(&set, "b", "h1", false), pod(&set, "c", "h1", true)];
    assert_eq!(deleted(&plan(&set, &three(), &broken, "h2", Timestamp::now())), ["b-h1"]);
    let half = [pod(&set, "a", "h2", false), pod(&set, "b", "h1", true), pod(&set, "c", "h1", true)];
    assert_eq!(plan(&set, &three(), &half, "h2", Timestamp::now()).delete.len(), 0, "the new one is not ready yet");
}

#[test]
fn a_surge_makes_the_new_pod_before_the_old_one_goes() {
    let set = set(
        json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}),
    );
    let running = ["a", "b", "c"].map(|node| pod(&set, node, "h1", true));
    let first = plan(&set, &three(), &running, "h2", Timestamp::now());
    assert_eq!((first.create.len(), first.delete.len()), (1, 0));
    let mut both = running.to_vec();
    both.push(pod(&set, "a", "h2", false));
    let second = plan(&set, &three(), &both, "h2", Timestamp::now());
    assert_eq!((second.create.len(), second.delete.len()), (0, 0));
    both[3] = pod(&set, "a", "h2", true);
    assert_eq!(deleted(&plan(&set, &three(), &both, "h2", Timestamp::now())), ["a-h1"]);
}

#[test]
fn on_delete_waits_for_somebody_to_delete() {
    let set = set(json!({"updateStrategy": {"type": "OnDelete"}}));
    let running = ["a", "b", "c"].map(|node| pod(&set, node, "h1", true));
    let found = plan(&set, &three(), &running, "h2", Timestamp::now());
    assert_eq!((found.create.len(), found.delete.len()), (0, 0));
}
