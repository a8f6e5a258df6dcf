use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use crate::cluster::{Cluster, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_range_becomes_ready_and_leaves_only_when_nobody_has_an_address_of_it() {
    let cluster = Cluster::start().await;
    cluster.ready("default").await;
    let ranges = Api::<ServiceCIDR>::all(cluster.client());
    let condition = async |name: &str, status: &str| {
        eventually(async || {
            let range = ranges.get(name).await.map_err(|error| error.to_string())?;
            let value = serde_json::to_value(&range).unwrap();
            let said = &value["status"]["conditions"][0];
            let held = value["metadata"]["finalizers"][0] == "networking.k8s.io/service-cidr-finalizer";
            if held && said["type"] == "Ready" && said["status"] == status { Ok(()) } else { Err(value.to_string()) }
        })
        .await;
    };
    condition("kubernetes", "True").await;
    let more = json!({"metadata": {"name": "more"}, "spec": {"cidrs": ["10.222.0.0/24"]}});
    ranges.create(&PostParams::default(), &serde_json::from_value(more).unwrap()).await.unwrap();
    condition("more", "True").await;
    let spec = json!({"clusterIP": "10.222.0.9", "ports": [{"port": 80}]});
    cluster.create::<Service>(json!({"metadata": {"name": "s"}, "spec": spec})).await;
    let addresses = Api::<IPAddress>::all(cluster.client());
    let there = async |wanted: bool| {
        eventually(async || match addresses.get_opt("10.222.0.9").await.unwrap().is_some() == wanted {
            true => Ok(()),
            false => Err(format!("the address should be there: {wanted}")),
        })
        .await;
    };
    there(true).await;
    ranges.delete("more", &DeleteParams::default()).await.unwrap();
    condition("more", "False").await;
    Api::<Service>::namespaced(cluster.client(), "default").delete("s", &DeleteParams::default()).await.unwrap();
    there(false).await;
    eventually(async || match ranges.get_opt("more").await.unwrap() {
        None => Ok(()),
        Some(range) => Err(format!("{range:?}")),
    })
    .await;
}
