//! Rules: which operations on which resources.
use super::list;
use crate::field::{Errors, Path};
use crate::value::{strings, text};
use serde_json::Value;
use std::collections::BTreeSet;

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: [&str; 3] = ["*", "Cluster", "Namespaced"];

pub(super) fn validate_rule_with_operations(rule: &Value, path: &Path<'_>, errors: &mut Errors) {
    let operations = strings(&rule["operations"]);
    let at = path.child("operations");
    if operations.is_empty() {
        errors.required(&at, "");
    }
    if operations.len() > 1 && operations.contains(&"*") {
        errors.invalid(&at, list(&operations), "if '*' is present, must not specify other operations");
    }
    for (index, operation) in operations.iter().enumerate() {
        if !OPERATIONS.contains(operation) {
            errors.not_supported(&at.index(index), *operation, &OPERATIONS);
        }
    }
    validate_rule(rule, path, errors);
}

/// The part of a rule that names resources.
fn validate_rule(rule: &Value, path: &Path<'_>, errors: &mut Errors) {
    for (field, what) in [("apiGroups", "API groups"), ("apiVersions", "API versions")] {
        let words = strings(&rule[field]);
        let path = path.child(field);
        if words.is_empty() {
            errors.required(&path, "");
        }
        if words.len() > 1 && words.contains(&"*") {
            errors.invalid(&path, list(&words), format!("if '*' is present, must not specify other {what}"));
        }
        if field == "apiVersions" {
            for (index, _) in words.iter().enumerate().filter(|(_, word)| word.is_empty()) {
                errors.required(&path.index(index), "");
            }
        }
    }
    validate_resources(&strings(&rule["resources"]), &path.child("resources"), errors);
    let scope = &rule["scope"];
    if !scope.is_null() && !SCOPES.contains(&text(scope)) {
        errors.not_supported(&path.child("scope"), scope.clone(), &SCOPES);
    }
}

fn validate_resources(resources: &[&str], path: &Path<'_>, errors: &mut Errors) {
    if resources.is_empty() {
        errors.required(path, "");
    }
    let (mut any_sub_of, mut sub_of_any) = (BTreeSet::new(), BTreeSet::new());
    let mut plain = false;
    for (index, resource) in resources.iter().enumerate() {
        let path = path.index(index);
        if resource.is_empty() {
            errors.required(&path, "");
            continue;
        }
        let Some((name, sub)) = resource.split_once('/') else {
            plain = *resource != "*";
            continue;
        };
        if any_sub_of.contains(name) {
            errors.invalid(&path, *resource, format!("if '{name}/*' is present, must not specify {resource}"));
        }
        if sub_of_any.contains(sub) {
            errors.invalid(&path, *resource, format!("if '*/{sub}' is present, must not specify {resource}"));
        }
        if sub == "*" {
            any_sub_of.insert(name);
        }
        if name == "*" {
            sub_of_any.insert(sub);
        }
    }
    if resources.len() > 1 && resources.contains(&"*/*") {
        errors.invalid(path, list(resources), "if '*/*' is present, must not specify other resources");
    }
    if resources.contains(&"*") && plain {
        let detail = "if '*' is present, must not specify other resources without subresources";
        errors.invalid(path, list(resources), detail);
    }
}
