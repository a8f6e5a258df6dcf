use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, ReplicationController, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::cluster::{Cluster, eventually};

fn controller(namespace: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "web", "namespace": namespace}, "spec": {
        "replicas": 2, "selector": {"app": "web"}, "template": {
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "web"}]}}}})
}

async fn pods(cluster: &Cluster, namespace: &str, count: usize) -> Vec<Pod> {
    let pods = Api::<Pod>::namespaced(cluster.client(), namespace);
    eventually(async || {
        let found = pods.list(&ListParams::default()).await.unwrap().items;
        if found.len() == count { Ok(found) } else { Err(format!("{} pods, not {count}", found.len())) }
    })
    .await
}

/// A controller with its two pods running.
async fn start() -> (Cluster, Api<ReplicationController>) {
    let cluster = Cluster::start().await;
    cluster.ready("default").await;
    cluster.create::<ReplicationController>(controller("default")).await;
    pods(&cluster, "default", 2).await;
    let api = Api::namespaced(cluster.client(), "default");
    (cluster, api)
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_go_after_their_controller() {
    let (cluster, controllers) = start().await;
    controllers.delete("web", &DeleteParams::background()).await.unwrap();
    pods(&cluster, "default", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_deleted_in_the_foreground_outlives_its_pods() {
    let (cluster, controllers) = start().await;
    let api = Api::<Pod>::namespaced(cluster.client(), "default");
    let first = pods(&cluster, "default", 2).await[0].name_any();
    let hold = json!({"metadata": {"finalizers": ["example.com/hold"]}});
    api.patch(&first, &PatchParams::default(), &Patch::Merge(&hold)).await.unwrap();
    controllers.delete("web", &DeleteParams::foreground()).await.unwrap();
    pods(&cluster, "default", 1).await;
    assert!(controllers.get_opt("web").await.unwrap().is_some(), "a pod is still there");
    let release = json!({"metadata": {"finalizers": null}});
    api.patch(&first, &PatchParams::default(), &Patch::Merge(&release)).await.unwrap();
    pods(&cluster, "default", 0).await;
    eventually(async || match controllers.get_opt("web").await.unwrap() {
        None => Ok(()),
        Some(left) => Err(format!("{:?}", left.metadata)),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orphaned_pods_stay_and_are_adopted_again() {
    let (cluster, controllers) = start().await;
    let before: Vec<String> = pods(&cluster, "default", 2).await.iter().map(|pod| pod.name_any()).collect();
    controllers.delete("web", &DeleteParams::orphan()).await.unwrap();
    eventually(async || {
        let found = pods(&cluster, "default", 2).await;
        let owned = found.iter().filter(|pod| !pod.owner_references().is_empty()).count();
        let gone = controllers.get_opt("web").await.unwrap().is_none();
        if owned == 0 && gone { Ok(()) } else { Err(format!("{owned} pods are owned, controller gone: {gone}")) }
    })
    .await;
    cluster.create::<ReplicationController>(controller("default")).await;
    eventually(async || {
        let found = pods(&cluster, "default", 2).await;
        let owned = found.iter().filter(|pod| !pod.owner_references().is_empty()).count();
        if owned == 2 { Ok(()) } else { Err(format!("{owned} pods are owned")) }
    })
    .await;
    let after: Vec<String> = pods(&cluster, "default", 2).await.iter().map(|pod| pod.name_any()).collect();
    assert_eq!(before, after);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_of_owners_goes_when_one_of_them_is_deleted_in_the_foreground() {
    let cluster = Cluster::start().await;
    cluster.ready("default").await;
    let names = ["one", "two", "three"];
    let mut uids = Vec::new();
    for name in names {
        let map: ConfigMap = cluster
            .create(
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}}),
            )
            .await;
        uids.push(map.uid().unwrap());
    }
    let maps = Api::<ConfigMap>::namespaced(cluster.client(), "default");
    for (n, name) in names.into_iter().enumerate() {
        let owner = (n + 2) % 3;
        let owner = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "name": names[owner], "uid": uids[owner], "blockOwnerDeletion": true,
        });
        let owned = json!({"metadata": {"ownerReferences": [owner]}});
        maps.patch(name, &PatchParams::default(), &Patch::Merge(&owned)).await.unwrap();
    }
    maps.delete("one", &DeleteParams::foreground()).await.unwrap();
    eventually(async || {
        let left = maps.list(&ListParams::default()).await.unwrap().items;
        let left: Vec<String> =
            left.iter().map(|map| map.name_any()).filter(|name| names.contains(&name.as_str())).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?} are there")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slices_go_after_their_service() {
    let cluster = Cluster::start().await;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
    cluster.create::<Service>(service).await;
    let slices = Api::<EndpointSlice>::namespaced(cluster.client(), "default");
    let of_web = ListParams::default().labels("kubernetes.io/service-name=web");
    let count = async |wanted: usize| {
        eventually(async || {
            let count = slices.list(&of_web).await.unwrap().items.len();
            if count == wanted { Ok(()) } else { Err(format!("{count} slices")) }
        })
        .await;
    };
    count(1).await;
    Api::<Service>::namespaced(cluster.client(), "default").delete("web", &DeleteParams::default()).await.unwrap();
    count(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_goes_with_everything_in_it() {
    let cluster = Cluster::start().await;
    let _node = cluster.node("node1").await;
    let namespaces = Api::<Namespace>::all(cluster.client());
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    namespaces.create(&PostParams::default(), &serde_json::from_value(namespace).unwrap()).await.unwrap();
    cluster.ready("shop").await;
    cluster.create::<ReplicationController>(controller("shop")).await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
        "name": "held", "namespace": "shop", "finalizers": ["example.com/hold"]}});
    cluster.create::<ConfigMap>(map).await;
    pods(&cluster, "shop", 2).await;

    namespaces.delete("shop", &DeleteParams::default()).await.unwrap();
    eventually(async || {
        let namespace = namespaces.get("shop").await.unwrap();
        let conditions = namespace.status.and_then(|status| status.conditions).unwrap_or_default();
        let told = conditions.iter().find(|c| c.type_ == "NamespaceFinalizersRemaining" && c.status == "True");
        told.and_then(|c| c.message.clone())
            .filter(|m| m.contains("example.com/hold in 1"))
            .ok_or(format!("{conditions:?}"))
    })
    .await;
    let maps = Api::<ConfigMap>::namespaced(cluster.client(), "shop");
    let release = json!({"metadata": {"finalizers": null}});
    maps.patch("held", &PatchParams::default(), &Patch::Merge(&release)).await.unwrap();
    eventually(async || match namespaces.get_opt("shop").await.unwrap() {
        None => Ok(()),
        Some(left) => Err(format!("{:?}", left.status)),
    })
    .await;
    pods(&cluster, "shop", 0).await;
}
