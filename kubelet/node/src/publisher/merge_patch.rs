//! The JSON merge patch (RFC 7386) that turns one value into another. Pure.

use serde_json::{Map, Value};

/// The patch from `old` to `new`; `None` when they are the same. Lists are replaced as a whole.
pub fn difference(old: &Value, new: &Value) -> Option<Value> {
    if old == new {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return Some(new.clone()) };
    let mut patch = Map::new();
    for (key, value) in new {
        match old.get(key) {
            Some(present) => {
                if let Some(change) = difference(present, value) {
                    patch.insert(key.clone(), change);
                }
            }
            None => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_differs_is_sent_and_what_is_gone_becomes_null() {
        let old = json!({ "phase": "Running", "a": { "x": 1, "y": 2 }, "list": [1, 2], "same": true });
        let new = json!({ "phase": "Failed", "a": { "x": 1 }, "list": [1], "same": true, "new": "n" });
        let patch = json!({ "phase": "Failed", "a": { "y": null }, "list": [1], "new": "n" });
        assert_eq!(difference(&old, &new), Some(patch));
        assert_eq!(difference(&new, &new), None);
    }
}
