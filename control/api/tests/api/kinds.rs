use serde_json::{Value, json};

use crate::cluster::Cluster;

const V1: &str = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
const V2: &str = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
const FLOW: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";

fn message(status: &Value) -> &str {
    status["message"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_autoscaler_is_the_same_in_both_versions() {
    let cluster = Cluster::start().await;
    let target = json!({"kind": "Deployment", "name": "web", "apiVersion": "apps/v1"});
    let object = json!({"metadata": {"name": "old"}, "spec": {"scaleTargetRef": target, "maxReplicas": 3}});
    let (code, made) = cluster.json("POST", V1, object).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(made["apiVersion"], "autoscaling/v1");
    assert_eq!(made["spec"]["targetCPUUtilizationPercentage"], 80);
    let (_, seen) = cluster.json("GET", &format!("{V2}/old"), Value::Null).await;
    assert_eq!(
        seen["spec"]["metrics"][0]["resource"]["target"],
        json!({"type": "Utilization", "averageUtilization": 80})
    );

    let pods = json!({"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "5"}}});
    let object =
        json!({"metadata": {"name": "new"}, "spec": {"scaleTargetRef": target, "maxReplicas": 3, "metrics": [pods]}});
    assert_eq!(cluster.json("POST", V2, object).await.0, 201);
    let (_, mut seen) = cluster.json("GET", &format!("{V1}/new"), Value::Null).await;
    assert!(seen["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"].is_string(), "{seen}");
    seen["spec"]["maxReplicas"] = 7.into();
    let (code, changed) = cluster.json("PUT", &format!("{V1}/new"), seen).await;
    assert_eq!(code, 200, "{changed}");
    let (_, seen) = cluster.json("GET", &format!("{V2}/new"), Value::Null).await;
    assert_eq!((&seen["spec"]["maxReplicas"], &seen["spec"]["metrics"]), (&json!(7), &json!([pods])));
    assert_eq!(seen["metadata"]["annotations"], Value::Null);

    let bad = json!({"metadata": {"name": "bad"}, "spec": {"scaleTargetRef": target, "maxReplicas": 0}});
    let (code, refused) = cluster.json("POST", V1, bad).await;
    assert_eq!(code, 422);
    assert!(
        message(&refused).contains("spec.maxReplicas: Required value: must be set and greater than 0"),
        "{refused}"
    );
    let shown = cluster.kubectl("get hpa.v1.autoscaling old --no-headers").await.unwrap();
    let words: Vec<&str> = shown.split_whitespace().collect();
    assert_eq!(words[..7], ["old", "Deployment/web", "cpu:", "<unknown>/80%", "1", "3", "0"], "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn flow_control_objects_are_there_and_come_back() {
    let cluster = Cluster::start().await;
    let (_, schemas) = cluster.json("GET", &format!("{FLOW}/flowschemas"), Value::Null).await;
    let names: Vec<&str> =
        schemas["items"].as_array().unwrap().iter().filter_map(|s| s["metadata"]["name"].as_str()).collect();
    for name in ["catch-all", "exempt", "global-default", "probes", "system-nodes", "workload-low"] {
        assert_eq!(names.contains(&name), name != "workload-low", "{names:?}");
    }
    assert!(schemas["items"].as_array().unwrap().iter().all(|s| s["status"]["conditions"][0]["status"] == "False"));

    let exempt = format!("{FLOW}/flowschemas/catch-all");
    let (code, refused) = cluster
        .json("PUT", &exempt, {
            let (_, mut object) = cluster.json("GET", &exempt, Value::Null).await;
            object["spec"]["matchingPrecedence"] = 9_999.into();
            object
        })
        .await;
    assert_eq!(code, 422);
    assert!(message(&refused).contains("spec of 'catch-all' must equal the fixed value"), "{refused}");

    let (_, before) = cluster.json("GET", &exempt, Value::Null).await;
    assert_eq!(cluster.json("DELETE", &exempt, Value::Null).await.0, 200);
    for _ in 0..50 {
        let (code, after) = cluster.json("GET", &exempt, Value::Null).await;
        if code == 200 {
            assert_ne!(after["metadata"]["uid"], before["metadata"]["uid"]);
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the mandatory FlowSchema does not come back");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_tell_their_flow() {
    let cluster = Cluster::start().await;
    let (_, schema) = cluster.json("GET", &format!("{FLOW}/flowschemas/exempt"), Value::Null).await;
    let request = http::Request::get("/api/v1/namespaces/none").body(Vec::new()).unwrap();
    let answer = cluster.send(request).await;
    assert_eq!(answer.status(), 404);
    assert_eq!(answer.headers()["x-kubernetes-pf-flowschema-uid"], schema["metadata"]["uid"].as_str().unwrap());
    assert!(answer.headers().contains_key("x-kubernetes-pf-prioritylevel-uid"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_without_its_level_dangles_until_the_level_comes() {
    let cluster = Cluster::start().await;
    let rules = json!([{"subjects": [{"kind": "Group", "group": {"name": "*"}}], "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]);
    let schema = json!({"metadata": {"name": "mine"}, "spec": {"matchingPrecedence": 50, "priorityLevelConfiguration": {"name": "absent"}, "rules": rules}});
    assert_eq!(cluster.json("POST", &format!("{FLOW}/flowschemas"), schema).await.0, 201);
    let dangling = async |wanted: &str| {
        for _ in 0..50 {
            let (_, seen) = cluster.json("GET", &format!("{FLOW}/flowschemas/mine"), Value::Null).await;
            if seen["status"]["conditions"][0]["status"] == wanted {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("Dangling does not become {wanted}");
    };
    dangling("True").await;
    let level = json!({"metadata": {"name": "absent"}, "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}});
    let (code, made) = cluster.json("POST", &format!("{FLOW}/prioritylevelconfigurations"), level).await;
    assert_eq!((code, &made["spec"]["limited"]["nominalConcurrencyShares"]), (201, &json!(30)), "{made}");
    dangling("False").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_are_claimed_and_offered() {
    let cluster = Cluster::start().await;
    let slice = |name: &str, node: &str| json!({"metadata": {"name": name}, "spec": {"driver": "d.example.com", "nodeName": node, "pool": {"name": "p", "resourceSliceCount": 1}}});
    let slices = "/apis/resource.k8s.io/v1/resourceslices";
    for (name, node) in [("a", "n1"), ("b", "n2")] {
        let (code, made) = cluster.json("POST", slices, slice(name, node)).await;
        assert_eq!((code, &made["metadata"]["generation"]), (201, &json!(1)), "{made}");
    }
    let (_, found) = cluster.json("GET", &format!("{slices}?fieldSelector=spec.nodeName%3Dn2"), Value::Null).await;
    assert_eq!(found["items"].as_array().map(Vec::len), Some(1), "{found}");
    let claims = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
    let claim = json!({"metadata": {"name": "c"}, "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "k"}}]}}, "status": {"reservedFor": []}});
    let (code, made) = cluster.json("POST", claims, claim).await;
    assert_eq!(
        (code, &made["spec"]["devices"]["requests"][0]["exactly"]["allocationMode"], &made["status"]),
        (201, &json!("ExactCount"), &json!({})),
        "{made}"
    );
    let shown = cluster.kubectl("get resourceclaims c --no-headers").await.unwrap();
    assert!(shown.starts_with("c     pending"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_is_a_component() {
    let cluster = Cluster::start().await;
    let shown = cluster.kubectl("get componentstatuses").await.unwrap();
    assert!(shown.contains("etcd-0   Healthy   ok"), "{shown}");
    let (code, one) = cluster.json("GET", "/api/v1/componentstatuses/etcd-0", Value::Null).await;
    assert_eq!((code, &one["conditions"][0]["type"]), (200, &json!("Healthy")), "{one}");
    assert_eq!(cluster.json("GET", "/api/v1/componentstatuses/none", Value::Null).await.0, 404);
}
