use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::{Value, json};

use crate::cluster::Cluster;

const PODS: &str = "/api/v1/namespaces/default/pods";

pub fn pod(name: &str) -> Value {
    json!({
        "kind": "Pod", "apiVersion": "v1", "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "example.com/web:1"}]},
    })
}

/// The account that a controller would have made.
pub async fn default_account(cluster: &Cluster) {
    let account = json!({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default"}});
    assert_eq!(cluster.json("POST", "/api/v1/namespaces/default/serviceaccounts", account).await.0, 201);
}

pub async fn bind(cluster: &Cluster, name: &str, node: &str) -> (u16, Value) {
    let binding = json!({
        "kind": "Binding", "apiVersion": "v1", "metadata": {"name": name, "annotations": {"chosen": "yes"}},
        "target": {"kind": "Node", "name": node},
    });
    cluster.json("POST", &format!("{PODS}/{name}/binding"), binding).await
}

#[tokio::test(flavor = "multi_thread")]
async fn admission_completes_a_pod() {
    let cluster = Cluster::start().await;
    let (code, refused) = cluster.json("POST", PODS, pod("early")).await;
    assert_eq!(code, 403);
    assert!(refused["message"].as_str().unwrap().contains("serviceaccount \"default\" not found"), "{refused}");
    default_account(&cluster).await;
    let (code, made) = cluster.json("POST", PODS, pod("one")).await;
    assert_eq!(code, 201, "{made}");
    let spec = &made["spec"];
    assert_eq!(spec["serviceAccountName"], "default");
    let volume = spec["volumes"][0]["name"].as_str().unwrap();
    assert!(volume.starts_with("kube-api-access-"));
    assert_eq!(spec["containers"][0]["volumeMounts"][0]["name"], volume);
    assert_eq!(spec["tolerations"].as_array().unwrap().len(), 2);
    assert_eq!((&spec["priority"], &spec["preemptionPolicy"]), (&json!(0), &json!("PreemptLowerPriority")));
    assert_eq!((&made["status"]["phase"], &made["status"]["qosClass"]), (&json!("Pending"), &json!("BestEffort")));
    let mut replaced = made.clone();
    replaced["spec"]["containers"][0]["image"] = "example.com/web:2".into();
    for field in ["tolerations", "priority", "preemptionPolicy"] {
        replaced["spec"].as_object_mut().unwrap().remove(field);
    }
    let (code, replaced) = cluster.json("PUT", &format!("{PODS}/one"), replaced).await;
    assert_eq!(code, 200, "an update that says nothing of what admission gave leaves it: {replaced}");
    assert_eq!((&replaced["spec"]["tolerations"], &replaced["spec"]["priority"]), (&spec["tolerations"], &json!(0)));
    let mut urgent = pod("urgent");
    urgent["spec"]["priorityClassName"] = "system-node-critical".into();
    assert_eq!(cluster.json("POST", PODS, urgent).await.1["spec"]["priority"], 2_000_001_000);
    let mut unknown = pod("unknown");
    unknown["spec"]["priorityClassName"] = "nope".into();
    assert_eq!(cluster.json("POST", PODS, unknown).await.0, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_bound_once() {
    let cluster = Cluster::start().await;
    default_account(&cluster).await;
    cluster.json("POST", PODS, pod("one")).await;
    let (code, status) = bind(&cluster, "one", "node1").await;
    assert_eq!((code, &status["status"]), (201, &json!("Success")));
    let (_, bound) = cluster.json("GET", &format!("{PODS}/one"), Value::Null).await;
    assert_eq!(bound["spec"]["nodeName"], "node1");
    assert_eq!(bound["metadata"]["annotations"]["chosen"], "yes");
    let condition = &bound["status"]["conditions"][0];
    assert_eq!((&condition["type"], &condition["status"]), (&json!("PodScheduled"), &json!("True")));
    let (code, again) = bind(&cluster, "one", "node2").await;
    assert_eq!(code, 409);
    let old_way =
        json!({"kind": "Binding", "apiVersion": "v1", "metadata": {"name": "one"}, "target": {"name": "node2"}});
    assert_eq!(cluster.json("POST", "/api/v1/namespaces/default/bindings", old_way).await.0, 409);
    assert!(again["message"].as_str().unwrap().contains("pod one is already assigned to node \"node1\""), "{again}");
    assert_eq!(
        cluster.json("GET", &format!("{PODS}?fieldSelector=spec.nodeName=node1"), Value::Null).await.1["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_pod_goes_when_its_kubelet_says_so() {
    let cluster = Cluster::start().await;
    default_account(&cluster).await;
    let pods: Api<Pod> = Api::namespaced(cluster.admin(), "default");
    for name in ["waiting", "running"] {
        pods.create(&PostParams::default(), &serde_json::from_value(pod(name)).unwrap()).await.unwrap();
    }
    bind(&cluster, "running", "node1").await;
    // Nobody runs the first one yet.
    assert!(pods.delete("waiting", &DeleteParams::default()).await.unwrap().is_left());
    assert!(pods.get_opt("waiting").await.unwrap().is_none());
    let going = pods.delete("running", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert_eq!(going.metadata.deletion_grace_period_seconds, Some(30));
    let generation = going.metadata.generation;
    let again = pods.delete("running", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert_eq!(again.metadata.deletion_timestamp, going.metadata.deletion_timestamp);
    assert_eq!(again.metadata.generation, generation);
    let sooner = DeleteParams { grace_period_seconds: Some(5), ..DeleteParams::default() };
    let sooner = pods.delete("running", &sooner).await.unwrap().left().unwrap();
    assert_eq!(sooner.metadata.deletion_grace_period_seconds, Some(5));
    assert!(pods.get_opt("running").await.unwrap().is_some());
    pods.delete("running", &DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() }).await.unwrap();
    assert!(pods.get_opt("running").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eviction_respects_the_budget() {
    let cluster = Cluster::start().await;
    default_account(&cluster).await;
    cluster.json("POST", PODS, pod("one")).await;
    bind(&cluster, "one", "node1").await;
    cluster.json("PATCH", &format!("{PODS}/one/status"), json!({"status": {"phase": "Running"}})).await;
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({
        "kind": "PodDisruptionBudget", "apiVersion": "policy/v1", "metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    });
    assert_eq!(cluster.json("POST", budgets, budget).await.0, 201);
    let eviction =
        json!({"kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": "one", "namespace": "default"}});
    let (code, refused) = cluster.json("POST", &format!("{PODS}/one/eviction"), eviction.clone()).await;
    assert_eq!((code, &refused["details"]["causes"][0]["reason"]), (429, &json!("DisruptionBudget")), "{refused}");
    let allowed =
        json!({"status": {"disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2}});
    assert_eq!(cluster.json("PATCH", &format!("{budgets}/b/status"), allowed).await.0, 200);
    let dry = cluster.json("POST", &format!("{PODS}/one/eviction?dryRun=All"), eviction.clone()).await;
    assert_eq!(dry.0, 201, "{}", dry.1);
    let (_, kept) = cluster.json("GET", &format!("{PODS}/one"), Value::Null).await;
    assert!(kept["metadata"].get("deletionTimestamp").is_none(), "only tried: {kept}");
    let (_, budget) = cluster.json("GET", &format!("{budgets}/b"), Value::Null).await;
    assert_eq!(budget["status"]["disruptionsAllowed"], 1);
    assert_eq!(cluster.json("POST", &format!("{PODS}/one/eviction"), eviction).await.0, 201);
    let (_, going) = cluster.json("GET", &format!("{PODS}/one"), Value::Null).await;
    assert!(going["metadata"]["deletionTimestamp"].is_string(), "{going}");
    let (_, budget) = cluster.json("GET", &format!("{budgets}/b"), Value::Null).await;
    assert_eq!(budget["status"]["disruptionsAllowed"], 0);
    assert!(budget["status"]["disruptedPods"]["one"].is_string(), "{budget}");
}
