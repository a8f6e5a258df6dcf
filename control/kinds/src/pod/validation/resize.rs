//! `/resize`: cpu and memory of containers (and of the pod as a whole) may change, nothing else, and the QoS class stays.
use super::{SPEC, annotations, validate_pod};
use crate::field::{Errors, Path};
use crate::pod::{is_sidecar, qos_class};
use crate::value::{entries, is_empty, items, items_at, same, set, text};
use serde_json::{Value, json};

const ONLY: &str = "only cpu and memory resources are mutable";

pub(super) fn validate(new: &Value, old: &Value, errors: &mut Errors) {
    let root = Path::new("");
    if old["metadata"]["annotations"].get(annotations::MIRROR).is_some() {
        return errors.forbidden(&root, "static pods cannot be resized");
    }
    if text(&old["spec"]["os"]["name"]) == "windows" {
        return errors.forbidden(&root, "windows pods cannot be resized");
    }
    let found = errors.0.len();
    validate_pod(new, errors);
    let class = text(&old["status"]["qosClass"]);
    let class = if class.is_empty() { qos_class(old) } else { class };
    if class != qos_class(new) {
        let shown = text(&new["status"]["qosClass"]);
        errors.invalid(&SPEC, shown, "Pod QOS Class may not change as a result of resizing");
    }
    // A node that knows of resizing tells the resources of every running container, even if there are none.
    let mut running =
        items(&old["status"]["containerStatuses"]).iter().filter(|status| !status["state"]["running"].is_null());
    if running.next().is_some_and(|status| status["resources"].is_null()) {
        errors.forbidden(&SPEC, "Pod running on node without support for resize");
    }
    let mut spec = new["spec"].clone();
    let before = &old["spec"];
    let levels = [&new["spec"]["resources"], &before["resources"]];
    if levels.iter().any(|level| !is_empty(&level["requests"]) || !is_empty(&level["limits"])) {
        validate_level(levels[0], levels[1], &mut spec, errors);
    }
    if !same_containers(&new["spec"], before, errors) {
        return;
    }
    for list in ["initContainers", "containers"] {
        let path = SPEC.child(list);
        for (index, (now, was)) in items(&new["spec"][list]).iter().zip(items(&before[list])).enumerate() {
            let path = path.index(index);
            validate_kept(&now["resources"], &was["resources"], &path.child("resources"), errors);
        }
    }
    for list in ["containers", "initContainers"] {
        let path = SPEC.child(list);
        for (index, (container, was)) in items_at(&mut spec, &[list]).iter_mut().zip(items(&before[list])).enumerate() {
            let (path, modified) = (path.index(index), !same(container, was));
            let kept = without_updates(&container["resources"], &was["resources"]);
            set(container, "resources", kept);
            if !same(container, was) {
                if list == "containers" {
                    errors.forbidden(&SPEC, ONLY);
                } else {
                    let detail = "only cpu and memory resources for init or sidecar containers are mutable";
                    errors.forbidden(&path, detail);
                }
            }
            let restarts = |policy: &Value| text(&policy["restartPolicy"]) == "RestartContainer";
            if list == "initContainers" && modified && !is_sidecar(container) {
                for _ in items(&container["resizePolicy"]).iter().filter(|policy| restarts(policy)) {
                    let detail =
                        "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
                    errors.forbidden(&path, detail);
                }
            }
        }
    }
    if errors.0.len() == found && !same(&spec, before) {
        errors.forbidden(&SPEC, ONLY);
    }
}

/// The resources of the pod as a whole; in `spec` they become as they were, as far as they may change.
fn validate_level(new: &Value, old: &Value, spec: &mut Value, errors: &mut Errors) {
    let path = SPEC.child("resources");
    if new.is_null() && !old.is_null() {
        return errors.forbidden(&path, "pod-level resources cannot be removed");
    }
    for list in ["requests", "limits"] {
        if entries(&old[list]).any(|(name, _)| new[list].get(name).is_none()) {
            errors.forbidden(&path.child(list), format!("pod-level resource {list} cannot be removed"));
        }
    }
    let level = without_updates(new, old);
    if !same(&level, old) {
        errors.forbidden(&SPEC, "only cpu and memory resources are mutable at pod-level");
    }
    if is_empty(&level) && old.is_null() {
        crate::value::remove(spec, "resources");
    } else {
        set(spec, "resources", level);
    }
}

/// Whether the same containers stand in the same order.
fn same_containers(new: &Value, old: &Value, errors: &mut Errors) -> bool {
    let found = errors.0.len();
    for list in ["containers", "initContainers"] {
        let (path, now, was) = (SPEC.child(list), items(&new[list]), items(&old[list]));
        if now.len() != was.len() {
            errors.forbidden(&path, format!("{list} may not be added or removed on resize"));
            continue;
        }
        for (index, _) in now.iter().zip(was).enumerate().filter(|(_, (now, was))| now["name"] != was["name"]) {
            let detail = format!("{list} may not be renamed or reordered on resize");
            errors.forbidden(&path.index(index).child("name"), detail);
        }
    }
    errors.0.len() == found
}

/// What is requested or limited stays so, by whatever amount.
fn validate_kept(new: &Value, old: &Value, path: &Path<'_>, errors: &mut Errors) {
    for list in ["requests", "limits"] {
        if entries(&old[list]).any(|(name, _)| new[list].get(name).is_none()) {
            errors.forbidden(&path.child(list), format!("resource {list} cannot be removed"));
        }
    }
}

/// The new resources with cpu and memory as they were.
fn without_updates(new: &Value, old: &Value) -> Value {
    let mut kept = json!({});
    for list in ["requests", "limits"] {
        let mut amounts: serde_json::Map<String, Value> = new[list].as_object().cloned().unwrap_or_default();
        for name in ["cpu", "memory"] {
            amounts.remove(name);
            if let Some(amount) = old[list].get(name) {
                amounts.insert(name.to_owned(), amount.clone());
            }
        }
        if !amounts.is_empty() {
            set(&mut kept, list, amounts);
        }
    }
    if !is_empty(&old["claims"]) {
        set(&mut kept, "claims", old["claims"].clone());
    }
    kept
}

#[cfg(test)]
mod tests {
    use crate::{Subresource, kind};
    use serde_json::{Value, json};

    fn pod() -> Value {
        let mut pod = json!({"metadata": {"name": "p", "namespace": "n", "resourceVersion": "1", "uid": "u"},
            "spec": {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "200m"}}}]}});
        kind("", "Pod").default("v1", &mut pod);
        pod
    }

    fn resize(change: impl Fn(&mut Value)) -> (Value, String) {
        let (old, mut new) = (pod(), pod());
        change(&mut new);
        let rules = kind("", "Pod");
        rules.prepare_update(&mut new, &old, Subresource::Resize);
        let message = rules.validate_update(&new, &old, Subresource::Resize).message();
        (new, message)
    }

    /// Cases of Kubernetes' `TestValidatePodResize`.
    #[test]
    fn only_amounts_of_cpu_and_memory_change() {
        let resources = |new: Value| resize(|pod| pod["spec"]["containers"][0]["resources"] = new.clone()).1;
        assert_eq!(resources(json!({"requests": {"cpu": "150m"}, "limits": {"cpu": "300m"}})), "[]");
        assert_eq!(
            resources(json!({"requests": {"cpu": "150m"}})),
            "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed"
        );
        assert_eq!(
            resources(json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "200m", "ephemeral-storage": "1Gi"}})),
            "spec: Forbidden: only cpu and memory resources are mutable"
        );
        assert_eq!(
            resources(
                json!({"requests": {"cpu": "200m", "memory": "1Gi"}, "limits": {"cpu": "200m", "memory": "1Gi"}})
            ),
            "[spec: Invalid value: \"\": Pod QOS Class may not change as a result of resizing]"
                .trim_matches(['[', ']'])
        );
        let two = resize(|pod| {
            pod["spec"]["containers"] = json!([pod["spec"]["containers"][0], pod["spec"]["containers"][0]])
        })
        .1;
        assert!(two.contains("spec.containers: Forbidden: containers may not be added or removed on resize"), "{two}");
    }

    #[test]
    fn the_resources_of_a_pod_as_a_whole_are_told_apart() {
        let mut old = pod();
        old["spec"]["resources"] = json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}});
        let message = |resources: Value| {
            let mut new = old.clone();
            new["spec"]["resources"] = resources;
            kind("", "Pod").validate_update(&new, &old, Subresource::Resize).message()
        };
        assert_eq!(message(json!({"requests": {"cpu": "1500m"}, "limits": {"cpu": "2"}})), "[]");
        assert!(message(Value::Null).contains("spec.resources: Forbidden: pod-level resources cannot be removed"));
        assert!(
            message(json!({"requests": {"cpu": "1"}}))
                .contains("spec.resources.limits: Forbidden: pod-level resource limits cannot be removed")
        );
        assert!(
            message(json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2", "hugepages-2Mi": "2Mi"}}))
                .contains("spec: Forbidden: only cpu and memory resources are mutable at pod-level")
        );
    }

    #[test]
    fn a_node_that_says_nothing_of_resources_knows_nothing_of_resizing() {
        let running = |resources: Value| {
            let mut status = json!({"name": "c", "state": {"running": {}}});
            if !resources.is_null() {
                status["resources"] = resources;
            }
            let mut old = pod();
            old["status"]["containerStatuses"] = json!([{"name": "ended", "state": {"terminated": {}}}, status]);
            let mut new = old.clone();
            new["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "150m".into();
            let rules = kind("", "Pod");
            rules.prepare_update(&mut new, &old, Subresource::Resize);
            rules.validate_update(&new, &old, Subresource::Resize).message()
        };
        assert_eq!(running(json!({})), "[]", "nothing asked for, nothing given");
        assert_eq!(running(Value::Null), "spec: Forbidden: Pod running on node without support for resize");
    }

    #[test]
    fn what_is_no_resource_is_not_written() {
        let (new, message) = resize(|pod| {
            pod["spec"]["containers"][0]["image"] = "other".into();
            pod["metadata"]["labels"] = json!({"a": "b"});
            pod["spec"]["hostname"] = "h".into();
        });
        assert_eq!((new["spec"]["containers"][0]["image"].as_str(), message.as_str()), (Some("i"), "[]"));
        assert!(new["metadata"]["labels"].is_null() && new["spec"]["hostname"].is_null());
    }
}
