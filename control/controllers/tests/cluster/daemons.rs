use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use crate::cluster::{Cluster, eventually};

/// Node and image of each pod that is not on its way out.
async fn running(cluster: &Cluster) -> BTreeSet<(String, String)> {
    let pods = Api::<Pod>::namespaced(cluster.client(), "default").list(&ListParams::default()).await.unwrap();
    let alive = pods.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    alive
        .filter_map(|pod| pod.spec)
        .map(|mut spec| (spec.node_name.unwrap_or_default(), spec.containers.remove(0).image.unwrap()))
        .collect()
}

async fn until_running(cluster: &Cluster, wanted: &[(&str, &str)]) {
    let wanted: BTreeSet<_> = wanted.iter().map(|(node, image)| ((*node).to_owned(), (*image).to_owned())).collect();
    eventually(async || {
        let found = running(cluster).await;
        if found == wanted { Ok(()) } else { Err(format!("{found:?}, not {wanted:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_runs_on_every_node_follows_new_ones_and_is_updated() {
    let cluster = Cluster::start().await;
    let _node1 = cluster.node("node1").await;
    cluster.ready("default").await;
    let set = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent"}, "spec": {
        "selector": {"matchLabels": {"app": "agent"}}, "template": {
            "metadata": {"labels": {"app": "agent"}}, "spec": {"containers": [{"name": "c", "image": "v1"}]}}}});
    cluster.create::<DaemonSet>(set).await;
    until_running(&cluster, &[("node1", "v1")]).await;
    let _node2 = cluster.node("node2").await;
    until_running(&cluster, &[("node1", "v1"), ("node2", "v1")]).await;
    let sets = Api::<DaemonSet>::namespaced(cluster.client(), "default");
    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "v2"}]}}}});
    sets.patch("agent", &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
    until_running(&cluster, &[("node1", "v2"), ("node2", "v2")]).await;
    eventually(async || {
        let status = sets.get("agent").await.unwrap().status.unwrap_or_default();
        let counts = (status.number_available, status.updated_number_scheduled, status.observed_generation);
        if counts == (Some(2), Some(2), Some(2)) { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    let revisions = Api::<ControllerRevision>::namespaced(cluster.client(), "default");
    let mut numbers: Vec<i64> =
        revisions.list(&ListParams::default()).await.unwrap().iter().map(|r| r.revision).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2]);
}
