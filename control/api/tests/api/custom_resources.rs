use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::Cluster;

pub const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
pub const CRONTABS: &str = "/apis/stable.example.com/v1/namespaces/default/crontabs";

pub fn definition(schema: Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "crontabs.stable.example.com"},
        "spec": {
            "group": "stable.example.com", "scope": "Namespaced",
            "names": {"plural": "crontabs", "kind": "CronTab", "shortNames": ["ct"], "categories": ["all"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
                    "labelSelectorPath": ".status.selector",
                }},
                "additionalPrinterColumns": [
                    {"name": "Spec", "type": "string", "jsonPath": ".spec.cronSpec"},
                    {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
                ],
            }],
        },
    })
}

pub fn schema() -> Value {
    json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "cronSpec": {"type": "string", "pattern": "^[0-9* ]+$", "description": "When it runs."},
            "image": {"type": "string", "default": "busybox"},
            "replicas": {"type": "integer", "minimum": 0},
            "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "required": ["name"],
                    "properties": {"name": {"type": "string"}, "port": {"type": "integer"}}}},
        }},
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}}},
    }})
}

pub fn crontab(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": name}, "spec": spec})
}

/// Creates a definition and waits until it is established.
pub async fn define(cluster: &Cluster, definition: Value) {
    let name = definition["metadata"]["name"].as_str().unwrap().to_owned();
    let (code, made) = cluster.json("POST", DEFINITIONS, definition).await;
    assert_eq!(code, 201, "{made}");
    eventually(cluster, &format!("{DEFINITIONS}/{name}"), |d| {
        d["status"]["conditions"]
            .as_array()
            .is_some_and(|c| c.iter().any(|c| c["type"] == "Established" && c["status"] == "True"))
    })
    .await;
}

/// Waits at most a second until what stands at a path is as it should be.
pub async fn eventually(cluster: &Cluster, path: &str, right: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    for _ in 0..100 {
        last = cluster.json("GET", path, Value::Null).await.1;
        if right(&last) {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{path} never was right: {last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_serves_its_objects_until_it_is_deleted() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.json("GET", CRONTABS, Value::Null).await.0, 404);
    define(&cluster, definition(schema())).await;
    let (code, made) =
        cluster.json("POST", CRONTABS, crontab("a", json!({"cronSpec": "* 5", "odd": 1, "replicas": 2}))).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(made["spec"], json!({"cronSpec": "* 5", "replicas": 2, "image": "busybox"}), "pruned and defaulted");
    assert_eq!(made["metadata"]["generation"], 1);
    let (_, list) = cluster.json("GET", "/apis/stable.example.com/v1/crontabs", Value::Null).await;
    assert_eq!((&list["kind"], list["items"].as_array().unwrap().len()), (&json!("CronTabList"), 1));
    let path = format!("{CRONTABS}/a");
    let (code, patched) =
        cluster.json("PATCH", &path, json!({"spec": {"replicas": 3}, "status": {"replicas": 9}})).await;
    assert_eq!((code, &patched["metadata"]["generation"], patched.get("status")), (200, &json!(2), None), "{patched}");
    let (code, status) =
        cluster.json("PATCH", &format!("{path}/status"), json!({"status": {"replicas": 3, "selector": "a=b"}})).await;
    assert_eq!((code, &status["status"]["replicas"], &status["metadata"]["generation"]), (200, &json!(3), &json!(2)));
    let (code, scale) = cluster.json("PATCH", &format!("{path}/scale"), json!({"spec": {"replicas": 7}})).await;
    assert_eq!(
        (code, &scale["spec"]["replicas"], &scale["status"]),
        (200, &json!(7), &json!({"replicas": 3, "selector": "a=b"}))
    );
    let (code, _) = cluster.json("DELETE", &format!("{DEFINITIONS}/crontabs.stable.example.com"), Value::Null).await;
    assert_eq!(code, 200);
    eventually(&cluster, CRONTABS, Value::is_null).await;
    assert_eq!(cluster.json("GET", CRONTABS, Value::Null).await.0, 404);
    eventually(&cluster, "/apis", |groups| !groups.to_string().contains("stable.example.com")).await;
    define(&cluster, definition(schema())).await;
    let (_, list) = cluster.json("GET", CRONTABS, Value::Null).await;
    assert_eq!(list["items"], json!([]), "the objects went with their definition");
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_do_not_fit_are_refused_with_their_fields() {
    let cluster = Cluster::start().await;
    define(&cluster, definition(schema())).await;
    let (code, status) = cluster.json("POST", CRONTABS, crontab("a", json!({"cronSpec": 5, "replicas": -1}))).await;
    assert_eq!((code, &status["reason"]), (422, &json!("Invalid")));
    assert_eq!(
        status["message"],
        "CronTab.stable.example.com \"a\" is invalid: [spec.cronSpec: Invalid value: \"integer\": spec.cronSpec in body must be of type string: \"integer\", \
         spec.replicas: Invalid value: -1: spec.replicas in body should be greater than or equal to 0, \
         .spec.replicas: Invalid value: -1: should be a non-negative integer]"
    );
    let (code, status) =
        cluster.json("POST", CRONTABS, crontab("a", json!({"ports": [{"name": "x"}, {"name": "x"}]}))).await;
    assert_eq!(
        (code, &status["message"]),
        (422, &json!("CronTab.stable.example.com \"a\" is invalid: spec.ports[1]: Duplicate value: {\"name\":\"x\"}"))
    );
    let strict = format!("{CRONTABS}?fieldValidation=Strict");
    let (code, status) = cluster.json("POST", &strict, crontab("a", json!({"odd": 1}))).await;
    assert_eq!(code, 400);
    assert!(
        status["message"].as_str().unwrap().ends_with("strict decoding error: unknown field \"spec.odd\""),
        "{status}"
    );
    assert_eq!(cluster.json("POST", CRONTABS, crontab("a", json!({}))).await.0, 201);
    let (code, status) = cluster.json("PUT", &format!("{CRONTABS}/a"), crontab("a", json!({}))).await;
    assert_eq!(code, 422, "{status}");
    let request =
        http::Request::patch(format!("{CRONTABS}/a")).header("content-type", "application/strategic-merge-patch+json");
    assert_eq!(cluster.send(request.body(b"{}".to_vec()).unwrap()).await.status(), 415);
    let request = http::Request::get(format!("{CRONTABS}/a")).header("accept", "application/vnd.kubernetes.protobuf");
    assert_eq!(cluster.send(request.body(vec![]).unwrap()).await.status(), 406);
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_objects_are_served_again_after_a_restart() {
    let cluster = Cluster::start().await;
    define(&cluster, definition(schema())).await;
    cluster.json("POST", CRONTABS, crontab("a", json!({"replicas": 1}))).await;
    let cluster = Cluster::start_in(cluster.stop()).await;
    let (code, found) = cluster.json("GET", &format!("{CRONTABS}/a"), Value::Null).await;
    assert_eq!((code, &found["spec"]["image"]), (200, &json!("busybox")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_waits_for_the_finalizers_of_its_objects_and_takes_no_new_ones() {
    let cluster = Cluster::start().await;
    define(&cluster, definition(schema())).await;
    let mut held = crontab("held", json!({}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    cluster.json("POST", CRONTABS, held).await;
    let at = format!("{DEFINITIONS}/crontabs.stable.example.com");
    cluster.json("DELETE", &at, Value::Null).await;
    eventually(&cluster, &at, |d| d["status"].to_string().contains("InstanceDeletionInProgress")).await;
    eventually(&cluster, &format!("{CRONTABS}/held"), |o| o["metadata"]["deletionTimestamp"].is_string()).await;
    let (code, status) = cluster.json("POST", CRONTABS, crontab("new", json!({}))).await;
    assert_eq!(
        (code, &status["message"]),
        (405, &json!("create not allowed while custom resource definition is terminating"))
    );
    let (code, _) = cluster.json("PATCH", &format!("{CRONTABS}/held"), json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(code, 200);
    eventually(&cluster, &at, |d| d["code"] == 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn server_side_apply_merges_lists_by_their_keys() {
    let cluster = Cluster::start().await;
    define(&cluster, definition(schema())).await;
    for (manager, port) in [("one", "a"), ("two", "b")] {
        let request = http::Request::patch(format!("{CRONTABS}/x?fieldManager={manager}"))
            .header("content-type", "application/apply-patch+yaml");
        let body = crontab("x", json!({"ports": [{"name": port, "port": 1}]})).to_string().into_bytes();
        let response = cluster.send(request.body(body).unwrap()).await;
        assert!(response.status().is_success(), "{manager}");
    }
    let (_, found) = cluster.json("GET", &format!("{CRONTABS}/x"), Value::Null).await;
    let ports: Vec<&Value> = found["spec"]["ports"].as_array().unwrap().iter().map(|p| &p["name"]).collect();
    assert!(ports.len() == 2 && ports.contains(&&json!("a")) && ports.contains(&&json!("b")), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_knows_custom_resources_by_all_their_names() {
    let cluster = Cluster::start().await;
    define(&cluster, definition(schema())).await;
    let input = crontab("mine", json!({"cronSpec": "* *", "replicas": 4})).to_string();
    cluster.kubectl_as("admin", "apply -f -", &input).await.unwrap();
    let printed = cluster.kubectl("get ct").await.unwrap();
    let lines: Vec<Vec<&str>> = printed.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(lines, [vec!["NAME", "SPEC", "REPLICAS"], vec!["mine", "*", "*", "4"]]);
    assert!(cluster.kubectl("get all").await.unwrap().contains("crontab.stable.example.com/mine"));
    assert!(cluster.kubectl("explain crontabs.spec.cronSpec").await.unwrap().contains("When it runs."));
    cluster.kubectl("scale ct mine --replicas=5").await.unwrap();
    assert!(cluster.kubectl("get crontab mine -o jsonpath={.spec.replicas}").await.unwrap() == "5");
    let unknown = crontab("bad", json!({"odd": 1})).to_string();
    let refused = cluster.kubectl_as("admin", "create -f -", &unknown).await.unwrap_err();
    assert!(refused.contains("unknown field \"spec.odd\""), "{refused}");
    assert!(cluster.kubectl("get crd").await.unwrap().contains("crontabs.stable.example.com"));
    cluster.kubectl("delete crd crontabs.stable.example.com").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_of_custom_objects_and_ends_with_their_definition() {
    use http_body_util::BodyExt;
    let cluster = Cluster::start().await;
    define(&cluster, definition(schema())).await;
    let request = http::Request::get(format!("{CRONTABS}?watch=1")).body(vec![]).unwrap();
    let mut watch = cluster.send(request).await.into_body();
    cluster.json("POST", CRONTABS, crontab("a", json!({}))).await;
    let frame = watch.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(String::from_utf8(frame.to_vec()).unwrap().starts_with("{\"type\":\"ADDED\""));
    cluster.json("DELETE", &format!("{DEFINITIONS}/crontabs.stable.example.com"), Value::Null).await;
    let rest = tokio::time::timeout(Duration::from_secs(5), async {
        let mut all = String::new();
        while let Some(frame) = watch.frame().await {
            all.push_str(std::str::from_utf8(&frame.unwrap().into_data().unwrap()).unwrap());
        }
        all
    });
    assert!(rest.await.expect("the watch ends").contains("\"type\":\"DELETED\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_of_the_schema_are_checked_when_written_and_evaluated_on_objects() {
    let cluster = Cluster::start().await;
    let mut ruled = schema();
    ruled["properties"]["spec"]["x-kubernetes-validations"] = json!([{"rule": "self.replicas <= 5", "message": "at most five"}, {"rule": "!has(oldSelf.image) || self.image == oldSelf.image", "fieldPath": ".image"}]);
    define(&cluster, definition(ruled)).await;
    let (code, status) = cluster.json("POST", CRONTABS, crontab("a", json!({"replicas": 6}))).await;
    assert_eq!(
        (code, &status["message"]),
        (422, &json!("CronTab.stable.example.com \"a\" is invalid: spec: Invalid value: at most five")),
        "{status}"
    );
    assert_eq!(cluster.json("POST", CRONTABS, crontab("a", json!({"replicas": 1}))).await.0, 201);
    let (code, status) = cluster.json("PATCH", &format!("{CRONTABS}/a"), json!({"spec": {"image": "other"}})).await;
    assert_eq!(code, 422, "{status}");
    let mut wrong = schema();
    wrong["properties"]["spec"]["x-kubernetes-validations"] = json!([{"rule": "self.nothing == 1"}]);
    let mut bad = definition(wrong);
    bad["metadata"]["name"] = "others.stable.example.com".into();
    bad["spec"]["names"] = json!({"plural": "others", "kind": "Other"});
    let (code, status) = cluster.json("POST", DEFINITIONS, bad).await;
    assert_eq!(code, 422);
    let message = status["message"].as_str().unwrap();
    assert!(
        message.contains("spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule"),
        "{message}"
    );
    assert!(message.contains("undefined field 'nothing'"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_may_not_name_what_the_schema_does_not_nor_say_a_thing_twice() {
    use http_body_util::BodyExt;
    let cluster = Cluster::start().await;
    define(&cluster, definition(schema())).await;
    let head = "\napiVersion: stable.example.com/v1\nkind: CronTab\nmetadata:\n  name: x\n";
    for (body, why) in [
        (
            "unknownField: 1\n",
            "failed to create typed patch object (/x; stable.example.com/v1, Kind=CronTab): .unknownField: field not declared in schema",
        ),
        ("spec:\n  image: a\n  image: b\n", "line 8: key \"image\" already set in map"),
        ("  unknownMeta: 1\n", ".metadata.unknownMeta: field not declared in schema"),
    ] {
        let request = http::Request::patch(format!("{CRONTABS}/x?fieldManager=me&fieldValidation=Strict"))
            .header("content-type", "application/apply-patch+yaml");
        let response = cluster.send(request.body(format!("{head}{body}").into_bytes()).unwrap()).await;
        let status: Value = serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
        assert!(status["message"].as_str().unwrap_or_default().contains(why), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_of_what_the_server_itself_keeps_serves_nothing_and_clears_nothing_away() {
    let cluster = Cluster::start().await;
    define(&cluster, definition(schema())).await;
    let mut theirs = definition(schema());
    theirs["metadata"] = json!({
        "name": "customresourcedefinitions.apiextensions.k8s.io",
        "annotations": {"api-approved.kubernetes.io": "unapproved, testing"},
    });
    theirs["spec"]["group"] = "apiextensions.k8s.io".into();
    theirs["spec"]["scope"] = "Cluster".into();
    theirs["spec"]["names"] = json!({"plural": "customresourcedefinitions", "kind": "Mine"});
    theirs["spec"]["versions"][0]["name"] = "v9".into();
    let (code, made) = cluster.json("POST", DEFINITIONS, theirs).await;
    assert_eq!(code, 201, "{made}");
    let at = format!("{DEFINITIONS}/customresourcedefinitions.apiextensions.k8s.io");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let path = "/apis/apiextensions.k8s.io/v9/customresourcedefinitions";
    assert_eq!(cluster.json("GET", path, Value::Null).await.0, 404);
    assert_eq!(cluster.json("DELETE", &at, Value::Null).await.0, 200);
    eventually(&cluster, &at, |d| d["code"] == 404).await;
    let (_, left) = cluster.json("GET", DEFINITIONS, Value::Null).await;
    assert_eq!(left["items"].as_array().unwrap().len(), 1, "the other definition is there: {left}");
    assert_eq!(cluster.json("GET", CRONTABS, Value::Null).await.0, 200);
}
