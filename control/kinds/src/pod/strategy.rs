//! What a Pod's create and update requests may set: the initial status, the observed generation, what /status keeps.
use super::{app_armor, defaults, qos_class};
use crate::kind::Subresource;
use crate::value::{at, copy, default_to, int, is_empty, items, items_at, remove, same, set, text};
use serde_json::{Value, json};
use std::collections::HashMap;

pub(super) fn prepare_create(pod: &mut Value) {
    defaults::mirror(pod);
    let class = qos_class(pod);
    let mut status = json!({"phase": "Pending", "qosClass": class});
    if !items(&pod["spec"]["schedulingGates"]).is_empty() {
        set(
            &mut status,
            "conditions",
            json!([{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": "Scheduling is blocked due to non-empty scheduling gates"}]),
        );
    }
    set(pod, "status", status);
    if let Some(meta) = pod.get_mut("metadata") {
        set(meta, "generation", 1);
    }
    label_keys_into_selectors(pod);
    app_armor::annotations_into_fields(pod);
}

pub(super) fn prepare_update(new: &mut Value, old: &Value, subresource: Subresource) {
    match subresource {
        Subresource::Status => return prepare_status(new, old),
        Subresource::EphemeralContainers => {
            let containers = new["spec"]["ephemeralContainers"].clone();
            copy(new, old, "spec");
            if let Some(spec) = at(new, &["spec"]) {
                remove(spec, "ephemeralContainers");
                if !is_empty(&containers) {
                    set(spec, "ephemeralContainers", containers);
                }
            }
        }
        Subresource::Resize => keep_all_but_resources(new, old),
        _ => defaults::mirror(new),
    }
    let changed = !same(&new["spec"], &old["spec"]);
    if let Some(meta) = new.get_mut("metadata") {
        set(meta, "generation", int(&old["metadata"]["generation"]) + i64::from(changed));
    }
}

/// A resize writes resources and resize policies; added or renamed containers are left for validation to refuse.
fn keep_all_but_resources(new: &mut Value, old: &Value) {
    let lists = ["containers", "initContainers"];
    if lists.iter().any(|list| items(&new["spec"][*list]).len() != items(&old["spec"][*list]).len()) {
        return;
    }
    let mut spec = old["spec"].clone();
    copy(&mut spec, &new["spec"], "resources");
    for list in lists {
        let renamed = items(&new["spec"][list])
            .iter()
            .zip(items(&old["spec"][list]))
            .any(|(new, old)| new["name"] != old["name"]);
        if renamed {
            copy(&mut spec, &new["spec"], list);
            continue;
        }
        for (container, new) in items_at(&mut spec, &[list]).iter_mut().zip(items(&new["spec"][list])) {
            for member in ["resources", "resizePolicy"] {
                copy(container, new, member);
            }
        }
    }
    set(new, "spec", spec);
    copy(new, old, "status");
    if let Some(meta) = new.get_mut("metadata") {
        for member in ["deletionTimestamp", "labels", "annotations", "finalizers", "ownerReferences"] {
            copy(meta, &old["metadata"], member);
        }
    }
}

/// /status keeps owners and the deletion, the QoS class once it is set, and observed generations that the writer does not know.
fn prepare_status(new: &mut Value, old: &Value) {
    if let Some(meta) = new.get_mut("metadata") {
        for key in ["deletionTimestamp", "ownerReferences"] {
            copy(meta, &old["metadata"], key);
        }
    }
    let Some(status) = at(new, &["status"]) else { return };
    let before = &old["status"];
    if text(&status["qosClass"]).is_empty() {
        copy(status, before, "qosClass");
    }
    if int(&status["observedGeneration"]) == 0 {
        copy(status, before, "observedGeneration");
    }
    let mut generations: HashMap<&str, Vec<&Value>> = HashMap::new();
    for condition in items(&before["conditions"]).iter().rev() {
        generations.entry(text(&condition["type"])).or_default().push(&condition["observedGeneration"]);
    }
    for condition in items_at(status, &["conditions"]) {
        let known = generations.get_mut(text(&condition["type"])).and_then(Vec::pop).map(int).unwrap_or_default();
        if known != 0 && int(&condition["observedGeneration"]) == 0 {
            remove(condition, "observedGeneration");
            default_to(condition, "observedGeneration", known);
        }
    }
}

/// `matchLabelKeys` and `mismatchLabelKeys` of affinity terms and spread constraints become expressions of their selectors.
fn label_keys_into_selectors(pod: &mut Value) {
    let labels = pod["metadata"]["labels"].clone();
    for kind in ["podAffinity", "podAntiAffinity"] {
        for term in items_at(pod, &["spec", "affinity", kind, "requiredDuringSchedulingIgnoredDuringExecution"]) {
            merge_keys(term, "matchLabelKeys", "In", &labels);
            merge_keys(term, "mismatchLabelKeys", "NotIn", &labels);
        }
        for weighted in items_at(pod, &["spec", "affinity", kind, "preferredDuringSchedulingIgnoredDuringExecution"]) {
            if let Some(term) = at(weighted, &["podAffinityTerm"]) {
                merge_keys(term, "matchLabelKeys", "In", &labels);
                merge_keys(term, "mismatchLabelKeys", "NotIn", &labels);
            }
        }
    }
    for constraint in items_at(pod, &["spec", "topologySpreadConstraints"]) {
        merge_keys(constraint, "matchLabelKeys", "In", &labels);
    }
}

fn merge_keys(term: &mut Value, list: &str, operator: &str, labels: &Value) {
    if !term["labelSelector"].is_object() {
        return;
    }
    let keys = items(&term[list]).to_vec();
    for key in keys {
        let Some(value) = labels.get(text(&key)).cloned() else { continue };
        if let Some(selector) = at(term, &["labelSelector"]) {
            default_to(selector, "matchExpressions", json!([]));
            if let Some(expressions) = selector["matchExpressions"].as_array_mut() {
                expressions.push(json!({"key": key, "operator": operator, "values": [value]}));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Subresource, kind};
    use serde_json::json;

    #[test]
    fn a_new_pod_is_pending_whatever_the_client_said() {
        let mut pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c"}], "schedulingGates": [{"name": "x"}]}, "status": {"phase": "Running"}});
        kind("", "Pod").prepare_create(&mut pod);
        assert_eq!(pod["status"]["phase"], "Pending");
        assert_eq!(pod["status"]["qosClass"], "BestEffort");
        assert_eq!(pod["status"]["conditions"][0]["reason"], "SchedulingGated");
        assert_eq!(pod["metadata"]["generation"], 1);
    }

    #[test]
    fn the_generation_counts_spec_changes_and_status_is_apart() {
        let old = json!({"metadata": {"name": "a", "generation": 1}, "spec": {"containers": [{"name": "c", "image": "a"}]}, "status": {"phase": "Running", "qosClass": "BestEffort"}});
        let mut new = old.clone();
        new["spec"]["containers"][0]["image"] = "b".into();
        new["status"] = json!({});
        kind("", "Pod").prepare_update(&mut new, &old, Subresource::None);
        assert_eq!(new["metadata"]["generation"], 2);
        assert_eq!(new["status"], old["status"]);
        let mut new = old.clone();
        new["spec"] = json!({});
        new["metadata"]["ownerReferences"] = json!([{"name": "x"}]);
        new["status"] = json!({"phase": "Succeeded"});
        kind("", "Pod").prepare_update(&mut new, &old, Subresource::Status);
        assert_eq!(new["metadata"], old["metadata"]);
        assert_eq!(new["spec"], old["spec"]);
        assert_eq!(new["status"], json!({"phase": "Succeeded", "qosClass": "BestEffort"}));
    }
}
