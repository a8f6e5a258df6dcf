//! The options of a connection (`PodExecOptions` and its kin) as the object that admission sees, read from the query.

use serde_json::{Map, Value, json};

use crate::rest::Call;

/// Of the request's subresource.
pub(super) fn options(call: &Call) -> Value {
    let kind = call.resource.subresource(&call.info.subresource).map_or("", |sub| sub.kind.as_str());
    let mut options = Map::new();
    options.insert("kind".into(), kind.into());
    options.insert("apiVersion".into(), "v1".into());
    match call.info.subresource.as_str() {
        "exec" | "attach" => {
            for flag in ["stdin", "stdout", "stderr", "tty"] {
                if call.query.flag(flag) {
                    options.insert(flag.into(), true.into());
                }
            }
            if let Some(container) = call.query.get("container") {
                options.insert("container".into(), container.into());
            }
            let command: Vec<&str> = call.query.all("command").collect();
            if !command.is_empty() {
                options.insert("command".into(), json!(command));
            }
        }
        "portforward" => {
            let ports =
                call.query.all("ports").flat_map(|ports| ports.split(',')).filter_map(|p| p.parse::<u16>().ok());
            let ports: Vec<u16> = ports.collect();
            if !ports.is_empty() {
                options.insert("ports".into(), json!(ports));
            }
        }
        _ if !call.info.rest.is_empty() => {
            options.insert("path".into(), format!("/{}", call.info.rest).into());
        }
        _ => {}
    }
    Value::Object(options)
}
