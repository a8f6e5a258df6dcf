use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::cluster::Cluster;

const WEB: &str = "/apis/apps/v1/namespaces/default/deployments/web";

fn web(spec: Value) -> Value {
    let mut object = json!({
        "kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "x:1"}]},
            },
        },
    });
    json_patch::merge(&mut object["spec"], &spec);
    object
}

async fn apply(cluster: &Cluster, query: &str, body: &Value) -> (u16, Value) {
    let request = Request::patch(format!("{WEB}?{query}")).header("content-type", "application/apply-patch+yaml");
    let response = cluster.send(request.body(body.to_string().into_bytes()).unwrap()).await;
    let code = response.status().as_u16();
    (code, serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_creates_changes_and_owns() {
    let cluster = Cluster::start().await;
    let (code, made) = apply(&cluster, "fieldManager=me", &web(json!({"replicas": 3}))).await;
    assert_eq!(code, 201, "{made}");
    let managed = &made["metadata"]["managedFields"][0];
    assert_eq!((&managed["manager"], &managed["operation"]), (&json!("me"), &json!("Apply")));
    assert_eq!(managed["fieldsV1"]["f:spec"]["f:replicas"], json!({}));
    assert!(managed["fieldsV1"]["f:spec"].get("f:revisionHistoryLimit").is_none(), "a default is nobody's");
    let (code, same) = apply(&cluster, "fieldManager=me", &web(json!({"replicas": 3}))).await;
    assert_eq!((code, &same), (200, &made));
    let (code, without) = apply(&cluster, "fieldManager=me", &web(json!({}))).await;
    assert_eq!((code, &without["spec"]["replicas"]), (200, &json!(1)), "back to the default");
    assert_eq!(apply(&cluster, "", &web(json!({}))).await.0, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_over_somebody_s_change_is_a_conflict() {
    let cluster = Cluster::start().await;
    apply(&cluster, "fieldManager=me", &web(json!({"replicas": 3}))).await;
    let patch = json!({"spec": {"replicas": 5}});
    cluster.json("PATCH", &format!("{WEB}?fieldManager=scaler"), patch).await;
    let (code, refused) = apply(&cluster, "fieldManager=me", &web(json!({"replicas": 3}))).await;
    assert_eq!(code, 409);
    assert_eq!(
        refused["message"],
        "Apply failed with 1 conflict: conflict with \"scaler\" using apps/v1: .spec.replicas"
    );
    assert_eq!(refused["details"]["causes"][0]["field"], ".spec.replicas");
    let (code, forced) = apply(&cluster, "fieldManager=me&force=true", &web(json!({"replicas": 3}))).await;
    assert_eq!((code, &forced["spec"]["replicas"]), (200, &json!(3)));
    assert_eq!(forced["metadata"]["managedFields"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kubectl_applied_by_itself_it_takes_over_on_the_server() {
    const NOTE: &str = "kubectl.kubernetes.io/last-applied-configuration";
    let cluster = Cluster::start().await;
    let mut mine = web(json!({"replicas": 3}));
    mine["metadata"]["annotations"] = json!({ NOTE: web(json!({"replicas": 3})).to_string() });
    let deployments = "/apis/apps/v1/namespaces/default/deployments?fieldManager=kubectl-client-side-apply";
    assert_eq!(cluster.json("POST", deployments, mine).await.0, 201);
    let wish = web(json!({"replicas": 4}));
    let (code, refused) = apply(&cluster, "fieldManager=not-kubectl", &wish).await;
    assert_eq!((code, &refused["details"]["causes"][0]["field"]), (409, &json!(".spec.replicas")));
    let (code, taken) = apply(&cluster, "fieldManager=kubectl", &wish).await;
    assert_eq!((code, &taken["spec"]["replicas"]), (200, &json!(4)), "{taken}");
    let note = taken["metadata"]["annotations"][NOTE].as_str().unwrap();
    assert!(note.starts_with("{\"apiVersion\":\"apps/v1\",\"kind\"") && note.ends_with("}\n"), "{note}");
    assert_eq!(serde_json::from_str::<Value>(note).unwrap(), wish, "who goes back finds what holds");

    let patch = json!({"spec": {"replicas": 5}});
    cluster.json("PATCH", &format!("{WEB}?fieldManager=scaler"), patch).await;
    let (code, refused) = apply(&cluster, "fieldManager=kubectl", &web(json!({"replicas": 6}))).await;
    assert_eq!(code, 409, "what somebody else has changed since is theirs: {refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_is_not_the_applier_s() {
    let cluster = Cluster::start().await;
    let mut config = web(json!({"replicas": 3}));
    config["status"] = json!({"replicas": 9});
    let (_, made) = apply(&cluster, "fieldManager=me", &config).await;
    assert!(made["status"].get("replicas").is_none(), "{made}");
    cluster.json("PATCH", &format!("{WEB}/status?fieldManager=controller"), json!({"status": {"replicas": 2}})).await;
    let (code, applied) = apply(&cluster, "fieldManager=me", &config).await;
    assert_eq!((code, &applied["status"]["replicas"]), (200, &json!(2)));
    let managers: Vec<_> =
        applied["metadata"]["managedFields"].as_array().unwrap().iter().map(|m| &m["manager"]).collect();
    assert_eq!(managers, ["me", "controller"]);
    assert_eq!(applied["metadata"]["managedFields"][1]["subresource"], "status");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_applies_on_the_server() {
    let cluster = Cluster::start().await;
    let manifest = web(json!({"replicas": 2})).to_string();
    let run = async |arguments: &str, manifest: &str| cluster.kubectl_as("admin", arguments, manifest).await;
    let apply = "apply --server-side -f -";
    assert_eq!(run(apply, &manifest).await.unwrap(), "deployment.apps/web serverside-applied\n");
    cluster.kubectl("scale deployment web --replicas=4").await.unwrap();
    let refused = run(apply, &manifest).await.unwrap_err();
    assert!(refused.contains(".spec.replicas"), "{refused}");
    assert!(run("apply --server-side --force-conflicts -f -", &manifest).await.is_ok());
    assert_eq!(cluster.kubectl("get deployment web -o jsonpath={.spec.replicas}").await.unwrap(), "2");
    let other = web(json!({"replicas": 6})).to_string();
    let difference = run("diff --server-side --force-conflicts -f -", &other).await.unwrap_or_default();
    assert!(difference.is_empty(), "a difference makes kubectl diff exit with 1");
    // From client-side apply to server-side apply and on.
    cluster.kubectl("delete deployment web").await.unwrap();
    assert!(run("apply -f -", &manifest).await.is_ok());
    assert!(run("apply --server-side --force-conflicts -f -", &manifest).await.is_ok());
    assert_eq!(cluster.kubectl("get deployment web -o jsonpath={.spec.replicas}").await.unwrap(), "2");
}
