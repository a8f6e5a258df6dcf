use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{EvictParams, ListParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::cluster::{Cluster, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_lets_one_pod_go_and_the_next_when_it_is_replaced() {
    let cluster = Cluster::start().await;
    let _node = cluster.node("node1").await;
    cluster.ready("default").await;
    let controller = json!({"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "web"}, "spec": {
        "replicas": 3, "selector": {"app": "web"}, "template": {"metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "c"}]}}}});
    cluster.create::<ReplicationController>(controller).await;
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}}});
    cluster.create::<PodDisruptionBudget>(budget).await;
    let budgets = Api::<PodDisruptionBudget>::namespaced(cluster.client(), "default");
    let until_allowed = async || {
        eventually(async || {
            let status = budgets.get("web").await.unwrap().status.unwrap_or_default();
            if status.disruptions_allowed == Some(1) { Ok(()) } else { Err(format!("{status:?}")) }
        })
        .await;
    };
    let pods = Api::<Pod>::namespaced(cluster.client(), "default");
    until_allowed().await;
    let names: Vec<String> =
        pods.list(&ListParams::default()).await.unwrap().iter().map(|pod| pod.name_any()).collect();
    pods.evict(&names[0], &EvictParams::default()).await.unwrap();
    let refused = pods.evict(&names[1], &EvictParams::default()).await.unwrap_err();
    assert!(refused.to_string().contains("disruption budget"), "{refused}");
    until_allowed().await;
    pods.evict(&names[1], &EvictParams::default()).await.unwrap();
}
