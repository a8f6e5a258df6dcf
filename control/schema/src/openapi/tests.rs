use std::collections::BTreeSet;

use serde_json::Value;

use super::*;
use crate::Schema;

fn document(group: &str, version: &str) -> Value {
    let bytes = v3::document(&[Schema::builtin()], group, version).expect("a served group version");
    serde_json::from_slice(&bytes).expect("JSON")
}

/// Every `$ref` below a value.
fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str));
            map.values().for_each(|v| references(v, found));
        }
        Value::Array(items) => items.iter().for_each(|v| references(v, found)),
        _ => {}
    }
}

#[test]
fn every_document_resolves_its_own_references() {
    for (group, version) in v3::group_versions(Schema::builtin()) {
        let document = document(&group, &version);
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        for reference in found {
            let name = reference.strip_prefix("#/components/schemas/").expect("a reference to a schema");
            assert!(document["components"]["schemas"].get(name).is_some(), "{group}/{version} lacks {name}");
        }
    }
}

#[test]
fn kubectl_finds_operations_by_their_marks() {
    let document = document("apps", "v1");
    let item = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"];
    assert_eq!(item["patch"]["x-kubernetes-action"], "patch");
    assert_eq!(
        item["patch"]["x-kubernetes-group-version-kind"],
        json!({"group":"apps","kind":"Deployment","version":"v1"})
    );
    let names: Vec<_> =
        item["patch"]["parameters"].as_array().expect("parameters").iter().map(|p| &p["name"]).collect();
    assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
    let scale = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"];
    assert_eq!(
        scale["put"]["requestBody"]["content"]["*/*"]["schema"]["$ref"],
        "#/components/schemas/io.k8s.api.autoscaling.v1.Scale"
    );
}

#[test]
fn schemas_carry_what_explain_and_apply_need() {
    let document = document("", "v1");
    let spec = &document["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"];
    assert_eq!(spec["properties"]["containers"]["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(spec["properties"]["volumes"]["x-kubernetes-patch-strategy"], "merge,retainKeys");
    assert_eq!(spec["required"], json!(["containers"]));
    let context = &spec["properties"]["securityContext"];
    assert_eq!(context["allOf"][0]["$ref"], "#/components/schemas/io.k8s.api.core.v1.PodSecurityContext");
    assert!(context["description"].as_str().is_some_and(|d| d.starts_with("SecurityContext holds")));
    let port = &document["components"]["schemas"]["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"];
    assert_eq!(port["default"], "TCP");
    assert!(document["paths"].get("/api/v1/namespaces/{namespace}/pods/{name}/exec").is_some());
    assert!(document["paths"].get("/api/v1/nodes/{name}/proxy/{path}").is_some());
}

#[test]
fn operation_ids_are_unique_within_a_document() {
    for (group, version) in v3::group_versions(Schema::builtin()) {
        let document = document(&group, &version);
        let items = document["paths"].as_object().expect("paths").values();
        let ids: Vec<_> = items
            .flat_map(|i| i.as_object().expect("an item").values())
            .filter_map(|o| o.get("operationId")?.as_str())
            .collect();
        let unique: BTreeSet<_> = ids.iter().collect();
        assert_eq!(ids.len(), unique.len(), "{group}/{version}");
    }
}

#[test]
fn the_index_names_each_document_with_its_hash() {
    let schema = Schema::builtin();
    let hash = v3::hash(&[schema], "apps", "v1");
    assert_ne!(hash, v3::hash(&[schema], "batch", "v1"));
    assert_eq!(hash, v3::hash(&[schema], "apps", "v1"));
    let index: Value = serde_json::from_slice(&v3::index([(&*v3::path("apps", "v1"), &*hash)])).expect("JSON");
    assert_eq!(index["paths"]["apis/apps/v1"]["serverRelativeURL"], format!("/openapi/v3/apis/apps/v1?hash={hash}"));
    assert_eq!(v3::path("", "v1"), "api/v1");
    assert!(v3::document(&[schema], "apps", "v2").is_none());
}

#[test]
fn the_v2_document_is_whole_in_both_encodings() {
    let bytes = v2::json(&[Schema::builtin()], &[]);
    let document: Value = serde_json::from_slice(&bytes).expect("JSON");
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for reference in &found {
        let there = document.pointer(reference.strip_prefix('#').expect("a reference within the document"));
        assert!(there.is_some(), "v2 lacks {reference}");
    }
    let protobuf = v2::protobuf(&[Schema::builtin()], &[]);
    assert!(protobuf.starts_with(b"\x0a\x032.0\x12"));
    assert!(protobuf.len() < bytes.len());
}

#[test]
fn the_v2_document_takes_in_what_others_serve() {
    let bytes = v2::json(&[Schema::builtin()], &[]);
    let own: Value = serde_json::from_slice(&bytes).expect("JSON");
    let status = &own["definitions"]["io.k8s.apimachinery.pkg.apis.meta.v1.Status"];
    let schema = |name: &str| json!({"schema": {"$ref": format!("#/definitions/{name}")}});
    let part = v2::part(
        json!({
            "paths": {"/apis/wardle.example.com/v1/flunders": {
                "get": {"operationId": "list", "responses": {
                    "200": schema("wardle.Flunder"), "500": schema("io.k8s.apimachinery.pkg.apis.meta.v1.Status"),
                    "404": schema("io.k8s.api.core.v1.Pod")}},
                "parameters": [{"$ref": "#/parameters/pretty"}]}},
            "definitions": {
                "wardle.Flunder": {"type": "object"}, "io.k8s.apimachinery.pkg.apis.meta.v1.Status": status,
                "io.k8s.api.core.v1.Pod": {"type": "object", "description": "another"}},
            "parameters": {"pretty": {"name": "pretty", "in": "query", "type": "string"}},
        }),
        "wardle.example.com",
        "v1",
    );
    let others = [std::sync::Arc::new(part)];
    let merged: Value = serde_json::from_slice(&v2::json(&[Schema::builtin()], &others)).expect("JSON");
    let responses = &merged["paths"]["/apis/wardle.example.com/v1/flunders"]["get"]["responses"];
    assert_eq!(responses["404"]["schema"]["$ref"], "#/definitions/io.k8s.api.core.v1.Pod_v2");
    assert_eq!(responses["500"], schema("io.k8s.apimachinery.pkg.apis.meta.v1.Status"));
    assert_eq!(merged["definitions"]["io.k8s.api.core.v1.Pod"], own["definitions"]["io.k8s.api.core.v1.Pod"]);
    assert_eq!(merged["definitions"]["io.k8s.api.core.v1.Pod_v2"]["description"], "another");
    assert!(merged["definitions"].get("io.k8s.apimachinery.pkg.apis.meta.v1.Status_v2").is_none());
    assert_eq!(merged["parameters"]["pretty"]["in"], "query");
    let mut found = BTreeSet::new();
    references(&merged, &mut found);
    for reference in found.iter().filter_map(|reference| reference.strip_prefix("#/definitions/")) {
        assert!(merged["definitions"].get(reference).is_some(), "v2 lacks {reference}");
    }
    let protobuf = v2::protobuf(&[Schema::builtin()], &others);
    let holds = |text: &str| protobuf.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("io.k8s.api.core.v1.Pod_v2") && holds("#/parameters/pretty"));
}

#[test]
fn watches_have_their_old_paths_and_what_all_operations_take_is_said_once() {
    let document = document("apps", "v1");
    let watch = &document["paths"]["/apis/apps/v1/watch/namespaces/{namespace}/deployments/{name}"];
    assert_eq!(watch["get"]["operationId"], "watchAppsV1NamespacedDeployment");
    assert_eq!(watch["get"]["x-kubernetes-action"], "watch");
    assert!(watch["get"].get("parameters").is_none());
    let names: Vec<_> = watch["parameters"].as_array().expect("parameters").iter().map(|p| &p["name"]).collect();
    assert_eq!(
        names[..7],
        ["allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit", "name", "namespace"]
    );
    let id = |path: &str| document["paths"][path]["get"]["operationId"].as_str().expect("an id").to_owned();
    assert_eq!(id("/apis/apps/v1/watch/deployments"), "watchAppsV1DeploymentListForAllNamespaces");
    assert_eq!(id("/apis/apps/v1/watch/namespaces/{namespace}/deployments"), "watchAppsV1NamespacedDeploymentList");
}

#[test]
fn what_belongs_to_no_version_has_documents_of_its_own() {
    for path in v3::general_paths(["", "apps"]) {
        let document: Value = serde_json::from_slice(&v3::general_document(&path).expect("a document")).expect("JSON");
        let get = &document["paths"][format!("/{path}/")]["get"];
        assert!(get["operationId"].is_string(), "{path}");
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        for reference in found {
            assert!(
                document.pointer(reference.strip_prefix('#').expect("within")).is_some(),
                "{path} lacks {reference}"
            );
        }
    }
    assert!(v3::general_document("apis/none").is_none());
}

#[test]
fn the_v2_document_says_a_shared_parameter_once() {
    let document: Value = serde_json::from_slice(&v2::json(&[Schema::builtin()], &[])).expect("JSON");
    let item = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"];
    let reference = item["parameters"][1]["$ref"].as_str().expect("a reference");
    assert!(reference.starts_with("#/parameters/namespace-"), "{reference}");
    assert_eq!(document.pointer(reference.strip_prefix('#').expect("within")).expect("there")["in"], "path");
    // kubectl looks for these in the operation.
    let own: Vec<_> = item["patch"]["parameters"].as_array().expect("parameters").iter().map(|p| &p["name"]).collect();
    assert!(own.contains(&&json!("dryRun")) && own.contains(&&json!("fieldValidation")), "{own:?}");
}
