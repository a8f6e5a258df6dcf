//! What FlowSchemas and PriorityLevelConfigurations must satisfy (`pkg/apis/flowcontrol/validation`).
use super::bootstrap;
use crate::field::{Errors, Path};
use crate::names::{dns1123_label, dns1123_subdomain};
use crate::value::{int, items, same, strings, text};
use serde_json::Value;

const VERBS: [&str; 9] = ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];
const MAX_QUEUES: i64 = 10_000_000;
const MAX_HASH_BITS: i64 = 60;

/// A whole FlowSchema.
pub(super) fn flow_schema(schema: &Value, errors: &mut Errors) {
    let (name, spec, path) = (text(&schema["metadata"]["name"]), &schema["spec"], Path::new("spec"));
    let (precedence, at) = (int(&spec["matchingPrecedence"]), path.child("matchingPrecedence"));
    if precedence <= 0 {
        errors.invalid(&at, precedence, "must be a positive value");
    }
    if precedence > 10_000 {
        errors.invalid(&at, precedence, "must not be greater than 10000");
    }
    if precedence == 1 && name != "exempt" {
        errors.invalid(&at, precedence, "only the schema named 'exempt' may have matchingPrecedence 1");
    }
    let method = &spec["distinguisherMethod"];
    if method.is_object() && !matches!(text(&method["type"]), "ByUser" | "ByNamespace") {
        errors.not_supported(
            &path.child("distinguisherMethod.type"),
            serde_json::json!({"Type": text(&method["type"])}),
            &["ByNamespace", "ByUser"],
        );
    }
    let level = path.child("priorityLevelConfiguration.name");
    match text(&spec["priorityLevelConfiguration"]["name"]) {
        "" => errors.required(&level, "must reference a priority level"),
        name => errors.invalid_each(&level, name, dns1123_subdomain(name)),
    }
    let rules = path.child("rules");
    for (index, rule) in items(&spec["rules"]).iter().enumerate() {
        policy(rule, &rules.index(index), errors);
    }
    if let Some(fixed) = mandatory("FlowSchema", name)
        && !same(spec, &fixed)
    {
        errors.invalid(&path, spec.clone(), format!("spec of '{name}' must equal the fixed value"));
    }
    conditions(schema, errors);
}

fn mandatory(kind: &str, name: &str) -> Option<Value> {
    let mut fixed = bootstrap::mandatory().into_iter();
    fixed
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
        .map(|object| object["spec"].clone())
}

fn policy(rule: &Value, path: &Path<'_>, errors: &mut Errors) {
    let subjects = path.child("subjects");
    if items(&rule["subjects"]).is_empty() {
        errors.required(&subjects, "subjects must contain at least one value");
    }
    for (index, one) in items(&rule["subjects"]).iter().enumerate() {
        subject(one, &subjects.index(index), errors);
    }
    let (resources, others) = (items(&rule["resourceRules"]), items(&rule["nonResourceRules"]));
    if resources.is_empty() && others.is_empty() {
        errors.required(path, "at least one of resourceRules and nonResourceRules has to be non-empty");
    }
    let list = path.child("resourceRules");
    for (index, rule) in resources.iter().enumerate() {
        resource_rule(rule, &list.index(index), errors);
    }
    let list = path.child("nonResourceRules");
    for (index, rule) in others.iter().enumerate() {
        let path = list.index(index);
        verbs(rule, &path, errors);
        let (urls, path) = (strings(&rule["nonResourceURLs"]), path.child("nonResourceURLs"));
        if urls.is_empty() {
            errors.required(&path, "nonResourceURLs must contain at least one value");
        } else if urls.contains(&"*") {
            if urls.len() > 1 {
                let detail = "if '*' is present, must not specify other non-resource URLs";
                errors.invalid(&path, rule["nonResourceURLs"].clone(), detail);
            }
        } else {
            for (index, url) in urls.iter().enumerate() {
                if let Some(detail) = bad_url(url) {
                    errors.invalid(&path.index(index), *url, detail);
                }
            }
        }
    }
}

fn subject(subject: &Value, path: &Path<'_>, errors: &mut Errors) {
    let kind = text(&subject["kind"]);
    const MEMBERS: [(&str, &str); 3] = [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];
    let Some((_, member)) = MEMBERS.iter().find(|(name, _)| *name == kind) else {
        return errors.not_supported(&path.child("kind"), kind, &["Group", "ServiceAccount", "User"]);
    };
    let (who, at) = (&subject[*member], path.child(member));
    if who.is_object() {
        let name = text(&who["name"]);
        if name.is_empty() {
            errors.required(&at.child("name"), "");
        } else if kind == "ServiceAccount" && name != "*" {
            errors.invalid_each(&at.child("name"), name, dns1123_subdomain(name));
        }
        if kind == "ServiceAccount" {
            match text(&who["namespace"]) {
                "" => errors.required(&at.child("namespace"), "must specify namespace for service account"),
                namespace => errors.invalid_each(&at.child("namespace"), namespace, dns1123_label(namespace)),
            }
        }
    } else {
        errors.required(&at, format!("{member} is required when subject kind is '{kind}'"));
    }
    for (other, member) in MEMBERS.iter().filter(|(name, _)| *name != kind) {
        if subject[*member].is_object() {
            let detail = format!("{member} is forbidden when subject kind is not '{other}'");
            errors.forbidden(&path.child(member), detail);
        }
    }
}

fn verbs(rule: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (verbs, path) = (strings(&rule["verbs"]), path.child("verbs"));
    if verbs.is_empty() {
        errors.required(&path, "verbs must contain at least one value");
    } else if verbs.contains(&"*") {
        if verbs.len() > 1 {
            errors.invalid(&path, rule["verbs"].clone(), "if '*' is present, must not specify other verbs");
        }
    } else if verbs.iter().any(|verb| !VERBS.contains(verb)) {
        errors.not_supported(&path, rule["verbs"].clone(), &VERBS);
    }
}

fn resource_rule(rule: &Value, path: &Path<'_>, errors: &mut Errors) {
    verbs(rule, path, errors);
    for (member, what, one) in [("apiGroups", "api groups", "api group"), ("resources", "resources", "resource")] {
        let list = strings(&rule[member]);
        if list.is_empty() {
            errors.required(&path.child(member), format!("resource rules must supply at least one {one}"));
        } else if list.len() > 1 && list.contains(&"*") {
            let detail = format!("if '*' is present, must not specify other {what}");
            errors.invalid(&path.child(member), rule[member].clone(), detail);
        }
    }
    let (namespaces, at) = (strings(&rule["namespaces"]), path.child("namespaces"));
    if namespaces.is_empty() && rule["clusterScope"] != true {
        let detail = "resource rules that are not cluster scoped must supply at least one namespace";
        errors.required(&at, detail);
    } else if namespaces.contains(&"*") {
        if namespaces.len() > 1 {
            let detail = "if '*' is present, must not specify other namespaces";
            errors.invalid(&at, rule["namespaces"].clone(), detail);
        }
    } else {
        for (index, namespace) in namespaces.iter().enumerate() {
            for message in dns1123_label(namespace) {
                let detail = format!("each member of this list must be '*' or a DNS-1123 label; {message}");
                errors.invalid(&at.index(index), *namespace, detail);
            }
        }
    }
}

fn bad_url(url: &str) -> Option<&'static str> {
    let stars = url.matches('*').count();
    match url {
        "" => Some("must not be empty"),
        "/" => None,
        _ if !url.starts_with('/') => Some("must start with slash"),
        _ if url.contains(' ') => Some("must not contain white-space"),
        _ if url.contains("//") => Some("must not contain double slash"),
        _ if stars > 1 || stars == 1 && !url.ends_with("/*") => Some("wildcard can only do suffix matching"),
        _ => None,
    }
}

/// The conditions of either kind's status.
pub(super) fn conditions(object: &Value, errors: &mut Errors) {
    let path = Path::new("status.conditions");
    let mut seen = std::collections::BTreeSet::new();
    for (index, condition) in items(&object["status"]["conditions"]).iter().enumerate() {
        let kind = text(&condition["type"]);
        if !seen.insert(kind) {
            errors.duplicate(&path.index(index).child("type"), kind);
        }
        if kind.is_empty() {
            errors.required(&path.index(index).child("type"), "");
        }
    }
}

/// A whole PriorityLevelConfiguration.
pub(super) fn priority_level(level: &Value, errors: &mut Errors) {
    let (name, spec, path) = (text(&level["metadata"]["name"]), &level["spec"], Path::new("spec"));
    let kind = text(&spec["type"]);
    if (name == "exempt") != (kind == "Exempt") {
        errors.invalid(&path.child("type"), kind, "must be 'Exempt' if and only if `name` is 'exempt'");
    }
    match kind {
        "Exempt" => {
            if spec["limited"].is_object() {
                errors.forbidden(&path.child("limited"), "must be nil if the type is not Limited");
            }
            shares(&spec["exempt"], &path.child("exempt"), errors);
        }
        "Limited" => {
            if spec["exempt"].is_object() {
                errors.forbidden(&path.child("exempt"), "must be nil if the type is Limited");
            }
            let at = path.child("limited");
            if spec["limited"].is_object() {
                limited(&spec["limited"], &at, errors);
            } else {
                errors.required(&at, "must not be empty when type is Limited");
            }
        }
        _ => errors.not_supported(&path.child("type"), kind, &["Exempt", "Limited"]),
    }
    if let Some(mut fixed) = mandatory("PriorityLevelConfiguration", name) {
        if name == "exempt" {
            fixed["exempt"] = spec["exempt"].clone();
            if !same(spec, &fixed) {
                let detail = "spec of 'exempt' except the 'spec.exempt' field must equal the fixed value";
                errors.invalid(&path, spec.clone(), detail);
            }
        } else if !same(spec, &fixed) {
            errors.invalid(&path, spec.clone(), format!("spec of '{name}' must equal the fixed value"));
        }
    }
    conditions(level, errors);
}

fn shares(of: &Value, path: &Path<'_>, errors: &mut Errors) {
    let shares = &of["nominalConcurrencyShares"];
    if int(shares) < 0 {
        errors.invalid(&path.child("nominalConcurrencyShares"), int(shares), "must be a non-negative integer");
    }
}

fn lendable(of: &Value, path: &Path<'_>, errors: &mut Errors) {
    let percent = int(&of["lendablePercent"]);
    if !(0..=100).contains(&percent) {
        errors.invalid(&path.child("lendablePercent"), percent, "must be between 0 and 100, inclusive");
    }
}

fn limited(limited: &Value, path: &Path<'_>, errors: &mut Errors) {
    shares(limited, path, errors);
    let (response, at) = (&limited["limitResponse"], path.child("limitResponse"));
    let queuing = &response["queuing"];
    match text(&response["type"]) {
        "Reject" if queuing.is_object() => {
            let detail = "must be nil if limited.limitResponse.type is not Limited";
            errors.forbidden(&at.child("queuing"), detail);
        }
        "Reject" => {}
        "Queue" if queuing.is_object() => queues(queuing, &at.child("queuing"), errors),
        "Queue" => {
            let detail = "must not be empty if limited.limitResponse.type is Limited";
            errors.required(&at.child("queuing"), detail);
        }
        other => errors.not_supported(&at.child("type"), other, &["Queue", "Reject"]),
    }
    lendable(limited, path, errors);
    if int(&limited["borrowingLimitPercent"]) < 0 {
        let detail = "if specified, must be a non-negative integer";
        errors.invalid(&path.child("borrowingLimitPercent"), int(&limited["borrowingLimitPercent"]), detail);
    }
}

fn queues(queuing: &Value, path: &Path<'_>, errors: &mut Errors) {
    let [length, queues, hand] = ["queueLengthLimit", "queues", "handSize"].map(|member| int(&queuing[member]));
    if length <= 0 {
        errors.invalid(&path.child("queueLengthLimit"), length, "must be positive");
    }
    if queues <= 0 {
        errors.invalid(&path.child("queues"), queues, "must be positive");
    } else if queues > MAX_QUEUES {
        errors.invalid(&path.child("queues"), queues, format!("must not be greater than {MAX_QUEUES}"));
    }
    if hand <= 0 {
        errors.invalid(&path.child("handSize"), hand, "must be positive");
    } else if hand > queues {
        errors.invalid(&path.child("handSize"), hand, format!("should not be greater than queues ({queues})"));
    } else if hand > MAX_HASH_BITS || entropy_bits(queues, hand) > MAX_HASH_BITS {
        let detail = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {MAX_HASH_BITS}"
        );
        errors.invalid(&path.child("handSize"), hand, detail);
    }
}

/// How many bits of a hash it takes to deal a hand from a deck (`shufflesharding.RequiredEntropyBits`).
fn entropy_bits(deck: i64, hand: i64) -> i64 {
    ((deck as f64).log2() * hand as f64).ceil() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind;
    use serde_json::json;

    #[test]
    fn what_every_cluster_has_is_valid() {
        for object in bootstrap::mandatory().into_iter().chain(bootstrap::suggested()) {
            let rules = kind("flowcontrol.apiserver.k8s.io", text(&object["kind"]));
            let mut defaulted = object.clone();
            rules.default("v1", &mut defaulted);
            assert_eq!(defaulted, object);
            assert_eq!(rules.validate_create(&object).message(), "[]", "{object}");
        }
    }

    // TestFlowSchemaValidation
    #[test]
    fn schemas_are_judged_as_kubernetes_judges_them() {
        let good = json!({
            "metadata": {"name": "system-foo"},
            "spec": {
                "matchingPrecedence": 50, "priorityLevelConfiguration": {"name": "system-bar"},
                "rules": [{
                    "subjects": [{"kind": "User", "user": {"name": "noxu"}}],
                    "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
                }],
            },
        });
        let rules = kind("flowcontrol.apiserver.k8s.io", "FlowSchema");
        assert_eq!(rules.validate_create(&good).message(), "[]");
        for (pointer, value, message) in [
            (
                "/spec/matchingPrecedence",
                json!(1),
                "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
            ),
            (
                "/spec/matchingPrecedence",
                json!(10001),
                "spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000",
            ),
            (
                "/spec/priorityLevelConfiguration",
                json!({}),
                "spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
            ),
            (
                "/spec/rules/0/subjects/0",
                json!({"kind": "User"}),
                "spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'",
            ),
            (
                "/spec/rules/0/subjects/0",
                json!({"kind": "ServiceAccount", "serviceAccount": {"name": "noxu"}}),
                "spec.rules[0].subjects[0].serviceAccount.namespace: Required value: must specify namespace for service account",
            ),
            (
                "/spec/rules/0/nonResourceRules/0/verbs",
                json!(["feed"]),
                "spec.rules[0].nonResourceRules[0].verbs: Unsupported value: [\"feed\"]: supported values: \"create\", \"delete\", \"deletecollection\", \"get\", \"list\", \"patch\", \"proxy\", \"update\", \"watch\"",
            ),
            (
                "/spec/rules/0/nonResourceRules/0/nonResourceURLs",
                json!(["/foo bar", "*oops"]),
                "[spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: \"/foo bar\": must not contain white-space, spec.rules[0].nonResourceRules[0].nonResourceURLs[1]: Invalid value: \"*oops\": must start with slash]",
            ),
            ("/metadata/name", json!("catch-all"), "must equal the fixed value"),
        ] {
            let mut object = good.clone();
            *object.pointer_mut(pointer).unwrap() = value;
            let said = rules.validate_create(&object).message();
            assert!(said.ends_with(message), "{said}");
        }
    }

    // TestPriorityLevelConfigurationValidation
    #[test]
    fn levels_are_judged_as_kubernetes_judges_them() {
        let queue = |queues: i64, hand: i64| {
            json!({"type": "Limited", "limited": {"nominalConcurrencyShares": 100, "lendablePercent": 0, "limitResponse": {
                "type": "Queue", "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": 100},
            }}})
        };
        let path = "spec.limited.limitResponse";
        for (spec, message) in [
            (queue(512, 4), "[]".to_owned()),
            (queue(1, 8), format!("{path}.queuing.handSize: Invalid value: 8: should not be greater than queues (1)")),
            (
                queue(128, 10),
                format!(
                    "{path}.queuing.handSize: Invalid value: 10: required entropy bits of deckSize 128 and handSize 10 should not be greater than 60"
                ),
            ),
            (
                json!({"type": "Limited"}),
                "spec.limited: Required value: must not be empty when type is Limited".to_owned(),
            ),
            (
                json!({"type": "Exempt"}),
                "spec.type: Invalid value: \"Exempt\": must be 'Exempt' if and only if `name` is 'exempt'".to_owned(),
            ),
        ] {
            let object = json!({"metadata": {"name": "system-foo"}, "spec": spec});
            let said = kind("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration").validate_create(&object);
            assert_eq!(said.message(), message);
        }
    }
}
