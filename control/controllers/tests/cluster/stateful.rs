use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::cluster::{Cluster, eventually};

async fn until_images(cluster: &Cluster, wanted: &[(&str, &str)]) {
    let pods = Api::<Pod>::namespaced(cluster.client(), "default");
    eventually(async || {
        let found = pods.list(&ListParams::default()).await.unwrap().items;
        let found: Vec<(String, String)> = found
            .iter()
            .map(|p| (p.name_any(), p.spec.as_ref().unwrap().containers[0].image.clone().unwrap()))
            .collect();
        let same = found.iter().map(|(name, image)| (name.as_str(), image.as_str())).eq(wanted.iter().copied());
        if same { Ok(()) } else { Err(format!("{found:?}, not {wanted:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stateful_set_keeps_its_names_and_claims_through_updates_and_scaling() {
    let cluster = Cluster::start().await;
    let _node = cluster.node("node1").await;
    cluster.ready("default").await;
    let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": {
        "replicas": 3, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}}, "template": {
            "metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": "v1"}]}},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]}});
    cluster.create::<StatefulSet>(set).await;
    until_images(&cluster, &[("db-0", "v1"), ("db-1", "v1"), ("db-2", "v1")]).await;
    let sets = Api::<StatefulSet>::namespaced(cluster.client(), "default");
    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "v2"}]}}}});
    sets.patch("db", &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
    until_images(&cluster, &[("db-0", "v2"), ("db-1", "v2"), ("db-2", "v2")]).await;
    eventually(async || {
        let status = sets.get("db").await.unwrap().status.unwrap();
        let same = status.current_revision == status.update_revision && status.updated_replicas == Some(3);
        if same { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    sets.patch("db", &PatchParams::default(), &Patch::Merge(json!({"spec": {"replicas": 1}}))).await.unwrap();
    until_images(&cluster, &[("db-0", "v2")]).await;
    let claims = Api::<PersistentVolumeClaim>::namespaced(cluster.client(), "default");
    let names: Vec<String> = claims.list(&ListParams::default()).await.unwrap().iter().map(|c| c.name_any()).collect();
    assert_eq!(names, ["data-db-0", "data-db-1", "data-db-2"]);
    sets.delete("db", &DeleteParams::background()).await.unwrap();
    until_images(&cluster, &[]).await;
}
