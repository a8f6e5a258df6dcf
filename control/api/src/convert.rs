//! Between the version of a request and the version in the store. Two kinds have two live forms: Event has `v1`, which is stored,
//! and `events.k8s.io/v1` (`pkg/apis/events/v1/conversion.go`); HorizontalPodAutoscaler has `autoscaling/v2`, which is stored, and
//! `autoscaling/v1`. An Event's rules know both spellings; an autoscaler's are those of the stored form.

use std::borrow::Cow;

use orlop_kinds::autoscaling::conversion;
use serde_json::Value;

use crate::catalog::Resource;
use crate::selector::FieldSelector;
use crate::server::ApiServer;
use crate::status::Status;

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

/// Whether the kind's rules are for the stored form alone, and the request speaks another.
fn is_old_autoscaler(resource: &Resource) -> bool {
    resource.group == "autoscaling" && resource.version == "v1"
}

/// The object in the form that its kind's rules read.
pub fn in_rules_form<'a>(resource: &Resource, object: &'a Value) -> Cow<'a, Value> {
    if !is_old_autoscaler(resource) {
        return Cow::Borrowed(object);
    }
    let mut converted = object.clone();
    conversion::to_v2(&mut converted);
    Cow::Owned(converted)
}

/// Changes the object in the form that its kind's rules read.
pub fn with_rules_form(resource: &Resource, object: &mut Value, change: impl FnOnce(&mut Value)) {
    if is_old_autoscaler(resource) {
        conversion::to_v2(object);
        change(object);
        conversion::to_v1(object);
    } else {
        change(object);
    }
}

/// Between two live versions of a kind. A custom resource's object keeps its fields under the other version's name, unless its
/// definition has a webhook: what else differs only that knows.
pub async fn between(server: &ApiServer, from: &Resource, to: &Resource, object: &mut Value) -> Result<(), Status> {
    if let Some(custom) = &to.custom {
        return custom.take_over(server, object).await;
    }
    to_storage(from, object);
    from_storage(to, object);
    Ok(())
}

/// Turns an object of the request's version into the stored one.
pub fn to_storage(resource: &Resource, object: &mut Value) {
    if is_old_autoscaler(resource) {
        return conversion::to_v2(object);
    }
    if resource.custom.is_some() {
        object["apiVersion"] = resource.storage_version.as_str().into();
    }
    if !is_new_event(resource) {
        return;
    }
    object["apiVersion"] = resource.storage_version.as_str().into();
    rename(object, |(new, old)| (new, old));
}

/// Turns a stored object into the request's version.
pub fn from_storage(resource: &Resource, object: &mut Value) {
    if is_old_autoscaler(resource) {
        return conversion::to_v1(object);
    }
    if let Some(custom) = resource.custom.as_ref().filter(|_| object["apiVersion"] != resource.api_version()) {
        custom.read(object);
    }
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
