//! The schema of a version: which keywords it may use and how (`ValidateCustomResourceDefinitionOpenAPISchema`).
use std::collections::BTreeSet;

use orlop_schema::structural::{META_FIELDS, Structural};
use serde_json::{Map, Value};

use super::{structural, values};
use crate::custom::rules;
use crate::field::{Errors, Path};
use crate::value::{flag, is_empty, strings, text};

const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];
/// What the root may say if there is a status subresource: names as in Go, then as in JSON.
const AT_ROOT: &str = "[Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations]";
const AT_ROOT_KEYS: &[&str] = &[
    "description",
    "type",
    "format",
    "title",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "multipleOf",
    "required",
    "items",
    "properties",
    "externalDocs",
    "example",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
];
/// A schema that says more than this is refused: checking it would take longer than a request may.
const MOST_NODES: usize = 50_000;

pub(super) fn validate(schema: &Value, status: bool, path: &Path<'_>, errors: &mut Errors) {
    let Value::Object(map) = schema else { return };
    if count(schema) > MOST_NODES {
        return errors.forbidden(path, format!("may not have more than {MOST_NODES} nodes"));
    }
    if status {
        if text(&schema["type"]) != "object" {
            let detail =
                "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
            errors.invalid(&path.child("type"), text(&schema["type"]), detail);
        } else if map.iter().any(|(key, value)| !is_empty(value) && !AT_ROOT_KEYS.contains(&key.as_str())) {
            let detail = format!(
                "only {AT_ROOT} fields are allowed at the root of the schema if the status subresource is enabled"
            );
            errors.invalid(path, schema.clone(), detail);
        }
    }
    if flag(&schema["nullable"]) {
        errors.forbidden(&path.child("nullable"), "nullable cannot be true at the root");
    }
    let before = errors.0.len();
    let parsed = Structural::parse(schema);
    if let Ok(node) = &parsed {
        structural::validate(node, path, errors);
        if errors.0.len() == before {
            values::validate(node, schema, path, errors);
        }
    }
    let scope = Scope { root: true, ..Scope::default() };
    walk(map, scope, path, errors);
    if errors.0.len() > before {
        return;
    }
    match parsed {
        Err(unsupported) => errors.invalid(path, "", unsupported.to_string()),
        Ok(_) => rules::check(schema, path, errors),
    }
}

/// How many schemas a schema consists of.
fn count(schema: &Value) -> usize {
    match schema {
        Value::Object(map) => 1 + map.values().map(count).sum::<usize>(),
        Value::Array(items) => items.iter().map(count).sum(),
        _ => 0,
    }
}

/// Where in the schema a node stands.
#[derive(Clone, Copy, Default)]
struct Scope<'a> {
    root: bool,
    in_metadata: bool,
    /// Why defaults may not be set here.
    no_defaults: Option<&'a str>,
}

fn walk(map: &Map<String, Value>, scope: Scope<'_>, path: &Path<'_>, errors: &mut Errors) {
    let nothing = Value::Null;
    let get = |key: &str| map.get(key).unwrap_or(&nothing);
    let inner = Scope { root: false, ..scope };
    keywords(map, scope, path, errors);
    if flag(get("uniqueItems")) {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.forbidden(&path.child("uniqueItems"), detail);
    }
    let properties = get("properties").as_object().filter(|p| !p.is_empty());
    match get("additionalProperties") {
        Value::Null => {}
        additional => {
            if properties.is_some() && *additional != Value::Bool(true) {
                let detail = "additionalProperties and properties are mutual exclusive";
                errors.forbidden(&path.child("additionalProperties"), detail);
            }
            if let Value::Object(schema) = additional {
                let no_defaults = if scope.in_metadata {
                    Some("inside additionalProperties applying to object metadata")
                } else {
                    inner.no_defaults
                };
                walk(schema, Scope { no_defaults, ..inner }, &path.child("additionalProperties"), errors);
            }
        }
    }
    for (name, property) in properties.into_iter().flatten() {
        let Value::Object(schema) = property else { continue };
        let path = path.child("properties");
        let path = path.key(name);
        let is_meta = META_FIELDS.contains(&name.as_str());
        let reason = format!("in top-level {name}");
        let mut below = inner;
        if is_meta && (scope.root || flag(get("x-kubernetes-embedded-resource"))) {
            below.in_metadata = true;
            if scope.root {
                below.no_defaults = Some(&reason);
            }
        }
        walk(schema, below, &path, errors);
    }
    if let Value::Object(schema) = get("not") {
        walk(schema, inner, &path.child("not"), errors);
    }
    for junctor in ["allOf", "oneOf", "anyOf"] {
        for (at, part) in get(junctor).as_array().into_iter().flatten().enumerate() {
            if let Value::Object(schema) = part {
                let path = path.child(junctor);
                walk(schema, inner, &path.index(at), errors);
            }
        }
    }
    if let Value::Object(schema) = get("items") {
        walk(schema, inner, &path.child("items"), errors);
    }
    if get("x-kubernetes-preserve-unknown-fields") == &Value::Bool(false) {
        errors.invalid(&path.child("x-kubernetes-preserve-unknown-fields"), false, "must be true or undefined");
    }
    map_type(map, path, errors);
    list_type(map, path, errors);
}

fn keywords(map: &Map<String, Value>, scope: Scope<'_>, path: &Path<'_>, errors: &mut Errors) {
    let has = |key: &str| map.get(key).is_some_and(|v| !v.is_null());
    if let Some(ty) = map.get("type").and_then(Value::as_str).filter(|ty| !ty.is_empty()) {
        if !TYPES.contains(&ty) {
            errors.not_supported(&path.child("type"), ty, TYPES);
        }
        if ty == "null" {
            errors.forbidden(&path.child("type"), "type cannot be set to null, use nullable as an alternative");
        }
    }
    if let Some(reason) = scope.no_defaults.filter(|_| has("default")) {
        errors.forbidden(&path.child("default"), format!("must not be set {reason}"));
    }
    for (key, shown) in [
        ("id", "id"),
        ("additionalItems", "additionalItems"),
        ("patternProperties", "patternProperties"),
        ("definitions", "definitions"),
        ("dependencies", "dependencies"),
        ("$ref", "$ref"),
    ] {
        if map.get(key).is_some_and(|v| !is_empty(v) || (key == "additionalItems" && !v.is_null())) {
            errors.forbidden(&path.child(key), format!("{shown} is not supported"));
        }
    }
    if matches!(map.get("items"), Some(Value::Array(_))) {
        errors.forbidden(&path.child("items"), "items must be a schema object and not an array");
    }
    if scope.in_metadata && map.get("x-kubernetes-embedded-resource") == Some(&Value::Bool(true)) {
        errors.forbidden(&path.child("x-kubernetes-embedded-resource"), "must not be used inside of resource meta");
    }
}

fn map_type(map: &Map<String, Value>, path: &Path<'_>, errors: &mut Errors) {
    let Some(map_type) = map.get("x-kubernetes-map-type").and_then(Value::as_str) else { return };
    must_be("object", "x-kubernetes-map-type", map, path, errors);
    if !matches!(map_type, "atomic" | "granular") {
        errors.not_supported(&path.child("x-kubernetes-map-type"), map_type, &["atomic", "granular"]);
    }
}

fn must_be(ty: &str, because: &str, map: &Map<String, Value>, path: &Path<'_>, errors: &mut Errors) -> bool {
    let is = map.get("type").and_then(Value::as_str).unwrap_or_default();
    if is == ty {
        return true;
    }
    let detail = format!("must be {ty} if {because} is specified");
    if is.is_empty() {
        errors.required(&path.child("type"), detail);
    } else {
        errors.invalid(&path.child("type"), is, detail);
    }
    false
}

fn list_type(map: &Map<String, Value>, path: &Path<'_>, errors: &mut Errors) {
    let nothing = Value::Null;
    let get = |key: &str| map.get(key).unwrap_or(&nothing);
    let list_type = get("x-kubernetes-list-type").as_str();
    let keys = strings(get("x-kubernetes-list-map-keys"));
    let items = get("items");
    let (type_path, keys_path, items_path) =
        (path.child("x-kubernetes-list-type"), path.child("x-kubernetes-list-map-keys"), path.child("items"));
    if let Some(list_type) = list_type {
        let array = must_be("array", "x-kubernetes-list-type", map, path, errors);
        if array && list_type == "set" && items.is_object() {
            let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
            let inner = &items["x-kubernetes-list-type"];
            match text(&items["type"]) {
                "array" if !inner.is_null() && inner != "atomic" => {
                    errors.invalid(&items_path.child("x-kubernetes-list-type"), inner.clone(), detail);
                }
                "object" if items["x-kubernetes-map-type"] != "atomic" => {
                    errors.invalid(&items_path.child("x-kubernetes-map-type"), inner.clone(), detail);
                }
                _ => {}
            }
        }
        if !matches!(list_type, "atomic" | "set" | "map") {
            errors.not_supported(&type_path, list_type, &["atomic", "set", "map"]);
        }
    }
    if !keys.is_empty() {
        let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
        match list_type {
            None => errors.required(&type_path, detail),
            Some("map") => {}
            Some(other) => errors.invalid(&type_path, other, detail),
        }
    }
    if list_type == Some("map") {
        if keys.is_empty() {
            errors.required(&keys_path, "must not be empty if x-kubernetes-list-type is map");
        }
        match items {
            Value::Null => errors.required(&items_path, "must have a schema if x-kubernetes-list-type is map"),
            Value::Object(_) if text(&items["type"]) == "object" => {
                map_keys(items, &keys, get("x-kubernetes-list-map-keys"), path, errors)
            }
            Value::Object(_) => {
                let detail = "must be object if parent array's x-kubernetes-list-type is map";
                errors.invalid(&items_path.child("type"), text(&items["type"]), detail);
            }
            _ => {}
        }
    }
    if matches!(list_type, Some("set" | "map")) && flag(&items["nullable"]) {
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {}", list_type.unwrap_or_default());
        errors.forbidden(&items_path.child("nullable"), detail);
    }
}

fn map_keys(item: &Value, keys: &[&str], list: &Value, path: &Path<'_>, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    let required = strings(&item["required"]);
    let (keys_path, properties) = (path.child("x-kubernetes-list-map-keys"), path.child("items.properties"));
    for key in keys {
        let property = &item["properties"][key];
        let at = properties.key(key);
        if property.is_null() {
            errors.invalid(&keys_path, list.clone(), "entries must all be names of item properties");
        } else {
            if matches!(text(&property["type"]), "array" | "object") {
                let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                errors.invalid(&at.child("type"), text(&item["type"]), detail);
            }
            if !required.contains(key) && property["default"].is_null() {
                let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                errors.required(&at.child("default"), detail);
            }
            if flag(&property["nullable"]) {
                let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
                errors.forbidden(&at.child("nullable"), detail);
            }
        }
        if !seen.insert(*key) {
            errors.invalid(&keys_path, list.clone(), "must not contain duplicate entries");
        }
    }
}
