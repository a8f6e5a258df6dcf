//! Affinity, tolerations and topology spreading.
use crate::field::{ErrorType, Errors, Path};
use crate::labels::validate_selector;
use crate::names;
use crate::value::{int, is_empty, items, strings, text};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

pub(super) fn validate_affinity(affinity: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (node, node_path) = (&affinity["nodeAffinity"], path.child("nodeAffinity"));
    if node[REQUIRED].is_object() {
        validate_node_selector(&node[REQUIRED], &node_path.child(REQUIRED), errors);
    }
    let preferred = node_path.child(PREFERRED);
    for (index, term) in items(&node[PREFERRED]).iter().enumerate() {
        let path = preferred.index(index);
        validate_weight(&term["weight"], &path, errors);
        validate_node_term(&term["preference"], false, &path.child("preference"), errors);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let (pods, path) = (&affinity[kind], path.child(kind));
        let required = path.child(REQUIRED);
        for (index, term) in items(&pods[REQUIRED]).iter().enumerate() {
            validate_pod_term(term, &required.index(index), errors);
        }
        let preferred = path.child(PREFERRED);
        for (index, term) in items(&pods[PREFERRED]).iter().enumerate() {
            let path = preferred.index(index);
            validate_weight(&term["weight"], &path, errors);
            validate_pod_term(&term["podAffinityTerm"], &path.child("podAffinityTerm"), errors);
        }
    }
}

fn validate_weight(weight: &Value, path: &Path<'_>, errors: &mut Errors) {
    if !(1..=100).contains(&int(weight)) {
        errors.invalid(&path.child("weight"), int(weight), "must be in the range 1-100");
    }
}

/// A NodeSelector, also of PersistentVolumes.
pub(crate) fn validate_node_selector(selector: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (terms, path) = (items(&selector["nodeSelectorTerms"]), path.child("nodeSelectorTerms"));
    if terms.is_empty() {
        errors.required(&path, "must have at least one node selector term");
    }
    for (index, term) in terms.iter().enumerate() {
        validate_node_term(term, true, &path.index(index), errors);
    }
}

fn validate_node_term(term: &Value, check_values: bool, path: &Path<'_>, errors: &mut Errors) {
    let expressions = path.child("matchExpressions");
    for (index, expression) in items(&term["matchExpressions"]).iter().enumerate() {
        validate_node_requirement(expression, check_values, &expressions.index(index), errors);
    }
    let fields = path.child("matchFields");
    for (index, field) in items(&term["matchFields"]).iter().enumerate() {
        let path = fields.index(index);
        let (key, values) = (text(&field["key"]), strings(&field["values"]));
        match text(&field["operator"]) {
            "In" | "NotIn" if values.len() != 1 => {
                let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                errors.required(&path.child("values"), detail);
            }
            "In" | "NotIn" => {}
            other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
        }
        if key != "metadata.name" {
            errors.invalid(&path.child("key"), key, "not a valid field selector key");
            continue;
        }
        let path = path.child("values");
        for (index, value) in values.into_iter().enumerate() {
            errors.invalid_each(&path.index(index), value, names::dns1123_subdomain(value));
        }
    }
}

fn validate_node_requirement(requirement: &Value, check_values: bool, path: &Path<'_>, errors: &mut Errors) {
    let (values, path_values) = (strings(&requirement["values"]), path.child("values"));
    match text(&requirement["operator"]) {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(&path_values, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errors.forbidden(&path_values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "Gt" | "Lt" if values.len() != 1 => {
            errors.required(&path_values, "must be specified single value when `operator` is 'Lt' or 'Gt'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
    }
    let key = text(&requirement["key"]);
    errors.invalid_each(&path.child("key"), key, names::qualified_name(key));
    for (index, value) in values.into_iter().enumerate().filter(|_| check_values) {
        errors.invalid_each(&path_values.index(index), value, names::label_value(value));
    }
}

fn validate_pod_term(term: &Value, path: &Path<'_>, errors: &mut Errors) {
    validate_selector(&term["labelSelector"], &path.child("labelSelector"), errors);
    validate_selector(&term["namespaceSelector"], &path.child("namespaceSelector"), errors);
    for namespace in strings(&term["namespaces"]) {
        errors.invalid_each(&path.child("namespace"), namespace, names::dns1123_label(namespace));
    }
    for list in ["matchLabelKeys", "mismatchLabelKeys"] {
        validate_label_keys(term, list, path, errors);
    }
    validate_twice_chosen(term, path, errors);
    let topology = text(&term["topologyKey"]);
    if topology.is_empty() {
        errors.required(&path.child("topologyKey"), "can not be empty");
    }
    errors.invalid_each(&path.child("topologyKey"), topology, names::qualified_name(topology));
}

fn validate_label_keys(term: &Value, list: &str, path: &Path<'_>, errors: &mut Errors) {
    let keys = strings(&term[list]);
    let path = path.child(list);
    if !keys.is_empty() && term["labelSelector"].is_null() {
        return errors.forbidden(&path, "must not be specified when labelSelector is not set");
    }
    for (index, key) in keys.into_iter().enumerate() {
        errors.invalid_each(&path.index(index), key, names::qualified_name(key));
    }
}

/// Keys of matchLabelKeys are expressions of the selector by now: a key that was there before is there twice.
fn validate_twice_chosen(term: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (matched, selector) = (strings(&term["matchLabelKeys"]), &term["labelSelector"]);
    let last: HashMap<&str, usize> = matched.iter().enumerate().map(|(index, key)| (*key, index)).collect();
    let mut seen: HashSet<&str> = crate::value::entries(&selector["matchLabels"]).map(|(key, _)| key).collect();
    for expression in items(&selector["matchExpressions"]) {
        let key = text(&expression["key"]);
        if let Some(index) = last.get(key)
            && seen.contains(key)
        {
            errors.invalid(&path.index(*index), key, "exists in both matchLabelKeys and labelSelector");
        }
        seen.insert(key);
    }
    let mismatched: HashSet<&str> = strings(&term["mismatchLabelKeys"]).into_iter().collect();
    let path = path.child("matchLabelKeys");
    for (index, key) in matched.into_iter().enumerate().filter(|(_, key)| mismatched.contains(key)) {
        errors.invalid(&path.index(index), key, "exists in both matchLabelKeys and mismatchLabelKeys");
    }
}

pub(super) fn validate_spread<'a>(constraints: &'a Value, path: &Path<'_>, errors: &mut Errors) {
    let constraints = items(constraints);
    let pair = |constraint: &'a Value| (text(&constraint["topologyKey"]), text(&constraint["whenUnsatisfiable"]));
    let last: HashMap<_, _> = constraints.iter().map(pair).zip(0..).collect();
    for (index, constraint) in constraints.iter().enumerate() {
        let path = path.index(index);
        let (topology, action) = pair(constraint);
        if int(&constraint["maxSkew"]) <= 0 {
            errors.invalid(&path.child("maxSkew"), int(&constraint["maxSkew"]), "must be greater than zero");
        }
        if topology.is_empty() {
            errors.required(&path.child("topologyKey"), "can not be empty");
        }
        if !matches!(action, "DoNotSchedule" | "ScheduleAnyway") {
            errors.not_supported(&path.child("whenUnsatisfiable"), action, &["DoNotSchedule", "ScheduleAnyway"]);
        }
        if last.get(&(topology, action)).is_some_and(|last| *last > index) {
            errors.duplicate(&path.child("{topologyKey, whenUnsatisfiable}"), format!("{{{topology}, {action}}}"));
        }
        let domains = &constraint["minDomains"];
        if !domains.is_null() {
            let path = path.child("minDomains");
            if int(domains) <= 0 {
                errors.invalid(&path, int(domains), "must be greater than zero");
            }
            if action != "DoNotSchedule" {
                let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
                errors.invalid(&path, int(domains), detail);
            }
        }
        for member in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            let policy = &constraint[member];
            if !policy.is_null() && !matches!(text(policy), "Honor" | "Ignore") {
                errors.not_supported(&path.child(member), text(policy), &["Honor", "Ignore"]);
            }
        }
        validate_label_keys(constraint, "matchLabelKeys", &path, errors);
        validate_twice_chosen(constraint, &path, errors);
        validate_selector(&constraint["labelSelector"], &path.child("labelSelector"), errors);
    }
}

pub(crate) fn validate_tolerations(tolerations: &Value, path: &Path<'_>, errors: &mut Errors) {
    for (index, toleration) in items(tolerations).iter().enumerate() {
        let path = path.index(index);
        let [key, operator, value, effect] =
            ["key", "operator", "value", "effect"].map(|member| text(&toleration[member]));
        if !key.is_empty() {
            errors.invalid_each(&path.child("key"), key, names::qualified_name(key));
        } else if operator != "Exists" {
            errors.invalid(
                &path.child("operator"),
                operator,
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            );
        }
        if !toleration["tolerationSeconds"].is_null() && effect != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.invalid(&path.child("effect"), effect, detail);
        }
        match operator {
            "Equal" | "" => {
                let wrong = names::label_value(value);
                if !wrong.is_empty() {
                    errors.invalid(&path.child("operator"), value, wrong.join(";"));
                }
            }
            "Exists" if !value.is_empty() => {
                errors.invalid(&path.child("operator"), value, "value must be empty when `operator` is 'Exists'");
            }
            "Exists" => {}
            "Lt" | "Gt" => {
                errors.not_supported(&path.child("operator"), operator, &["Equal", "Exists", "Lt", "Gt"]);
            }
            _ => errors.not_supported(&path.child("operator"), operator, &["Equal", "Exists"]),
        }
        if !effect.is_empty() && !EFFECTS.contains(&effect) {
            errors.not_supported(&path.child("effect"), effect, EFFECTS);
        }
    }
}

/// Updates may add tolerations and change how long one lasts.
pub(super) fn validate_only_added_tolerations(new: &Value, old: &Value, path: &Path<'_>, errors: &mut Errors) {
    let without_seconds = |toleration: &Value| {
        let mut toleration = toleration.clone();
        crate::value::remove(&mut toleration, "tolerationSeconds");
        toleration
    };
    let kept: HashSet<Value> = items(new).iter().map(without_seconds).collect();
    if items(old).iter().any(|toleration| !kept.contains(&without_seconds(toleration))) {
        errors.push(
            ErrorType::Forbidden,
            path,
            Value::Null,
            "existing toleration can not be modified except its tolerationSeconds",
        );
    } else if !is_empty(new) {
        validate_tolerations(new, path, errors);
    }
}
