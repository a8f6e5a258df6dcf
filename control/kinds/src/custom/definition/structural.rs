//! What makes a schema structural: every value has a type that does not depend on junctors (`apiserver/schema/validation.go`).
use orlop_schema::structural::{Additional, Structural};

use crate::field::{Errors, Path};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

pub(super) fn validate(node: &Structural, path: &Path<'_>, errors: &mut Errors) {
    let mut found = Errors::default();
    invariants(node, Level::Root, path, &mut found);
    complete(node, node, path, path, &mut found);
    found.0.sort_by_key(ToString::to_string);
    errors.extend(found.0);
}

fn invariants(node: &Structural, level: Level, path: &Path<'_>, errors: &mut Errors) {
    if node.ty == "array" && node.items.is_none() {
        errors.required(&path.child("items"), "must be specified");
    }
    if let Some(items) = &node.items {
        invariants(items, Level::Item, &path.child("items"), errors);
    }
    for (name, property) in &node.properties {
        let path = path.child("properties");
        invariants(property, Level::Field, &path.key(name), errors);
    }
    let additional = path.child("additionalProperties");
    if node.additional.is_some() && level == Level::Root {
        errors.forbidden(&additional, "must not be used at the root");
    }
    if let Some(Additional::Schema(schema)) = &node.additional {
        invariants(schema, Level::Field, &additional, errors);
    }
    if node.int_or_string && node.preserve_unknown {
        let detail = "must be false if x-kubernetes-int-or-string is true";
        errors.invalid(&path.child("x-kubernetes-preserve-unknown-fields"), true, detail);
    }
    if node.int_or_string && node.embedded {
        let detail = "must be false if x-kubernetes-int-or-string is true";
        errors.invalid(&path.child("x-kubernetes-embedded-resource"), true, detail);
    }
    let skip_any = is_int_or_string(&node.validation.any_of);
    let skip_first = node.validation.all_of.first().is_some_and(|first| is_int_or_string(&first.validation.any_of));
    junctors(node, skip_any, skip_first, path, errors);
    types(node, level, path, errors);
    metadata(node, level, path, errors);
}

fn types(node: &Structural, level: Level, path: &Path<'_>, errors: &mut Errors) {
    let ty = path.child("type");
    if node.embedded && node.ty != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        if node.ty.is_empty() {
            errors.required(&ty, detail);
        } else {
            errors.invalid(&ty, node.ty.as_str(), detail);
        }
    } else if node.ty.is_empty() && !node.int_or_string && !node.preserve_unknown {
        let detail = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.required(&ty, detail);
    }
    if node.embedded && node.additional.is_some() {
        let detail = "must not be used if x-kubernetes-embedded-resource is set";
        errors.forbidden(&path.child("additionalProperties"), detail);
    }
    if level == Level::Root && !node.ty.is_empty() && node.ty != "object" {
        errors.invalid(&ty, node.ty.as_str(), "must be object at the root");
    }
}

fn metadata(node: &Structural, level: Level, path: &Path<'_>, errors: &mut Errors) {
    let checked = level == Level::Root || node.embedded;
    let properties = path.child("properties");
    for name in ["kind", "apiVersion"] {
        if let Some(field) = node.properties.get(name).filter(|f| checked && f.ty != "string") {
            let path = properties.key(name);
            errors.invalid(&path.child("type"), field.ty.as_str(), "must be string");
        }
    }
    if let Some(metadata) = node.properties.get("metadata") {
        let path = properties.key("metadata");
        if checked && metadata.ty != "object" {
            errors.invalid(&path.child("type"), metadata.ty.as_str(), "must be object");
        }
        let only_names = metadata.properties.keys().all(|key| matches!(key.as_str(), "name" | "generateName"));
        let nothing_else = only_names
            && metadata.items.is_none()
            && metadata.additional.is_none()
            && metadata.description.is_empty()
            && metadata.title.is_empty()
            && !(metadata.nullable || metadata.preserve_unknown || metadata.embedded || metadata.int_or_string)
            && metadata.list_type.is_none()
            && metadata.map_type.is_none()
            && metadata.rules.is_empty()
            && says_nothing(metadata);
        if level == Level::Root && !nothing_else {
            let detail =
                "must not specify anything other than name and generateName, but metadata is implicitly specified";
            errors.forbidden(&path, detail);
        }
    }
    if node.embedded && !node.preserve_unknown && node.properties.is_empty() {
        let detail =
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.required(&properties, detail);
    }
}

fn says_nothing(node: &Structural) -> bool {
    let rules = &*node.validation;
    rules.format.is_empty()
        && rules.required.is_empty()
        && rules.values.is_empty()
        && rules.pattern.is_none()
        && rules.not.is_none()
        && rules.all_of.is_empty()
        && rules.any_of.is_empty()
        && rules.one_of.is_empty()
        && rules.max_properties.is_none()
        && rules.min_properties.is_none()
        && rules.max_length.is_none()
        && rules.min_length.is_none()
}

/// `anyOf: [{type: integer}, {type: string}]`, the one junctor that may speak of types.
fn is_int_or_string(any_of: &[Structural]) -> bool {
    let only = |node: &Structural, ty: &str| {
        node.ty == ty
            && node.properties.is_empty()
            && node.items.is_none()
            && node.default.is_none()
            && says_nothing(node)
    };
    matches!(any_of, [first, second] if only(first, "integer") && only(second, "string"))
}

fn junctors(node: &Structural, skip_any: bool, skip_first: bool, path: &Path<'_>, errors: &mut Errors) {
    let rules = &*node.validation;
    let list = |parts: &[Structural], name: &str, skip: bool, errors: &mut Errors| {
        for (at, part) in parts.iter().enumerate() {
            let path = path.child(name);
            nested(part, skip && at == 0, &path.index(at), errors);
        }
    };
    if !skip_any {
        list(&rules.any_of, "anyOf", false, errors);
    }
    list(&rules.all_of, "allOf", skip_first, errors);
    list(&rules.one_of, "oneOf", false, errors);
    if let Some(not) = &rules.not {
        nested(not, false, &path.child("not"), errors);
    }
    if let Some(pattern) = &rules.pattern
        && let Err(error) = pattern.check()
    {
        let detail = format!("must be a valid regular expression, but isn't: {error}");
        errors.invalid(&path.child("pattern"), pattern.as_str(), detail);
    }
}

/// A schema below a junctor restricts values; it may not say what they are.
fn nested(node: &Structural, skip_any: bool, path: &Path<'_>, errors: &mut Errors) {
    junctors(node, skip_any, false, path, errors);
    if let Some(items) = &node.items {
        nested(items, false, &path.child("items"), errors);
    }
    for (name, property) in &node.properties {
        let path = path.child("properties");
        nested(property, false, &path.key(name), errors);
    }
    let mut forbid = |wrong: bool, keyword: &str, detail: &str| {
        if wrong {
            errors.forbidden(&path.child(keyword), format!("must be {detail} to be structural"));
        }
    };
    forbid(!node.ty.is_empty(), "type", "empty");
    forbid(node.additional.is_some(), "additionalProperties", "undefined");
    forbid(node.default.is_some(), "default", "undefined");
    forbid(!node.title.is_empty(), "title", "empty");
    forbid(!node.description.is_empty(), "description", "empty");
    forbid(node.nullable, "nullable", "false");
    forbid(node.preserve_unknown, "x-kubernetes-preserve-unknown-fields", "false");
    forbid(node.embedded, "x-kubernetes-embedded-resource", "false");
    forbid(node.int_or_string, "x-kubernetes-int-or-string", "false");
    forbid(!node.list_map_keys.is_empty(), "x-kubernetes-list-map-keys", "empty");
    forbid(node.list_type.is_some(), "x-kubernetes-list-type", "undefined");
    forbid(node.map_type.is_some(), "x-kubernetes-map-type", "undefined");
    forbid(!node.rules.is_empty(), "x-kubernetes-validations", "empty");
    if node.properties.contains_key("metadata") {
        let path = path.child("properties");
        errors.forbidden(&path.key("metadata"), "must not be specified in a nested context");
    }
}

/// Every field that a junctor at the root names is named outside of it too; what stands deeper is not looked at.
fn complete(rules: &Structural, node: &Structural, node_path: &Path<'_>, rules_path: &Path<'_>, errors: &mut Errors) {
    if !std::ptr::eq(rules, node) {
        fields_complete(rules, node, node_path, rules_path, errors);
    }
    let rules = &*rules.validation;
    if let Some(not) = &rules.not {
        complete(not, node, node_path, &rules_path.child("not"), errors);
    }
    for (parts, name) in [(&rules.all_of, "allOf"), (&rules.any_of, "anyOf"), (&rules.one_of, "oneOf")] {
        for (at, part) in parts.iter().enumerate() {
            let path = rules_path.child(name);
            complete(part, node, node_path, &path.index(at), errors);
        }
    }
}

fn fields_complete(
    rules: &Structural,
    node: &Structural,
    node_path: &Path<'_>,
    rules_path: &Path<'_>,
    errors: &mut Errors,
) {
    match (&rules.items, &node.items) {
        (Some(items), Some(known)) => {
            complete(items, known, &node_path.child("items"), &rules_path.child("items"), errors);
        }
        (Some(_), None) => {
            let detail = format!("because it is defined in {}", rules_path.child("items"));
            errors.required(&node_path.child("items"), detail);
        }
        _ => {}
    }
    for (name, property) in &rules.properties {
        let (node_path, rules_path) = (node_path.child("properties"), rules_path.child("properties"));
        match node.properties.get(name) {
            Some(known) => complete(property, known, &node_path.key(name), &rules_path.key(name), errors),
            None => {
                let detail = format!("because it is defined in {}", rules_path.key(name));
                errors.required(&node_path.key(name), detail);
            }
        }
    }
}
