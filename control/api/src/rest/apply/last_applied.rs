//! From `kubectl apply` to `kubectl apply --server-side` and back: what the former has noted in an annotation is kubectl's own, so
//! the latter takes it over without a conflict, and keeps the note up to date for whoever goes back. As in
//! `managedfields/internal/lastappliedmanager.go`, for the field manager `kubectl` alone.

use orlop_schema::TypeRef;
use orlop_schema::apply::{FieldSet, Who};
use serde_json::{Map, Value};

use crate::object::metadata_mut;

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
const MANAGER: &str = "kubectl";
/// Bytes of all annotations together.
const LIMIT: usize = 256 << 10;

/// The fields that are as kubectl last applied them.
pub(super) fn fields(ty: TypeRef<'_>, live: &Value, who: &Who) -> Option<FieldSet> {
    let note = live["metadata"]["annotations"][ANNOTATION].as_str().filter(|_| who.name == MANAGER)?;
    let last: Value = serde_json::from_str(note).ok()?;
    if last["apiVersion"] != who.api_version.as_str() {
        return None;
    }
    ty.kept_fields(&last, live).ok()
}

/// Notes what is applied now, if there is such a note.
pub(super) fn renew(object: &mut Value, config: &Value, who: &Who) {
    let noted = |object: &Value| object["metadata"]["annotations"][ANNOTATION].as_str().is_some_and(|n| !n.is_empty());
    if who.name != MANAGER || !noted(object) {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(ANNOTATION);
    }
    let note = format!("{}\n", sorted(&config));
    let Some(metadata) = metadata_mut(object) else { return };
    let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) else { return };
    annotations.insert(ANNOTATION.into(), note.into());
    let size: usize = annotations.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if size > LIMIT {
        annotations.shift_remove(ANNOTATION);
    }
}

/// With the keys in the order in which Go writes maps.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut all: Vec<(String, Value)> =
                fields.iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
            all.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(Map::from_iter(all))
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}
