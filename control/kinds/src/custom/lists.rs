//! Lists of type set and map hold each element once (`apiserver/schema/listtype`).
use std::collections::HashMap;

use orlop_schema::structural::{Structural, canonical};
use serde_json::{Map, Value};

use crate::field::{Errors, Path};

/// Adds an error for the first repetition of each element.
pub(super) fn validate(node: &Structural, value: &Value, path: &Path<'_>, errors: &mut Errors) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match (node.properties.get(key), node.additional_schema()) {
                    (Some(property), _) => validate(property, value, &path.child(key), errors),
                    (None, Some(schema)) => validate(schema, value, &path.key(key), errors),
                    (None, None) => {}
                }
            }
        }
        Value::Array(items) => {
            match node.list_type.as_deref() {
                Some("set") => {
                    for at in repeated(items.iter().map(canonical)) {
                        errors.duplicate(&path.index(at), items[at].clone());
                    }
                }
                Some("map") => map(node, items, path, errors),
                _ => {}
            }
            if let Some(node) = &node.items {
                for (at, item) in items.iter().enumerate() {
                    validate(node, item, &path.index(at), errors);
                }
            }
        }
        _ => {}
    }
}

fn map(node: &Structural, items: &[Value], path: &Path<'_>, errors: &mut Errors) {
    if let Some(at) = items.iter().position(|item| !item.is_null() && !item.is_object()) {
        return errors.invalid(&path.index(at), items[at].clone(), "must be an object for an array of list-type map");
    }
    let keys: Vec<Value> = items
        .iter()
        .map(|item| {
            let present = node.list_map_keys.iter().filter_map(|k| item.get(k).map(|v| (k.clone(), v.clone())));
            Value::Object(present.collect::<Map<_, _>>())
        })
        .collect();
    for at in repeated(keys.iter().map(canonical)) {
        errors.duplicate(&path.index(at), keys[at].clone());
    }
}

/// Where an element stands that was there before, each element once.
fn repeated(items: impl Iterator<Item = String>) -> Vec<usize> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut found = Vec::new();
    for (at, item) in items.enumerate() {
        let times = seen.entry(item).or_default();
        *times += 1;
        if *times == 2 {
            found.push(at);
        }
    }
    found
}
