use serde_json::{Value, json};

use crate::cluster::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_waits_for_its_finalizer() {
    let cluster = Cluster::start().await;
    cluster.kubectl("create namespace team").await.unwrap();
    let path = "/api/v1/namespaces/team";
    let (_, made) = cluster.json("GET", path, Value::Null).await;
    assert_eq!(made["spec"]["finalizers"], json!(["kubernetes"]));
    assert_eq!(made["metadata"]["labels"]["kubernetes.io/metadata.name"], "team");
    assert_eq!(made["status"]["phase"], "Active");
    let (code, going) = cluster.json("DELETE", path, Value::Null).await;
    assert_eq!((code, &going["status"]["phase"]), (200, &json!("Terminating")));
    let refused = cluster.kubectl("-n team create configmap late").await.unwrap_err();
    assert!(refused.contains("because it is being terminated"), "{refused}");
    let mut done = cluster.json("GET", path, Value::Null).await.1;
    done["spec"]["finalizers"] = json!([]);
    // Only `finalize` may take the finalizer away.
    assert_eq!(cluster.json("PUT", path, done.clone()).await.1["spec"]["finalizers"], json!(["kubernetes"]));
    let (code, status) = cluster.json("PUT", &format!("{path}/finalize"), done).await;
    assert_eq!(code, 200, "{status}");
    assert_eq!(cluster.json("GET", path, Value::Null).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_can_be_filled_as_soon_as_it_is_made() {
    let cluster = Cluster::start().await;
    for i in 0..50 {
        let namespace = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": format!("team{i}")}});
        assert_eq!(cluster.json("POST", "/api/v1/namespaces", namespace).await.0, 201);
        let map = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "first"}});
        let (code, made) = cluster.json("POST", &format!("/api/v1/namespaces/team{i}/configmaps"), map).await;
        assert_eq!(code, 201, "{made}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_system_s_namespaces_stay() {
    let cluster = Cluster::start().await;
    for name in ["default", "kube-system", "kube-public"] {
        let (code, status) = cluster.json("DELETE", &format!("/api/v1/namespaces/{name}"), Value::Null).await;
        assert_eq!(code, 403);
        assert!(status["message"].as_str().unwrap().contains("this namespace may not be deleted"), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_finds_everything_and_the_kubernetes_service_at_the_new_address() {
    let first = Cluster::start().await;
    first.kubectl("create configmap kept").await.unwrap();
    let path = "/api/v1/namespaces/default/services/kubernetes";
    let (_, before) = first.json("GET", path, Value::Null).await;
    assert_eq!(before["spec"]["clusterIP"], "10.96.0.1");
    assert_eq!(before["spec"]["ports"][0]["targetPort"], 6443);
    let directory = first.stop();
    let second =
        Cluster::start_with(directory, |config| config.advertise_address = "172.30.0.77".parse().unwrap()).await;
    assert!(second.kubectl("get configmap kept").await.is_ok());
    let (_, after) = second.json("GET", path, Value::Null).await;
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    let endpoints = second.kubectl("get endpoints kubernetes").await.unwrap();
    assert!(endpoints.contains("172.30.0.77:6443"), "{endpoints}");
    let slices = second.kubectl("get endpointslice kubernetes").await.unwrap();
    assert!(slices.contains("172.30.0.77"), "{slices}");
}
