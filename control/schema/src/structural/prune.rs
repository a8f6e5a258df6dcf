//! Pruning: what a schema does not name is dropped, and told.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{Additional, META_FIELDS, Structural};
use crate::decode::MAX_STRICT;

impl Structural {
    /// Prunes a whole object. Returns `unknown field "…"` for what is dropped, sorted by path.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        let mut pruner = Pruner::default();
        pruner.known(object, self, true);
        pruner.paths.sort();
        pruner.paths.into_iter().map(|path| format!("unknown field {path:?}")).collect()
    }

    /// Prunes a part of an object, such as a default; the node says itself whether it is an embedded object.
    pub fn prune_part(&self, value: &mut Value) {
        Pruner::default().known(value, self, self.embedded);
    }
}

#[derive(Default)]
struct Pruner {
    path: String,
    paths: Vec<String>,
}

impl Pruner {
    fn known(&mut self, value: &mut Value, node: &Structural, object_root: bool) {
        if node.preserve_unknown {
            return self.kept(value, node, object_root);
        }
        match value {
            Value::Object(map) => {
                let unknown: HashSet<String> = map
                    .iter_mut()
                    .filter_map(|(key, value)| {
                        if object_root && META_FIELDS.contains(&key.as_str()) {
                            return None;
                        }
                        let length = self.push(key);
                        let known = match (node.properties.get(key), &node.additional) {
                            (Some(property), _) => {
                                self.known(value, property, property.embedded);
                                true
                            }
                            (None, Some(Additional::Schema(schema))) => {
                                self.known(value, schema, schema.embedded);
                                true
                            }
                            (None, Some(Additional::Allowed(_))) => {
                                self.unknown(value);
                                true
                            }
                            (None, None) => false,
                        };
                        if !known {
                            self.found();
                        }
                        self.path.truncate(length);
                        (!known).then(|| key.clone())
                    })
                    .collect();
                remove(map, &unknown);
            }
            Value::Array(items) => self.each(items, |pruner, item| match &node.items {
                Some(node) => pruner.known(item, node, node.embedded),
                None => pruner.unknown(item),
            }),
            _ => {}
        }
    }

    /// Below `additionalProperties: true` nothing is specified, so no field is known.
    fn unknown(&mut self, value: &mut Value) {
        match value {
            Value::Object(map) => {
                for key in map.keys() {
                    let length = self.push(key);
                    self.found();
                    self.path.truncate(length);
                }
                map.clear();
            }
            Value::Array(items) => self.each(items, Self::unknown),
            _ => {}
        }
    }

    /// Unknown fields stay, those that are known are pruned.
    fn kept(&mut self, value: &mut Value, node: &Structural, object_root: bool) {
        match value {
            Value::Object(map) => {
                for (key, value) in map.iter_mut() {
                    if object_root && META_FIELDS.contains(&key.as_str()) {
                        continue;
                    }
                    let length = self.push(key);
                    match (node.properties.get(key), &node.additional) {
                        (Some(property), _) => self.known(value, property, property.embedded),
                        (None, Some(Additional::Schema(schema))) => self.known(value, schema, schema.embedded),
                        (None, Some(Additional::Allowed(_))) => self.unknown(value),
                        (None, None) => {}
                    }
                    self.path.truncate(length);
                }
            }
            Value::Array(items) => self.each(items, |pruner, item| {
                if let Some(node) = &node.items {
                    pruner.kept(item, node, node.embedded);
                }
            }),
            _ => {}
        }
    }

    fn each(&mut self, items: &mut [Value], mut visit: impl FnMut(&mut Self, &mut Value)) {
        for (at, item) in items.iter_mut().enumerate() {
            let length = self.path.len();
            self.path.push_str(&format!("[{at}]"));
            visit(self, item);
            self.path.truncate(length);
        }
    }

    /// What the path leads to is unknown.
    fn found(&mut self) {
        if self.paths.len() < MAX_STRICT {
            self.paths.push(self.path.clone());
        }
    }

    fn push(&mut self, key: &str) -> usize {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(key);
        length
    }
}

fn remove(map: &mut Map<String, Value>, keys: &HashSet<String>) {
    if !keys.is_empty() {
        map.retain(|key, _| !keys.contains(key));
    }
}
