//! Between the version of a request and the version in the store. Only Event has two live forms: `v1`, which is stored, and
//! `events.k8s.io/v1` (`pkg/apis/events/v1/conversion.go`).

use serde_json::Value;

use crate::catalog::Resource;
use crate::selector::FieldSelector;

/// events.k8s.io/v1 name, v1 name.
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("note", "message"),
    ("regarding", "involvedObject"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

fn is_new_event(resource: &Resource) -> bool {
    resource.group == "events.k8s.io"
}

/// Turns an object of the request's version into the stored one.
pub fn to_storage(resource: &Resource, object: &mut Value) {
    if !is_new_event(resource) {
        return;
    }
    object["apiVersion"] = resource.storage_version.as_str().into();
    rename(object, |(new, old)| (new, old));
}

/// Turns a stored object into the request's version.
pub fn from_storage(resource: &Resource, object: &mut Value) {
    if !is_new_event(resource) {
        return;
    }
    object["apiVersion"] = resource.api_version().into();
    rename(object, |(new, old)| (old, new));
}

/// Lets a field selector of the request's version match stored objects.
pub fn selector(resource: &Resource, fields: &mut FieldSelector) {
    if !is_new_event(resource) {
        return;
    }
    for part in ["kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"] {
        fields.rename(&format!("regarding.{part}"), &format!("involvedObject.{part}"));
    }
    fields.rename("reportingController", "reportingComponent");
}

fn rename(object: &mut Value, direction: impl Fn(&(&'static str, &'static str)) -> (&'static str, &'static str)) {
    let Some(map) = object.as_object_mut() else { return };
    for pair in EVENT_FIELDS {
        let (from, to) = direction(pair);
        if let Some(value) = map.shift_remove(from) {
            map.insert(to.into(), value);
        }
    }
}
