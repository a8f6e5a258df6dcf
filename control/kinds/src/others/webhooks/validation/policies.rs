//! What Kubernetes checks of admission policies and their bindings (`pkg/apis/admissionregistration/validation`). Expressions
//! are compiled here, against objects of any kind.
use super::rules;
use super::{one_of, validate_conditions};
use crate::field::{Errors, Path};
use crate::labels::validate_selector;
use crate::names;
use crate::value::{items, same, text};
use orlop_cel::Type;
use orlop_cel::admission::Compiler;
use serde_json::Value;
use std::collections::BTreeSet;

const OPERATIONS: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];
const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];
const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
const MAX_AUDIT_ANNOTATIONS: usize = 20;
const MAX_VALUE_EXPRESSION: usize = 5 * 1024;

/// A ValidatingAdmissionPolicy; `old` is what an update replaces.
pub(crate) fn validate_validating(policy: &Value, old: Option<&Value>, errors: &mut Errors) {
    let (root, spec) = (Path::new("spec"), &policy["spec"]);
    let mut compiler = Compiler::new(!spec["paramKind"].is_null());
    validate_common(policy, old, &mut compiler, &root, errors);
    let (validations, annotations) = (items(&spec["validations"]), items(&spec["auditAnnotations"]));
    if validations.is_empty() && annotations.is_empty() {
        let detail = "validations or auditAnnotations must contain at least one item";
        errors.required(&root.child("validations"), detail);
        errors.required(&root.child("auditAnnotations"), detail);
    }
    let path = root.child("validations");
    for (index, validation) in validations.iter().enumerate() {
        validate_validation(validation, &compiler, &path.index(index), errors);
    }
    let path = root.child("auditAnnotations");
    if annotations.len() > MAX_AUDIT_ANNOTATIONS {
        let detail = format!("must not have more than {MAX_AUDIT_ANNOTATIONS} auditAnnotations");
        errors.invalid(&path, spec["auditAnnotations"].clone(), detail);
    }
    let mut keys = BTreeSet::new();
    for (index, annotation) in annotations.iter().enumerate() {
        let path = path.index(index);
        validate_annotation(policy, annotation, &compiler, &path, errors);
        let key = text(&annotation["key"]);
        if !keys.insert(key) {
            errors.duplicate(&path.child("key"), key);
        }
    }
}

/// A MutatingAdmissionPolicy.
pub(crate) fn validate_mutating(policy: &Value, old: Option<&Value>, errors: &mut Errors) {
    let (root, spec) = (Path::new("spec"), &policy["spec"]);
    let mut compiler = Compiler::new(!spec["paramKind"].is_null()).with_patch_types();
    for rule in items(&spec["matchConstraints"]["resourceRules"]) {
        for operation in items(&rule["operations"]).iter().filter(|o| !OPERATIONS.contains(&text(o))) {
            let (path, rules) = (root.child("matchConstraints"), "resourceRules");
            errors.not_supported(&path.child(rules).child("operations"), operation.clone(), &OPERATIONS);
        }
    }
    validate_common(policy, old, &mut compiler, &root, errors);
    let mutations = items(&spec["mutations"]);
    if mutations.is_empty() {
        errors.required(&root.child("mutations"), "mutations must contain at least one item");
    }
    let path = root.child("mutations");
    for (index, mutation) in mutations.iter().enumerate() {
        validate_mutation(mutation, &compiler, &path.index(index), errors);
    }
    match text(&spec["reinvocationPolicy"]) {
        "" => errors.required(&root.child("reinvocationPolicy"), ""),
        _ => one_of(spec, "reinvocationPolicy", &["IfNeeded", "Never"], &root, errors),
    }
}

/// A binding of either.
pub(crate) fn validate_binding(binding: &Value, validating: bool, errors: &mut Errors) {
    let (root, spec) = (Path::new("spec"), &binding["spec"]);
    match text(&spec["policyName"]) {
        "" => errors.required(&root.child("policyName"), ""),
        name => errors.invalid_each(&root.child("policyName"), name, names::dns1123_subdomain(name)),
    }
    validate_param_ref(&spec["paramRef"], &root.child("paramRef"), errors);
    if !spec["matchResources"].is_null() {
        validate_match_resources(&spec["matchResources"], &root.child("matchResources"), errors);
    }
    if !validating {
        return;
    }
    let (path, actions) = (root.child("validationActions"), items(&spec["validationActions"]));
    if actions.is_empty() {
        errors.required(&path, "at least one validation action is required");
    }
    let mut seen = BTreeSet::new();
    for (index, action) in actions.iter().enumerate() {
        if !ACTIONS.contains(&text(action)) {
            errors.not_supported(&path.index(index), action.clone(), &ACTIONS);
        }
        if !seen.insert(text(action)) {
            errors.duplicate(&path.index(index), action.clone());
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        errors.invalid(&path, spec["validationActions"].clone(), detail);
    }
}

fn validate_common(policy: &Value, old: Option<&Value>, compiler: &mut Compiler, root: &Path<'_>, errors: &mut Errors) {
    let spec = &policy["spec"];
    match &spec["failurePolicy"] {
        Value::Null => errors.required(&root.child("failurePolicy"), ""),
        _ => one_of(spec, "failurePolicy", &["Fail", "Ignore"], root, errors),
    }
    if !spec["paramKind"].is_null() {
        validate_param_kind(&spec["paramKind"], &root.child("paramKind"), errors);
    }
    let path = root.child("matchConstraints");
    if spec["matchConstraints"].is_null() {
        errors.required(&path, "");
    } else {
        validate_match_resources(&spec["matchConstraints"], &path, errors);
        if items(&spec["matchConstraints"]["resourceRules"]).is_empty() {
            errors.required(&path.child("resourceRules"), "");
        }
    }
    if !old.is_some_and(|old| same(&old["spec"]["matchConditions"], &spec["matchConditions"])) {
        let path = root.child("matchConditions");
        validate_conditions(&spec["matchConditions"], &path, errors);
        compile_conditions(&spec["matchConditions"], compiler, &path, errors);
    }
    let path = root.child("variables");
    for (index, variable) in items(&spec["variables"]).iter().enumerate() {
        let path = path.index(index);
        let (name, source) = (text(&variable["name"]), text(&variable["expression"]));
        if name.is_empty() {
            errors.required(&path.child("name"), "name is not specified");
        } else if !is_identifier(name) {
            errors.invalid(&path.child("name"), name, "must be a valid CEL identifier");
        }
        if source.trim().is_empty() {
            errors.required(&path.child("expression"), "expression is not specified");
        } else if let Err(detail) = compiler.variable(name, source) {
            errors.invalid(&path.child("expression"), source, detail);
        }
    }
}

/// Whether each condition compiles to a bool.
pub(crate) fn compile_conditions(conditions: &Value, compiler: &Compiler, path: &Path<'_>, errors: &mut Errors) {
    for (index, condition) in items(conditions).iter().enumerate() {
        let source = text(&condition["expression"]);
        compile(compiler, source, &[Type::Bool], true, &path.index(index).child("expression"), errors);
    }
}

fn compile(
    compiler: &Compiler,
    source: &str,
    outputs: &[Type],
    authorizer: bool,
    path: &Path<'_>,
    errors: &mut Errors,
) {
    if source.trim().is_empty() {
        return;
    }
    if let Err(detail) = compiler.compile(source, outputs, authorizer) {
        errors.invalid(path, source, detail);
    }
}

fn validate_validation(validation: &Value, compiler: &Compiler, path: &Path<'_>, errors: &mut Errors) {
    let breaks = |s: &str| s.contains(['\n', '\r']);
    let (source, message) = (text(&validation["expression"]), text(&validation["message"]));
    let expression = text(&validation["messageExpression"]);
    if source.trim().is_empty() {
        errors.required(&path.child("expression"), "expression is not specified");
    } else {
        compile(compiler, source, &[Type::Bool], true, &path.child("expression"), errors);
    }
    if !expression.is_empty() && expression.trim().is_empty() {
        errors.invalid(&path.child("messageExpression"), expression, "must be non-empty if specified");
    } else {
        compile(compiler, expression, &[Type::String], false, &path.child("messageExpression"), errors);
    }
    if !message.is_empty() && message.trim().is_empty() {
        errors.invalid(&path.child("message"), message, "must be non-empty if specified");
    } else if breaks(message.trim()) {
        errors.invalid(&path.child("message"), message, "must not contain line breaks");
    } else if breaks(source.trim()) && message.trim().is_empty() {
        errors.required(&path.child("message"), "message must be specified if expression contains line breaks");
    }
    one_of(validation, "reason", &REASONS, path, errors);
}

fn validate_annotation(policy: &Value, annotation: &Value, compiler: &Compiler, path: &Path<'_>, errors: &mut Errors) {
    let (name, key) = (text(&policy["metadata"]["name"]), text(&annotation["key"]));
    match name.is_empty() {
        true => errors.invalid(&path.child("key"), key, "requires metadata.name be non-empty"),
        false => {
            let full = format!("{name}/{key}");
            errors.invalid_each(&path.child("key"), &full, names::qualified_name(&full));
        }
    }
    let (path, source) = (path.child("valueExpression"), text(&annotation["valueExpression"]));
    match source.trim() {
        "" => errors.required(&path, "valueExpression is not specified"),
        long if long.len() > MAX_VALUE_EXPRESSION => {
            errors.required(&path, format!("must not exceed {MAX_VALUE_EXPRESSION} bytes in length"));
        }
        trimmed => {
            if let Err(detail) = compiler.compile(trimmed, &[Type::String, Type::Null], true) {
                errors.invalid(&path, source, detail);
            }
        }
    }
}

fn validate_mutation(mutation: &Value, compiler: &Compiler, path: &Path<'_>, errors: &mut Errors) {
    let (field, other, outputs): (&str, &str, Vec<Type>) = match text(&mutation["patchType"]) {
        "ApplyConfiguration" => ("applyConfiguration", "jsonPatch", vec![Type::object("Object")]),
        "JSONPatch" => ("jsonPatch", "applyConfiguration", vec![Type::list(Type::object("JSONPatch"))]),
        "" => return errors.required(&path.child("patchType"), ""),
        _ => return one_of(mutation, "patchType", &["ApplyConfiguration", "JSONPatch"], path, errors),
    };
    let patch = text(&mutation["patchType"]);
    if !mutation[other].is_null() {
        let detail = format!("must not be specified when patchType is {patch}");
        errors.invalid(&path.child(other), format!("{{{other}}}"), detail);
    }
    let at = path.child(field);
    if mutation[field].is_null() {
        return errors.required(&at, format!("must be specified when patchType is {patch}"));
    }
    let source = text(&mutation[field]["expression"]);
    match source.trim() {
        "" => errors.required(&at.child("expression"), ""),
        _ => compile(compiler, source, &outputs, true, &at.child("expression"), errors),
    }
}

fn validate_match_resources(resources: &Value, path: &Path<'_>, errors: &mut Errors) {
    match &resources["matchPolicy"] {
        Value::Null => errors.required(&path.child("matchPolicy"), ""),
        _ => one_of(resources, "matchPolicy", &["Equivalent", "Exact"], path, errors),
    }
    for selector in ["namespaceSelector", "objectSelector"] {
        match &resources[selector] {
            Value::Null => errors.required(&path.child(selector), ""),
            value => validate_selector(value, &path.child(selector), errors),
        }
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        let path = path.child(list);
        for (index, rule) in items(&resources[list]).iter().enumerate() {
            let path = path.index(index);
            rules::validate_rule_with_operations(rule, &path, errors);
            let mut seen = BTreeSet::new();
            let at = path.child("resourceNames");
            for (index, name) in items(&rule["resourceNames"]).iter().enumerate() {
                errors.invalid_each(&at.index(index), text(name), names::path_segment(text(name)));
                if !seen.insert(text(name)) {
                    errors.duplicate(&at.index(index), name.clone());
                }
            }
        }
    }
}

fn validate_param_kind(kind: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (at, version) = (path.child("apiVersion"), text(&kind["apiVersion"]));
    let (group, own) = version.split_once('/').unwrap_or(("", version));
    if version.is_empty() {
        errors.required(&at, "");
    } else if own.contains('/') {
        errors.invalid(&at, version, format!("unexpected GroupVersion string: {version}"));
    } else {
        if !group.is_empty() {
            let wrong = names::dns1123_subdomain(group);
            if !wrong.is_empty() {
                errors.invalid(&at, group, wrong.join(","));
            }
        }
        let wrong = names::dns1035_label(own);
        if own.is_empty() {
            errors.invalid(&at, version, "version must be specified");
        } else if !wrong.is_empty() {
            errors.invalid(&at, own, wrong.join(","));
        }
    }
    let (at, name) = (path.child("kind"), text(&kind["kind"]));
    let wrong = names::dns1035_label(&name.to_lowercase());
    if name.is_empty() {
        errors.required(&at, "");
    } else if !wrong.is_empty() {
        errors.invalid(&at, name, format!("may have mixed case, but should otherwise match: {}", wrong.join(",")));
    }
}

fn validate_param_ref(reference: &Value, path: &Path<'_>, errors: &mut Errors) {
    if reference.is_null() {
        return;
    }
    let (name, selector) = (text(&reference["name"]), &reference["selector"]);
    const EXCLUSIVE: &str = "name and selector are mutually exclusive";
    if !name.is_empty() {
        errors.invalid_each(&path.child("name"), name, names::path_segment(name));
        if !selector.is_null() {
            errors.forbidden(&path.child("name"), EXCLUSIVE);
        }
    }
    if !selector.is_null() {
        validate_selector(selector, &path.child("selector"), errors);
        if !name.is_empty() {
            errors.forbidden(&path.child("selector"), EXCLUSIVE);
        }
    }
    if name.is_empty() && selector.is_null() {
        errors.required(path, "one of name or selector must be specified");
    }
    match text(&reference["parameterNotFoundAction"]) {
        "" => errors.required(&path.child("parameterNotFoundAction"), ""),
        _ => one_of(reference, "parameterNotFoundAction", &["Deny", "Allow"], path, errors),
    }
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !orlop_cel::is_keyword(name)
}

#[cfg(test)]
mod tests;
