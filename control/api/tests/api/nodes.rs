use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::cluster::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn a_kubelet_writes_its_own_node_and_no_label_that_steers_pods() {
    let cluster = Cluster::start().await;
    let nodes: Api<Node> = Api::all(cluster.client("system:node:node1", &["system:nodes"]));
    let node = |name: &str, label: &str| -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, label: "x"}},
            "status": {"nodeInfo": {
                "machineID": "", "systemUUID": "", "bootID": "", "kernelVersion": "", "osImage": "",
                "containerRuntimeVersion": "", "kubeletVersion": "v1.36.0", "kubeProxyVersion": "",
                "operatingSystem": "linux", "architecture": "amd64",
            }},
        }))
        .unwrap()
    };
    let create = |name: &'static str, label: &'static str| {
        let (nodes, node) = (nodes.clone(), node(name, label));
        async move { nodes.create(&PostParams::default(), &node).await.map_err(|e| e.to_string()) }
    };
    let stolen = create("node1", "node-role.kubernetes.io/control-plane").await.unwrap_err();
    assert!(stolen.contains("is not allowed to modify labels: node-role.kubernetes.io/control-plane"), "{stolen}");
    assert!(create("node2", "example.com/x").await.unwrap_err().contains("is not allowed to modify node \"node2\""));
    let made = create("node1", "example.com/x").await.unwrap();
    assert_eq!(made.status.unwrap().node_info.unwrap().kubelet_version, "v1.36.0");
    let ready = Patch::Strategic(json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}));
    nodes.patch_status("node1", &PatchParams::default(), &ready).await.unwrap();
    let free = Patch::Merge(json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}));
    assert!(nodes.patch("node1", &PatchParams::default(), &free).await.is_err());
    let table = cluster.kubectl("get nodes -o wide").await.unwrap();
    assert!(table.lines().any(|l| l.starts_with("node1") && l.contains(" Ready ") && l.contains("v1.36.0")), "{table}");
}
