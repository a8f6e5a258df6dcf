//! The scale subresource of a custom resource: an autoscaling/v1 Scale read from and written to the paths that its definition
//! names.

use orlop_kinds::custom::{JsonPath, Scale};
use serde_json::{Map, Value, json};

use crate::status::Status;

/// Replicas that nobody has set yet.
const UNSET: i64 = i32::MIN as i64;

/// The Scale that an object shows.
pub fn read(scale: &Scale, object: &Value) -> Result<Value, Status> {
    let shown = read_to_write(scale, object);
    match shown["spec"]["replicas"].as_i64() {
        Some(UNSET) => Err(Status::internal(format!("the spec replicas field {:?} does not exist", scale.spec))),
        _ => Ok(shown),
    }
}

/// 400 unless a Scale that is written says how many replicas there shall be.
pub fn check(scale: &Scale, wanted: &Value) -> Result<(), Status> {
    match wanted["spec"]["replicas"].as_i64() {
        Some(UNSET) => Err(Status::bad_request(format!("the spec replicas field {:?} cannot be empty", scale.spec))),
        _ => Ok(()),
    }
}

/// The Scale that a new one is made from; of an object without replicas it has a number that none can have.
pub fn read_to_write(scale: &Scale, object: &Value) -> Value {
    let number = |path: &str| JsonPath::parse(path).and_then(|p| p.find(object).and_then(Value::as_i64));
    let replicas = number(&scale.spec).unwrap_or(UNSET);
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
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status})
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
