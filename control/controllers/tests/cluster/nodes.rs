use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Event, Node, Pod, ReplicationController, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::cluster::{Cluster, eventually};

/// The Nodes behind the ready endpoints of `web`.
async fn ready_on(cluster: &Cluster) -> BTreeSet<String> {
    let slices = Api::<EndpointSlice>::namespaced(cluster.client(), "default");
    let of_web = ListParams::default().labels("kubernetes.io/service-name=web");
    let slices = slices.list(&of_web).await.unwrap().items;
    let endpoints = slices.iter().flat_map(|slice| slice.endpoints.iter().flatten());
    let ready = endpoints.filter(|endpoint| endpoint.conditions.as_ref().and_then(|c| c.ready) == Some(true));
    ready.filter_map(|endpoint| endpoint.node_name.clone()).collect()
}

async fn until_ready_on(cluster: &Cluster, nodes: &[&str]) {
    let wanted: BTreeSet<String> = nodes.iter().map(|node| (*node).to_owned()).collect();
    eventually(async || {
        let found = ready_on(cluster).await;
        if found == wanted { Ok(()) } else { Err(format!("ready on {found:?}, not {wanted:?}")) }
    })
    .await;
}

async fn taints(cluster: &Cluster, node: &str) -> Vec<String> {
    let node = Api::<Node>::all(cluster.client()).get(node).await.unwrap();
    let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
    taints.into_iter().map(|taint| format!("{}:{}", taint.key, taint.effect)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_loses_its_traffic_within_two_seconds_and_its_pods_when_they_may_not_stay() {
    let cluster = Cluster::start().await;
    let node1 = cluster.node("node1").await;
    let _node2 = cluster.node("node2").await;
    cluster.ready("default").await;
    let controller = json!({"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "web"}, "spec": {
        "replicas": 2, "selector": {"app": "web"}, "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
            "containers": [{"name": "c", "image": "web"}],
            "tolerations": [{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": 2}]}}}});
    cluster.create::<ReplicationController>(controller).await;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
    cluster.create::<Service>(service).await;
    until_ready_on(&cluster, &["node1", "node2"]).await;

    drop(node1);
    let cut = Instant::now();
    until_ready_on(&cluster, &["node2"]).await;
    let took = cut.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");

    eventually(async || {
        let taints = taints(&cluster, "node1").await;
        let expected = ["node.kubernetes.io/unreachable:NoSchedule", "node.kubernetes.io/unreachable:NoExecute"];
        if taints == expected { Ok(()) } else { Err(format!("{taints:?}")) }
    })
    .await;
    // The pod on it is evicted after its two seconds, and another one runs on the other Node.
    let pods = Api::<Pod>::namespaced(cluster.client(), "default");
    eventually(async || {
        let pods = pods.list(&ListParams::default()).await.unwrap();
        let alive: Vec<_> = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
        let on_node2 = alive.iter().filter(|p| p.spec.as_ref().unwrap().node_name.as_deref() == Some("node2")).count();
        if (alive.len(), on_node2) == (2, 2) {
            Ok(())
        } else {
            Err(format!("{} alive, {on_node2} on node2", alive.len()))
        }
    })
    .await;
    let evicted = pods.list(&ListParams::default()).await.unwrap().items;
    let evicted = evicted.iter().find(|pod| pod.metadata.deletion_timestamp.is_some()).unwrap();
    let conditions = evicted.status.as_ref().unwrap().conditions.clone().unwrap();
    assert!(conditions.iter().any(|c| c.type_ == "DisruptionTarget" && c.status == "True"), "{}", evicted.name_any());

    let _node1 = cluster.node("node1").await;
    assert!(taints(&cluster, "node1").await.is_empty(), "it is back");
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_the_only_node_are_not_evicted_when_it_is_lost() {
    let cluster = Cluster::start().await;
    let node = cluster.node("node1").await;
    cluster.ready("default").await;
    drop(node);
    eventually(async || {
        let taints = taints(&cluster, "node1").await;
        if taints == ["node.kubernetes.io/unreachable:NoSchedule"] { Ok(()) } else { Err(format!("{taints:?}")) }
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(taints(&cluster, "node1").await, ["node.kubernetes.io/unreachable:NoSchedule"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn topology_mode_auto_hints_each_endpoint_to_a_zone_and_says_so() {
    let cluster = Cluster::start().await;
    let (_node1, _node2) = (cluster.node("node1").await, cluster.node("node2").await);
    cluster.ready("default").await;
    let nodes = Api::<Node>::all(cluster.client());
    let zone = |zone: &str| Patch::Merge(json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}}));
    nodes.patch("node1", &PatchParams::default(), &zone("here")).await.unwrap();
    let controller = json!({"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "web"}, "spec": {
        "replicas": 4, "selector": {"app": "web"}, "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
            "containers": [{"name": "c", "image": "web"}]}}}});
    cluster.create::<ReplicationController>(controller).await;
    let service = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "annotations": {"service.kubernetes.io/topology-mode": "Auto"}},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
    cluster.create::<Service>(service).await;
    let events = Api::<Event>::namespaced(cluster.client(), "default");
    let told = async |note: &str| {
        eventually(async || {
            let all = events.list(&ListParams::default()).await.unwrap().items;
            let notes: Vec<String> = all.into_iter().filter_map(|event| event.message).collect();
            if notes.iter().any(|told| told == note) { Ok(()) } else { Err(format!("{notes:?}")) }
        })
        .await;
    };
    told(
        "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes, addressType: IPv4",
    )
    .await;

    let hinted = async |wanted: &[&str]| {
        eventually(async || {
            let slices = Api::<EndpointSlice>::namespaced(cluster.client(), "default");
            let of_web = ListParams::default().labels("kubernetes.io/service-name=web");
            let slices = slices.list(&of_web).await.unwrap().items;
            let endpoints: Vec<_> = slices.into_iter().flat_map(|slice| slice.endpoints.unwrap_or_default()).collect();
            let hints = endpoints.iter().filter_map(|endpoint| endpoint.hints.as_ref()?.for_zones.as_ref());
            let mut zones: Vec<&str> = hints.flatten().map(|zone| zone.name.as_str()).collect();
            zones.sort_unstable();
            if endpoints.len() == 4 && zones == wanted { Ok(()) } else { Err(format!("{endpoints:?}")) }
        })
        .await;
    };
    nodes.patch("node2", &PatchParams::default(), &zone("there")).await.unwrap();
    told("Topology Aware Hints has been enabled, addressType: IPv4").await;
    hinted(&["here", "here", "there", "there"]).await;

    let services = Api::<Service>::namespaced(cluster.client(), "default");
    let without = json!({"metadata": {"annotations": {"service.kubernetes.io/topology-mode": null}}});
    services.patch("web", &PatchParams::default(), &Patch::Merge(without)).await.unwrap();
    told("Topology Aware Hints has been disabled, addressType: IPv4").await;
    hinted(&[]).await;
}
