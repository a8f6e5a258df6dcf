//! A custom resource's schema as OpenAPI documents show it: its own words, with the fields that every object has; for v2 without what
//! kubectl cannot read there (`apiextensions-apiserver/pkg/controller/openapi`).

use serde_json::{Map, Value, json};

use crate::GroupVersionKind;
use crate::openapi::Dialect;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const EMBEDDED_API_VERSION: &str = "apiVersion defines the versioned schema of this representation of an object. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const EMBEDDED_KIND: &str = "kind is a string value representing the type of this object. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const METADATA: &str = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
const LIST_METADATA: &str = "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";

/// The definition of a custom resource's kind. Without a schema nothing but the kind is said.
pub fn publish(schema: Option<&Value>, kind: &GroupVersionKind, dialect: Dialect) -> Value {
    let unknown = |schema: &Value| dialect == Dialect::V2 && is_true(schema, "x-kubernetes-preserve-unknown-fields");
    let mut out = match schema {
        None => json!({ "type": "object" }),
        Some(schema) if unknown(schema) => json!({ "type": "object" }),
        Some(schema) => {
            let mut out = schema.clone();
            walk(&mut out, dialect);
            let properties = property_map(&mut out);
            properties.insert("apiVersion".into(), json!({ "type": "string", "description": API_VERSION }));
            properties.insert("kind".into(), json!({ "type": "string", "description": KIND }));
            properties.insert("metadata".into(), reference(dialect, "ObjectMeta", METADATA));
            properties.sort_keys();
            out
        }
    };
    mark(&mut out, kind);
    out
}

/// The definition of the list of a kind.
pub(super) fn publish_list(
    kind: &GroupVersionKind,
    list_kind: &str,
    plural: &str,
    model: &str,
    dialect: Dialect,
) -> Value {
    let items = format!(
        "List of {plural}. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"
    );
    let mut out = json!({
        "description": format!("{list_kind} is a list of {}", kind.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": { "type": "string", "description": API_VERSION },
            "items": { "description": items, "type": "array", "items": dialect.reference(model) },
            "kind": { "type": "string", "description": KIND },
            "metadata": reference(dialect, "ListMeta", LIST_METADATA),
        },
    });
    mark(&mut out, &GroupVersionKind { kind: list_kind.into(), ..kind.clone() });
    out
}

fn mark(out: &mut Value, kind: &GroupVersionKind) {
    out["x-kubernetes-group-version-kind"] =
        json!([{ "group": &*kind.group, "kind": &*kind.kind, "version": &*kind.version }]);
}

fn reference(dialect: Dialect, name: &str, text: &str) -> Value {
    let reference = dialect.reference(&format!("{META}{name}"));
    match dialect {
        Dialect::V2 => {
            let mut out = reference;
            out["description"] = text.into();
            out
        }
        Dialect::V3 => json!({ "allOf": [reference], "description": text }),
    }
}

fn is_true(schema: &Value, key: &str) -> bool {
    schema.get(key).and_then(Value::as_bool).unwrap_or(false)
}

fn property_map(schema: &mut Value) -> &mut Map<String, Value> {
    if !schema["properties"].is_object() {
        schema["properties"] = json!({});
    }
    match &mut schema["properties"] {
        Value::Object(map) => map,
        _ => unreachable!("it was just made an object"),
    }
}

fn walk(schema: &mut Value, dialect: Dialect) {
    let Value::Object(map) = schema else { return };
    unfold(map);
    if dialect == Dialect::V2 {
        simplify(map);
    }
    for (key, value) in map.iter_mut() {
        match (key.as_str(), value) {
            ("properties", Value::Object(properties)) => properties.values_mut().for_each(|p| walk(p, dialect)),
            ("items" | "additionalProperties", value @ Value::Object(_)) => walk(value, dialect),
            _ => {}
        }
    }
    let (preserves, embedded) =
        (is_true(schema, "x-kubernetes-preserve-unknown-fields"), is_true(schema, "x-kubernetes-embedded-resource"));
    if embedded && !(preserves && dialect == Dialect::V2) {
        let properties = property_map(schema);
        properties.insert("apiVersion".into(), json!({ "type": "string", "description": EMBEDDED_API_VERSION }));
        properties.insert("kind".into(), json!({ "type": "string", "description": EMBEDDED_KIND }));
        properties.insert("metadata".into(), reference(dialect, "ObjectMeta", METADATA));
        let mut required: Vec<Value> = schema["required"].as_array().cloned().unwrap_or_default();
        for name in ["kind", "apiVersion"] {
            if !required.iter().any(|r| r == name) {
                required.push(name.into());
            }
        }
        schema["required"] = required.into();
    }
}

/// An int-or-string says so in terms that every reader of OpenAPI knows.
fn unfold(map: &mut Map<String, Value>) {
    let int_or_string = map.get("x-kubernetes-int-or-string").and_then(Value::as_bool).unwrap_or(false);
    if int_or_string && !map.contains_key("anyOf") && !map.contains_key("allOf") {
        map.insert("anyOf".into(), json!([{ "type": "integer" }, { "type": "string" }]));
    }
}

/// `ToStructuralOpenAPIV2`
fn simplify(map: &mut Map<String, Value>) {
    let drop = |map: &mut Map<String, Value>, keys: &[&str]| map.retain(|key, _| !keys.contains(&key.as_str()));
    drop(map, &["allOf", "anyOf", "oneOf", "not"]);
    let flag = |map: &Map<String, Value>, key: &str| map.get(key).and_then(Value::as_bool).unwrap_or(false);
    let nullable_properties: Vec<String> = map
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(_, p)| is_true(p, "nullable"))
        .map(|(name, _)| name.clone())
        .collect();
    if flag(map, "nullable") {
        drop(map, &["type", "nullable", "items", "properties"]);
    }
    if flag(map, "x-kubernetes-preserve-unknown-fields") {
        drop(map, &["items", "properties"]);
        if map.get("type").is_some_and(|ty| ty == "object") {
            map.shift_remove("type");
        }
    }
    if map.get("type").is_some_and(|ty| ty == "array") && !map.contains_key("items") {
        map.shift_remove("type");
    }
    if let Some(required) = map.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| !nullable_properties.iter().any(|n| name == n.as_str()));
        if required.is_empty() {
            map.shift_remove("required");
        }
    }
    if map.get("additionalProperties").is_some_and(|a| is_true(a, "nullable")) {
        map.shift_remove("required");
    }
}
