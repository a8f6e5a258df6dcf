//! Resource lists (`cpu: 100m`): the canonical form that Kubernetes stores, and the defaults of pod-level resources.
use crate::quantity::Quantity;
use crate::value::{at, items, object_at, text};
use serde_json::Value;

/// Rewrites a quantity in its canonical form, rounded up to thousandths; what is no quantity is left for validation.
pub(crate) fn canonical(value: &mut Value) {
    if let Ok(mut quantity) = Quantity::from_value(value)
        && !value.is_null()
    {
        quantity.round_up_to_milli();
        *value = quantity.to_string().into();
    }
}

/// A ResourceList.
pub(crate) fn canonical_list(list: &mut Value) {
    if let Some(list) = list.as_object_mut() {
        list.values_mut().for_each(canonical);
    }
}

/// `limits` and `requests`.
pub(crate) fn canonical_requirements(resources: &mut Value) {
    for key in ["limits", "requests"] {
        if let Some(list) = at(resources, &[key]) {
            canonical_list(list);
        }
    }
}

/// Whether pod-level resources may name it.
fn pod_level(name: &str) -> bool {
    name == "cpu" || name == "memory" || name.starts_with("hugepages-")
}

/// Pod-level requests default to what the containers ask for together, and otherwise to the pod-level limits (KEP-2837).
pub(crate) fn default_pod_level(spec: &mut Value) {
    let limits = spec["resources"]["limits"].as_object().cloned().unwrap_or_default();
    if limits.is_empty() {
        return;
    }
    let together = effective_requests(spec);
    let Some(resources) = at(spec, &["resources"]) else { return };
    let Some(requests) = object_at(resources, "requests") else { return };
    for (name, quantity) in together {
        if pod_level(&name) && !name.starts_with("hugepages-") {
            requests.entry(name).or_insert(quantity.to_string().into());
        }
    }
    for (name, limit) in limits {
        if pod_level(&name) {
            requests.entry(name).or_insert(limit);
        }
    }
}

type Sums = std::collections::BTreeMap<String, Quantity>;

/// What the containers of a pod spec request together: containers and sidecars summed, or the largest init step if that is more.
pub fn effective_requests(spec: &Value) -> Sums {
    together(spec, "requests")
}

/// What the containers of a pod spec are limited to together, counted in the same way.
pub fn effective_limits(spec: &Value) -> Sums {
    together(spec, "limits")
}

fn together(spec: &Value, list: &str) -> Sums {
    let mut total = Sums::new();
    for container in items(&spec["containers"]) {
        add(&mut total, &container["resources"][list]);
    }
    let (mut sidecars, mut peak) = (Sums::new(), Sums::new());
    for container in items(&spec["initContainers"]) {
        let requests = &container["resources"][list];
        let mut step = sidecars.clone();
        add(&mut step, requests);
        if text(&container["restartPolicy"]) == "Always" {
            add(&mut total, requests);
            sidecars = step.clone();
        }
        raise(&mut peak, step);
    }
    raise(&mut total, peak);
    total
}

/// What a pod spec says of `requests` or `limits` as a whole: its own cpu and memory if it names them, else its containers'.
pub(crate) fn of_pod(spec: &Value, list: &str) -> Sums {
    let mut sums = together(spec, list);
    for (name, quantity) in crate::value::entries(&spec["resources"][list]) {
        if (matches!(name, "cpu" | "memory") || name.starts_with("hugepages-"))
            && let Ok(quantity) = Quantity::from_value(quantity)
        {
            sums.insert(name.to_owned(), quantity);
        }
    }
    sums
}

fn add(sums: &mut Sums, list: &Value) {
    for (name, quantity) in crate::value::entries(list) {
        if let Ok(quantity) = Quantity::from_value(quantity) {
            match sums.get_mut(name) {
                Some(sum) => sum.add(&quantity),
                None => {
                    sums.insert(name.to_owned(), quantity);
                }
            }
        }
    }
}

fn raise(sums: &mut Sums, others: Sums) {
    for (name, quantity) in others {
        let entry = sums.entry(name).or_insert_with(|| quantity.clone());
        if *entry < quantity {
            *entry = quantity;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn init_steps_and_sidecars_count_as_kubernetes_counts_them() {
        let request = |cpu: &str| json!({"requests": {"cpu": cpu}});
        let spec = json!({
            "containers": [{"resources": request("1")}, {"resources": request("500m")}],
            "initContainers": [{"resources": request("1")}, {"restartPolicy": "Always", "resources": request("200m")}, {"resources": request("2")}]});
        assert_eq!(effective_requests(&spec)["cpu"].to_string(), "2200m");
    }

    #[test]
    fn pod_level_requests_follow_containers_then_limits() {
        let mut spec = json!({"resources": {"limits": {"cpu": "4", "memory": "1Gi"}}, "containers": [{"resources": {"requests": {"cpu": "1"}}}]});
        default_pod_level(&mut spec);
        assert_eq!(spec["resources"]["requests"], json!({"cpu": "1", "memory": "1Gi"}));
    }
}
