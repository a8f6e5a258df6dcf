//! The directives a patch may carry among its fields.

use serde_json::{Map, Value};

use super::StrategicError;

pub(super) const PATCH: &str = "$patch";
pub(super) const DELETE: &str = "delete";
pub(super) const REPLACE: &str = "replace";
pub(super) const MERGE: &str = "merge";
pub(super) const RETAIN_KEYS: &str = "$retainKeys";
pub(super) const SET_ORDER: &str = "$setElementOrder/";
pub(super) const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

pub(super) fn bad_patch_type(directive: &Value, map: &Map<String, Value>) -> StrategicError {
    let directive = directive.as_str().map_or_else(|| directive.to_string(), str::to_owned);
    StrategicError::BadPatchType { directive, map: go_map(map) }
}

pub(super) fn no_merge_key(map: &Map<String, Value>, key: &str) -> StrategicError {
    StrategicError::NoMergeKey { map: go_map(map), key: key.to_owned() }
}

/// A map as Go's `%v` prints it: `map[a:1 b:map[c:d]]`, keys sorted.
fn go_map(map: &Map<String, Value>) -> String {
    let mut keys: Vec<_> = map.iter().collect();
    keys.sort_by_key(|(k, _)| k.as_str());
    let entries: Vec<_> = keys.into_iter().map(|(k, v)| format!("{k}:{}", go_value(v))).collect();
    format!("map[{}]", entries.join(" "))
}

fn go_value(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(s) => s.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(go_value).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => go_map(map),
        other => other.to_string(),
    }
}

/// Removes every null from the maps of a value that is added whole.
pub(super) fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// A value without its directives; nothing if the directive says that it is to be deleted.
pub(super) fn strip(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) => {
            if map.get(PATCH).and_then(Value::as_str) == Some(DELETE) {
                return None;
            }
            let fields = map.into_iter().filter(|(k, _)| !is_directive(k));
            Some(Value::Object(fields.filter_map(|(k, v)| strip(v).map(|v| (k, v))).collect()))
        }
        Value::Array(items) => {
            let had = !items.is_empty();
            let kept: Vec<_> = items.into_iter().filter(|i| !only_directive(i)).filter_map(strip).collect();
            if had && kept.is_empty() { None } else { Some(Value::Array(kept)) }
        }
        other => Some(other),
    }
}

/// `{$patch: replace}` as an element of a list stands for no element.
fn only_directive(item: &Value) -> bool {
    item.as_object().is_some_and(|map| map.len() == 1 && map.contains_key(PATCH))
}

fn is_directive(key: &str) -> bool {
    key == PATCH || key == RETAIN_KEYS || key.starts_with(SET_ORDER) || key.starts_with(DELETE_FROM)
}
