use serde_json::json;

use super::*;
use crate::structural::{CustomType, Structural, overlay};
use crate::{GroupVersionKind, Schema};

fn deployment() -> TypeRef<'static> {
    Schema::builtin().type_by_kind(&GroupVersionKind::from_api_version("apps/v1", "Deployment")).expect("built in")
}

fn who(name: &str, operation: Operation) -> Who {
    Who {
        name: name.into(),
        operation,
        api_version: "apps/v1".into(),
        subresource: String::new(),
        time: "2026-01-02T03:04:05Z".into(),
    }
}

fn apply(live: &Value, config: &Value, managers: Vec<Manager>, name: &str, force: bool) -> Applied {
    deployment().apply(live, config, managers, &who(name, Operation::Apply), force).expect("applies")
}

/// A custom kind of this structural schema.
fn custom(raw: &Value) -> (Schema, GroupVersionKind) {
    let structural = Structural::parse(raw).unwrap();
    let kind = GroupVersionKind::new("g.example.com", "v1", "Thing");
    let schema = overlay(&CustomType {
        kind: kind.clone(),
        list_kind: "ThingList",
        plural: "things",
        singular: "thing",
        namespaced: true,
        status: false,
        scale: false,
        selectable: Vec::new(),
        structural: Some(&structural),
        schema: Some(raw),
    });
    (schema, kind)
}

fn done(applied: Applied) -> (Value, Vec<Manager>) {
    match applied {
        Applied::Done(object, managers) => (object, managers),
        Applied::Conflicts(conflicts) => panic!("{conflicts:?}"),
    }
}

fn containers(list: Value) -> Value {
    json!({"spec": {"template": {"spec": {"containers": list}}}})
}

#[test]
fn fields_are_named_as_kubernetes_names_them() {
    let object = json!({
        "kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "a", "labels": {"x": "y"}},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"x": "y"}},
            "template": {"spec": {"containers": [{"name": "c", "args": ["-v"], "ports": [{"containerPort": 80}]}]}},
        },
    });
    let expected = json!({
        "f:metadata": {"f:labels": {"f:x": {}}},
        "f:spec": {
            "f:replicas": {},
            "f:selector": {},
            "f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {
                ".": {}, "f:args": {}, "f:name": {},
                "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
            }}}},
        },
    });
    let set = deployment().owned_fields(&object).expect("has fields");
    assert_eq!(set.to_value(), expected);
    assert_eq!(FieldSet::from_value(&expected), set);
}

#[test]
fn what_its_owner_no_longer_wants_goes_and_the_rest_stays() {
    let first = json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"replicas": 3}});
    let (mut live, managers) = done(apply(&Value::Null, &first, Vec::new(), "me", false));
    // Somebody else adds, and defaults appear.
    live["metadata"]["labels"]["c"] = "3".into();
    live["spec"]["revisionHistoryLimit"] = 10.into();
    let second = json!({"metadata": {"labels": {"a": "9"}}, "spec": {"replicas": 3}});
    let (object, managers) = done(apply(&live, &second, managers, "me", false));
    assert_eq!(
        object,
        json!({"metadata": {"labels": {"a": "9", "c": "3"}}, "spec": {"replicas": 3, "revisionHistoryLimit": 10}})
    );
    assert_eq!(managers.len(), 1);
}

#[test]
fn what_two_want_stays_until_neither_does() {
    let (live, managers) = done(apply(&Value::Null, &json!({"spec": {"replicas": 3}}), Vec::new(), "one", false));
    let (live, managers) = done(apply(&live, &json!({"spec": {"replicas": 3}}), managers, "two", false));
    assert_eq!(managers.len(), 2);
    let (live, managers) = done(apply(&live, &json!({}), managers, "one", false));
    assert_eq!((&live["spec"]["replicas"], managers.len()), (&json!(3), 1));
    let (live, managers) = done(apply(&live, &json!({}), managers, "two", false));
    assert_eq!((live, managers.len()), (json!({}), 0));
}

#[test]
fn another_s_value_is_a_conflict_unless_forced() {
    let (live, managers) = done(apply(&Value::Null, &json!({"spec": {"replicas": 3}}), Vec::new(), "one", false));
    let other = json!({"spec": {"replicas": 4}});
    let Applied::Conflicts(conflicts) = apply(&live, &other, managers.clone(), "two", false) else { panic!() };
    assert_eq!((conflicts.len(), conflicts[0].path.to_string()), (1, ".spec.replicas".into()));
    assert_eq!(conflicts[0].who.describe(), "\"one\"");
    let (live, managers) = done(apply(&live, &other, managers, "two", true));
    assert_eq!((&live["spec"]["replicas"], managers.len(), managers[0].who.name.as_str()), (&json!(4), 1, "two"));
}

#[test]
fn an_update_takes_the_fields_it_changes() {
    let (live, managers) =
        done(apply(&Value::Null, &json!({"spec": {"replicas": 3, "paused": true}}), Vec::new(), "one", false));
    let scaled = json!({"spec": {"replicas": 7, "paused": true}});
    let managers = deployment().track(&live, &scaled, managers, &who("hpa", Operation::Update)).expect("tracks");
    let seen: Vec<(&str, String)> =
        managers.iter().map(|m| (m.who.name.as_str(), m.fields.members()[0].to_string())).collect();
    assert_eq!(seen, [("one", ".spec.paused".into()), ("hpa", ".spec.replicas".into())]);
    let Applied::Conflicts(conflicts) = apply(&scaled, &json!({"spec": {"replicas": 3}}), managers, "one", false)
    else {
        panic!()
    };
    assert_eq!(conflicts[0].who.describe(), "\"hpa\" using apps/v1");
}

#[test]
fn what_was_there_before_the_first_apply_has_an_owner_too() {
    let live = json!({"spec": {"replicas": 1}});
    let Applied::Conflicts(conflicts) = apply(&live, &json!({"spec": {"replicas": 2}}), Vec::new(), "me", false) else {
        panic!()
    };
    assert_eq!(conflicts[0].who.name, "before-first-apply");
    assert_eq!(done(apply(&live, &live, Vec::new(), "me", false)).1.len(), 2);
}

#[test]
fn list_elements_merge_by_key_and_keep_their_order() {
    let live =
        containers(json!([{"name": "a", "image": "1"}, {"name": "side", "image": "s"}, {"name": "b", "image": "1"}]));
    let config = containers(json!([{"name": "a", "image": "2"}, {"name": "new"}, {"name": "b"}]));
    let (object, _) = done(apply(&live, &config, Vec::new(), "me", true));
    let expected = containers(json!([
        {"name": "a", "image": "2"}, {"name": "side", "image": "s"}, {"name": "new"}, {"name": "b", "image": "1"},
    ]));
    assert_eq!(object, expected);
}

#[test]
fn an_element_goes_with_the_defaults_that_nobody_owns() {
    let config = containers(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]));
    let (mut live, managers) = done(apply(&Value::Null, &config, Vec::new(), "me", false));
    live["spec"]["template"]["spec"]["containers"][1]["imagePullPolicy"] = "Always".into();
    let (object, _) = done(apply(&live, &containers(json!([{"name": "a", "image": "1"}])), managers, "me", false));
    assert_eq!(object, containers(json!([{"name": "a", "image": "1"}])));
}

#[test]
fn elements_must_say_which_they_are_and_only_once() {
    let apply = |list| {
        let live = containers(json!([]));
        deployment().apply(&live, &containers(list), Vec::new(), &who("me", Operation::Apply), false)
    };
    // A key field that is left out has its default, and a name's is none at all.
    assert!(matches!(apply(json!([{"image": "x"}, {"name": "", "image": "y"}])), Err(ApplyError::Duplicate(_))));
    assert!(matches!(apply(json!([{"name": "a"}, {"name": "a"}])), Err(ApplyError::Duplicate(_))));
}

#[test]
fn what_only_one_has_stands_where_structured_merge_diff_puts_it() {
    let names = |object: &Value| {
        let list = object["spec"]["template"]["spec"]["containers"].as_array().expect("a list");
        list.iter().map(|c| c["name"].as_str().unwrap_or_default()).collect::<String>()
    };
    let list = |names: &str| containers(names.chars().map(|c| json!({"name": c.to_string()})).collect());
    for (live, config, merged) in [
        ("a", "b", "ab"),
        ("ab", "cb", "acb"),
        ("abc", "cxa", "bcxa"),
        ("abcd", "db", "acdb"),
        ("ab", "ba", "ba"),
        ("abc", "b", "abc"),
        ("", "ab", "ab"),
    ] {
        let (object, _) = done(apply(&list(live), &list(config), Vec::new(), "me", true));
        assert_eq!(names(&object), merged, "{live} and {config}");
    }
}

#[test]
fn a_null_for_a_list_or_a_map_says_nothing() {
    let live =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"template": {"spec": {"containers": [{"name": "c"}]}}}});
    let config = json!({"metadata": {"labels": null}, "spec": {"template": {"spec": {"containers": null}}}});
    assert_eq!(done(apply(&live, &config, Vec::new(), "me", true)).0, live);
}

#[test]
fn what_is_malformed_is_told_where_it_is() {
    let told = |spec: Value| deployment().malformed(&json!({"spec": spec}));
    assert_eq!(told(json!({"replicas": "x"})), [".spec.replicas: expected numeric (int or float), got string"]);
    assert_eq!(told(json!({"template": 3})), [".spec.template: expected map, got &{3}"]);
    let containers = |list: Value| told(json!({"template": {"spec": {"containers": list}}}));
    assert_eq!(
        containers(json!([{"name": "c"}, {"name": "c"}])),
        [".spec.template.spec.containers: duplicate entries for key [name=\"c\"]"]
    );
    assert_eq!(
        containers(json!([3])),
        [".spec.template.spec.containers: element 0: associative list with keys may not have non-map elements"]
    );
}

#[test]
fn maps_lists_and_elements_that_are_new_are_owned_but_what_go_always_writes_is_not() {
    let new = json!({
        "metadata": {"labels": {"x": "y"}},
        "spec": {"template": {"spec": {"containers": [{"name": "c", "env": [{"name": "A"}]}], "volumes": [{"name": "v"}]}}},
    });
    let managers =
        deployment().track(&Value::Null, &new, Vec::new(), &who("me", Operation::Update)).expect("has fields");
    let expected = json!({
        "f:metadata": {"f:labels": {".": {}, "f:x": {}}},
        "f:spec": {"f:template": {"f:spec": {
            "f:containers": {"k:{\"name\":\"c\"}": {
                ".": {}, "f:name": {}, "f:resources": {},
                "f:env": {".": {}, "k:{\"name\":\"A\"}": {".": {}, "f:name": {}}},
            }},
            "f:volumes": {".": {}, "k:{\"name\":\"v\"}": {".": {}, "f:name": {}}},
        }}},
    });
    assert_eq!(managers[0].fields.to_value(), expected);
}

#[test]
fn what_no_schema_knows_is_owned_key_by_key_where_it_is_kept() {
    let raw = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let (schema, kind) = custom(&raw);
    let ty = schema.type_by_kind(&kind).unwrap();
    let live = json!({"spec": {"a": 1, "list": [1, 2], "in": {"x": "y"}}});
    let managers = ty.track(&Value::Null, &live, Vec::new(), &who("maker", Operation::Update)).unwrap();
    let all = json!({"f:spec": {".": {}, "f:a": {}, "f:list": {}, "f:in": {".": {}, "f:x": {}}}});
    assert_eq!(managers[0].fields.to_value(), all);
    let config = json!({"spec": {"b": 2, "in": {"z": 1}}});
    let applied = ty.apply(&live, &config, managers, &who("other", Operation::Apply), false).unwrap();
    let (object, managers) = done(applied);
    assert_eq!(object, json!({"spec": {"a": 1, "list": [1, 2], "in": {"x": "y", "z": 1}, "b": 2}}));
    let own = json!({"f:spec": {".": {}, "f:b": {}, "f:in": {".": {}, "f:z": {}}}});
    assert_eq!(managers[0].fields.to_value(), own);
}

#[test]
fn deeply_nested_maps_are_walked_once() {
    let properties =
        (0..60).fold(json!({"type": "string"}), |below, _| json!({"type": "object", "additionalProperties": below}));
    let raw = json!({"type": "object", "properties": {"spec": properties}});
    let (schema, kind) = custom(&raw);
    let object = |leaf: &str| json!({"spec": (0..60).fold(json!(leaf), |below, _| json!({"a": below}))});
    let writer = who("a", Operation::Update);
    // Twice at each level would not end before the sun does.
    let managers = schema.type_by_kind(&kind).unwrap().track(&object("x"), &object("y"), Vec::new(), &writer).unwrap();
    assert_eq!(managers[0].fields.members().len(), 1);
}

#[test]
fn thousands_of_conflicts_do_not_hold_thousands_of_sets() {
    let map = |value: &str| {
        let data: serde_json::Map<String, Value> = (0..5_000).map(|n| (format!("k{n}"), value.into())).collect();
        json!({"metadata": {"name": "a"}, "data": data})
    };
    let maps = Schema::builtin().type_by_kind(&GroupVersionKind::from_api_version("v1", "ConfigMap")).unwrap();
    let apply = |live: &Value, config: &Value, managers, name| {
        maps.apply(live, config, managers, &who(name, Operation::Apply), false).unwrap()
    };
    let (live, managers) = done(apply(&Value::Null, &map("one"), Vec::new(), "a"));
    let own = managers[0].fields.clone();
    let Applied::Conflicts(conflicts) = apply(&live, &map("two"), managers, "b") else { panic!("no conflict") };
    assert_eq!(conflicts.iter().filter(|conflict| own.has(&conflict.path)).count(), 5_000);
}
