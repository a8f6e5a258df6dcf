//! `pods/binding`, and its elder `bindings`: the scheduler's word. A pod is bound once and for good.

use std::sync::Arc;

use http::Response;
use serde_json::{Value, json};

use crate::admission;
use crate::object::meta;
use crate::rest::{Call, now};
use crate::status::Status;
use crate::wire::Body;

pub(super) async fn answer(call: &Arc<Call>) -> Result<Response<Body>, Status> {
    let mut binding = call.decode("v1", "Binding")?;
    let name = if call.info.name.is_empty() { meta(&binding, "name").to_owned() } else { call.info.name.clone() };
    if name != meta(&binding, "name") {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    let kind = binding["target"]["kind"].as_str().unwrap_or_default();
    let mut wrong = Vec::new();
    if !matches!(kind, "" | "Node" | "Minion") {
        wrong.push(format!("target.kind: Unsupported value: {kind:?}: supported values: \"Node\", \"<empty>\""));
    }
    if binding["target"]["name"].as_str().unwrap_or_default().is_empty() {
        wrong.push("target.name: Required value".to_owned());
    }
    match wrong.as_slice() {
        [] => {}
        [one] => return Err(Status::unknown(one.clone())),
        many => return Err(Status::unknown(format!("[{}]", many.join(", ")))),
    }
    admission::create_other(call, &mut binding).await?;
    let node = binding["target"]["name"].as_str().unwrap_or_default();
    if !call.dry_run()? {
        let registry = call.server.registry();
        let cache = registry.hub().cache_at("pods").ok_or_else(Status::no_such_path)?;
        registry.modify(&cache, call.namespace(), &name, &mut |pod| bind(call, pod, &binding, node)).await?;
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
    let version = meta(binding, "resourceVersion");
    if !version.is_empty() && version != meta(pod, "resourceVersion") {
        return conflict(format!(
            "Precondition failed: ResourceVersion in precondition: {version}, ResourceVersion in object meta: {}",
            meta(pod, "resourceVersion")
        ));
    }
    if let Some(bound) = pod["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()) {
        return conflict(format!("pod {name} is already assigned to node \"{bound}\""));
    }
    if pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
        return conflict(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    pod["spec"]["nodeName"] = node.into();
    if let Some(status) = pod["status"].as_object_mut() {
        status.shift_remove("nominatedNodeName");
    }
    for part in ["annotations", "labels"] {
        for (key, value) in binding["metadata"][part].as_object().into_iter().flatten() {
            pod["metadata"][part][key] = value.clone();
        }
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
