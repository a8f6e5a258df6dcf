//! The scale subresource of a custom resource: an autoscaling/v1 Scale read from and written to the paths that its definition
//! names.

use orlop_kinds::custom::{JsonPath, Scale};
use serde_json::{Map, Value, json};

use crate::status::Status;

/// The Scale that an object shows.
pub fn read(scale: &Scale, object: &Value) -> Result<Value, Status> {
    let number = |path: &str| JsonPath::parse(path).and_then(|p| p.find(object).and_then(Value::as_i64));
    let Some(replicas) = number(&scale.spec) else {
        return Err(Status::internal(format!("the spec replicas field {:?} does not exist", scale.spec)));
    };
    let mut metadata = Map::new();
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(key) {
            metadata.insert(key.into(), value.clone());
        }
    }
    let mut status = json!({"replicas": number(&scale.status).unwrap_or(0)});
    if let Some(path) = &scale.selector
        && let Some(selector) =
            JsonPath::parse(path).and_then(|p| p.find(object).and_then(Value::as_str).map(Into::into))
    {
        status["selector"] = Value::String(selector);
    }
    let mut spec = json!({});
    if replicas != 0 {
        spec["replicas"] = replicas.into();
    }
    Ok(json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status}))
}

/// Writes a Scale's replicas into the object.
pub fn write(scale: &Scale, object: &mut Value, wanted: &Value) {
    let replicas = wanted["spec"]["replicas"].as_i64().unwrap_or(0);
    let Some(path) = JsonPath::parse(&scale.spec) else { return };
    let Some(names) = path.names() else { return };
    let mut at = &mut *object;
    for name in names {
        let Value::Object(map) = at else { return };
        at = map.entry(name).or_insert_with(|| json!({}));
    }
    *at = replicas.into();
    let version = wanted["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    if !version.is_empty() {
        object["metadata"]["resourceVersion"] = version.into();
    }
}
