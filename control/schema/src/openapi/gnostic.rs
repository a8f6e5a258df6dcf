//! The v2 document as gnostic's protobuf (`openapi.v2.Document`): the same values, field by field.

use std::convert::Infallible;

use serde_json::{Map, Value};

use crate::wire::Writer;

type Done = Result<(), Infallible>;

/// A document in the making; paths first, then definitions.
pub(super) struct Document {
    head: Writer,
    paths: Writer,
    definitions: Writer,
    parameters: Writer,
}

impl Document {
    pub(super) fn new(title: &str, version: &str) -> Self {
        let mut head = Writer::default();
        head.string(1, "2.0");
        let Ok(()) = head.message(2, |info| -> Done {
            info.string(1, title);
            info.string(2, version);
            Ok(())
        });
        Self { head, paths: Writer::default(), definitions: Writer::default(), parameters: Writer::default() }
    }

    /// Adds a path with its operations.
    pub(super) fn path(&mut self, path: &str, item: &Value) {
        named(&mut self.paths, 2, path, |w| path_item(w, item));
    }

    /// Adds a definition.
    pub(super) fn definition(&mut self, name: &str, definition: &Value) {
        named(&mut self.definitions, 1, name, |w| schema(w, definition));
    }

    /// Adds a parameter that operations refer to.
    pub(super) fn named_parameter(&mut self, name: &str, value: &Value) {
        let Some(map) = value.as_object() else { return };
        named(&mut self.parameters, 1, name, |w| parameter(w, map));
    }

    pub(super) fn finish(self) -> Vec<u8> {
        let mut out = self.head;
        out.bytes(8, &self.paths.0);
        drop(self.paths);
        out.bytes(9, &self.definitions.0);
        if !self.parameters.0.is_empty() {
            out.bytes(10, &self.parameters.0);
        }
        message(&mut out, 12, |w| named(w, 1, "BearerToken", |_| {}));
        message(&mut out, 13, |w| {
            named(w, 1, "BearerToken", |w| {
                message(w, 2, |w| {
                    for (tag, text) in
                        [(1, "apiKey"), (2, "authorization"), (3, "header"), (4, "Bearer Token authentication")]
                    {
                        w.string(tag, text);
                    }
                });
            });
        });
        out.0
    }
}

fn message(w: &mut Writer, tag: u32, write: impl FnOnce(&mut Writer)) {
    let Ok(()) = w.message(tag, |w| -> Done {
        write(w);
        Ok(())
    });
}

/// `Named…`: a name and a value.
fn named(w: &mut Writer, tag: u32, name: &str, write: impl FnOnce(&mut Writer)) {
    message(w, tag, |w| {
        w.string(1, name);
        message(w, 2, write);
    });
}

/// `Any`: the value as YAML, of which JSON is a part.
fn any(w: &mut Writer, tag: u32, value: &Value) {
    message(w, tag, |w| w.string(2, &value.to_string()));
}

fn text(w: &mut Writer, tag: u32, map: &Map<String, Value>, key: &str) {
    if let Some(text) = map.get(key).and_then(Value::as_str) {
        w.string(tag, text);
    }
}

fn flag(w: &mut Writer, tag: u32, map: &Map<String, Value>, key: &str) {
    if map.get(key).and_then(Value::as_bool) == Some(true) {
        w.int(tag, 1);
    }
}

fn texts(w: &mut Writer, tag: u32, map: &Map<String, Value>, key: &str) {
    for text in map.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        w.string(tag, text);
    }
}

/// `x-…` members.
fn extensions(w: &mut Writer, tag: u32, map: &Map<String, Value>) {
    for (name, value) in map.iter().filter(|(name, _)| name.starts_with("x-")) {
        message(w, tag, |w| {
            w.string(1, name);
            any(w, 2, value);
        });
    }
}

fn schema(w: &mut Writer, value: &Value) {
    let Some(map) = value.as_object() else { return };
    for (tag, key) in [(1, "$ref"), (2, "format"), (4, "description")] {
        text(w, tag, map, key);
    }
    if let Some(default) = map.get("default") {
        any(w, 5, default);
    }
    texts(w, 19, map, "required");
    for value in map.get("enum").and_then(Value::as_array).into_iter().flatten() {
        any(w, 20, value);
    }
    match map.get("additionalProperties") {
        Some(Value::Bool(any)) => message(w, 21, |w| w.int(2, i64::from(*any))),
        Some(inner) => message(w, 21, |w| message(w, 1, |w| schema(w, inner))),
        None => {}
    }
    match map.get("type") {
        Some(Value::String(kind)) => message(w, 22, |w| w.string(1, kind)),
        Some(Value::Array(_)) => message(w, 22, |w| texts(w, 1, map, "type")),
        _ => {}
    }
    if let Some(items) = map.get("items") {
        message(w, 23, |w| message(w, 1, |w| schema(w, items)));
    }
    for inner in map.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        message(w, 24, |w| schema(w, inner));
    }
    if let Some(properties) = map.get("properties").and_then(Value::as_object) {
        message(w, 25, |w| {
            for (name, property) in properties {
                named(w, 1, name, |w| schema(w, property));
            }
        });
    }
    extensions(w, 31, map);
}

fn path_item(w: &mut Writer, item: &Value) {
    let Some(map) = item.as_object() else { return };
    for (tag, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (6, "options"), (7, "head"), (8, "patch")]
    {
        if let Some(operation) = map.get(method).and_then(Value::as_object) {
            message(w, tag, |w| self::operation(w, operation));
        }
    }
    parameters(w, 9, map);
}

fn operation(w: &mut Writer, map: &Map<String, Value>) {
    texts(w, 1, map, "tags");
    text(w, 3, map, "description");
    text(w, 5, map, "operationId");
    texts(w, 6, map, "produces");
    texts(w, 7, map, "consumes");
    parameters(w, 8, map);
    message(w, 9, |w| {
        for (code, answer) in map.get("responses").and_then(Value::as_object).into_iter().flatten() {
            named(w, 1, code, |w| message(w, 1, |w| response(w, answer)));
        }
    });
    texts(w, 10, map, "schemes");
    extensions(w, 13, map);
}

fn response(w: &mut Writer, value: &Value) {
    let Some(map) = value.as_object() else { return };
    text(w, 1, map, "description");
    if let Some(inner) = map.get("schema") {
        message(w, 2, |w| message(w, 1, |w| schema(w, inner)));
    }
}

fn parameters(w: &mut Writer, tag: u32, map: &Map<String, Value>) {
    for parameter in map.get("parameters").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object)
    {
        // ParametersItem: a Parameter, or a JsonReference to one.
        match parameter.get("$ref").and_then(Value::as_str) {
            Some(reference) => message(w, tag, |w| message(w, 2, |w| w.string(1, reference))),
            None => message(w, tag, |w| message(w, 1, |w| self::parameter(w, parameter))),
        }
    }
}

fn parameter(w: &mut Writer, map: &Map<String, Value>) {
    match map.get("in").and_then(Value::as_str) {
        Some("body") => message(w, 1, |w| {
            for (tag, key) in [(1, "description"), (2, "name"), (3, "in")] {
                text(w, tag, map, key);
            }
            flag(w, 4, map, "required");
            if let Some(inner) = map.get("schema") {
                message(w, 5, |w| schema(w, inner));
            }
        }),
        place => {
            let path = place == Some("path");
            // NonBodyParameter, then the sub schema: a query's tags are one higher after the name.
            let (sub, kind, unique) = if path { (4, 5, 19) } else { (3, 6, 20) };
            message(w, 2, |w| {
                message(w, sub, |w| {
                    flag(w, 1, map, "required");
                    for (tag, key) in [(2, "in"), (3, "description"), (4, "name"), (kind, "type")] {
                        text(w, tag, map, key);
                    }
                    flag(w, unique, map, "uniqueItems");
                });
            });
        }
    }
}
