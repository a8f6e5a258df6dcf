//! Requests that are made to harm.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Request;
use serde_json::{Value, json};

use crate::cluster::Cluster;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str) -> Value {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": {"k": "v"}})
}

async fn send(cluster: &Cluster, method: &str, path: &str, content_type: &str, body: String) -> u16 {
    let request = Request::builder().method(method).uri(path).header("content-type", content_type);
    cluster.send(request.body(body.into_bytes()).unwrap()).await.status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_token_leads_into_no_other_namespace() {
    let cluster = Cluster::start().await;
    let (code, kept) = cluster.json("POST", MAPS, map("kept")).await;
    assert_eq!(code, 201);
    let revision: i64 = kept["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    // So that the page is of the past, and read from the store.
    cluster.json("POST", MAPS, map("later")).await;
    for start in ["", "a", "default/", "../"] {
        let token = json!({"v": "meta.k8s.io/v1", "rv": revision, "start": start}).to_string();
        let path = format!("/api/v1/namespaces/kube-public/configmaps?continue={}", URL_SAFE_NO_PAD.encode(token));
        for method in ["GET", "DELETE"] {
            let (code, answer) = cluster.json(method, &path, Value::Null).await;
            assert_eq!(code, 400, "{method} {start}: {answer}");
        }
    }
    assert_eq!(cluster.json("GET", &format!("{MAPS}/kept"), Value::Null).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_patch_cannot_blow_an_object_up() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.json("POST", MAPS, map("one")).await.0, 201);
    let path = format!("{MAPS}/one");
    let copy = |from: &str, to: &str| json!({"op": "copy", "from": from, "path": to});
    let doubled: Vec<Value> = (0..40).map(|i| copy("", &format!("/x{i}"))).collect();
    let nested: Vec<Value> = (0..9_000).map(|_| copy("/data", "/data/k")).collect();
    let mut list = vec![json!({"op": "add", "path": "/x", "value": ["y".repeat(1 << 20)]})];
    list.extend((0..40).map(|_| copy("/x/0", "/x/-")));
    for (what, patch, refused) in [("doubled", doubled, 413), ("nested", nested, 400), ("list", list, 413)] {
        let code = send(&cluster, "PATCH", &path, "application/json-patch+json", json!(patch).to_string()).await;
        assert_eq!(code, refused, "{what}");
    }
    let fine = json!([copy("/data/k", "/data/l"), {"op": "move", "from": "/data/k", "path": "/data/m"}]).to_string();
    assert_eq!(send(&cluster, "PATCH", &path, "application/json-patch+json", fine).await, 200);
    let (_, patched) = cluster.json("GET", &path, Value::Null).await;
    assert_eq!(patched["data"], json!({"l": "v", "m": "v"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_read_back_is_not_stored() {
    let cluster = Cluster::start().await;
    let path = "/apis/apps/v1/namespaces/default/controllerrevisions";
    let revision = |levels: usize| {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        format!(
            "{{apiVersion: apps/v1, kind: ControllerRevision, metadata: {{name: r{levels}}}, revision: 1, data: {{a: {open}{close}}}}}"
        )
    };
    assert_eq!(send(&cluster, "POST", path, "application/yaml", revision(100)).await, 201);
    assert_eq!(send(&cluster, "POST", path, "application/yaml", revision(130)).await, 400);
    assert_eq!(cluster.json("GET", path, Value::Null).await.1["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_may_ask_for_any_time() {
    let cluster = Cluster::start().await;
    let path = format!("{MAPS}?watch=1&timeoutSeconds={}", i64::MAX);
    assert_eq!(send(&cluster, "GET", &path, "application/json", String::new()).await, 200);
}
