use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Event, Node, Pod, ReplicationController, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::cluster::{Cluster, eventually};

fn controller(replicas: u32) -> Value {
    json!({"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "web"}, "spec": {
        "replicas": replicas, "selector": {"app": "web"}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "web", "ports": [{"name": "http", "containerPort": 8080}]}]}}}})
}

fn service() -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {
        "type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}})
}

fn addresses(slices: &[EndpointSlice], ready: bool) -> BTreeSet<String> {
    let endpoints = slices.iter().flat_map(|slice| slice.endpoints.iter().flatten());
    let wanted = endpoints.filter(|e| e.conditions.as_ref().and_then(|c| c.ready) == Some(ready));
    wanted.flat_map(|endpoint| endpoint.addresses.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replication_controller_behind_a_service_runs_on_both_nodes() {
    let cluster = Cluster::start().await;
    let _nodes = (cluster.node("node1").await, cluster.node("node2").await);
    cluster.ready("default").await;
    cluster.create::<ReplicationController>(controller(2)).await;
    cluster.create::<Service>(service()).await;

    let slices = Api::<EndpointSlice>::namespaced(cluster.client(), "default");
    let of_web = ListParams::default().labels("kubernetes.io/service-name=web");
    let found = eventually(async || {
        let found = slices.list(&of_web).await.unwrap().items;
        if addresses(&found, true).len() == 2 { Ok(found) } else { Err(format!("{found:#?}")) }
    })
    .await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].ports.as_ref().unwrap()[0].port, Some(8080));
    let nodes: BTreeSet<_> = found[0].endpoints.iter().flatten().filter_map(|e| e.node_name.clone()).collect();
    assert_eq!(nodes.into_iter().collect::<Vec<_>>(), ["node1", "node2"], "spread");

    let endpoints = Api::<Endpoints>::namespaced(cluster.client(), "default");
    let listed = eventually(async || {
        let found = endpoints.get("web").await.map_err(|e| e.to_string())?;
        let ips: BTreeSet<String> =
            found.subsets.iter().flatten().flat_map(|s| s.addresses.iter().flatten()).map(|a| a.ip.clone()).collect();
        if ips.len() == 2 { Ok(ips) } else { Err(format!("{found:?}")) }
    })
    .await;
    assert_eq!(listed, addresses(&found, true));

    let nodes = Api::<Node>::all(cluster.client()).list(&ListParams::default()).await.unwrap();
    let cidrs: BTreeSet<_> = nodes.iter().filter_map(|node| node.spec.as_ref()?.pod_cidr.clone()).collect();
    assert_eq!(cidrs.into_iter().collect::<Vec<_>>(), ["10.244.0.0/24", "10.244.1.0/24"]);

    let events = Api::<Event>::namespaced(cluster.client(), "default");
    eventually(async || {
        let events = events.list(&ListParams::default()).await.unwrap().items;
        let scheduled = events.iter().filter(|event| event.reason.as_deref() == Some("Scheduled")).count();
        let created = events.iter().filter(|event| event.reason.as_deref() == Some("SuccessfulCreate")).count();
        if (scheduled, created) == (2, 2) { Ok(()) } else { Err(format!("{scheduled} scheduled, {created} created")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_fits_nowhere_says_so_and_goes_when_a_node_comes() {
    let cluster = Cluster::start().await;
    cluster.ready("default").await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "big"},
        "spec": {"containers": [{"name": "c", "image": "c", "resources": {"requests": {"cpu": "3"}}}]}});
    cluster.create::<Pod>(pod).await;
    let pods = Api::<Pod>::namespaced(cluster.client(), "default");
    let message = eventually(async || {
        let conditions = pods.get("big").await.unwrap().status.and_then(|status| status.conditions).unwrap_or_default();
        let condition = conditions.into_iter().find(|c| c.type_ == "PodScheduled").ok_or("no condition")?;
        assert_eq!((condition.status.as_str(), condition.reason.as_deref()), ("False", Some("Unschedulable")));
        condition.message.ok_or("no message".to_owned())
    })
    .await;
    assert_eq!(message, "no nodes available to schedule pods");
    let _node = cluster.node("node1").await;
    eventually(async || {
        let pod = pods.get("big").await.unwrap();
        let node = pod.spec.unwrap().node_name;
        if node.as_deref() == Some("node1") { Ok(()) } else { Err(format!("{:?}", pod.status)) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_namespace_has_a_default_account_and_the_ca() {
    let cluster = Cluster::start().await;
    for namespace in ["default", "kube-system"] {
        let accounts = Api::<ServiceAccount>::namespaced(cluster.client(), namespace);
        eventually(async || accounts.get("default").await.map_err(|e| e.to_string())).await;
        let maps = Api::<ConfigMap>::namespaced(cluster.client(), namespace);
        let map = eventually(async || maps.get("kube-root-ca.crt").await.map_err(|e| e.to_string())).await;
        assert!(map.data.unwrap()["ca.crt"].starts_with("-----BEGIN CERTIFICATE-----"));
        // Taken away, it comes back.
        accounts.delete("default", &Default::default()).await.unwrap();
        eventually(async || accounts.get("default").await.map_err(|e| e.to_string())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_written_by_hand_are_seen_as_slices() {
    let cluster = Cluster::start().await;
    let service =
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "out"}, "spec": {"ports": [{"port": 80}]}});
    cluster.create::<Service>(service).await;
    let by_hand = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "out"}, "subsets": [
        {"addresses": [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}], "ports": [{"port": 8080}]}]});
    cluster.create::<Endpoints>(by_hand).await;
    let slices = Api::<EndpointSlice>::namespaced(cluster.client(), "default");
    let of_out = ListParams::default().labels("kubernetes.io/service-name=out");
    let until = async |wanted: &[&str]| {
        eventually(async || {
            let found = slices.list(&of_out).await.unwrap().items;
            let ready = addresses(&found, true);
            if ready.iter().map(String::as_str).eq(wanted.iter().copied()) { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    };
    until(&["192.0.2.1", "192.0.2.2"]).await;
    let endpoints = Api::<Endpoints>::namespaced(cluster.client(), "default");
    endpoints.delete("out", &Default::default()).await.unwrap();
    until(&[]).await;
    let of_kubernetes = ListParams::default().labels("kubernetes.io/service-name=kubernetes");
    assert_eq!(slices.list(&of_kubernetes).await.unwrap().items.len(), 1, "the API server's own is not mirrored");
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_without_a_service_are_nobody_elses_business() {
    let cluster = Cluster::start().await;
    let alone = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "alone"},
        "subsets": [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 80}]}]});
    let endpoints = Api::<Endpoints>::namespaced(cluster.client(), "default");
    let there = async |name: &str| endpoints.get_opt(name).await.unwrap().ok_or(format!("no Endpoints {name}"));
    // The controller runs: only its start looks for what is left over.
    cluster.create::<Service>(service()).await;
    eventually(async || there("web").await.map(drop)).await;
    cluster.create::<Endpoints>(alone).await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    there("alone").await.unwrap();
    // With a Service that goes, they go.
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "alone"}, "spec": {"ports": [{"port": 80}]}});
    cluster.create::<Service>(service).await;
    Api::<Service>::namespaced(cluster.client(), "default").delete("alone", &Default::default()).await.unwrap();
    eventually(async || match endpoints.get_opt("alone").await.unwrap() {
        None => Ok(()),
        Some(left) => Err(format!("{left:?}")),
    })
    .await;
}
