//! Reads a schema from its JSON.

use serde_json::{Map, Value};

use super::{Additional, Pattern, Structural, Unsupported, Validation};

/// Keywords that have no structural form.
const UNSUPPORTED: [(&str, &str); 7] = [
    ("id", "id"),
    ("$schema", "schema"),
    ("$ref", "$ref"),
    ("patternProperties", "patternProperties"),
    ("dependencies", "dependencies"),
    ("additionalItems", "additionalItems"),
    ("definitions", "definitions"),
];

impl Structural {
    /// Reads an `openAPIV3Schema`. What is of the wrong JSON type counts as absent: decoding has refused it before.
    pub fn parse(schema: &Value) -> Result<Self, Unsupported> {
        let Value::Object(map) = schema else { return Ok(Self::default()) };
        if let Some((_, name)) = UNSUPPORTED.iter().find(|(key, _)| map.get(*key).is_some_and(|v| !is_nothing(v))) {
            return Err(Unsupported(format!("'{name}' is not supported")));
        }
        let mut node = Self {
            ty: text(map, "type"),
            nullable: flag(map, "nullable"),
            default: map.get("default").filter(|v| !v.is_null()).cloned(),
            title: text(map, "title"),
            description: text(map, "description"),
            int_or_string: flag(map, "x-kubernetes-int-or-string"),
            preserve_unknown: flag(map, "x-kubernetes-preserve-unknown-fields"),
            embedded: flag(map, "x-kubernetes-embedded-resource"),
            list_type: map.get("x-kubernetes-list-type").and_then(Value::as_str).map(Into::into),
            list_map_keys: texts(map, "x-kubernetes-list-map-keys"),
            map_type: map.get("x-kubernetes-map-type").and_then(Value::as_str).map(Into::into),
            rules: map.get("x-kubernetes-validations").and_then(Value::as_array).cloned().unwrap_or_default(),
            validation: Box::new(validation(map)?),
            ..Self::default()
        };
        match map.get("items") {
            Some(Value::Array(_)) => return Err(Unsupported("'items' must be a schema, but is an array".into())),
            Some(items @ Value::Object(_)) => node.items = Some(Box::new(Self::parse(items)?)),
            _ => {}
        }
        for (name, property) in map.get("properties").and_then(Value::as_object).into_iter().flatten() {
            node.properties.insert(name.clone(), Self::parse(property)?);
        }
        node.additional = match map.get("additionalProperties") {
            Some(Value::Bool(allowed)) => Some(Additional::Allowed(*allowed)),
            Some(schema @ Value::Object(_)) => Some(Additional::Schema(Box::new(Self::parse(schema)?))),
            _ => None,
        };
        Ok(node)
    }
}

fn validation(map: &Map<String, Value>) -> Result<Validation, Unsupported> {
    let schemas = |key: &str| -> Result<Vec<Structural>, Unsupported> {
        map.get(key).and_then(Value::as_array).into_iter().flatten().map(Structural::parse).collect()
    };
    let number = |key: &str| map.get(key).and_then(Value::as_number).cloned();
    let integer = |key: &str| map.get(key).and_then(Value::as_i64);
    Ok(Validation {
        format: text(map, "format"),
        maximum: number("maximum"),
        exclusive_maximum: flag(map, "exclusiveMaximum"),
        minimum: number("minimum"),
        exclusive_minimum: flag(map, "exclusiveMinimum"),
        max_length: integer("maxLength"),
        min_length: integer("minLength"),
        pattern: map.get("pattern").and_then(Value::as_str).filter(|p| !p.is_empty()).map(Pattern::new),
        max_items: integer("maxItems"),
        min_items: integer("minItems"),
        unique_items: flag(map, "uniqueItems"),
        multiple_of: number("multipleOf"),
        max_properties: integer("maxProperties"),
        min_properties: integer("minProperties"),
        required: texts(map, "required"),
        values: map.get("enum").and_then(Value::as_array).cloned().unwrap_or_default(),
        not: map.get("not").filter(|v| v.is_object()).map(Structural::parse).transpose()?,
        all_of: schemas("allOf")?,
        any_of: schemas("anyOf")?,
        one_of: schemas("oneOf")?,
    })
}

fn text(map: &Map<String, Value>, key: &str) -> String {
    map.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn texts(map: &Map<String, Value>, key: &str) -> Vec<String> {
    let items = map.get(key).and_then(Value::as_array).into_iter().flatten();
    items.filter_map(|v| v.as_str().map(Into::into)).collect()
}

fn flag(map: &Map<String, Value>, key: &str) -> bool {
    map.get(key).and_then(Value::as_bool).unwrap_or(false)
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}
