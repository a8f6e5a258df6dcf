//! Bootstrap tokens as a new node shows them.

use http::{Method, Request};
use serde_json::{Value, json};

use crate::cluster::Cluster;

const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";
const TOKEN: &str = "abcdef.0123456789abcdef";

async fn whoami(cluster: &Cluster, token: &str) -> (u16, Value) {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    cluster
        .anonymous(
            Request::builder()
                .method(Method::POST)
                .uri("/apis/authentication.k8s.io/v1/selfsubjectreviews")
                .header("content-type", "application/json")
                .header("authorization", format!("Bearer {token}"))
                .body(review.to_string().into_bytes())
                .unwrap(),
        )
        .await
}

fn secret(more: Value) -> Value {
    let mut data = json!({"token-id": "abcdef", "token-secret": "0123456789abcdef",
        "usage-bootstrap-authentication": "true", "auth-extra-groups": "system:bootstrappers:foo"});
    for (key, value) in more.as_object().unwrap() {
        data[key] = value.clone();
    }
    json!({"metadata": {"name": "bootstrap-token-abcdef"}, "type": "bootstrap.kubernetes.io/token", "stringData": data})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_token_is_as_good_as_its_secret() {
    let cluster = Cluster::start_with(tempfile::tempdir().unwrap(), |config| config.bootstrap_tokens = true).await;
    assert_eq!(whoami(&cluster, TOKEN).await.0, 401);
    assert_eq!(cluster.json("POST", SECRETS, secret(json!({}))).await.0, 201);
    let (code, who) = whoami(&cluster, TOKEN).await;
    assert_eq!(code, 201, "{who}");
    let user = &who["status"]["userInfo"];
    assert_eq!(user["username"], "system:bootstrap:abcdef");
    assert_eq!(user["groups"], json!(["system:bootstrappers", "system:bootstrappers:foo", "system:authenticated"]));
    assert_eq!(whoami(&cluster, "abcdef.0123456789abcdee").await.0, 401);
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": TOKEN}});
    let (_, told) = cluster.json("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review).await;
    assert_eq!(
        (&told["status"]["authenticated"], &told["status"]["user"]["username"]),
        (&json!(true), &user["username"])
    );
    let path = format!("{SECRETS}/bootstrap-token-abcdef");
    let ended = json!({"stringData": {"expiration": "2020-01-01T00:00:00Z"}});
    assert_eq!(cluster.json("PATCH", &path, ended).await.0, 200);
    assert_eq!(whoami(&cluster, TOKEN).await.0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn bootstrap_tokens_are_nothing_unless_they_are_enabled() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.json("POST", SECRETS, secret(json!({}))).await.0, 201);
    assert_eq!(whoami(&cluster, TOKEN).await.0, 401);
}
