//! The APIServices of what this server serves itself, made for built-in groups and for those of custom resources.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::STORAGE;
use crate::object::{Object, meta};
use crate::rest::now;
use crate::server::ApiServer;
use crate::status::Status;

/// Tells whose they are.
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";

/// Group, its priority, version and its priority (`apiVersionPriorities`).
const PRIORITIES: &[(&str, i64)] = &[
    ("", 18_000),
    ("apps", 17_800),
    ("events.k8s.io", 17_750),
    ("authentication.k8s.io", 17_700),
    ("authorization.k8s.io", 17_600),
    ("autoscaling", 17_500),
    ("certificates.k8s.io", 17_300),
    ("batch", 17_400),
    ("networking.k8s.io", 17_200),
    ("policy", 17_100),
    ("rbac.authorization.k8s.io", 17_000),
    ("storage.k8s.io", 16_800),
    ("apiextensions.k8s.io", 16_700),
    ("admissionregistration.k8s.io", 16_700),
    ("scheduling.k8s.io", 16_600),
    ("coordination.k8s.io", 16_500),
    ("node.k8s.io", 16_300),
    ("discovery.k8s.io", 16_200),
    ("resource.k8s.io", 16_200),
    ("flowcontrol.apiserver.k8s.io", 16_100),
];
/// Those of custom resources.
pub(super) const CUSTOM: (i64, i64) = (1000, 100);

/// A built-in group's priority.
pub(super) fn priority(group: &str) -> Option<i64> {
    PRIORITIES.iter().find(|(known, _)| *known == group).map(|(_, priority)| *priority)
}

fn version_priority(group: &str, version: &str) -> i64 {
    match (group, version) {
        ("", _) => 1,
        ("autoscaling", "v2") => 30,
        ("resource.k8s.io" | "flowcontrol.apiserver.k8s.io", "v1") => 21,
        _ => 15,
    }
}

/// Every APIService that should be, by name.
fn wanted(server: &ApiServer) -> BTreeMap<String, Value> {
    let mut wanted = BTreeMap::new();
    for (group, versions) in server.catalog().groups() {
        // The aggregator's own group has none.
        if group == "apiregistration.k8s.io" {
            continue;
        }
        let builtin = priority(&group);
        for version in versions {
            let version_priority = if builtin.is_some() { version_priority(&group, &version) } else { CUSTOM.1 };
            let name = format!("{version}.{group}");
            let mut spec = json!({
                "groupPriorityMinimum": builtin.unwrap_or(CUSTOM.0), "version": version,
                "versionPriority": version_priority,
            });
            if !group.is_empty() {
                spec["group"] = group.as_str().into();
            }
            let managed = if builtin.is_some() { "onstart" } else { "true" };
            let object = json!({
                "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
                "metadata": {"name": name, "labels": {MANAGED: managed}}, "spec": spec,
            });
            wanted.insert(name, object);
        }
    }
    wanted
}

/// Makes what is missing and takes away what is not served any more.
pub(super) async fn reconcile(server: &Arc<ApiServer>) -> Result<(), Status> {
    let registry = server.registry();
    let Some(cache) = registry.hub().cache_at(STORAGE) else { return Ok(()) };
    let mut wanted = wanted(server);
    registry.hub().fresh(&cache).await?;
    let present: Vec<Arc<Object>> = cache.snapshot().0.values().cloned().collect();
    for object in present {
        let there = wanted.remove(&*object.name).is_some();
        if !there && object.label(MANAGED).is_some() && object.value()["spec"]["service"].is_null() {
            registry.delete(&cache, &object).await?;
        }
    }
    for (name, mut object) in wanted {
        object["metadata"]["uid"] = uuid::Uuid::new_v4().to_string().into();
        object["metadata"]["creationTimestamp"] = now().into();
        object["status"] = json!({"conditions": [{
            "type": "Available", "status": "True", "reason": "Local", "lastTransitionTime": now(),
            "message": "Local APIServices are always available",
        }]});
        tracing::debug!(name, uid = meta(&object, "uid"), "an APIService is made");
        registry.put(&cache, object, 0).await?;
    }
    Ok(())
}
