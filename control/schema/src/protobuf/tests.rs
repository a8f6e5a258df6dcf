use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{Special, Ty};

/// A value of a type with every field set, `depth` levels of messages deep; `seed` varies the scalars.
fn sample(schema: &Schema, ty: &Ty, depth: usize, seed: &mut u64) -> Option<Value> {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let pick = *seed >> 33;
    Some(match ty {
        Ty::Any => return None,
        Ty::String => format!("text-{pick}-é").into(),
        Ty::Bytes => "AAEC/w==".into(),
        Ty::Bool => true.into(),
        // Odd: a zero is left out where Go leaves it out.
        Ty::Int32 => (((pick as i32 % 100_000) - 50_001) | 1).into(),
        Ty::Int64 => (i64::MIN + 7 + pick as i64).into(),
        Ty::Double => (0.5 + pick as f64).into(),
        Ty::List(list) => {
            Value::Array(vec![sample(schema, &list.item, depth, seed)?, sample(schema, &list.item, depth, seed)?])
        }
        Ty::Map(map) => {
            json!({"a": sample(schema, &map.value, depth, seed)?, "b": sample(schema, &map.value, depth, seed)?})
        }
        Ty::Ref(id) => {
            let ty = schema.get(*id)?;
            match ty.special {
                Some(Special::Time) => "2026-01-02T03:04:05Z".into(),
                Some(Special::MicroTime) => "2026-01-02T03:04:05.000600Z".into(),
                Some(Special::Quantity) => "1500m".into(),
                Some(Special::IntOrString) => [json!("http"), json!(8080), json!(0)][pick as usize % 3].clone(),
                Some(Special::RawExtension | Special::FieldsV1) => json!({"f:spec": {"x": [1, null, "y"]}}),
                Some(Special::Json) => [json!([1, "x"]), json!({"a": 1}), json!("s")][pick as usize % 3].clone(),
                Some(Special::JsonSchemaPropsOrArray) => {
                    [json!({"type": "string"}), json!([{"type": "string"}, {}])][pick as usize % 2].clone()
                }
                Some(Special::JsonSchemaPropsOrBool) => {
                    [json!({"type": "string"}), json!(true), json!(false)][pick as usize % 3].clone()
                }
                Some(Special::JsonSchemaPropsOrStringArray) => {
                    [json!({"type": "string"}), json!(["a", "b"])][pick as usize % 2].clone()
                }
                Some(Special::Patch) => return None,
                None if depth == 0 => json!({}),
                None => {
                    let fields = ty.get().fields.iter().filter(|f| f.wire.tag != 0);
                    Value::Object(
                        fields
                            .filter_map(|f| Some((f.name.to_string(), sample(schema, &f.ty, depth - 1, seed)?)))
                            .collect(),
                    )
                }
            }
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn every_kind_survives_the_way_there_and_back(seed: u64, depth in 1usize..6) {
        let schema = Schema::builtin();
        let mut seed = seed;
        for ty in schema.types().filter(|t| t.special.is_none()) {
            let Some(object) = sample(schema, &Ty::Ref(ty.id()), depth.min(if ty.name.contains("apiextensions") { 3 } else { 6 }), &mut seed) else { continue };
            let bytes = ty.to_protobuf(&object).expect("encodes");
            let back = ty.from_protobuf(&bytes).expect("decodes");
            prop_assert_eq!(back, object, "{}", ty.name);
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>) {
        let schema = Schema::builtin();
        for name in ["io.k8s.api.core.v1.Pod", "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition"] {
            let _ = schema.type_named(name).expect("built in").from_protobuf(&bytes);
        }
        let _ = schema.decode_protobuf(&[b"k8s\0".as_slice(), &bytes].concat());
    }
}

#[test]
fn every_field_of_a_served_kind_has_a_tag_that_is_its_own() {
    for ty in Schema::builtin().types().filter(|t| t.special.is_none() && !t.name.ends_with("version.Info")) {
        let mut seen = std::collections::HashSet::new();
        for field in &ty.get().fields {
            let of_envelope = !ty.kinds.is_empty() && matches!(&*field.name, "kind" | "apiVersion");
            assert!(field.wire.tag != 0 || of_envelope, "{}.{}", ty.name, field.name);
            assert!(field.wire.tag == 0 || seen.insert(&field.wire), "{}.{}", ty.name, field.name);
        }
    }
}

#[test]
fn a_config_map_is_written_byte_by_byte_as_go_writes_it() {
    let object = json!({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"v"}});
    let bytes = Schema::builtin().encode_protobuf(&object).expect("encodes");
    let mut expected = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x0d".to_vec();
    expected.extend_from_slice(b"\x0a\x03\x0a\x01a\x12\x06\x0a\x01k\x12\x01v\x1a\x00\x22\x00");
    assert_eq!(bytes, expected);
    assert_eq!(Schema::builtin().decode_protobuf(&bytes), Ok(object));
}

#[test]
fn inlined_structs_are_messages_on_the_wire() {
    let schema = Schema::builtin();
    let volume = schema.type_named("io.k8s.api.core.v1.Volume").expect("Volume");
    let bytes = volume.to_protobuf(&json!({"name":"v","emptyDir":{}})).expect("encodes");
    // name = 1, volumeSource = 2 { emptyDir = 2 {} }
    assert_eq!(bytes, b"\x0a\x01v\x12\x02\x12\x00");
}

#[test]
fn what_go_cannot_tell_from_absent_is_dropped() {
    let schema = Schema::builtin();
    let spec = schema.type_named("io.k8s.api.apps.v1.DeploymentSpec").expect("DeploymentSpec");
    // replicas (a pointer) = 0 stays; minReadySeconds = 0 and paused = false go.
    let message = [b"\x08\x00".as_slice(), b"\x28\x00", b"\x38\x00"].concat();
    assert_eq!(spec.from_protobuf(&message), Ok(json!({"replicas": 0})));
    let meta = schema.type_named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta").expect("ObjectMeta");
    // name "a", generateName "", creationTimestamp {} as Go's zero time.
    assert_eq!(meta.from_protobuf(b"\x0a\x01a\x12\x00\x42\x00"), Ok(json!({"name": "a"})));
}

#[test]
fn lists_and_watch_events_take_encoded_objects() {
    let schema = Schema::builtin();
    let (pod, pods) = (
        json!({"metadata":{"name":"a"}}),
        json!({"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"a"}}]}),
    );
    let item = schema.type_named("io.k8s.api.core.v1.Pod").expect("Pod").to_protobuf(&pod).expect("encodes");
    let meta = schema.type_named("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta").expect("ListMeta");
    let meta = meta.to_protobuf(&pods["metadata"]).expect("encodes");
    let sealed = seal("v1", "PodList", &list(&meta, [item.as_slice()]));
    assert_eq!(schema.decode_protobuf(&sealed), Ok(pods));
    let event = watch_event("ADDED", &seal("v1", "Pod", &item));
    let ty = schema.type_named("io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent").expect("WatchEvent");
    let expected = json!({"type":"ADDED","object":{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"}}});
    assert_eq!(ty.from_protobuf(&event), Ok(expected));
    assert_eq!(frame(&[1, 2]), [0, 0, 0, 2, 1, 2]);
}

#[test]
fn errors_say_what_is_wrong() {
    let schema = Schema::builtin();
    assert_eq!(schema.decode_protobuf(b"{}"), Err(ProtobufError::NoEnvelope));
    let unknown = schema.decode_protobuf(&seal("foo/v1", "Bar", b"")).expect_err("unknown");
    assert_eq!(unknown.to_string(), r#"no kind "Bar" is registered for version "foo/v1""#);
    let wrong = schema.encode_protobuf(&json!({"apiVersion":"v1","kind":"ConfigMap","data":[]})).expect_err("wrong");
    assert_eq!(wrong.to_string(), "ConfigMap.data cannot hold []");
    let cut = schema.decode_protobuf(&seal("v1", "Pod", b"\x0a\x05")).expect_err("cut");
    assert_eq!(cut, ProtobufError::Malformed("Pod".into()));
}
