use serde_json::{Value, json};

use crate::cluster::Cluster;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const CONTROLLERS: &str = "/api/v1/namespaces/default/replicationcontrollers";

fn map(metadata: Value) -> Value {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_leaves_nothing_behind() {
    let cluster = Cluster::start().await;
    let (code, tried) = cluster.json("POST", &format!("{MAPS}?dryRun=All"), map(json!({"name": "a"}))).await;
    assert_eq!(code, 201);
    assert!(tried["metadata"].get("resourceVersion").is_none(), "{tried}");
    assert_eq!(cluster.json("GET", &format!("{MAPS}/a"), Value::Null).await.0, 404);
    let (_, kept) = cluster.json("POST", MAPS, map(json!({"name": "a"}))).await;
    let tried = cluster.json("PATCH", &format!("{MAPS}/a?dryRun=All"), json!({"data": {"k": "v"}})).await.1;
    assert_eq!(tried["data"]["k"], "v");
    assert_eq!(cluster.json("DELETE", &format!("{MAPS}/a?dryRun=All"), Value::Null).await.0, 200);
    assert_eq!(cluster.json("GET", &format!("{MAPS}/a"), Value::Null).await.1, kept);
    assert_eq!(cluster.json("POST", &format!("{MAPS}?dryRun=Some"), map(json!({"name": "b"}))).await.0, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_generated() {
    let cluster = Cluster::start().await;
    let mut seen = std::collections::HashSet::new();
    for _ in 0..20 {
        let (code, made) = cluster.json("POST", MAPS, map(json!({"generateName": "m-"}))).await;
        assert_eq!(code, 201);
        let name = made["metadata"]["name"].as_str().unwrap().to_owned();
        assert!(name.starts_with("m-") && name.len() == 7, "{name}");
        assert!(seen.insert(name));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_are_told_or_refused_as_asked() {
    let cluster = Cluster::start().await;
    let mut wrong = map(json!({"name": "a"}));
    wrong["dta"] = json!({});
    let (code, status) = cluster.json("POST", &format!("{MAPS}?fieldValidation=Strict"), wrong.clone()).await;
    assert_eq!(code, 400);
    assert!(status["message"].as_str().unwrap().contains("strict decoding error: unknown field \"dta\""), "{status}");
    let warned = cluster.kubectl_as("admin", "create --validate=warn -f -", &wrong.to_string()).await.unwrap();
    assert!(warned.contains("configmap/a created"));
    let kept = cluster.json("GET", &format!("{MAPS}/a"), Value::Null).await.1;
    assert!(kept.get("dta").is_none());
    wrong["metadata"]["name"] = "b".into();
    let refused = cluster.kubectl_as("admin", "create -f -", &wrong.to_string()).await.unwrap_err();
    assert!(refused.contains("unknown field \"dta\""), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_is_deleted_by_its_selector() {
    let cluster = Cluster::start().await;
    for (name, label) in [("a", "x"), ("b", "x"), ("c", "y")] {
        cluster.json("POST", MAPS, map(json!({"name": name, "labels": {"l": label}}))).await;
    }
    let (code, list) = cluster.json("DELETE", &format!("{MAPS}?labelSelector=l%3Dx"), Value::Null).await;
    assert_eq!((code, list["items"].as_array().unwrap().len()), (200, 2));
    let left = cluster.json("GET", MAPS, Value::Null).await.1;
    assert_eq!(left["items"][0]["metadata"]["name"], "c");
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn propagation_is_a_finalizer_for_the_garbage_collector() {
    let cluster = Cluster::start().await;
    let controller = json!({
        "kind": "ReplicationController", "apiVersion": "v1", "metadata": {"name": "rc"},
        "spec": {
            "selector": {"a": "b"},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        },
    });
    let one = format!("{CONTROLLERS}/rc");
    for (policy, finalizer) in [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")] {
        assert_eq!(cluster.json("POST", CONTROLLERS, controller.clone()).await.0, 201);
        let (_, going) = cluster.json("DELETE", &format!("{one}?propagationPolicy={policy}"), Value::Null).await;
        assert_eq!(going["metadata"]["finalizers"], json!([finalizer]));
        assert!(going["metadata"]["deletionTimestamp"].is_string());
        // The garbage collector takes the finalizer away, and the object goes.
        let (code, _) = cluster.json("PATCH", &one, json!({"metadata": {"finalizers": null}})).await;
        assert_eq!(code, 200);
        assert_eq!(cluster.json("GET", &one, Value::Null).await.0, 404);
    }
    cluster.json("POST", CONTROLLERS, controller.clone()).await;
    let (code, gone) = cluster.json("DELETE", &format!("{one}?propagationPolicy=Background"), Value::Null).await;
    assert_eq!((code, &gone["status"]), (200, &json!("Success")));
    assert_eq!(cluster.json("GET", &one, Value::Null).await.0, 404);
    // Without a word, a ReplicationController leaves its pods behind.
    cluster.json("POST", CONTROLLERS, controller).await;
    let (_, going) = cluster.json("DELETE", &one, Value::Null).await;
    assert_eq!(going["metadata"]["finalizers"], json!(["orphan"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_served_is_said_so() {
    let cluster = Cluster::start().await;
    let code = async |method: &str, path: &str| cluster.json(method, path, Value::Null).await.0;
    assert_eq!(code("GET", "/api/v1/namespaces/default/nonsense").await, 404);
    assert_eq!(code("GET", "/apis/nonsense.k8s.io/v1/things").await, 404);
    assert_eq!(code("GET", "/api/v1/namespaces/default/pods/x/nonsense").await, 404);
    assert_eq!(code("DELETE", "/api/v1/namespaces").await, 405);
    assert_eq!(code("GET", "/apis/authorization.k8s.io/v1/subjectaccessreviews").await, 405);
    assert_eq!(code("POST", "/api/v1/namespaces/default/pods/x/log").await, 405);
    assert_eq!(code("POST", "/api/v1/namespaces/default/pods/x/exec").await, 400, "no upgrade is asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_workload_with_replicas_has_a_scale() {
    let cluster = Cluster::start().await;
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let matching = json!({"matchLabels": {"a": "b"}});
    for (path, api_version, kind, selector) in [
        ("/api/v1/namespaces/default/replicationcontrollers", "v1", "ReplicationController", json!({"a": "b"})),
        ("/apis/apps/v1/namespaces/default/replicasets", "apps/v1", "ReplicaSet", matching.clone()),
        ("/apis/apps/v1/namespaces/default/deployments", "apps/v1", "Deployment", matching.clone()),
        ("/apis/apps/v1/namespaces/default/statefulsets", "apps/v1", "StatefulSet", matching),
    ] {
        let mut object = json!({
            "kind": kind, "apiVersion": api_version, "metadata": {"name": "x"},
            "spec": {"replicas": 2, "selector": selector, "template": template},
        });
        if kind == "StatefulSet" {
            object["spec"]["serviceName"] = "x".into();
        }
        let (code, made) = cluster.json("POST", path, object).await;
        assert_eq!(code, 201, "{made}");
        let scale = format!("{path}/x/scale");
        let (_, mut shown) = cluster.json("GET", &scale, Value::Null).await;
        assert_eq!(
            (&shown["kind"], &shown["spec"]["replicas"], &shown["status"]["selector"]),
            (&json!("Scale"), &json!(2), &json!("a=b"))
        );
        shown["spec"]["replicas"] = 5.into();
        assert_eq!(cluster.json("PUT", &scale, shown.clone()).await.1["spec"]["replicas"], 5);
        // It names the version that it builds on, which is gone.
        assert_eq!(cluster.json("PUT", &scale, shown).await.0, 409);
        let (code, patched) = cluster.json("PATCH", &scale, json!({"spec": {"replicas": 0}})).await;
        // As Go writes a zero.
        assert_eq!((code, &patched["spec"]), (200, &json!({})), "{patched}");
        let (_, object) = cluster.json("GET", &format!("{path}/x"), Value::Null).await;
        assert_eq!((&object["spec"]["replicas"], &object["metadata"]["generation"]), (&json!(0), &json!(3)), "{kind}");
        assert_eq!(cluster.json("PATCH", &scale, json!({"spec": {"replicas": -1}})).await.0, 422);
    }
}
