use k8s_openapi::api::core::v1::{ConfigMap, ResourceQuota, Secret, Service};
use kube::Api;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::cluster::{Cluster, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_counts_what_is_there_and_gives_back_what_goes() {
    let cluster = Cluster::start().await;
    cluster.ready("default").await;
    let service = json!({"metadata": {"name": "before"}, "spec": {"ports": [{"port": 80}]}});
    cluster.create::<Service>(service).await;
    let hard = json!({"services": "3", "count/secrets": "2", "count/configmaps": "5"});
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": hard}});
    cluster.create::<ResourceQuota>(quota).await;
    let quotas = Api::<ResourceQuota>::namespaced(cluster.client(), "default");
    let until_used = async |wanted: Value| {
        eventually(async || {
            let status = serde_json::to_value(quotas.get("q").await.unwrap().status).unwrap();
            let used = &status["used"];
            let same = wanted.as_object().unwrap().iter().all(|(name, amount)| used[name] == *amount);
            if same { Ok(()) } else { Err(format!("{status}")) }
        })
        .await;
    };
    // One ConfigMap is the CA's, one Service the API server's.
    until_used(json!({"services": "2", "count/secrets": "0", "count/configmaps": "1"})).await;
    cluster.create::<Secret>(json!({"metadata": {"name": "s"}})).await;
    cluster.create::<ConfigMap>(json!({"metadata": {"name": "c"}})).await;
    until_used(json!({"count/secrets": "1", "count/configmaps": "2"})).await;
    let services = Api::<Service>::namespaced(cluster.client(), "default");
    services.delete("before", &DeleteParams::default()).await.unwrap();
    until_used(json!({"services": "1"})).await;
    let secrets = Api::<Secret>::namespaced(cluster.client(), "default");
    secrets.delete("s", &DeleteParams::default()).await.unwrap();
    until_used(json!({"count/secrets": "0"})).await;
}
