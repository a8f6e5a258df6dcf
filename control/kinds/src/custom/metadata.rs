//! Objects embedded in a custom object have a type and metadata of their own (`apiserver/schema/objectmeta`).
use orlop_schema::structural::Structural;
use serde_json::Value;

use crate::field::{Errors, Path};
use crate::meta;
use crate::names::{self, NameRule};

/// Checks every embedded object below `value`; the whole object's own metadata is not looked at.
pub(super) fn validate(node: &Structural, value: &Value, path: &Path<'_>, errors: &mut Errors) {
    match value {
        Value::Object(map) => {
            if node.embedded {
                embedded(value, path, errors);
            }
            for (key, value) in map {
                match (node.properties.get(key), node.additional_schema()) {
                    (Some(property), _) => validate(property, value, &path.child(key), errors),
                    (None, Some(schema)) => validate(schema, value, &path.key(key), errors),
                    (None, None) => {}
                }
            }
        }
        Value::Array(items) => {
            let Some(node) = &node.items else { return };
            for (at, item) in items.iter().enumerate() {
                validate(node, item, &path.index(at), errors);
            }
        }
        _ => {}
    }
}

fn embedded(value: &Value, path: &Path<'_>, errors: &mut Errors) {
    for field in ["apiVersion", "kind"] {
        let path = path.child(field);
        match &value[field] {
            Value::Null => errors.required(&path, ""),
            Value::String(text) if text.is_empty() => errors.invalid(&path, "", "must not be empty"),
            Value::String(text) if field == "kind" => {
                let wrong = names::dns1035_label(&text.to_lowercase());
                if !wrong.is_empty() {
                    let detail = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
                    errors.invalid(&path, text.as_str(), detail);
                }
            }
            Value::String(text) if text.matches('/').count() > 1 => {
                errors.invalid(&path, text.as_str(), format!("unexpected GroupVersion string: {text}"));
            }
            Value::String(_) => {}
            other => errors.invalid(&path, other.clone(), "must be a string"),
        }
    }
    let metadata = &value["metadata"];
    if metadata.is_null() {
        return;
    }
    let mut metadata = metadata.clone();
    if crate::value::text(&metadata["name"]).is_empty() {
        crate::value::set(&mut metadata, "name", "fakename");
    }
    let namespaced = !crate::value::text(&metadata["namespace"]).is_empty();
    let mut inner = Errors::default();
    meta::validate(&metadata, namespaced, NameRule::PathSegment, &mut inner);
    for mut error in inner.0 {
        error.field = format!("{path}.{}", error.field);
        errors.add(error);
    }
}
