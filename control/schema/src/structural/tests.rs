use serde_json::{Value, json};

use super::*;
use crate::GroupVersionKind;
use crate::openapi::Dialect;

fn schema(properties: Value) -> Structural {
    Structural::parse(&json!({"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}))
        .unwrap()
}

#[test]
fn what_is_not_named_is_dropped_and_told() {
    let node = schema(
        json!({"a": {"type": "string"}, "list": {"type": "array", "items": {"type": "object", "properties": {"x": {}}}}}),
    );
    let mut object = json!({
        "apiVersion": "v1", "kind": "K", "metadata": {"name": "n", "odd": 1},
        "spec": {"a": "b", "z": 1, "list": [{"x": 1, "y": 2}]}, "extra": true,
    });
    let unknown = node.prune(&mut object);
    assert_eq!(unknown, ["unknown field \"extra\"", "unknown field \"spec.list[0].y\"", "unknown field \"spec.z\""]);
    assert_eq!(object["spec"], json!({"a": "b", "list": [{"x": 1}]}));
    assert_eq!(object["metadata"]["odd"], 1, "metadata is not the schema's");
}

#[test]
fn unknown_fields_stay_where_they_are_preserved_and_known_ones_are_pruned_there() {
    let node = schema(json!({"free": {
        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
        "properties": {"strict": {"type": "object", "properties": {"a": {"type": "string"}}}},
    }}));
    let mut object = json!({"spec": {"free": {"any": {"thing": 1}, "strict": {"a": "", "b": ""}}}});
    assert_eq!(node.prune(&mut object), ["unknown field \"spec.free.strict.b\""]);
    assert_eq!(object["spec"]["free"], json!({"any": {"thing": 1}, "strict": {"a": ""}}));
}

#[test]
fn an_embedded_object_keeps_its_own_type_and_metadata() {
    let node = schema(json!({"template": {
        "type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}},
    }}));
    let mut object =
        json!({"spec": {"template": {"kind": "P", "apiVersion": "v1", "metadata": {"name": "x"}, "odd": 1}}});
    assert_eq!(node.prune(&mut object), ["unknown field \"spec.template.odd\""]);
    assert_eq!(object["spec"]["template"]["metadata"]["name"], "x");
}

#[test]
fn defaults_fill_what_is_absent_or_wrongly_null() {
    let node = schema(json!({
        "a": {"type": "string", "default": "A"},
        "n": {"type": "string", "nullable": true, "default": "N"},
        "o": {"type": "object", "default": {}, "properties": {"deep": {"type": "integer", "default": 5}}},
        "p": {"type": "string"},
    }));
    let mut object = json!({"spec": {"a": null, "n": null, "p": null}});
    node.fill_defaults(&mut object);
    assert_eq!(object["spec"], json!({"a": "A", "n": null, "o": {"deep": 5}}));
    let mut absent = json!({});
    node.fill_defaults(&mut absent);
    assert_eq!(absent, json!({}), "a default does not make its parent");
}

#[test]
fn the_overlay_merges_by_the_list_types_of_the_schema() {
    let raw = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "properties": {"name": {"type": "string"}, "port": {"type": "integer"}}}},
        "tags": {"type": "array", "items": {"type": "string"}},
    }}}});
    let structural = Structural::parse(&raw).unwrap();
    let kind = GroupVersionKind::new("stable.example.com", "v1", "CronTab");
    let schema = overlay(&CustomType {
        selectable: vec!["spec.a"],
        kind: kind.clone(),
        list_kind: "CronTabList",
        plural: "crontabs",
        singular: "crontab",
        namespaced: true,
        status: true,
        scale: true,
        structural: Some(&structural),
        schema: Some(&raw),
    });
    let ty = schema.type_by_kind(&kind).unwrap();
    assert_eq!(ty.name.as_ref(), "com.example.stable.v1.CronTab");
    let fields = ty
        .owned_fields(
            &json!({"metadata": {"labels": {"a": "b"}}, "spec": {"ports": [{"name": "x", "port": 1}], "tags": ["t"]}}),
        )
        .unwrap();
    assert_eq!(
        fields.to_value(),
        json!({"f:metadata": {"f:labels": {"f:a": {}}},
            "f:spec": {"f:ports": {"k:{\"name\":\"x\"}": {".": {}, "f:name": {}, "f:port": {}}}, "f:tags": {}}})
    );
    let v3: Value = serde_json::from_slice(
        &crate::openapi::v3::document(&[crate::Schema::builtin(), &schema], "stable.example.com", "v1").unwrap(),
    )
    .unwrap();
    let published = &v3["components"]["schemas"]["com.example.stable.v1.CronTab"];
    assert_eq!(published["properties"]["spec"]["properties"]["tags"]["type"], "array");
    assert_eq!(published["x-kubernetes-group-version-kind"][0]["kind"], "CronTab");
    assert!(v3["paths"]["/apis/stable.example.com/v1/namespaces/{namespace}/crontabs/{name}/scale"].is_object());
}

#[test]
fn version_two_says_only_what_kubectl_can_read() {
    let kind = GroupVersionKind::new("g.example.com", "v1", "K");
    let raw = json!({"type": "object", "required": ["a", "b"], "properties": {
        "a": {"type": "string", "nullable": true}, "b": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"c": {}}},
        "d": {"x-kubernetes-int-or-string": true},
    }});
    let two = publish(Some(&raw), &kind, Dialect::V2);
    assert_eq!(two["properties"]["a"], json!({}));
    assert_eq!(two["properties"]["b"], json!({"x-kubernetes-preserve-unknown-fields": true}));
    assert_eq!(two["required"], json!(["b"]));
    let three = publish(Some(&raw), &kind, Dialect::V3);
    assert_eq!(three["properties"]["a"]["nullable"], true);
    assert!(three["properties"]["d"]["anyOf"].is_array());
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    assert!(publish(Some(&open), &kind, Dialect::V2).get("properties").is_none());
}
