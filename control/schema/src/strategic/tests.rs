use serde_json::json;

use super::*;

fn merge(kind: &str, original: Value, patch: Value) -> Result<Value> {
    let ty = Schema::builtin().type_named(&format!("io.k8s.api.{kind}")).expect("a built-in type");
    ty.strategic_merge(&original, &patch)
}

fn merged(kind: &str, original: Value, patch: Value) -> Value {
    merge(kind, original, patch).expect("merges")
}

const POD: &str = "core.v1.PodSpec";

#[test]
fn maps_merge_and_null_deletes() {
    let original = json!({"nodeSelector":{"a":"1","b":"2"},"hostname":"h"});
    let patch = json!({"nodeSelector":{"a":null,"c":"3"},"hostname":null,"subdomain":null});
    assert_eq!(merged(POD, original, patch), json!({"nodeSelector":{"b":"2","c":"3"}}));
}

#[test]
fn lists_of_objects_merge_by_the_declared_key() {
    let original =
        json!({"containers":[{"name":"a","image":"1","env":[{"name":"X","value":"1"}]},{"name":"b","image":"2"}]});
    let patch =
        json!({"containers":[{"name":"a","image":"9","env":[{"name":"Y","value":"2"}]},{"name":"c","image":"3"}]});
    let expected = json!({"containers":[{"name":"a","image":"9","env":[{"name":"Y","value":"2"},{"name":"X","value":"1"}]},{"name":"c","image":"3"},{"name":"b","image":"2"}]});
    let result = merged(POD, original, patch);
    let names = |v: &Value| v["containers"].as_array().map(|c| c.iter().map(|c| c["name"].clone()).collect::<Vec<_>>());
    assert_eq!(result["containers"][0]["image"], "9");
    assert_eq!(result["containers"][0]["env"].as_array().map(Vec::len), Some(2));
    // New elements come where the interleaving of both orders puts them.
    assert_eq!(names(&result), names(&expected));
}

#[test]
fn atomic_lists_are_replaced() {
    let original = json!({"containers":[{"name":"a","args":["1","2"]}]});
    let patch = json!({"containers":[{"name":"a","args":["3"]}]});
    assert_eq!(merged(POD, original, patch), json!({"containers":[{"name":"a","args":["3"]}]}));
}

#[test]
fn ports_merge_by_container_port() {
    let original = json!({"containers":[{"name":"a","ports":[{"containerPort":80,"name":"x"}]}]});
    let patch = json!({"containers":[{"name":"a","ports":[{"containerPort":80,"name":"y"}]}]});
    assert_eq!(merged(POD, original, patch)["containers"][0]["ports"], json!([{"containerPort":80,"name":"y"}]));
}

#[test]
fn a_delete_directive_removes_the_element() {
    let original = json!({"containers":[{"name":"a"},{"name":"b"}]});
    let patch = json!({"containers":[{"name":"a","$patch":"delete"}]});
    assert_eq!(merged(POD, original.clone(), patch), json!({"containers":[{"name":"b"}]}));
    let nothing = json!({"volumes":[{"name":"v","$patch":"delete"}]});
    assert_eq!(merged(POD, original.clone(), nothing), original);
}

#[test]
fn a_replace_directive_replaces_list_or_map() {
    let original = json!({"containers":[{"name":"a"},{"name":"b"}],"nodeSelector":{"a":"1"}});
    let patch = json!({"containers":[{"$patch":"replace"},{"name":"c"}],"nodeSelector":{"$patch":"replace","b":"2"}});
    assert_eq!(merged(POD, original.clone(), patch), json!({"containers":[{"name":"c"}],"nodeSelector":{"b":"2"}}));
    assert_eq!(merged(POD, original, json!({"nodeSelector":{"$patch":"delete"}}))["nodeSelector"], json!({}));
}

#[test]
fn primitive_lists_merge_without_duplicates_and_delete_by_directive() {
    let meta = "core.v1.Pod";
    let original = json!({"metadata":{"finalizers":["a","b"]}});
    let added = merged(meta, original.clone(), json!({"metadata":{"finalizers":["b","c"]}}));
    assert_eq!(added["metadata"]["finalizers"], json!(["a", "b", "c"]));
    let removed = merged(meta, original.clone(), json!({"metadata":{"$deleteFromPrimitiveList/finalizers":["a"]}}));
    assert_eq!(removed["metadata"]["finalizers"], json!(["b"]));
    let both = json!({"metadata":{"$deleteFromPrimitiveList/finalizers":["a"],"$setElementOrder/finalizers":["c","b"],"finalizers":["c"]}});
    assert_eq!(merged(meta, original, both)["metadata"]["finalizers"], json!(["c", "b"]));
}

#[test]
fn set_element_order_orders_the_list() {
    let original = json!({"containers":[{"name":"a"},{"name":"b"},{"name":"server"}]});
    let patch =
        json!({"$setElementOrder/containers":[{"name":"b"},{"name":"a"}],"containers":[{"name":"a","image":"1"}]});
    let expected = json!({"containers":[{"name":"b"},{"name":"a","image":"1"},{"name":"server"}]});
    assert_eq!(merged(POD, original.clone(), patch), expected);
    let only_order = json!({"$setElementOrder/containers":[{"name":"b"},{"name":"a"}]});
    assert_eq!(
        merged(POD, original.clone(), only_order),
        json!({"containers":[{"name":"b"},{"name":"a"},{"name":"server"}]})
    );
    let wrong = json!({"$setElementOrder/containers":[{"name":"b"}],"containers":[{"name":"a"}]});
    assert!(matches!(merge(POD, original, wrong), Err(StrategicError::OrderMismatch { .. })));
}

#[test]
fn retain_keys_clears_the_other_members_of_a_union() {
    let original = json!({"strategy":{"type":"RollingUpdate","rollingUpdate":{"maxSurge":1}}});
    let patch = json!({"strategy":{"$retainKeys":["type"],"type":"Recreate"}});
    assert_eq!(merged("apps.v1.DeploymentSpec", original.clone(), patch), json!({"strategy":{"type":"Recreate"}}));
    let wrong = json!({"strategy":{"$retainKeys":["type"],"rollingUpdate":{}}});
    assert_eq!(merge("apps.v1.DeploymentSpec", original.clone(), wrong), Err(StrategicError::RetainKeysMismatch));
    let no_list = json!({"strategy":{"$retainKeys":"type"}});
    assert_eq!(merge("apps.v1.DeploymentSpec", original, no_list), Err(StrategicError::BadRetainKeys));
    let volumes = json!({"volumes":[{"name":"v","emptyDir":{}}]});
    let patch = json!({"volumes":[{"name":"v","$retainKeys":["name","hostPath"],"hostPath":{"path":"/x"}}]});
    assert_eq!(merged(POD, volumes, patch), json!({"volumes":[{"name":"v","hostPath":{"path":"/x"}}]}));
}

#[test]
fn directives_never_reach_the_object() {
    let patch = json!({"strategy":{"$retainKeys":["type"],"type":"Recreate"},"template":{"spec":{"$setElementOrder/containers":[{"name":"a"}],"containers":[{"name":"a","image":null}]}}});
    let expected = json!({"strategy":{"type":"Recreate"},"template":{"spec":{"containers":[{"name":"a"}]}}});
    assert_eq!(merged("apps.v1.DeploymentSpec", json!({}), patch), expected);
}

#[test]
fn errors_have_the_texts_of_kubernetes() {
    let original = json!({"containers":[{"name":"a"}]});
    let text = |patch: Value| merge(POD, original.clone(), patch).expect_err("must fail").to_string();
    assert_eq!(
        text(json!({"containers":[{"image":"x"}]})),
        "map: map[image:x] does not contain declared merge key: name"
    );
    assert_eq!(
        text(json!({"containers":[{"name":"a","$patch":"foo"}]})),
        "unknown patch type: foo in map: map[$patch:foo name:a]"
    );
    assert_eq!(
        text(json!({"containers":[{"name":"a","$patch":"merge"}]})),
        "merging lists cannot yet be specified in the patch"
    );
    assert_eq!(merge(POD, json!([]), json!({})), Err(StrategicError::BadJsonDoc));
}

#[test]
fn values_of_unknown_types_merge_as_plain_json() {
    let original = json!({"data":{"a":{"b":[1],"c":1}}});
    let patch = json!({"data":{"a":{"b":[2],"c":null}}});
    assert_eq!(merged("apps.v1.ControllerRevision", original, patch), json!({"data":{"a":{"b":[2]}}}));
}
