//! What a LimitRange does to objects (`plugin/pkg/admission/limitranger`): defaults for containers, and what it refuses. Pure.
use crate::quantity::Quantity;
use crate::resources::of_pod;
use crate::value::{entries, items, items_at, object_at, sorted, text};
use serde_json::Value;
use std::collections::BTreeMap;

const ANNOTATION: &str = "kubernetes.io/limit-ranger";
/// Beyond it thousandths do not fit (`resource.MaxMilliValue`).
const MAX_MILLI: i64 = i64::MAX / 1000;

type List = BTreeMap<String, Quantity>;

/// Gives the containers of a pod the requests and limits that they do not name.
pub fn default_pod(range: &Value, pod: &mut Value) {
    let (mut requests, mut limits) = (BTreeMap::new(), BTreeMap::new());
    for item in items(&range["spec"]["limits"]).iter().filter(|item| text(&item["type"]) == "Container") {
        requests.extend(sorted(&item["defaultRequest"]));
        limits.extend(sorted(&item["default"]));
    }
    let mut told = Vec::new();
    for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
        for container in items_at(pod, &["spec", list]) {
            let name = text(&container["name"]).to_owned();
            let mut set = [Vec::new(), Vec::new()];
            for (index, (field, defaults)) in [("requests", &requests), ("limits", &limits)].into_iter().enumerate() {
                if defaults.is_empty() {
                    continue;
                }
                if object_at(container, "resources").is_none() {
                    continue;
                }
                let Some(own) = object_at(&mut container["resources"], field) else { continue };
                for (resource, quantity) in defaults {
                    if !own.contains_key(*resource) {
                        own.insert((*resource).to_owned(), (*quantity).clone());
                        set[index].push(*resource);
                    }
                }
            }
            for (set, which) in set.into_iter().zip(["request", "limit"]).filter(|(set, _)| !set.is_empty()) {
                told.push(format!("{} {which} for {what} {name}", set.join(", ")));
            }
        }
    }
    if !told.is_empty()
        && object_at(pod, "metadata").is_some()
        && let Some(annotations) = object_at(&mut pod["metadata"], "annotations")
    {
        annotations.insert(ANNOTATION.into(), format!("LimitRanger plugin set: {}", told.join("; ")).into());
    }
}

/// What a range has against a pod or a claim; the text is Kubernetes'.
pub fn refuse(range: &Value, kind: &str, object: &Value) -> Option<String> {
    let mut refusals: Vec<String> = Vec::new();
    for item in items(&range["spec"]["limits"]) {
        match (kind, text(&item["type"])) {
            ("Pod", ty @ "Container") => {
                for list in ["containers", "initContainers"] {
                    for container in items(&object["spec"][list]) {
                        let resources = &container["resources"];
                        check(item, ty, &read(&resources["requests"]), &read(&resources["limits"]), &mut refusals);
                    }
                }
            }
            ("Pod", ty @ "Pod") => {
                let [requests, limits] = ["requests", "limits"].map(|list| of_pod(&object["spec"], list));
                check(item, ty, &requests, &limits, &mut refusals);
            }
            ("PersistentVolumeClaim", ty @ "PersistentVolumeClaim") => {
                let requests = read(&object["spec"]["resources"]["requests"]);
                for (resource, enforced) in read(&item["min"]) {
                    refusals.extend(minimum(ty, &resource, &enforced, &requests, &List::new()));
                }
                for (resource, enforced) in read(&item["max"]) {
                    let about = format!("maximum {resource} usage per {ty} is {enforced}");
                    match requests.get(&resource) {
                        None => refusals.push(format!("{about}.  No request is specified")),
                        Some(request) if more(request, &enforced) => {
                            refusals.push(format!("{about}, but request is {request}"));
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let mut unique: Vec<String> = Vec::new();
    for refusal in refusals {
        if !unique.contains(&refusal) {
            unique.push(refusal);
        }
    }
    match unique.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(format!("[{}]", many.join(", "))),
    }
}

fn read(list: &Value) -> List {
    entries(list).filter_map(|(name, value)| Some((name.to_owned(), Quantity::from_value(value).ok()?))).collect()
}

fn check(item: &Value, ty: &str, requests: &List, limits: &List, refusals: &mut Vec<String>) {
    for (resource, enforced) in read(&item["min"]) {
        refusals.extend(minimum(ty, &resource, &enforced, requests, limits));
    }
    for (resource, enforced) in read(&item["max"]) {
        refusals.extend(maximum(ty, &resource, &enforced, requests, limits));
    }
    for (resource, enforced) in read(&item["maxLimitRequestRatio"]) {
        refusals.extend(ratio(ty, &resource, &enforced, requests, limits));
    }
}

/// In thousandths where these fit, as Kubernetes compares.
fn more(a: &Quantity, b: &Quantity) -> bool {
    if a.value() <= MAX_MILLI && b.value() <= MAX_MILLI {
        a.milli_value() > b.milli_value()
    } else {
        a.value() > b.value()
    }
}

fn minimum(ty: &str, resource: &str, enforced: &Quantity, requests: &List, limits: &List) -> Option<String> {
    let about = format!("minimum {resource} usage per {ty} is {enforced}");
    match (requests.get(resource), limits.get(resource)) {
        (None, _) => Some(format!("{about}.  No request is specified")),
        (Some(request), _) if more(enforced, request) => Some(format!("{about}, but request is {request}")),
        (_, Some(limit)) if more(enforced, limit) => Some(format!("{about}, but limit is {limit}")),
        _ => None,
    }
}

fn maximum(ty: &str, resource: &str, enforced: &Quantity, requests: &List, limits: &List) -> Option<String> {
    let about = format!("maximum {resource} usage per {ty} is {enforced}");
    match (requests.get(resource), limits.get(resource)) {
        (_, None) => Some(format!("{about}.  No limit is specified")),
        (_, Some(limit)) if more(limit, enforced) => Some(format!("{about}, but limit is {limit}")),
        (Some(request), _) if more(request, enforced) => Some(format!("{about}, but request is {request}")),
        _ => None,
    }
}

fn ratio(ty: &str, resource: &str, enforced: &Quantity, requests: &List, limits: &List) -> Option<String> {
    let about = format!("{resource} max limit to request ratio per {ty} is {enforced}");
    let of = |list: &List| list.get(resource).filter(|q| !q.is_zero()).cloned();
    let Some(request) = of(requests) else {
        return Some(format!("{about}, but no request is specified or request is 0"));
    };
    let Some(limit) = of(limits) else {
        return Some(format!("{about}, but no limit is specified or limit is 0"));
    };
    let fits = request.value() <= MAX_MILLI && limit.value() <= MAX_MILLI;
    let observed = if fits {
        limit.milli_value() as f64 / request.milli_value() as f64
    } else {
        limit.value() as f64 / request.value() as f64
    };
    let allowed =
        if enforced.value() <= MAX_MILLI { enforced.milli_value() as f64 / 1000.0 } else { enforced.value() as f64 };
    (observed > allowed).then(|| format!("{about}, but provided ratio is {observed:.6}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn range(item: Value) -> Value {
        json!({"spec": {"limits": [item]}})
    }

    fn pod(resources: Value) -> Value {
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "resources": resources}]}})
    }

    #[test]
    fn containers_get_what_they_do_not_name() {
        let defaults = json!({"type": "Container", "default": {"cpu": "75m", "memory": "10Mi"}, "defaultRequest": {"cpu": "50m", "memory": "5Mi"}});
        let mut made = pod(json!({"limits": {"cpu": "1"}}));
        default_pod(&range(defaults), &mut made);
        let resources = &made["spec"]["containers"][0]["resources"];
        assert_eq!(resources["limits"], json!({"cpu": "1", "memory": "10Mi"}));
        assert_eq!(resources["requests"], json!({"cpu": "50m", "memory": "5Mi"}));
        let told = "LimitRanger plugin set: cpu, memory request for container c; memory limit for container c";
        assert_eq!(made["metadata"]["annotations"][ANNOTATION], told);
    }

    /// `TestPodLimitFunc`, `TestMaxLimitRequestRatio…`, `TestPersistentVolumeClaimLimitFunc`.
    #[test]
    fn what_is_too_much_or_too_little_is_told() {
        let refused = |item: Value, resources: Value| refuse(&range(item), "Pod", &pod(resources));
        let max = json!({"type": "Container", "max": {"cpu": "2"}});
        assert_eq!(refused(max.clone(), json!({"limits": {"cpu": "2"}})), None);
        assert_eq!(
            refused(max.clone(), json!({"limits": {"cpu": "3"}})).unwrap(),
            "maximum cpu usage per Container is 2, but limit is 3"
        );
        assert_eq!(refused(max, json!({})).unwrap(), "maximum cpu usage per Container is 2.  No limit is specified");
        let min = json!({"type": "Pod", "min": {"memory": "100Mi"}});
        assert_eq!(
            refused(min, json!({"requests": {"memory": "50Mi"}})).unwrap(),
            "minimum memory usage per Pod is 100Mi, but request is 50Mi"
        );
        let ratio = json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "1500m"}});
        assert_eq!(
            refused(ratio, json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}})).unwrap(),
            "cpu max limit to request ratio per Container is 1500m, but provided ratio is 2.000000"
        );
        let claim = json!({"spec": {"resources": {"requests": {"storage": "20Gi"}}}});
        let item = range(json!({"type": "PersistentVolumeClaim", "max": {"storage": "10Gi"}}));
        assert_eq!(
            refuse(&item, "PersistentVolumeClaim", &claim).unwrap(),
            "maximum storage usage per PersistentVolumeClaim is 10Gi, but request is 20Gi"
        );
    }
}
