//! Selectable fields: which paths of a kind may stand in a field selector, and their values.

use serde_json::Value;

use crate::catalog::Resource;

/// The paths that may be selected by, besides `metadata.name` and `metadata.namespace`.
pub fn selectable(resource: &Resource) -> &'static [&'static str] {
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "pods") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        ("", "nodes") => &["spec.unschedulable"],
        ("", "namespaces") => &["status.phase"],
        ("", "secrets") => &["type"],
        ("", "services") => &["spec.clusterIP", "spec.type"],
        ("", "replicationcontrollers") | ("apps", "replicasets") => &["status.replicas"],
        ("batch", "jobs") => &["status.successful"],
        ("certificates.k8s.io", _) => &["spec.signerName"],
        (_, "events") => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        _ => &[],
    }
}

/// The values of those paths in one object.
pub fn of(resource: &Resource, value: &Value) -> Box<[(&'static str, Box<str>)]> {
    selectable(resource).iter().map(|path| (*path, read(value, path))).collect()
}

fn read(value: &Value, path: &str) -> Box<str> {
    // An Event's `source` selects by the component, or by the reporting controller when there is none.
    if path == "source" {
        let component = value["source"]["component"].as_str().unwrap_or_default();
        let component = if component.is_empty() { value["reportingComponent"].as_str().unwrap_or_default() } else { component };
        return component.into();
    }
    let mut at = value;
    for part in path.split('.') {
        at = &at[part];
    }
    match at {
        Value::String(text) => text.as_str().into(),
        Value::Null if matches!(path, "spec.unschedulable" | "spec.hostNetwork") => "false".into(),
        Value::Null if matches!(path, "status.replicas" | "status.successful") => "0".into(),
        Value::Null => "".into(),
        other => other.to_string().into(),
    }
}
