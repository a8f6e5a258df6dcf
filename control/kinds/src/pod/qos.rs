//! A Pod's quality-of-service class, computed once at creation from requests and limits.
use crate::quantity::Quantity;
use crate::value::{entries, items};
use serde_json::Value;
use std::collections::BTreeMap;

type Resources = BTreeMap<&'static str, Quantity>;

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub fn qos_class(pod: &Value) -> &'static str {
    let spec = &pod["spec"];
    let (mut requests, mut limits) = (Resources::new(), Resources::new());
    let mut guaranteed = true;
    if spec["resources"].is_object() {
        let has = |list: &str, into: &mut Resources| collect(&spec["resources"][list], into);
        has("requests", &mut requests);
        guaranteed = has("limits", &mut limits);
    } else {
        for container in items(&spec["containers"]).iter().chain(items(&spec["initContainers"])) {
            collect(&container["resources"]["requests"], &mut requests);
            guaranteed &= collect(&container["resources"]["limits"], &mut limits);
        }
    }
    if requests.is_empty() && limits.is_empty() {
        return "BestEffort";
    }
    let equal =
        requests.len() == limits.len() && requests.iter().all(|(name, request)| limits.get(name) == Some(request));
    if guaranteed && equal { "Guaranteed" } else { "Burstable" }
}

/// Adds the positive cpu and memory of a list to the sums; whether both were there.
fn collect(list: &Value, into: &mut Resources) -> bool {
    let mut found = 0;
    for (name, quantity) in entries(list) {
        let name = match name {
            "cpu" => "cpu",
            "memory" => "memory",
            _ => continue,
        };
        let Ok(quantity) = Quantity::from_value(quantity) else { continue };
        if quantity.is_zero() || quantity.is_negative() {
            continue;
        }
        found += 1;
        match into.get_mut(name) {
            Some(sum) => sum.add(&quantity),
            None => {
                into.insert(name, quantity);
            }
        }
    }
    found == 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn class(containers: Value) -> &'static str {
        qos_class(&json!({"spec": {"containers": containers}}))
    }

    #[test]
    fn classes_follow_requests_and_limits() {
        let full = json!({"cpu": "100m", "memory": "100Mi"});
        assert_eq!(class(json!([{"name": "a"}])), "BestEffort");
        assert_eq!(class(json!([{"resources": {"requests": full, "limits": full}}])), "Guaranteed");
        assert_eq!(class(json!([{"resources": {"requests": full, "limits": full}}, {"name": "b"}])), "Burstable");
        assert_eq!(class(json!([{"resources": {"requests": full}}])), "Burstable");
        assert_eq!(
            class(json!([{"resources": {"requests": {"cpu": "50m", "memory": "100Mi"}, "limits": full}}])),
            "Burstable"
        );
        assert_eq!(
            class(json!([{"resources": {"requests": {"cpu": "0.1", "memory": "100Mi"}, "limits": full}}])),
            "Guaranteed"
        );
        assert_eq!(class(json!([{"resources": {"limits": {"cpu": "0"}}}])), "BestEffort");
        assert_eq!(class(json!([{"resources": {"limits": {"nvidia.com/gpu": "1"}}}])), "BestEffort");
    }
}
