//! Defaulting: values that a schema fills in where a field is absent, or null although it may not be.

use std::collections::HashSet;

use serde_json::Value;

use super::Structural;

impl Structural {
    /// Fills in defaults. A field that must not be null, is null and has no default is dropped first, as kube-apiserver does.
    pub fn fill_defaults(&self, value: &mut Value) {
        match value {
            Value::Object(map) => {
                let nulls: HashSet<String> = map
                    .iter()
                    .filter(|(key, value)| {
                        value.is_null() && self.field(key).is_some_and(|node| !node.nullable && node.default.is_none())
                    })
                    .map(|(key, _)| key.clone())
                    .collect();
                if !nulls.is_empty() {
                    map.retain(|key, _| !nulls.contains(key));
                }
                for (name, node) in &self.properties {
                    let Some(default) = &node.default else { continue };
                    if map.get(name).is_none_or(|value| value.is_null() && !node.nullable) {
                        map.insert(name.clone(), default.clone());
                    }
                }
                for (name, value) in map.iter_mut() {
                    let Some(node) = self.field(name) else { continue };
                    node.replace_null(value);
                    node.fill_defaults(value);
                }
            }
            Value::Array(items) => {
                let Some(node) = &self.items else { return };
                for item in items {
                    node.replace_null(item);
                    node.fill_defaults(item);
                }
            }
            _ => {}
        }
    }

    /// A null that may not be becomes the default, if there is one; without one it stays for validation to refuse.
    fn replace_null(&self, value: &mut Value) {
        if value.is_null()
            && !self.nullable
            && let Some(default) = &self.default
        {
            *value = default.clone();
        }
    }
}
