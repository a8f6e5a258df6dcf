//! A Job's pod failure policy.
use crate::field::{ErrorType, Errors, Path};
use crate::names;
use crate::value::{int, items, text};
use serde_json::Value;
use std::collections::BTreeSet;

const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];

fn valid_values(values: &[&str]) -> String {
    let quoted: Vec<String> = values.iter().map(|value| crate::value::go_quote(value)).collect();
    format!("valid values: [{}]", quoted.join(" "))
}

pub(super) fn validate(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let rules = items(&spec["podFailurePolicy"]["rules"]);
    if rules.len() > 20 {
        errors.too_many(path, rules.len(), 20);
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = path.index(index);
        let action = text(&rule["action"]);
        let path_action = path.child("action");
        if action.is_empty() {
            errors.required(&path_action, valid_values(&ACTIONS));
        } else if action == "FailIndex" {
            if spec["backoffLimitPerIndex"].is_null() {
                errors.invalid(&path_action, action, "requires the backoffLimitPerIndex to be set");
            }
        } else if !ACTIONS.contains(&action) {
            errors.not_supported(&path_action, action, &ACTIONS);
        }
        let (codes, conditions) = (&rule["onExitCodes"], items(&rule["onPodConditions"]));
        if !codes.is_null() {
            validate_exit_codes(codes, spec, &path.child("onExitCodes"), errors);
        }
        validate_conditions(conditions, &path.child("onPodConditions"), errors);
        let detail = match (codes.is_null(), conditions.is_empty()) {
            (false, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
            (true, true) => "specifying one of OnExitCodes and OnPodConditions is required",
            _ => continue,
        };
        errors.push(ErrorType::InvalidUnshown, &path, Value::Null, detail);
    }
}

fn validate_conditions(patterns: &[Value], path: &Path<'_>, errors: &mut Errors) {
    const STATUSES: [&str; 3] = ["False", "True", "Unknown"];
    if patterns.len() > 20 {
        errors.too_many(path, patterns.len(), 20);
    }
    for (index, pattern) in patterns.iter().enumerate() {
        let path = path.index(index);
        let (kind, status) = (text(&pattern["type"]), text(&pattern["status"]));
        errors.invalid_each(&path.child("type"), kind, names::qualified_name(kind));
        if status.is_empty() {
            errors.required(&path.child("status"), valid_values(&STATUSES));
        } else if !STATUSES.contains(&status) {
            errors.not_supported(&path.child("status"), status, &STATUSES);
        }
    }
}

fn validate_exit_codes(codes: &Value, spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    const OPERATORS: [&str; 2] = ["In", "NotIn"];
    let operator = text(&codes["operator"]);
    if operator.is_empty() {
        errors.required(&path.child("operator"), valid_values(&OPERATORS));
    } else if !OPERATORS.contains(&operator) {
        errors.not_supported(&path.child("operator"), operator, &OPERATORS);
    }
    if let Some(name) = codes["containerName"].as_str() {
        let pod = &spec["template"]["spec"];
        let mut containers = items(&pod["containers"]).iter().chain(items(&pod["initContainers"]));
        if !containers.any(|container| text(&container["name"]) == name) {
            let detail = "must be one of the container or initContainer names in the pod template";
            errors.invalid(&path.child("containerName"), name, detail);
        }
    }
    let (values, path) = (items(&codes["values"]), path.child("values"));
    match values.len() {
        0 => errors.invalid(&path, codes["values"].clone(), "at least one value is required"),
        1..=255 => {}
        many => errors.too_many(&path, many, 255),
    }
    let mut seen = BTreeSet::new();
    for (index, value) in values.iter().map(int).enumerate() {
        if operator == "In" && value == 0 {
            errors.invalid(&path.index(index), value, "must not be 0 for the In operator");
        }
        if !seen.insert(value) {
            errors.duplicate(&path.index(index), value);
        }
    }
    if !values.is_sorted_by_key(int) {
        errors.invalid(&path, codes["values"].clone(), "must be ordered");
    }
}
