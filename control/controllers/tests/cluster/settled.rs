use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ReplicationController, Service};
use kube::api::ListParams;
use kube::core::DynamicObject;
use kube::core::discovery::verbs;
use kube::{Api, Client, Discovery, ResourceExt as _};
use serde_json::{Value, json};

use crate::cluster::{Cluster, eventually};

/// Every object with its version, but for those that tell of time passing.
async fn versions(client: &Client) -> BTreeMap<String, String> {
    let mut versions = BTreeMap::new();
    let discovery = Discovery::new(client.clone()).run_aggregated().await.unwrap();
    for (resource, capabilities) in discovery.groups().flat_map(|group| group.resources_by_stability()) {
        let skipped = matches!(resource.plural.as_str(), "leases" | "events");
        if skipped || !capabilities.supports_operation(verbs::LIST) || !capabilities.supports_operation(verbs::WATCH) {
            continue;
        }
        let api = Api::<DynamicObject>::all_with(client.clone(), &resource);
        for object in api.list_metadata(&ListParams::default()).await.unwrap() {
            let name = format!("{} {}/{}", resource.kind, object.namespace().unwrap_or_default(), object.name_any());
            versions.insert(name, object.resource_version().unwrap());
        }
    }
    versions
}

fn workload(api_version: &str, kind: &str, more: Value) -> Value {
    let labels = json!({"app": kind.to_lowercase()});
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": kind.to_lowercase()}, "spec": {
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "c"}]}}}});
    match kind {
        "Job" => object["spec"]["template"]["spec"]["restartPolicy"] = "Never".into(),
        "ReplicationController" => object["spec"]["selector"] = labels,
        _ => object["spec"]["selector"] = json!({"matchLabels": labels}),
    }
    for (key, value) in more.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    object
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settled_cluster_writes_nothing() {
    let cluster = Cluster::start().await;
    let _nodes = (cluster.node("node1").await, cluster.node("node2").await);
    cluster.ready("default").await;
    cluster.create::<ReplicationController>(workload("v1", "ReplicationController", json!({"replicas": 2}))).await;
    cluster.create::<Deployment>(workload("apps/v1", "Deployment", json!({"replicas": 2}))).await;
    cluster.create::<DaemonSet>(workload("apps/v1", "DaemonSet", json!({}))).await;
    cluster.create::<StatefulSet>(workload("apps/v1", "StatefulSet", json!({"replicas": 2, "serviceName": "s"}))).await;
    cluster.create::<Job>(workload("batch/v1", "Job", json!({}))).await;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"selector": {"app": "deployment"}, "ports": [{"port": 80}]}});
    cluster.create::<Service>(service).await;
    let client = cluster.client();
    let pause = Duration::from_secs(1);
    let settled = eventually(async || {
        let before = versions(&client).await;
        tokio::time::sleep(pause).await;
        let after = versions(&client).await;
        if before == after { Ok(after) } else { Err("it goes on writing".into()) }
    })
    .await;
    let pods = settled.keys().filter(|name| name.starts_with("Pod ")).count();
    assert_eq!(pods, 9);
    tokio::time::sleep(3 * pause).await;
    assert_eq!(versions(&client).await, settled);
}
