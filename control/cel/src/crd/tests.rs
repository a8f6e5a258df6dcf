//! Named after apiextensions-apiserver's cel/validation_test.go and the e2e tests of crd_validation_rules.go.
use super::*;

fn spec(spec: Json) -> Json {
    json!({"type": "object", "properties": {"spec": spec}})
}

fn failures(schema: &Json, object: Json, old: Option<Json>) -> Vec<String> {
    let validator = Validator::new(schema).expect("has rules");
    validator.validate(&object, old.as_ref()).errors.into_iter().map(|e| format!("{}: {}", e.path, e.detail)).collect()
}

fn e2e_schema() -> Json {
    spec(json!({"type": "object",
        "x-kubernetes-validations": [
            {"rule": "self.x + self.y > 0"},
            {"rule": "self.firstArray.isSorted() && self.secondArray.isSorted() && ((self.firstArray.sum() + self.secondArray.sum()) % 2 == 0)"},
            {"rule": "self.largeArray.all(x, self.largeArray.all(y, y == x))"}],
        "properties": {"x": {"type": "integer"}, "y": {"type": "integer"},
            "firstArray": {"type": "array", "maxItems": 1000, "items": {"type": "integer"}},
            "secondArray": {"type": "array", "maxItems": 1000, "items": {"type": "integer"}},
            "largeArray": {"type": "array", "maxItems": 725, "items": {"type": "integer"}}}}))
}

#[test]
fn a_definition_within_the_cost_limit_is_accepted() {
    assert_eq!(check_schema(&e2e_schema(), "spec.validation.openAPIV3Schema"), vec![]);
}

#[test]
fn an_object_that_satisfies_the_rules_is_accepted() {
    let good = json!({"spec": {"x": 1, "y": 0, "firstArray": [3, 4], "secondArray": [5, 10], "largeArray": [2, 2]}});
    assert_eq!(failures(&e2e_schema(), good, None), Vec::<String>::new());
}

#[test]
fn an_object_that_fails_a_rule_is_told_which() {
    let bad = failures(&e2e_schema(), json!({"spec": {"x": 0, "y": 0}}), None);
    assert_eq!(bad[0], "spec: failed rule: self.x + self.y > 0");
    assert!(bad[1].starts_with("spec: no such key: firstArray evaluating rule: "), "{bad:?}");
}

#[test]
fn an_object_that_costs_too_much_is_refused() {
    let object = json!({"spec": {"x": 1, "y": 0, "firstArray": [], "secondArray": [], "largeArray": vec![20; 725]}});
    let bad = failures(&e2e_schema(), object, None);
    assert_eq!(bad.len(), 1);
    assert!(bad[0].contains("call cost exceeds limit"), "{bad:?}");
}

#[test]
fn an_undefined_field_is_told_with_its_place() {
    let schema = spec(json!({"type": "object", "x-kubernetes-validations": [{"rule": "self.z == 100"}],
        "properties": {"x": {"type": "integer"}}}));
    let errors = check_schema(&schema, "spec.validation.openAPIV3Schema");
    assert_eq!(errors[0].path, "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule");
    assert_eq!(
        errors[0].detail,
        "compilation failed: ERROR: <input>:1:5: undefined field 'z'\n | self.z == 100\n | ....^"
    );
}

#[test]
fn a_syntax_error_is_told() {
    let schema = spec(json!({"type": "object", "x-kubernetes-validations": [{"rule": "self = 42"}]}));
    let errors = check_schema(&schema, "s");
    assert!(errors[0].detail.contains("Syntax error: token recognition error at: '= '"), "{errors:?}");
}

#[test]
fn a_rule_on_an_unbounded_list_of_unbounded_lists_exceeds_the_budget() {
    let schema = spec(json!({"type": "object", "properties": {"x": {"type": "array", "items": {"type": "array",
        "items": {"type": "string"},
        "x-kubernetes-validations": [{"rule": "self.all(s, s == 'string constant')"}]}}}}));
    let errors = check_schema(&schema, "s");
    assert!(errors.iter().any(|e| e.detail.contains("exceeds budget by factor of more than 100x")), "{errors:?}");
}

#[test]
fn a_transition_rule_runs_on_updates_only() {
    let schema = spec(json!({"type": "object", "properties": {"num": {"type": "integer",
        "x-kubernetes-validations": [{"rule": "self > oldSelf"}]}}}));
    assert_eq!(check_schema(&schema, "s"), vec![]);
    let of = |n: i64| json!({"spec": {"num": n}});
    assert!(failures(&schema, of(10), None).is_empty());
    assert_eq!(failures(&schema, of(9), Some(of(10))), ["spec.num: failed rule: self > oldSelf"]);
    assert!(failures(&schema, of(11), Some(of(10))).is_empty());
}

#[test]
fn old_items_are_found_by_their_keys_and_forbidden_without() {
    let list = |kind: &str| {
        spec(json!({"type": "object", "properties": {"l": {"type": "array", "x-kubernetes-list-type": kind,
            "x-kubernetes-list-map-keys": ["k"], "maxItems": 5,
            "items": {"type": "object", "properties": {"k": {"type": "string", "maxLength": 5}, "v": {"type": "integer"}},
                "x-kubernetes-validations": [{"rule": "self.v >= oldSelf.v"}]}}}}))
    };
    let schema = list("map");
    assert_eq!(check_schema(&schema, "s"), vec![]);
    let of = |a: i64, b: i64| json!({"spec": {"l": [{"k": "b", "v": b}, {"k": "a", "v": a}]}});
    let old = json!({"spec": {"l": [{"k": "a", "v": 1}, {"k": "b", "v": 1}]}});
    assert!(failures(&schema, of(1, 2), Some(old.clone())).is_empty());
    assert_eq!(failures(&schema, of(0, 1), Some(old)), ["spec.l[1]: failed rule: self.v >= oldSelf.v"]);
    let errors = check_schema(&list("atomic"), "s");
    assert!(errors[0].detail.starts_with("oldSelf cannot be used on the uncorrelatable portion"), "{errors:?}");
}

#[test]
fn what_an_update_leaves_as_it_was_is_only_warned_of() {
    let schema = spec(json!({"type": "object", "properties": {
        "a": {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 5"}]}, "b": {"type": "integer"}}}));
    let (old, new) = (json!({"spec": {"a": 1, "b": 1}}), json!({"spec": {"a": 1, "b": 2}}));
    let outcome = Validator::new(&schema).expect("rules").validate(&new, Some(&old));
    assert!(outcome.errors.is_empty(), "{outcome:?}");
    assert_eq!(outcome.warnings.len(), 1);
}

#[test]
fn reason_field_path_and_messages_shape_the_error() {
    let schema = spec(json!({"type": "object", "properties": {"a": {"type": "integer"}}, "x-kubernetes-validations": [
        {"rule": "self.a > 5", "messageExpression": "'wants > 5, got ' + string(self.a)", "fieldPath": ".a", "reason": "FieldValueForbidden"},
        {"rule": "oldSelf.hasValue() || self.a < 5", "optionalOldSelf": true}]}));
    assert_eq!(check_schema(&schema, "s"), vec![]);
    let outcome = Validator::new(&schema).expect("rules").validate(&json!({"spec": {"a": 1}}), None);
    assert_eq!(outcome.errors[0].path, "spec.a");
    assert_eq!(outcome.errors[0].kind, RuleErrorKind::Forbidden);
    assert_eq!(outcome.errors[0].detail, "wants > 5, got 1");
}

#[test]
fn names_that_are_keywords_or_have_dots_are_escaped() {
    let schema = spec(
        json!({"type": "object", "properties": {"namespace": {"type": "string"}, "a.b": {"type": "string"},
        "a-c": {"type": "string"}, "x__y": {"type": "string"}},
        "x-kubernetes-validations": [
            {"rule": "self.__namespace__ == 'a' && self.a__dot__b == 'b' && self.a__dash__c == 'c' && self.x__underscores__y == 'd'"}]}),
    );
    assert_eq!(check_schema(&schema, "s"), vec![]);
    let object = json!({"spec": {"namespace": "a", "a.b": "b", "a-c": "c", "x__y": "d"}});
    assert!(failures(&schema, object, None).is_empty());
}
