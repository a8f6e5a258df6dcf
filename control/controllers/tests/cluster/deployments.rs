use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::cluster::{Cluster, Kubelet, eventually};

fn deployment(image: &str, strategy: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
        "replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "strategy": strategy, "template": {
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}}}})
}

async fn start(strategy: Value) -> (Cluster, Kubelet, Api<Deployment>) {
    let cluster = Cluster::start().await;
    let node = cluster.node("node1").await;
    cluster.ready("default").await;
    cluster.create::<Deployment>(deployment("v1", strategy)).await;
    let api = Api::namespaced(cluster.client(), "default");
    rolled_out(&api).await;
    (cluster, node, api)
}

/// Waits as `kubectl rollout status` does.
async fn rolled_out(api: &Api<Deployment>) -> Deployment {
    eventually(async || {
        let found = api.get("web").await.unwrap();
        let (status, wanted) = (found.status.clone().unwrap_or_default(), found.spec.as_ref().unwrap().replicas);
        let counts = [status.updated_replicas, status.replicas, status.available_replicas];
        let observed = status.observed_generation >= found.metadata.generation;
        if observed && counts.iter().all(|count| *count == wanted) { Ok(found) } else { Err(format!("{status:?}")) }
    })
    .await
}

async fn images(cluster: &Cluster) -> BTreeSet<String> {
    let pods = Api::<Pod>::namespaced(cluster.client(), "default").list(&ListParams::default()).await.unwrap();
    let alive = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    alive.filter_map(|pod| pod.spec.as_ref().unwrap().containers[0].image.clone()).collect()
}

async fn set_image(api: &Api<Deployment>, image: &str) {
    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}});
    api.patch("web", &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
}

fn progressing(deployment: &Deployment) -> Option<String> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == "Progressing")?.reason.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_rolls_out_and_back_and_goes_with_everything_it_made() {
    let (cluster, _node, api) = start(json!({"type": "RollingUpdate"})).await;
    let first = api.get("web").await.unwrap();
    assert_eq!(first.annotations()["deployment.kubernetes.io/revision"], "1");
    set_image(&api, "v2").await;
    eventually(async || {
        let found = rolled_out(&api).await;
        match progressing(&found) {
            Some(reason) if reason == "NewReplicaSetAvailable" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(images(&cluster).await, ["v2".to_owned()].into());
    set_image(&api, "v1").await;
    rolled_out(&api).await;
    assert_eq!(images(&cluster).await, ["v1".to_owned()].into());
    let sets = Api::<ReplicaSet>::namespaced(cluster.client(), "default");
    let found = sets.list(&ListParams::default()).await.unwrap().items;
    let mut revisions: Vec<_> =
        found.iter().map(|set| set.annotations()["deployment.kubernetes.io/revision"].clone()).collect();
    revisions.sort();
    assert_eq!(revisions, ["2", "3"], "rolling back is a new revision of the old ReplicaSet");

    api.delete("web", &DeleteParams::background()).await.unwrap();
    eventually(async || {
        let sets = sets.list(&ListParams::default()).await.unwrap().items.len();
        let pods = images(&cluster).await.len();
        if (sets, pods) == (0, 0) { Ok(()) } else { Err(format!("{sets} ReplicaSets, pods of {pods} images")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recreate_never_runs_two_revisions_at_once() {
    let (cluster, _node, api) = start(json!({"type": "Recreate"})).await;
    set_image(&api, "v2").await;
    eventually(async || {
        let images = images(&cluster).await;
        assert!(images.len() <= 1, "{images:?}");
        if images == ["v2".to_owned()].into() { Ok(()) } else { Err(format!("{images:?}")) }
    })
    .await;
    rolled_out(&api).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_tells_that_its_pods_are_refused_until_they_are_not() {
    let cluster = Cluster::start().await;
    let _node = cluster.node("node1").await;
    let mut refused = deployment("v1", json!({}));
    refused["spec"]["template"]["spec"]["serviceAccountName"] = "robot".into();
    cluster.create::<Deployment>(refused).await;
    let api = Api::<Deployment>::namespaced(cluster.client(), "default");
    let failure = async || {
        let conditions = api.get("web").await.unwrap().status.and_then(|status| status.conditions).unwrap_or_default();
        conditions.into_iter().find(|condition| condition.type_ == "ReplicaFailure")
    };
    let told = eventually(async || failure().await.ok_or("no condition".to_owned())).await;
    assert_eq!(told.reason.as_deref(), Some("FailedCreate"));
    assert!(told.message.unwrap().contains("serviceaccount \"robot\" not found"));
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}});
    cluster.create::<ServiceAccount>(account).await;
    rolled_out(&api).await;
    eventually(async || match failure().await {
        None => Ok(()),
        Some(condition) => Err(format!("{condition:?}")),
    })
    .await;
}
