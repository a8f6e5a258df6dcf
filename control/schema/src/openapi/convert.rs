//! A v2 document as one of v3 (`kube-openapi/pkg/openapiconv`), for servers that know v2 alone. What was referred to outside of the
//! definitions stands in its place, so that nothing is referred to that is not there.

use serde_json::{Map, Value, json};

const DEFINITION: &str = "#/definitions/";
const PARAMETER: &str = "#/parameters/";
const METHODS: [&str; 7] = ["get", "put", "post", "delete", "options", "head", "patch"];

/// The document of v3 that says what a [`part`](super::v2::part) of one of v2 does.
pub(super) fn convert(part: &Value) -> Value {
    let convert = Convert { parameters: &part["parameters"] };
    let entries = |member: &str| part[member].as_object().into_iter().flatten();
    let paths: Map<String, Value> = entries("paths").map(|(path, item)| (path.clone(), convert.item(item))).collect();
    let schemas: Map<String, Value> =
        entries("definitions").map(|(name, definition)| (name.clone(), schema(definition))).collect();
    json!({"openapi": "3.0.0", "info": part["info"], "paths": paths, "components": {"schemas": schemas}})
}

struct Convert<'a> {
    parameters: &'a Value,
}

impl Convert<'_> {
    fn item(&self, item: &Value) -> Value {
        let mut out = extensions(item);
        for method in METHODS {
            if let Some(operation) = item.get(method).filter(|operation| operation.is_object()) {
                out.insert(method.into(), self.operation(operation));
            }
        }
        let parameters: Vec<Value> = self.parameters(item).filter(|p| !is_body(p)).map(parameter).collect();
        if !parameters.is_empty() {
            out.insert("parameters".into(), parameters.into());
        }
        out.into()
    }

    fn operation(&self, operation: &Value) -> Value {
        let mut out = extensions(operation);
        for member in ["tags", "summary", "description", "externalDocs", "operationId", "deprecated"] {
            if let Some(value) = operation.get(member) {
                out.insert(member.into(), value.clone());
            }
        }
        if let Some(body) = self.parameters(operation).find(|p| is_body(p)) {
            out.insert("requestBody".into(), json!({"content": content(&operation["consumes"], &body["schema"])}));
        }
        let parameters: Vec<Value> = self.parameters(operation).filter(|p| !is_body(p)).map(parameter).collect();
        if !parameters.is_empty() {
            out.insert("parameters".into(), parameters.into());
        }
        let answers = operation["responses"].as_object().into_iter().flatten();
        let answers = answers.map(|(code, answer)| {
            let mut out = extensions(answer);
            out.insert("description".into(), answer["description"].clone());
            if let Some(schema) = answer.get("schema") {
                out.insert("content".into(), content(&operation["produces"], schema));
            }
            (code.clone(), out.into())
        });
        out.insert("responses".into(), Value::Object(answers.collect()));
        out.into()
    }

    /// Of a path or an operation, those that are referred to as well.
    fn parameters<'b>(&'b self, of: &'b Value) -> impl Iterator<Item = &'b Value> {
        of["parameters"].as_array().into_iter().flatten().filter_map(|parameter| {
            match parameter.get("$ref").and_then(Value::as_str) {
                Some(reference) => self.parameters.get(reference.strip_prefix(PARAMETER)?),
                None => Some(parameter),
            }
        })
    }
}

fn is_body(parameter: &Value) -> bool {
    parameter["in"] == "body"
}

/// `x-…` members.
fn extensions(of: &Value) -> Map<String, Value> {
    let members = of.as_object().into_iter().flatten().filter(|(name, _)| name.starts_with("x-"));
    members.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// One schema in each of some media types.
fn content(media: &Value, of: &Value) -> Value {
    let media = media.as_array().into_iter().flatten().filter_map(Value::as_str);
    Value::Object(media.map(|media| (media.to_owned(), json!({"schema": schema(of)}))).collect())
}

/// Whose type is part of its schema.
fn parameter(of: &Value) -> Value {
    let mut out = extensions(of);
    let mut typed = Map::new();
    for (name, value) in of.as_object().into_iter().flatten() {
        match name.as_str() {
            "name" | "in" | "description" | "required" | "allowEmptyValue" => {
                drop(out.insert(name.clone(), value.clone()))
            }
            "type" | "format" | "uniqueItems" => drop(typed.insert(name.clone(), value.clone())),
            _ => {}
        }
    }
    out.insert("schema".into(), of.get("schema").map_or_else(|| typed.into(), schema));
    out.into()
}

/// References lead elsewhere, and nothing may stand beside them.
fn schema(of: &Value) -> Value {
    let Some(members) = of.as_object() else { return of.clone() };
    let mut out: Map<String, Value> = members
        .iter()
        .map(|(name, value)| {
            let value = match (name.as_str(), value) {
                ("$ref", Value::String(reference)) => match reference.strip_prefix(DEFINITION) {
                    Some(name) => format!("#/components/schemas/{name}").into(),
                    None => value.clone(),
                },
                ("properties" | "patternProperties", Value::Object(properties)) => {
                    Value::Object(properties.iter().map(|(name, value)| (name.clone(), schema(value))).collect())
                }
                ("items" | "additionalProperties" | "additionalItems" | "not", Value::Object(_)) => schema(value),
                ("items" | "allOf" | "anyOf" | "oneOf", Value::Array(schemas)) => schemas.iter().map(schema).collect(),
                _ => value.clone(),
            };
            (name.clone(), value)
        })
        .collect();
    if out.len() > 1
        && let Some(reference) = out.shift_remove("$ref")
    {
        out.insert("allOf".into(), json!([{"$ref": reference}]));
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_of_v2_says_the_same_in_v3() {
        let thing = json!({"$ref": "#/definitions/Thing"});
        let name = json!({"name": "name", "in": "path", "required": true, "type": "string", "uniqueItems": true});
        let part = json!({
            "info": {"title": "things", "version": "1"},
            "paths": {"/apis/g/v1/things/{name}": {
                "put": {
                    "operationId": "replaceThing", "tags": ["g_v1"], "x-kubernetes-action": "put", "schemes": ["https"],
                    "consumes": ["*/*"], "produces": ["application/json", "application/yaml"],
                    "parameters": [{"$ref": "#/parameters/body-1"}, {"$ref": "#/parameters/dry"}, {"$ref": "#/parameters/none"}],
                    "responses": {"200": {"description": "OK", "schema": thing}, "401": {"description": "Unauthorized"}},
                },
                "parameters": [name],
            }},
            "parameters": {
                "body-1": {"name": "body", "in": "body", "required": true, "schema": thing},
                "dry": {"name": "dryRun", "in": "query", "type": "string", "description": "Dry."},
            },
            "definitions": {"Thing": {
                "type": "object", "default": {"$ref": "#/definitions/Thing"},
                "properties": {
                    "default": thing,
                    "one": {"$ref": "#/definitions/Thing", "description": "One."},
                    "many": {"type": "array", "items": thing},
                    "map": {"type": "object", "additionalProperties": thing},
                },
            }},
        });
        let there = json!({"$ref": "#/components/schemas/Thing"});
        assert_eq!(
            convert(&part),
            json!({
                "openapi": "3.0.0", "info": {"title": "things", "version": "1"},
                "paths": {"/apis/g/v1/things/{name}": {
                    "put": {
                        "operationId": "replaceThing", "tags": ["g_v1"], "x-kubernetes-action": "put",
                        "requestBody": {"content": {"*/*": {"schema": there}}},
                        "parameters": [{"name": "dryRun", "in": "query", "description": "Dry.", "schema": {"type": "string"}}],
                        "responses": {
                            "200": {"description": "OK", "content":
                                {"application/json": {"schema": there}, "application/yaml": {"schema": there}}},
                            "401": {"description": "Unauthorized"},
                        },
                    },
                    "parameters": [{"name": "name", "in": "path", "required": true,
                        "schema": {"type": "string", "uniqueItems": true}}],
                }},
                "components": {"schemas": {"Thing": {
                    "type": "object", "default": {"$ref": "#/definitions/Thing"},
                    "properties": {
                        "default": there,
                        "one": {"description": "One.", "allOf": [there]},
                        "many": {"type": "array", "items": there},
                        "map": {"type": "object", "additionalProperties": there},
                    },
                }}},
            })
        );
    }
}
