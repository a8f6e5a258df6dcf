use serde_json::json;

use super::*;

fn messages(schema: Value, value: Value) -> String {
    let node = Structural::parse(&schema).unwrap();
    validate(&node, &value, None, "").message()
}

fn object(spec: Value) -> Value {
    json!({"type": "object", "properties": {"spec": {"type": "object", "properties": spec}}})
}

#[test]
fn a_wrong_type_is_told_with_what_was_found() {
    let schema = object(json!({"x": {"type": "integer"}, "s": {"type": "string"}, "f": {"type": "number"}}));
    assert_eq!(
        messages(schema.clone(), json!({"spec": {"x": "a"}})),
        "spec.x: Invalid value: \"string\": spec.x in body must be of type integer: \"string\""
    );
    assert_eq!(
        messages(schema.clone(), json!({"spec": {"s": null}})),
        "spec.s: Invalid value: \"null\": spec.s in body must be of type string: \"null\""
    );
    assert_eq!(messages(schema.clone(), json!({"spec": {"x": 3.0, "f": 1}})), "[]");
    let told = messages(schema, json!({"spec": {"x": 3.5}}));
    assert!(told.contains("must be of type integer: \"number\""), "{told}");
    assert!(told.contains("Checked value must be of type integer (default format) in spec.x"), "{told}");
}

#[test]
fn of_lengths_and_pattern_only_the_first_is_told() {
    let schema = json!({"type": "object", "properties": {
        "s": {"type": "string", "minLength": 2, "maxLength": 3, "pattern": "^[a-z]+$"},
        "n": {"type": "integer", "format": "int32", "multipleOf": 2}}});
    assert_eq!(
        messages(schema.clone(), json!({"s": "A"})),
        "s: Invalid value: \"A\": s in body should be at least 2 chars long"
    );
    assert_eq!(messages(schema.clone(), json!({"s": "AAAA"})), "s: Too long: may not be more than 3 bytes");
    assert_eq!(
        messages(schema.clone(), json!({"s": "AA"})),
        "s: Invalid value: \"AA\": s in body should match '^[a-z]+$'"
    );
    let large = messages(schema, json!({"n": 10_000_000_000_i64}));
    assert_eq!(large, "<nil>: Invalid value: \"\": Checked value must be of type integer with format int32 in n");
}

#[test]
fn every_bound_has_its_own_words() {
    let schema = object(json!({
        "s": {"type": "string", "maxLength": 3, "pattern": "^a"},
        "t": {"type": "string", "minLength": 2},
        "n": {"type": "integer", "maximum": 10, "minimum": 1},
        "l": {"type": "array", "maxItems": 1, "items": {"type": "string"}},
        "m": {"type": "object", "minProperties": 1, "additionalProperties": {"type": "integer"}},
        "e": {"type": "string", "enum": ["A", "B"]},
    }));
    for (spec, message) in [
        (json!({"s": "abcd"}), "spec.s: Too long: may not be more than 3 bytes"),
        (json!({"s": "b"}), "spec.s: Invalid value: \"b\": spec.s in body should match '^a'"),
        (json!({"t": "b"}), "spec.t: Invalid value: \"b\": spec.t in body should be at least 2 chars long"),
        (json!({"n": 11}), "spec.n: Invalid value: 11: spec.n in body should be less than or equal to 10"),
        (json!({"n": 0}), "spec.n: Invalid value: 0: spec.n in body should be greater than or equal to 1"),
        (json!({"l": ["a", "b"]}), "spec.l: Too many: 2: must have at most 1 item"),
        (json!({"m": {}}), "spec.m: Invalid value: 0: spec.m in body should have at least 1 properties"),
        (
            json!({"m": {"k": "v"}}),
            "spec.m.k: Invalid value: \"string\": spec.m.k in body must be of type integer: \"string\"",
        ),
        (json!({"e": "C"}), "spec.e: Unsupported value: \"C\": supported values: \"A\", \"B\""),
    ] {
        assert_eq!(messages(schema.clone(), json!({"spec": spec})), message);
    }
}

#[test]
fn a_required_field_is_named_also_at_the_root() {
    assert_eq!(messages(json!({"type": "object", "required": ["spec"]}), json!({})), "spec: Required value");
}

#[test]
fn alternatives_are_counted() {
    let schema = json!({"type": "object", "properties": {"p": {"x-kubernetes-int-or-string": true}},
        "oneOf": [{"required": ["a"]}, {"required": ["b"]}]});
    assert_eq!(messages(schema.clone(), json!({"a": 1, "p": "x"})), "[]");
    assert!(
        messages(schema.clone(), json!({})).contains(
            "<nil>: Invalid value: \"\": \"\" must validate one and only one schema (oneOf). Found none valid"
        )
    );
    assert!(messages(schema.clone(), json!({"a": 1, "b": 1})).contains("Found 2 valid alternatives"));
    assert!(
        messages(schema, json!({"a": 1, "p": true})).contains("p in body must be of type integer,string: \"boolean\"")
    );
}

#[test]
fn what_did_not_change_is_not_held_against_an_update() {
    let schema = object(json!({
        "a": {"type": "string", "maxLength": 1}, "b": {"type": "string"},
        "l": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer", "maximum": 1}}}},
    }));
    let node = Structural::parse(&schema).unwrap();
    let old = json!({"spec": {"a": "long", "b": "x", "l": [{"k": "one", "v": 9}]}});
    let mut new = old.clone();
    new["spec"]["b"] = "y".into();
    new["spec"]["l"] = json!([{"k": "two", "v": 1}, {"k": "one", "v": 9}]);
    assert!(validate(&node, &new, Some(&old), "").is_empty());
    new["spec"]["a"] = "longer".into();
    assert_eq!(validate(&node, &new, Some(&old), "").0.len(), 1);
}

#[test]
fn formats_are_checked_and_unknown_ones_are_not() {
    let schema =
        object(json!({"d": {"type": "string", "format": "date-time"}, "u": {"type": "string", "format": "odd"}}));
    assert_eq!(messages(schema.clone(), json!({"spec": {"d": "2026-01-02T03:04:05Z", "u": "x"}})), "[]");
    assert_eq!(
        messages(schema, json!({"spec": {"d": "yesterday"}})),
        "spec.d: Invalid value: \"yesterday\": spec.d in body must be of type date-time: \"yesterday\""
    );
}
