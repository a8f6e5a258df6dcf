//! The seam to what is truly per kind: defaulting, validation, and what create and update may change.

use serde_json::Value;

use crate::catalog::Resource;
use crate::object::metadata_mut;
use crate::status::{Cause, Status};

/// Kinds whose `metadata.generation` counts changes of what is desired.
fn counts_generations(resource: &Resource) -> bool {
    matches!(
        (resource.group.as_str(), resource.plural.as_str()),
        ("", "pods" | "replicationcontrollers")
            | ("apps", "deployments" | "replicasets" | "daemonsets" | "statefulsets")
            | ("batch", "jobs" | "cronjobs")
            | ("policy", _)
            | ("networking.k8s.io", "ingresses" | "networkpolicies" | "ingressclasses")
            | ("discovery.k8s.io", _)
            | ("autoscaling", _)
    )
}

/// Fills in defaults, as decoding does in kube-apiserver.
pub fn default(_resource: &Resource, _object: &mut Value) {}

/// Makes a decoded object ready to be created: no status, first generation.
pub fn prepare_create(resource: &Resource, object: &mut Value) {
    if resource.subresource("status").is_some() {
        if let Some(object) = object.as_object_mut() {
            object.shift_remove("status");
        }
    }
    if let Some(metadata) = metadata_mut(object) {
        metadata.shift_remove("generation");
        if counts_generations(resource) {
            metadata.insert("generation".into(), 1.into());
        }
    }
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "pods") => object["status"] = serde_json::json!({"phase": "Pending", "qosClass": "BestEffort"}),
        ("", "namespaces") => {
            object["status"] = serde_json::json!({"phase": "Active"});
            object["spec"] = serde_json::json!({"finalizers": ["kubernetes"]});
        }
        _ => {}
    }
}

/// Makes an updated object ready: what this endpoint must not change comes from `old`.
pub fn prepare_update(resource: &Resource, subresource: &str, object: &mut Value, old: &Value) {
    match subresource {
        "status" => {
            let status = object["status"].take();
            let metadata = object["metadata"].take();
            *object = old.clone();
            object["metadata"] = metadata;
            object["metadata"]["generation"] = old["metadata"]["generation"].clone();
            if object["metadata"]["generation"].is_null() {
                if let Some(metadata) = metadata_mut(object) {
                    metadata.shift_remove("generation");
                }
            }
            object["status"] = status;
        }
        _ => {
            if resource.subresource("status").is_some() {
                match old.get("status") {
                    Some(status) => object["status"] = status.clone(),
                    None => {
                        if let Some(object) = object.as_object_mut() {
                            object.shift_remove("status");
                        }
                    }
                }
            }
            if counts_generations(resource) {
                let generation = old["metadata"]["generation"].as_i64().unwrap_or(1);
                let changed = object["spec"] != old["spec"];
                object["metadata"]["generation"] = (generation + i64::from(changed)).into();
            }
        }
    }
}

/// Validates a new object.
pub fn validate_create(_resource: &Resource, _object: &Value) -> Vec<Cause> {
    Vec::new()
}

/// Validates an update.
pub fn validate_update(_resource: &Resource, _object: &Value, _old: &Value) -> Vec<Cause> {
    Vec::new()
}

/// `Ok`, or 422 with the causes.
pub fn check(resource: &Resource, object: &Value, causes: Vec<Cause>) -> Result<(), Status> {
    if causes.is_empty() { Ok(()) } else { Err(Status::invalid(resource, crate::object::meta(object, "name"), causes)) }
}

/// Applies a strategic merge patch.
pub fn strategic_merge(_resource: &Resource, mut object: Value, patch: &Value) -> Result<Value, Status> {
    json_patch::merge(&mut object, patch);
    Ok(object)
}
