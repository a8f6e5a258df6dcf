//! What Kubernetes checks of webhook configurations (`pkg/apis/admissionregistration/validation`).
use crate::field::{Errors, Path};
use crate::labels::validate_selector;
use crate::names;
use crate::value::{int, items, same, strings, text};
use orlop_cel::admission::Compiler;
use serde_json::Value;
use std::collections::BTreeSet;

mod client_config;
pub(crate) mod policies;
mod rules;

const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const HARMLESS: [&str; 2] = ["None", "NoneOnDryRun"];
const SIDE_EFFECTS: [&str; 4] = ["None", "NoneOnDryRun", "Some", "Unknown"];
const MAX_CONDITIONS: usize = 64;

/// What an update need not mend because it was wrong before.
struct Options {
    harmless: bool,
    known_review_version: bool,
    unique_names: bool,
    conditions: bool,
}

impl Options {
    fn new(new: &Value, old: Option<&Value>) -> Self {
        let Some(old) = old else {
            return Self { harmless: true, known_review_version: true, unique_names: true, conditions: true };
        };
        let hooks = items(&old["webhooks"]);
        let names: BTreeSet<&str> = hooks.iter().map(|hook| text(&hook["name"])).collect();
        let new_hooks = items(&new["webhooks"]);
        let same_conditions = hooks.len() == new_hooks.len()
            && hooks.iter().zip(new_hooks).all(|(old, new)| same(&old["matchConditions"], &new["matchConditions"]));
        Self {
            harmless: hooks.iter().all(|hook| HARMLESS.contains(&text(&hook["sideEffects"]))),
            known_review_version: hooks.iter().all(|hook| {
                let versions = strings(&hook["admissionReviewVersions"]);
                versions.is_empty() || versions.iter().any(|v| REVIEW_VERSIONS.contains(v))
            }),
            unique_names: names.len() == hooks.len(),
            conditions: !same_conditions,
        }
    }
}

pub(super) fn validate(configuration: &Value, old: Option<&Value>, errors: &mut Errors) {
    let options = Options::new(configuration, old);
    let root = Path::new("webhooks");
    let mut seen = BTreeSet::new();
    for (index, hook) in items(&configuration["webhooks"]).iter().enumerate() {
        let path = root.index(index);
        validate_webhook(hook, &options, &path, errors);
        validate_review_versions(hook, &options, &path.child("admissionReviewVersions"), errors);
        let name = text(&hook["name"]);
        if options.unique_names && !name.is_empty() && !seen.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
    }
}

fn validate_webhook(hook: &Value, options: &Options, path: &Path<'_>, errors: &mut Errors) {
    qualified(text(&hook["name"]), &path.child("name"), errors);
    let rules = path.child("rules");
    for (index, rule) in items(&hook["rules"]).iter().enumerate() {
        rules::validate_rule_with_operations(rule, &rules.index(index), errors);
    }
    one_of(hook, "failurePolicy", &["Fail", "Ignore"], path, errors);
    one_of(hook, "matchPolicy", &["Equivalent", "Exact"], path, errors);
    let allowed: &[&str] = if options.harmless { &HARMLESS } else { &SIDE_EFFECTS };
    if hook["sideEffects"].is_null() {
        errors.required(&path.child("sideEffects"), format!("must specify one of {}", allowed.join(", ")));
    }
    one_of(hook, "sideEffects", allowed, path, errors);
    let timeout = &hook["timeoutSeconds"];
    if !timeout.is_null() && !(1..=30).contains(&int(timeout)) {
        let path = path.child("timeoutSeconds");
        errors.invalid(&path, timeout.clone(), "the timeout value must be between 1 and 30 seconds");
    }
    for selector in ["namespaceSelector", "objectSelector"] {
        validate_selector(&hook[selector], &path.child(selector), errors);
    }
    one_of(hook, "reinvocationPolicy", &["IfNeeded", "Never"], path, errors);
    client_config::validate(&hook["clientConfig"], &path.child("clientConfig"), errors);
    if options.conditions {
        let path = path.child("matchConditions");
        validate_conditions(&hook["matchConditions"], &path, errors);
        policies::compile_conditions(&hook["matchConditions"], &Compiler::new(false), &path, errors);
    }
}

/// `IsFullyQualifiedName`.
fn qualified(name: &str, path: &Path<'_>, errors: &mut Errors) {
    let wrong = names::dns1123_subdomain(name);
    if name.is_empty() {
        errors.required(path, "");
    } else if !wrong.is_empty() {
        errors.invalid(path, name, wrong.join(","));
    } else if name.split('.').count() < 3 {
        errors.invalid(path, name, "should be a domain with at least three segments separated by dots");
    }
}

fn one_of(object: &Value, field: &str, allowed: &[&str], path: &Path<'_>, errors: &mut Errors) {
    let value = &object[field];
    if !value.is_null() && !allowed.contains(&text(value)) {
        errors.not_supported(&path.child(field), value.clone(), allowed);
    }
}

fn validate_review_versions(hook: &Value, options: &Options, path: &Path<'_>, errors: &mut Errors) {
    let versions = strings(&hook["admissionReviewVersions"]);
    let known = REVIEW_VERSIONS.join(", ");
    if versions.is_empty() {
        errors.required(path, format!("must specify one of {known}"));
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, version) in versions.iter().enumerate() {
        let path = path.index(index);
        if seen.insert(version) {
            errors.invalid_each(&path, version, names::dns1035_label(version));
        } else {
            errors.invalid(&path, *version, "duplicate version");
        }
    }
    if options.known_review_version && !versions.iter().any(|v| REVIEW_VERSIONS.contains(v)) {
        errors.invalid(path, hook["admissionReviewVersions"].clone(), format!("must include at least one of {known}"));
    }
}

/// The form of match conditions.
fn validate_conditions(conditions: &Value, path: &Path<'_>, errors: &mut Errors) {
    let conditions = items(conditions);
    if conditions.len() > MAX_CONDITIONS {
        errors.too_many(path, conditions.len(), MAX_CONDITIONS);
    }
    let mut seen = BTreeSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        let name = text(&condition["name"]);
        if text(&condition["expression"]).trim().is_empty() {
            errors.required(&path.child("expression"), "");
        }
        if name.is_empty() {
            errors.required(&path.child("name"), "");
            continue;
        }
        errors.invalid_each(&path.child("name"), name, names::qualified_name(name));
        if !seen.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
    }
}

/// A list of words as Go prints it: `["a","b"]`.
fn list(words: &[&str]) -> Value {
    Value::Array(words.iter().map(|word| (*word).into()).collect())
}

#[cfg(test)]
mod tests;
