//! `pods/binding`, and its elder `bindings`: the scheduler's word. A pod is bound once and for good.

use std::sync::Arc;

use http::Response;
use serde_json::{Value, json};

use crate::admission;
use crate::object::meta;
use crate::rest::{Call, now};
use crate::status::{Cause, Status};
use crate::wire::Body;

pub(super) async fn answer(call: &Arc<Call>) -> Result<Response<Body>, Status> {
    let mut binding = call.decode("v1", "Binding")?;
    admission::create_other(call, &mut binding).await?;
    let node = binding["target"]["name"].as_str().unwrap_or_default();
    if node.is_empty() {
        return Err(Status::invalid(&call.resource, &call.info.name, vec![Cause::required("target.name", "")]));
    }
    let name = if call.info.name.is_empty() { meta(&binding, "name") } else { &call.info.name };
    if !call.dry_run()? {
        let registry = call.server.registry();
        let cache = registry.hub().cache_at("pods").ok_or_else(Status::no_such_path)?;
        registry.modify(&cache, call.namespace(), name, &mut |pod| bind(call, pod, &binding, node)).await?;
    }
    super::success(call)
}

fn bind(call: &Call, pod: &mut Value, binding: &Value, node: &str) -> Result<(), Status> {
    let name = meta(pod, "name").to_owned();
    let conflict = |why: String| Err(Status::conflict(&call.resource, &name, why));
    let uid = meta(binding, "uid");
    if !uid.is_empty() && uid != meta(pod, "uid") {
        return conflict(format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            meta(pod, "uid")
        ));
    }
    if !meta(pod, "deletionTimestamp").is_empty() {
        return conflict(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    if let Some(bound) = pod["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()) {
        return conflict(format!("pod {name} is already assigned to node \"{bound}\""));
    }
    pod["spec"]["nodeName"] = node.into();
    for (key, value) in binding["metadata"]["annotations"].as_object().into_iter().flatten() {
        pod["metadata"]["annotations"][key] = value.clone();
    }
    let scheduled =
        json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now()});
    match pod["status"]["conditions"].as_array_mut() {
        Some(conditions) => {
            conditions.retain(|c| c["type"] != "PodScheduled");
            conditions.push(scheduled);
        }
        None => pod["status"]["conditions"] = json!([scheduled]),
    }
    Ok(())
}
