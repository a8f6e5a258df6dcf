//! What changed between two objects, for messages about fields that may not change.
use crate::value::{entries, same};
use serde_json::Value;

/// One `-` and one `+` line for each leaf that differs; `path` is where the values stand.
pub(crate) fn difference(new: &Value, old: &Value, path: &str) -> String {
    let mut lines = String::new();
    collect(new, old, path, &mut lines);
    lines
}

fn collect(new: &Value, old: &Value, path: &str, lines: &mut String) {
    match (new, old) {
        _ if same(new, old) => {}
        (Value::Object(_), Value::Object(_)) => {
            let keys = entries(old).chain(entries(new).filter(|(key, _)| old.get(*key).is_none()));
            for (key, _) in keys {
                collect(&new[key], &old[key], &format!("{path}.{key}"), lines);
            }
        }
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
            for (index, (x, y)) in x.iter().zip(y).enumerate() {
                collect(x, y, &format!("{path}[{index}]"), lines);
            }
        }
        _ => {
            for (sign, value) in [('-', old), ('+', new)] {
                if !value.is_null() {
                    lines.push_str(&format!("{sign} {path}: {value}\n"));
                }
            }
        }
    }
}
