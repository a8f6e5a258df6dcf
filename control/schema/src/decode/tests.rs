use serde_json::json;

use super::*;
use crate::{GroupVersionKind, Schema};

fn decode(api_version: &str, kind: &str, body: &str) -> Result<Decoded, DecodeError> {
    let ty = Schema::builtin()
        .type_by_kind(&GroupVersionKind::from_api_version(api_version, kind))
        .expect("a built-in kind");
    ty.decode(body.as_bytes())
}

fn error(api_version: &str, kind: &str, body: &str) -> String {
    decode(api_version, kind, body).expect_err("must be refused").to_string()
}

#[test]
fn unknown_fields_are_dropped_and_named_by_path() {
    let body = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","labls":{}},"spec":{"containers":[{"name":"c","ports":[{"containerPort":80,"foo":1}]}],"bar":2},"x":1}"#;
    let decoded = decode("v1", "Pod", body).expect("decodes");
    assert_eq!(
        decoded.strict,
        [
            r#"unknown field "metadata.labls""#,
            r#"unknown field "spec.containers[0].ports[0].foo""#,
            r#"unknown field "spec.bar""#,
            r#"unknown field "x""#
        ]
    );
    let expected = json!({"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"},"spec":{"containers":[{"name":"c","ports":[{"containerPort":80}]}]}});
    assert_eq!(decoded.object, expected);
    assert_eq!(strict_decoding_error(&decoded.strict[3..]), r#"strict decoding error: unknown field "x""#);
}

#[test]
fn duplicate_fields_are_named_and_the_last_counts() {
    let decoded = decode("v1", "ConfigMap", r#"{"data":{"a":"1","a":"2"},"data":{"b":"3"}}"#).expect("decodes");
    assert_eq!(decoded.strict, [r#"duplicate field "data.a""#, r#"duplicate field "data""#]);
    assert_eq!(decoded.object, json!({"data":{"b":"3"}}));
}

#[test]
fn fields_come_out_in_the_order_of_go_and_maps_sorted() {
    let body = r#"{"spec":{"containers":[{"image":"i","name":"c"}],"nodeName":"n"},"metadata":{"labels":{"b":"","a":""},"name":"p"},"apiVersion":"v1","kind":"Pod"}"#;
    let text = decode("v1", "Pod", body).expect("decodes").object.to_string();
    assert_eq!(
        text,
        r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p","labels":{"a":"","b":""}},"spec":{"containers":[{"name":"c","image":"i"}],"nodeName":"n"}}"#
    );
}

#[test]
fn wrong_types_are_refused_in_the_words_of_go() {
    assert_eq!(
        error("apps/v1", "Deployment", r#"{"spec":{"replicas":"3"}}"#),
        "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"
    );
    assert_eq!(
        error("v1", "Pod", r#"{"spec":{"containers":{}}}"#),
        "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container"
    );
    assert_eq!(
        error("v1", "Pod", r#"{"metadata":{"labels":{"a":1}}}"#),
        "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string"
    );
    assert_eq!(
        error("v1", "Service", r#"{"spec":{"ports":[{"port":4294967296}]}}"#),
        "json: cannot unmarshal number 4294967296 into Go struct field ServicePort.spec.ports.port of type int32"
    );
    assert_eq!(error("v1", "Pod", "[]"), "json: cannot unmarshal array into Go value of type v1.Pod");
    assert_eq!(error("v1", "Pod", "{"), "unexpected end of JSON input");
    assert_eq!(error("v1", "Secret", r#"{"data":{"a":"%"}}"#), "illegal base64 data at input byte 0");
}

#[test]
fn null_is_dropped_and_becomes_zero_within_lists_and_maps() {
    let body = r#"{"metadata":{"creationTimestamp":null,"labels":{"a":null},"finalizers":["x",null]},"data":null}"#;
    let decoded = decode("v1", "ConfigMap", body).expect("decodes");
    assert_eq!(decoded.object, json!({"metadata":{"labels":{"a":""},"finalizers":["x",""]}}));
    assert!(decoded.strict.is_empty());
}

#[test]
fn quantities_and_times_are_rewritten_to_canonical_form() {
    let body = r#"{"spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":0.5,"memory":"1024Mi"}}}]},"status":{"startTime":"2026-01-02T03:04:05.678+02:00"}}"#;
    let object = decode("v1", "Pod", body).expect("decodes").object;
    assert_eq!(object["spec"]["containers"][0]["resources"]["limits"], json!({"cpu":"500m","memory":"1Gi"}));
    assert_eq!(object["status"]["startTime"], "2026-01-02T01:04:05Z");
    let lease = decode("coordination.k8s.io/v1", "Lease", r#"{"spec":{"renewTime":"2026-01-02T03:04:05.5Z"}}"#)
        .expect("decodes");
    assert_eq!(lease.object["spec"]["renewTime"], "2026-01-02T03:04:05.500000Z");
    let quantity = r#"{"spec":{"containers":[{"resources":{"limits":{"cpu":"a"}}}]}}"#;
    assert_eq!(
        error("v1", "Pod", quantity),
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    );
    assert!(
        error("v1", "Pod", r#"{"status":{"startTime":"yesterday"}}"#)
            .starts_with(r#"parsing time "yesterday" as "2006-01-02T15:04:05Z07:00""#)
    );
}

#[test]
fn a_custom_resource_definition_keeps_what_its_schema_may_hold() {
    let body = r#"{"spec":{"versions":[{"name":"v1","schema":{"openAPIV3Schema":{"type":"object","properties":{"a":{"items":{"type":"string","bad":1},"default":[1,"x"]},"b":{"additionalProperties":true}}}}}]}}"#;
    let decoded = decode("apiextensions.k8s.io/v1", "CustomResourceDefinition", body).expect("decodes");
    assert_eq!(decoded.strict, [r#"unknown field "spec.versions[0].schema.openAPIV3Schema.properties.a.items.bad""#]);
    assert_eq!(
        decoded.object["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["a"]["default"],
        json!([1, "x"])
    );
}

#[test]
fn zero_values_that_go_cannot_tell_from_absent_are_dropped() {
    let body = r#"{"spec":{"replicas":0,"paused":false,"minReadySeconds":0,"template":{"spec":{"nodeName":"","containers":[],"volumes":[{"name":"v","emptyDir":{}}]}}}}"#;
    let object = decode("apps/v1", "Deployment", body).expect("decodes").object;
    let expected =
        json!({"spec":{"replicas":0,"template":{"spec":{"volumes":[{"name":"v","emptyDir":{}}],"containers":[]}}}});
    assert_eq!(object, expected);
}

#[test]
fn findings_are_told_in_the_order_of_the_request() {
    let json = br#"{"apiVersion":"v1","kind":"Pod","metadata":{"x":1},"spec":{"y":1,"hostNetwork":true,"hostNetwork":false,"z":[1]}}"#;
    let decoded = Schema::builtin().type_named("io.k8s.api.core.v1.Pod").unwrap().decode(json).unwrap();
    let expected = [
        "unknown field \"metadata.x\"",
        "unknown field \"spec.y\"",
        "duplicate field \"spec.hostNetwork\"",
        "unknown field \"spec.z\"",
    ];
    assert_eq!(decoded.strict, expected);
}

#[test]
fn no_request_has_more_findings_told_than_anybody_reads() {
    let deep = format!("{{\"{}\":{{{}}}}}", "k".repeat(100_000), vec!["\"a\":1"; 20_000].join(","));
    let begun = std::time::Instant::now();
    assert_eq!(parse(deep.as_bytes()).unwrap().strict.len(), 1);
    let many: Vec<String> = (0..10_000).map(|n| format!("\"a{n}\":1,\"a{n}\":2")).collect();
    assert_eq!(parse(format!("{{{}}}", many.join(",")).as_bytes()).unwrap().strict.len(), 100);
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
}
