use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

use crate::cluster::{Cluster, eventually, internal_ip};

/// The endpoints of kube-dns: node and address.
async fn listeners(cluster: &Cluster) -> BTreeSet<(String, String)> {
    let slices = Api::<EndpointSlice>::namespaced(cluster.client(), "kube-system");
    let own = ListParams::default().labels("kubernetes.io/service-name=kube-dns");
    let slices = slices.list(&own).await.unwrap().items;
    let endpoints = slices.into_iter().flat_map(|slice| slice.endpoints.unwrap_or_default());
    endpoints
        .map(|endpoint| {
            let hinted = endpoint.hints.unwrap().for_nodes.unwrap()[0].name.clone();
            assert_eq!(endpoint.node_name.as_ref(), Some(&hinted), "each is hinted to its own node");
            (hinted, endpoint.addresses[0].clone())
        })
        .collect()
}

async fn until_listeners(cluster: &Cluster, nodes: &[&str]) {
    let wanted: BTreeSet<_> = nodes.iter().map(|node| ((*node).to_owned(), internal_ip(node))).collect();
    eventually(async || {
        let found = listeners(cluster).await;
        if found == wanted { Ok(()) } else { Err(format!("{found:?}, not {wanted:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_dns_is_a_service_that_leads_to_every_ready_node() {
    let cluster = Cluster::start().await;
    let services = Api::<Service>::namespaced(cluster.client(), "kube-system");
    let made = async || {
        let service = services.get("kube-dns").await.map_err(|error| error.to_string())?;
        Ok(service.spec.unwrap().cluster_ip.unwrap())
    };
    assert_eq!(eventually(made).await, "10.96.0.10");
    let node1 = cluster.node("node1").await;
    let node2 = cluster.node("node2").await;
    until_listeners(&cluster, &["node1", "node2"]).await;

    drop(node1);
    until_listeners(&cluster, &["node2"]).await;
    let _node1 = cluster.node("node1").await;
    until_listeners(&cluster, &["node1", "node2"]).await;

    services.delete("kube-dns", &DeleteParams::default()).await.unwrap();
    assert_eq!(eventually(made).await, "10.96.0.10", "it comes back under its address");
    until_listeners(&cluster, &["node1", "node2"]).await;
    let ports = json!({"spec": {"ports": [{"name": "dns", "port": 53, "protocol": "UDP"}]}});
    services.patch("kube-dns", &PatchParams::default(), &Patch::Merge(ports)).await.unwrap();
    eventually(async || {
        let ports = services.get("kube-dns").await.unwrap().spec.unwrap().ports.unwrap().len();
        if ports == 3 { Ok(()) } else { Err(format!("{ports} ports")) }
    })
    .await;

    let nodes = Api::<Node>::all(cluster.client());
    drop(node2);
    nodes.delete("node2", &DeleteParams::default()).await.unwrap();
    until_listeners(&cluster, &["node1"]).await;
    let own = json!({"spec": {"selector": {"k8s-app": "kube-dns"}}});
    services.patch("kube-dns", &PatchParams::default(), &Patch::Merge(own)).await.unwrap();
    eventually(async || {
        let found = listeners(&cluster).await;
        if found.is_empty() { Ok(()) } else { Err(format!("{found:?} although it is somebody's own")) }
    })
    .await;
}
