use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use serde_json::{Value, json};

use crate::cluster::{Cluster, eventually};

fn secret(id: &str, more: Value) -> Value {
    let mut data = json!({"token-id": id, "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true"});
    for (key, value) in more.as_object().unwrap() {
        data[key] = value.clone();
    }
    json!({"metadata": {"name": format!("bootstrap-token-{id}"), "namespace": "kube-system"},
        "type": "bootstrap.kubernetes.io/token", "stringData": data})
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_info_is_signed_by_each_token_and_tokens_that_have_ended_go() {
    let cluster = Cluster::start().await;
    let info =
        json!({"metadata": {"name": "cluster-info", "namespace": "kube-public"}, "data": {"kubeconfig": "payload"}});
    cluster.create::<ConfigMap>(info).await;
    let infos = Api::<ConfigMap>::namespaced(cluster.client(), "kube-public");
    let signed_by = async |wanted: &[&str]| {
        eventually(async || {
            let data = infos.get("cluster-info").await.unwrap().data.unwrap();
            let found: Vec<&str> = data.keys().filter_map(|key| key.strip_prefix("jws-kubeconfig-")).collect();
            if found == wanted { Ok(()) } else { Err(format!("{data:?}")) }
        })
        .await;
    };
    cluster.create::<Secret>(secret("abc123", json!({}))).await;
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_millis(1500);
    cluster.create::<Secret>(secret("def456", json!({"expiration": soon.to_string()}))).await;
    let never = secret("ghi789", json!({"expiration": "2020-01-01T00:00:00Z"}));
    cluster.create::<Secret>(never).await;
    let secrets = Api::<Secret>::namespaced(cluster.client(), "kube-system");
    for ended in ["ghi789", "def456"] {
        eventually(async || match secrets.get_opt(&format!("bootstrap-token-{ended}")).await.unwrap() {
            None => Ok(()),
            Some(secret) => Err(format!("{secret:?}")),
        })
        .await;
    }
    signed_by(&["abc123"]).await;
    secrets.delete("bootstrap-token-abc123", &kube::api::DeleteParams::default()).await.unwrap();
    signed_by(&[]).await;
}
