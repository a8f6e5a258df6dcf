//! The Node object and its Lease.

use crate::cluster::*;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

#[test]
fn the_node_says_what_it_is_and_keeps_saying_that_it_is_alive() {
    with_cluster(async |cluster| {
        let nodes: Api<Node> = Api::all(cluster.client.clone());
        let node = nodes.get("node1").await.unwrap();
        let labels = node.metadata.labels.clone().unwrap_or_default();
        assert_eq!(labels.get("kubernetes.io/hostname").map(String::as_str), Some("node1"));
        let status = node.status.unwrap();
        let addresses = serde_json::to_value(status.addresses).unwrap();
        let expected =
            json!([{ "type": "InternalIP", "address": "127.0.0.1" }, { "type": "Hostname", "address": "node1" }]);
        assert_eq!(addresses, expected);
        assert_eq!(status.daemon_endpoints.unwrap().kubelet_endpoint.unwrap().port, 10250);
        let (capacity, allocatable) = (status.capacity.unwrap(), status.allocatable.unwrap());
        assert_eq!((capacity["pods"].0.as_str(), allocatable["pods"].0.as_str()), ("110", "110"));
        assert!(capacity["memory"].0.trim_end_matches("Ki").parse::<u64>().unwrap() > 1 << 20, "{capacity:?}");
        let info = status.node_info.unwrap();
        assert!(info.container_runtime_version.starts_with("containerd://"), "{}", info.container_runtime_version);

        let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), "kube-node-lease");
        let renewed = async || Some(leases.get_opt("node1").await.unwrap()?.spec.unwrap().renew_time.unwrap().0);
        let first = eventually("there is a Lease", renewed).await;
        eventually("the Lease is renewed", async || renewed().await.filter(|&time| time > first)).await;
        let owner = leases.get("node1").await.unwrap().metadata.owner_references.unwrap();
        assert_eq!(Some(&owner[0].uid), node.metadata.uid.as_ref());

        // What the node controller does to a node that it has not heard for long.
        let unknown = json!({ "status": { "conditions": [{ "type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown" }] } });
        nodes.patch_status("node1", &PatchParams::default(), &Patch::Strategic(unknown)).await.unwrap();
        eventually("the Node is ready again", async || is_node_ready(&nodes.get("node1").await.unwrap()).then_some(()))
            .await;

        // A Node that was deleted by mistake comes back, and its Lease belongs to the new one.
        nodes.delete("node1", &kube::api::DeleteParams::default()).await.unwrap();
        let again = eventually("the Node is registered again", async || nodes.get_opt("node1").await.unwrap()).await;
        assert_ne!(again.metadata.uid, node.metadata.uid);
    });
}
