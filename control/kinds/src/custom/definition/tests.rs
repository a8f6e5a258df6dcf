use serde_json::{Value, json};

use super::*;
use crate::{Subresource, kind};

fn definition(schema: Value) -> Value {
    let mut definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "crontabs.stable.example.com"},
        "spec": {
            "group": "stable.example.com", "scope": "Namespaced", "names": {"plural": "crontabs", "kind": "CronTab"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    });
    let rules = kind("apiextensions.k8s.io", "CustomResourceDefinition");
    rules.default("v1", &mut definition);
    rules.prepare_create(&mut definition);
    definition
}

fn wrong(definition: &Value) -> String {
    kind("apiextensions.k8s.io", "CustomResourceDefinition").validate_create(definition).message()
}

fn wrong_schema(schema: Value) -> String {
    wrong(&definition(schema))
}

#[test]
fn a_new_definition_has_its_names_completed_and_its_storage_version_noted() {
    let definition = definition(json!({"type": "object"}));
    assert_eq!(definition["spec"]["names"]["singular"], "crontab");
    assert_eq!(definition["spec"]["names"]["listKind"], "CronTabList");
    assert_eq!(definition["spec"]["conversion"], json!({"strategy": "None"}));
    assert_eq!(definition["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(wrong(&definition), "[]");
}

#[test]
fn names_and_versions_are_checked() {
    let mut bad = definition(json!({"type": "object"}));
    bad["metadata"]["name"] = "other".into();
    assert_eq!(wrong(&bad), "metadata.name: Invalid value: \"other\": must be spec.names.plural+\".\"+spec.group");
    let mut bad = definition(json!({"type": "object"}));
    bad["spec"]["scope"] = "World".into();
    assert_eq!(wrong(&bad), "spec.scope: Unsupported value: \"World\": supported values: \"Cluster\", \"Namespaced\"");
    let mut bad = definition(json!({"type": "object"}));
    bad["spec"]["versions"][0]["storage"] = false.into();
    assert!(wrong(&bad).contains("must have exactly one version marked as storage version"));
    let mut bad = definition(json!({"type": "object"}));
    bad["spec"]["versions"][0].as_object_mut().unwrap().remove("schema");
    assert_eq!(wrong(&bad), "spec.versions[0].schema.openAPIV3Schema: Required value");
    let mut bad = definition(json!({"type": "object"}));
    bad["spec"]["group"] = "x.k8s.io".into();
    bad["metadata"]["name"] = "crontabs.x.k8s.io".into();
    assert!(
        wrong(&bad).starts_with("metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups")
    );
}

#[test]
fn a_schema_must_be_structural() {
    assert_eq!(
        wrong_schema(json!({"properties": {"a": {"type": "string"}}})),
        "spec.validation.openAPIV3Schema.type: Required value: must not be empty at the root"
    );
    assert_eq!(
        wrong_schema(json!({"type": "object", "properties": {"a": {}}})),
        "spec.validation.openAPIV3Schema.properties[a].type: Required value: must not be empty for specified object fields"
    );
    assert_eq!(
        wrong_schema(json!({"type": "object", "properties": {"a": {"type": "string", "anyOf": [{"type": "string"}]}}})),
        "spec.validation.openAPIV3Schema.properties[a].anyOf[0].type: Forbidden: must be empty to be structural"
    );
    assert_eq!(
        wrong_schema(json!({"type": "object", "anyOf": [{"properties": {"b": {"minimum": 1}}}]})),
        "spec.validation.openAPIV3Schema.properties[b]: Required value: because it is defined in spec.validation.openAPIV3Schema.anyOf[0].properties[b]"
    );
    assert_eq!(
        wrong_schema(json!({"type": "object", "properties": {"a": {"x-kubernetes-int-or-string": true,
            "anyOf": [{"type": "integer"}, {"type": "string"}]}}})),
        "[]"
    );
    assert!(wrong_schema(json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}}))
        .contains("must not specify anything other than name and generateName"));
}

#[test]
fn what_cannot_be_kept_cheap_is_refused() {
    assert!(
        wrong_schema(
            json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "((a{100}){100}){100}"}}})
        )
        .contains("must be a valid regular expression, but isn't")
    );
    assert!(wrong_schema(json!({"type": "object", "properties": {"a": {"type": "array", "uniqueItems": true, "items": {"type": "string"}}}}))
        .contains("uniqueItems cannot be set to true since the runtime complexity becomes quadratic"));
    let many: Value =
        (0..60_000).map(|i| (format!("f{i}"), json!({"type": "string"}))).collect::<serde_json::Map<_, _>>().into();
    assert!(wrong_schema(json!({"type": "object", "properties": many})).contains("may not have more than"));
}

#[test]
fn list_maps_need_their_keys() {
    let list = |item: Value| {
        json!({"type": "object", "properties": {"l": {"type": "array", "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["k"], "items": item}}})
    };
    assert!(
        wrong_schema(list(json!({"type": "object", "properties": {"k": {"type": "string"}}})))
            .contains("so it must have a default or be a required property")
    );
    assert_eq!(
        wrong_schema(list(json!({"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}}}))),
        "[]"
    );
    assert!(wrong_schema(list(json!({"type": "object"}))).contains("entries must all be names of item properties"));
}

#[test]
fn defaults_must_be_values_of_their_schema() {
    assert_eq!(
        wrong_schema(json!({"type": "object", "properties": {"a": {"type": "integer", "default": "x"}}})),
        "spec.validation.openAPIV3Schema.properties[a].default: Invalid value: \"string\": \
         spec.validation.openAPIV3Schema.properties[a].default in body must be of type integer: \"string\""
            .replace("spec.validation.openAPIV3Schema.properties[a].default in body", " in body")
    );
    assert!(
        wrong_schema(json!({"type": "object", "properties": {"a": {"type": "object", "default": {"x": 1}}}}))
            .contains("must not have unknown fields")
    );
}

#[test]
fn an_established_kind_and_scope_stay() {
    let mut old = definition(json!({"type": "object"}));
    old["metadata"]["resourceVersion"] = "1".into();
    set_condition(&mut old, "Established", "True", "InitialNamesAccepted", "", "now");
    let mut new = old.clone();
    new["spec"]["scope"] = "Cluster".into();
    let rules = kind("apiextensions.k8s.io", "CustomResourceDefinition");
    assert_eq!(
        rules.validate_update(&new, &old, Subresource::None).message(),
        "spec.scope: Invalid value: \"Cluster\": field is immutable"
    );
}

#[test]
fn who_asks_first_gets_the_names() {
    let mut first = definition(json!({"type": "object"}));
    first["status"] = accepted_names(&first, std::iter::empty(), "t").unwrap();
    assert!(has_condition(&first, "NamesAccepted"));
    assert_eq!(first["status"]["acceptedNames"]["listKind"], "CronTabList");
    let mut second = definition(json!({"type": "object"}));
    second["metadata"]["name"] = "tabs.stable.example.com".into();
    second["spec"]["names"]["plural"] = "tabs".into();
    let status = accepted_names(&second, [&first].into_iter(), "t").unwrap();
    second["status"] = status;
    let refused = condition(&second, "NamesAccepted").unwrap();
    assert_eq!(
        (&refused["status"], &refused["message"]),
        (&json!("False"), &json!("\"CronTabList\" is already in use"))
    );
    assert_eq!(condition(&second, "Established").unwrap()["reason"], "NotAccepted");
    assert!(accepted_names(&first, [&second].into_iter(), "later").is_none(), "nothing changes twice");
}

#[test]
fn a_default_satisfies_the_rules_of_its_schema() {
    let with = |part: Value| wrong_schema(json!({"type": "object", "properties": {"a": part}}));
    let rule = |rule: &str| json!([{"rule": rule}]);
    let number = |rule: Value| json!({"type": "integer", "default": 1, "x-kubernetes-validations": rule});
    let at = "spec.validation.openAPIV3Schema.properties[a].default";
    assert_eq!(with(number(rule("self > 5"))), format!("{at}: Invalid value: 1: failed rule: self > 5"));
    assert_eq!(with(number(rule("self > oldSelf"))), format!("{at}: Invalid value: 1: failed rule: self > oldSelf"));
    assert_eq!(with(number(rule("self == 1"))), "[]");
    let told = json!([{"rule": "self > 5", "message": "m", "reason": "FieldValueForbidden"}]);
    assert_eq!(with(number(told)), format!("{at}: Forbidden: m"));
    let set =
        json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}, "default": ["a", "a"]});
    assert_eq!(with(set), format!("{at}[1]: Duplicate value: \"a\""));
}

#[test]
fn junctors_below_the_root_may_name_fields_that_nobody_else_names() {
    let part =
        json!({"type": "object", "anyOf": [{"properties": {"b": {"minLength": 1}}}, {"items": {"minLength": 1}}]});
    assert_eq!(wrong_schema(json!({"type": "object", "properties": {"a": part.clone()}})), "[]");
    assert!(wrong_schema(part).contains("because it is defined in"), "at the root they may not");
}

#[test]
fn selectable_fields_are_named_without_indexes() {
    let path = |path: &str| {
        let mut definition = definition(json!({"type": "object", "properties": {"a": {"type": "string"}}}));
        definition["spec"]["versions"][0]["selectableFields"] = json!([{"jsonPath": path}]);
        wrong(&definition)
    };
    let told = |path: &str, why: &str| {
        format!("spec.selectableFields[0].jsonPath: Invalid value: {path:?}: is an invalid path: {why}")
    };
    assert_eq!(path(".a"), "[]");
    assert_eq!(path("a"), told("a", "expected [ or . but got: a"));
    assert_eq!(path("['a']"), told("['a']", "array notation is not allowed"));
    assert_eq!(path(".b"), told(".b", "does not refer to a valid field"));
}
