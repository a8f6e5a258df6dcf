//! ComponentStatus: what this server knows of the parts that it stands on, when it is asked: its store, under the name that clients
//! expect. Scheduler and controllers report through their own health endpoints and leases.

use std::sync::Arc;

use http::Response;
use serde_json::{Value, json};

use crate::rest::Call;
use crate::status::Status;
use crate::table;
use crate::wire::{Body, Shape};

pub(super) async fn answer(call: &Arc<Call>) -> Result<Response<Body>, Status> {
    let (resource, info) = (&call.resource, &call.info);
    if !resource.serves(info.verb) {
        return Err(Status::method_not_supported());
    }
    call.warn("v1 ComponentStatus is deprecated in v1.19+");
    let components = vec![store(call)];
    let found: Vec<Value> = match info.name.as_str() {
        "" => components,
        name => match components.into_iter().find(|component| component["metadata"]["name"] == name) {
            Some(component) => vec![component],
            None => return Err(Status::not_found_as("", "componentstatus", name)),
        },
    };
    if call.accept.shape == Shape::Table {
        let include = table::Include::parse(call.query.text("includeObject"))?;
        let mut whole = table::head(resource, json!({}), true);
        whole["rows"] = found.iter().map(|component| table::row(resource, component, include)).collect();
        return call.render_value(200, whole);
    }
    if !info.name.is_empty() {
        return call.render_value(200, found.into_iter().next().unwrap_or_default());
    }
    call.render_value(200, json!({"kind": "ComponentStatusList", "apiVersion": "v1", "metadata": {}, "items": found}))
}

fn store(call: &Call) -> Value {
    let condition = match call.server.registry().hub().failure() {
        None => json!({"type": "Healthy", "status": "True", "message": "ok"}),
        Some(error) => json!({"type": "Healthy", "status": "False", "message": error.to_string()}),
    };
    json!({
        "kind": "ComponentStatus", "apiVersion": "v1",
        "metadata": {"name": "etcd-0", "creationTimestamp": null}, "conditions": [condition],
    })
}
