use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::pods::{bind, default_account, pod};

const TOKEN: &str = "/api/v1/namespaces/default/serviceaccounts/default/token";
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

fn request(spec: Value) -> Value {
    json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": spec})
}

async fn review(cluster: &Cluster, token: &Value) -> Value {
    let review = json!({"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {"token": token}});
    let (code, review) = cluster.json("POST", REVIEWS, review).await;
    assert_eq!(code, 201);
    review["status"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_speaks_for_its_account_until_its_pod_is_gone() {
    let cluster = Cluster::start().await;
    default_account(&cluster).await;
    cluster.json("POST", "/api/v1/namespaces/default/pods", pod("one")).await;
    let spec = json!({"expirationSeconds": 3607, "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "one"}});
    let (code, granted) = cluster.json("POST", TOKEN, request(spec)).await;
    assert_eq!(code, 201, "{granted}");
    assert!(granted["status"]["expirationTimestamp"].is_string());
    let token = &granted["status"]["token"];
    let status = review(&cluster, token).await;
    assert_eq!(status["authenticated"], true);
    assert_eq!(status["user"]["username"], "system:serviceaccount:default:default");
    assert!(status["user"]["groups"].as_array().unwrap().contains(&json!("system:serviceaccounts:default")));
    assert_eq!(status["user"]["extra"]["authentication.kubernetes.io/pod-name"], json!(["one"]));
    cluster.token_kubeconfig("one", token.as_str().unwrap());
    let shown = cluster.kubectl_as("one", "auth whoami", "").await.unwrap();
    assert!(shown.contains("system:serviceaccount:default:default"), "{shown}");
    cluster.json("DELETE", "/api/v1/namespaces/default/pods/one", Value::Null).await;
    let refused = cluster.kubectl_as("one", "auth whoami", "").await.unwrap_err();
    assert!(refused.contains("Unauthorized"), "{refused}");
    let status = review(&cluster, token).await;
    assert!(status["authenticated"].is_null() || status["authenticated"] == false, "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubelet_gets_tokens_for_its_own_pods_only() {
    let cluster = Cluster::start().await;
    default_account(&cluster).await;
    for (name, node) in [("mine", "node1"), ("other", "node2")] {
        cluster.json("POST", "/api/v1/namespaces/default/pods", pod(name)).await;
        assert_eq!(bind(&cluster, name, node).await.0, 201);
    }
    cluster.kubeconfig("system:node:node1", &["system:nodes"]);
    let ask = |pod: &str| {
        let spec = json!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": pod}});
        let body = request(spec).to_string();
        let cluster = &cluster;
        async move { cluster.kubectl_as("system:node:node1", &format!("create --raw {TOKEN} -f -"), &body).await }
    };
    assert!(ask("mine").await.unwrap().contains("\"token\":"));
    let refused = ask("other").await.unwrap_err();
    assert!(refused.contains("forbidden"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lifetime_under_ten_minutes_is_refused() {
    let cluster = Cluster::start().await;
    default_account(&cluster).await;
    let (code, status) = cluster.json("POST", TOKEN, request(json!({"expirationSeconds": 1}))).await;
    assert_eq!(code, 422);
    assert!(
        status["message"].as_str().unwrap().contains("may not specify a duration less than 10 minutes"),
        "{status}"
    );
    assert_eq!(review(&cluster, &"nonsense".into()).await["error"], "invalid bearer token");
}

#[tokio::test(flavor = "multi_thread")]
async fn others_can_verify_a_token_with_the_published_key() {
    use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
    let cluster = Cluster::start().await;
    default_account(&cluster).await;
    let (_, granted) = cluster.json("POST", TOKEN, request(json!({"audiences": ["somebody"]}))).await;
    let token = granted["status"]["token"].as_str().unwrap();
    // An account may read the key of those who vouch for it.
    let (_, own) = cluster.json("POST", TOKEN, request(json!({}))).await;
    cluster.token_kubeconfig("default", own["status"]["token"].as_str().unwrap());
    let read = async |path: &str| cluster.kubectl_as("default", &format!("get --raw {path}"), "").await.unwrap();
    let configuration: Value = serde_json::from_str(&read("/.well-known/openid-configuration").await).unwrap();
    assert_eq!(configuration["jwks_uri"], "https://172.30.0.11:6443/openid/v1/jwks");
    let keys: JwkSet = serde_json::from_str(&read("/openid/v1/jwks").await).unwrap();
    let key = keys.find(&decode_header(token).unwrap().kid.unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&["somebody"]);
    validation.set_issuer(&[configuration["issuer"].as_str().unwrap()]);
    let claims = decode::<Value>(token, &DecodingKey::from_jwk(key).unwrap(), &validation).unwrap().claims;
    assert_eq!(claims["sub"], "system:serviceaccount:default:default");
    let status = review(&cluster, &token.into()).await;
    assert!(status["authenticated"].is_null(), "it is not for this server: {status}");
}
