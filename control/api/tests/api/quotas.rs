//! LimitRanger and ResourceQuota as clients see them: defaults, refusals, and an account that holds under many writers.

use serde_json::{Value, json};

use crate::cluster::Cluster;

const PODS: &str = "/api/v1/namespaces/default/pods";

async fn start() -> Cluster {
    let cluster = Cluster::start().await;
    let account = json!({"metadata": {"name": "default"}});
    let (code, _) = cluster.json("POST", "/api/v1/namespaces/default/serviceaccounts", account).await;
    assert_eq!(code, 201);
    cluster
}

fn pod(name: &str, resources: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i", "resources": resources}]}})
}

/// A quota whose status the controller would have written.
async fn quota(cluster: &Cluster, name: &str, hard: Value, used: Value) {
    let path = "/api/v1/namespaces/default/resourcequotas";
    let (code, made) = cluster.json("POST", path, json!({"metadata": {"name": name}, "spec": {"hard": hard}})).await;
    assert_eq!(code, 201, "{made}");
    let status = json!({"status": {"hard": hard, "used": used}});
    let (code, answer) = cluster.json("PATCH", &format!("{path}/{name}/status"), status).await;
    assert_eq!(code, 200, "{answer}");
}

async fn used(cluster: &Cluster, name: &str) -> Value {
    cluster.json("GET", &format!("/api/v1/namespaces/default/resourcequotas/{name}"), Value::Null).await.1["status"]["used"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_range_fills_in_and_refuses() {
    let cluster = start().await;
    let limits = json!([
        {"type": "Container", "max": {"cpu": "500m"}, "min": {"cpu": "50m"}, "default": {"cpu": "200m"}, "defaultRequest": {"cpu": "100m"}},
        {"type": "PersistentVolumeClaim", "max": {"storage": "10Gi"}},
    ]);
    let path = "/api/v1/namespaces/default/limitranges";
    let (code, made) = cluster.json("POST", path, json!({"metadata": {"name": "l"}, "spec": {"limits": limits}})).await;
    assert_eq!(code, 201, "{made}");
    let (code, made) = cluster.json("POST", PODS, pod("p", json!({}))).await;
    assert_eq!(code, 201, "{made}");
    let resources = &made["spec"]["containers"][0]["resources"];
    assert_eq!(resources, &json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "200m"}}));
    let told = &made["metadata"]["annotations"]["kubernetes.io/limit-ranger"];
    assert_eq!(told, "LimitRanger plugin set: cpu request for container c; cpu limit for container c");
    let (code, refused) = cluster.json("POST", PODS, pod("big", json!({"limits": {"cpu": "1"}}))).await;
    assert_eq!(code, 403);
    let text = "pods \"big\" is forbidden: maximum cpu usage per Container is 500m, but limit is 1";
    assert_eq!(refused["message"], text);
    let claim = json!({"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "11Gi"}}}});
    let (code, refused) = cluster.json("POST", "/api/v1/namespaces/default/persistentvolumeclaims", claim).await;
    let text = "persistentvolumeclaims \"c\" is forbidden: maximum storage usage per PersistentVolumeClaim is 10Gi, but request is 11Gi";
    assert_eq!((code, &refused["message"]), (403, &json!(text)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_is_charged_and_then_exceeded() {
    let cluster = start().await;
    quota(&cluster, "q", json!({"pods": "2", "requests.cpu": "1"}), json!({"pods": "0", "requests.cpu": "0"})).await;
    let (code, refused) = cluster.json("POST", PODS, pod("silent", json!({}))).await;
    let text = "pods \"silent\" is forbidden: failed quota: q: must specify requests.cpu for: c";
    assert_eq!((code, &refused["message"]), (403, &json!(text)));
    let small = || json!({"requests": {"cpu": "400m"}});
    assert_eq!(cluster.json("POST", &format!("{PODS}?dryRun=All"), pod("a", small())).await.0, 201);
    assert_eq!(used(&cluster, "q").await, json!({"pods": "0", "requests.cpu": "0"}));
    assert_eq!(cluster.json("POST", PODS, pod("a", small())).await.0, 201);
    assert_eq!(used(&cluster, "q").await, json!({"pods": "1", "requests.cpu": "400m"}));
    let (_, refused) = cluster.json("POST", PODS, pod("b", json!({"requests": {"cpu": "700m"}}))).await;
    let text = "pods \"b\" is forbidden: exceeded quota: q, requested: requests.cpu=700m, used: requests.cpu=400m, limited: requests.cpu=1";
    assert_eq!(refused["message"], text);
    assert_eq!((&refused["code"], &refused["reason"]), (&json!(403), &json!("Forbidden")));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_together_get_no_more_than_there_is() {
    let cluster = std::sync::Arc::new(start().await);
    quota(&cluster, "q", json!({"count/configmaps": "10"}), json!({"count/configmaps": "0"})).await;
    quota(&cluster, "r", json!({"configmaps": "12"}), json!({"configmaps": "0"})).await;
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..40 {
        let cluster = cluster.clone();
        tasks.spawn(async move {
            let object = json!({"metadata": {"name": format!("c{i}")}});
            cluster.json("POST", "/api/v1/namespaces/default/configmaps", object).await.0
        });
    }
    let codes = tasks.join_all().await;
    assert_eq!(codes.iter().filter(|code| **code == 201).count(), 10);
    assert_eq!(codes.iter().filter(|code| **code == 403).count(), 30);
    assert_eq!(used(&cluster, "q").await, json!({"count/configmaps": "10"}));
    assert_eq!(used(&cluster, "r").await, json!({"configmaps": "10"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_becomes_a_node_port_is_charged_for_it() {
    let cluster = start().await;
    let (hard, none) =
        (json!({"services": "5", "services.nodeports": "1"}), json!({"services": "0", "services.nodeports": "0"}));
    quota(&cluster, "q", hard, none).await;
    let path = "/api/v1/namespaces/default/services";
    let service =
        |name: &str| json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}});
    for name in ["a", "b"] {
        assert_eq!(cluster.json("POST", path, service(name)).await.0, 201);
    }
    let node_port = json!({"spec": {"type": "NodePort"}});
    assert_eq!(cluster.json("PATCH", &format!("{path}/a"), node_port.clone()).await.0, 200);
    assert_eq!(used(&cluster, "q").await, json!({"services": "2", "services.nodeports": "1"}));
    let (code, refused) = cluster.json("PATCH", &format!("{path}/b"), node_port).await;
    assert_eq!(code, 403);
    assert!(refused["message"].as_str().unwrap().contains("exceeded quota: q, requested: services.nodeports=1"));
}
