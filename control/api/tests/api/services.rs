use std::collections::HashSet;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::cluster::Cluster;

const SERVICES: &str = "/api/v1/namespaces/default/services";

fn service(name: &str, spec: &Value) -> Value {
    let mut service = json!({
        "kind": "Service", "apiVersion": "v1", "metadata": {"name": name},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    });
    json_patch::merge(&mut service["spec"], spec);
    service
}

async fn create(cluster: &Cluster, name: &str, spec: Value) -> (u16, Value) {
    cluster.json("POST", SERVICES, service(name, &spec)).await
}

fn message(status: &Value) -> &str {
    status["message"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn services_made_at_once_never_share_an_address_or_a_port() {
    let cluster = Cluster::start().await;
    let names: Vec<String> = (0..200).map(|i| format!("s{i}")).collect();
    let made = join_all(names.iter().map(|name| create(&cluster, name, json!({"type": "NodePort"})))).await;
    let (mut ips, mut ports) = (HashSet::new(), HashSet::new());
    for (code, service) in &made {
        assert_eq!(*code, 201, "{service}");
        let ip = service["spec"]["clusterIP"].as_str().unwrap();
        assert_eq!(service["spec"]["clusterIPs"], json!([ip]));
        let port = service["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
        assert!((30000..=32767).contains(&port));
        assert!(ips.insert(ip.to_owned()) && ports.insert(port), "{service}");
    }
    assert!(!ips.contains("10.96.0.1"), "the API server's own");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_is_refused_until_it_is_given_back() {
    let cluster = Cluster::start().await;
    let asked = json!({"type": "NodePort", "clusterIP": "10.96.7.7", "ports": [{"port": 80, "nodePort": 30123}]});
    assert_eq!(create(&cluster, "one", asked.clone()).await.0, 201);
    let (code, refused) = create(&cluster, "two", asked.clone()).await;
    assert_eq!(code, 422);
    assert!(
        message(&refused).contains("failed to allocate IP 10.96.7.7: provided IP is already allocated"),
        "{refused}"
    );
    let mut other = asked;
    other["clusterIP"] = Value::Null;
    let (_, refused) = create(&cluster, "two", other).await;
    assert!(message(&refused).contains("provided port is already allocated"), "{refused}");
    let (_, refused) = create(&cluster, "two", json!({"clusterIP": "10.200.0.1"})).await;
    assert!(message(&refused).contains("the provided network does not match the current range"), "{refused}");
    let (_, refused) =
        create(&cluster, "two", json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]})).await;
    assert!(message(&refused).contains("The range of valid ports is 30000-32767"), "{refused}");
    // A refusal keeps nothing.
    let (code, kept) = cluster.json("PATCH", &format!("{SERVICES}/one"), json!({"spec": {"type": "ClusterIP"}})).await;
    assert_eq!((code, &kept["spec"]["clusterIP"]), (200, &json!("10.96.7.7")));
    assert!(kept["spec"]["ports"][0].get("nodePort").is_none(), "{kept}");
    let port_only = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30123}]});
    assert_eq!(create(&cluster, "two", port_only).await.0, 201, "the port was given back");
    assert_eq!(cluster.json("DELETE", &format!("{SERVICES}/one"), Value::Null).await.0, 200);
    assert_eq!(create(&cluster, "three", json!({"clusterIP": "10.96.7.7"})).await.0, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_keeps_what_a_service_was_given() {
    let cluster = Cluster::start().await;
    let (_, made) = create(&cluster, "one", json!({"type": "NodePort"})).await;
    // A client that knows nothing of addresses and ports, as `kubectl replace`.
    let (code, after) =
        cluster.json("PUT", &format!("{SERVICES}/one"), service("one", &json!({"type": "NodePort"}))).await;
    assert_eq!(code, 200, "{after}");
    assert_eq!(after["spec"]["clusterIP"], made["spec"]["clusterIP"]);
    assert_eq!(after["spec"]["ports"][0]["nodePort"], made["spec"]["ports"][0]["nodePort"]);
    let (code, refused) = cluster
        .json(
            "PATCH",
            &format!("{SERVICES}/one"),
            json!({"spec": {"clusterIP": "10.96.9.9", "clusterIPs": ["10.96.9.9"]}}),
        )
        .await;
    assert_eq!(code, 422);
    assert!(message(&refused).contains("may not change once set"), "{refused}");
    let (_, headless) = create(&cluster, "headless", json!({"clusterIP": "None"})).await;
    assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
    let external = json!({"type": "ExternalName", "externalName": "example.com", "ports": null, "selector": null});
    let (code, external) = create(&cluster, "external", external).await;
    assert_eq!(code, 201, "{external}");
    assert!(external["spec"].get("clusterIP").is_none(), "{external}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_range_is_used_up_and_a_restart_remembers() {
    let small = |config: &mut orlop_api::Config| {
        config.service_cidr = "10.9.0.0/29".parse().unwrap();
        config.node_port_range = 30000..=30002;
    };
    let cluster = Cluster::start_with(tempfile::tempdir().unwrap(), small).await;
    for i in 0..3 {
        assert_eq!(create(&cluster, &format!("n{i}"), json!({"type": "NodePort"})).await.0, 201);
    }
    let (_, refused) = create(&cluster, "n3", json!({"type": "NodePort"})).await;
    assert!(message(&refused).contains("range is full"), "{refused}");
    let cluster = Cluster::start_with(cluster.stop(), small).await;
    // Of six addresses one is the API server's and three are taken.
    for i in 0..2 {
        let (code, made) = create(&cluster, &format!("c{i}"), json!({})).await;
        assert_eq!(code, 201, "{made}");
    }
    let (code, refused) = create(&cluster, "c2", json!({})).await;
    assert!(code >= 400 && message(&refused).contains("range is full"), "{refused}");
    let balanced = json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "clusterIP": "None"});
    let (_, refused) = create(&cluster, "n3", balanced).await;
    assert!(message(&refused).contains("may not be set to 'None' for LoadBalancer services"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_range_is_an_object() {
    let cluster = Cluster::start().await;
    let path = "/apis/networking.k8s.io/v1/servicecidrs/kubernetes";
    for path in [path.to_owned(), format!("{path}/status")] {
        let (code, found) = cluster.json("GET", &path, Value::Null).await;
        assert_eq!((code, &found["spec"]["cidrs"]), (200, &json!(["10.96.0.0/12"])), "{found}");
        assert_eq!(found["status"]["conditions"][0]["status"], "True");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_has_an_address_object_and_a_range_that_is_ready_gives_more() {
    const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";
    const RANGES: &str = "/apis/networking.k8s.io/v1/servicecidrs";
    let cluster = Cluster::start().await;
    let answers = async |path: String, wanted: u16| {
        let mut last = Value::Null;
        for _ in 0..100 {
            let (code, found) = cluster.json("GET", &path, Value::Null).await;
            if code == wanted {
                return found;
            }
            last = found;
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("{path} does not answer {wanted}: {last}");
    };
    // One that a user made keeps its address from everybody.
    let parent = json!({"resource": "services", "namespace": "default", "name": "mine"});
    let own = json!({"metadata": {"name": "10.96.7.7"}, "spec": {"parentRef": parent}});
    assert_eq!(cluster.json("POST", ADDRESSES, own).await.0, 201);
    answers(format!("{ADDRESSES}/10.96.7.7"), 200).await;
    let (code, refused) = create(&cluster, "theirs", json!({"clusterIP": "10.96.7.7"})).await;
    assert!(code == 422 && message(&refused).contains("provided IP is already allocated"), "{refused}");

    let (code, made) = create(&cluster, "a", json!({"clusterIP": "10.96.7.8"})).await;
    assert_eq!(code, 201, "{made}");
    let object = answers(format!("{ADDRESSES}/10.96.7.8"), 200).await;
    let parent = json!({"resource": "services", "namespace": "default", "name": "a"});
    assert_eq!(object["spec"]["parentRef"], parent, "{object}");
    assert_eq!(object["metadata"]["labels"]["ipaddress.kubernetes.io/managed-by"], "ipallocator.k8s.io");
    // Somebody removes it: it comes again. It goes with its Service.
    assert_eq!(cluster.json("DELETE", &format!("{ADDRESSES}/10.96.7.8"), Value::Null).await.0, 200);
    let again = answers(format!("{ADDRESSES}/10.96.7.8"), 200).await;
    assert_ne!(again["metadata"]["uid"], object["metadata"]["uid"]);
    assert_eq!(cluster.json("DELETE", "/api/v1/namespaces/default/services/a", Value::Null).await.0, 200);
    answers(format!("{ADDRESSES}/10.96.7.8"), 404).await;

    let range = json!({"metadata": {"name": "more"}, "spec": {"cidrs": ["10.222.0.0/24"]}});
    assert_eq!(cluster.json("POST", RANGES, range.clone()).await.0, 201);
    let (code, refused) = create(&cluster, "b", json!({"clusterIP": "10.222.0.9"})).await;
    assert!(code == 422 && message(&refused).contains("does not match the current range"), "{refused}");
    let mut ready = range;
    ready["status"] = json!({"conditions": [{"type": "Ready", "status": "True", "reason": "", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
    let (code, said) = cluster.json("PUT", &format!("{RANGES}/more/status"), ready).await;
    assert_eq!(code, 200, "{said}");
    let mut code = 0;
    for _ in 0..100 {
        code = create(&cluster, "b", json!({"clusterIP": "10.222.0.9"})).await.0;
        if code == 201 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(code, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_two_families_gives_addresses_of_both_and_takes_the_second_back() {
    let single = tempfile::tempdir().unwrap();
    let cluster = Cluster::start_with(single, |_| {}).await;
    let (_, before) = create(&cluster, "before", json!({"ipFamilyPolicy": "PreferDualStack"})).await;
    assert_eq!(before["spec"]["ipFamilies"], json!(["IPv4"]), "{before}");
    // A range of the other family comes with the next start.
    let both = |config: &mut orlop_api::Config| config.service_cidr = "10.96.0.0/12,fd00:10:96::/112".parse().unwrap();
    let cluster = Cluster::start_with(cluster.stop(), both).await;
    let path = "/apis/networking.k8s.io/v1/servicecidrs/kubernetes";
    let (_, range) = cluster.json("GET", path, Value::Null).await;
    assert_eq!(range["spec"]["cidrs"], json!(["10.96.0.0/12", "fd00:10:96::/112"]));
    let labelled = json!({"metadata": {"labels": {"a": "b"}}});
    let (_, after) = cluster.json("PATCH", &format!("{SERVICES}/before"), labelled).await;
    assert_eq!(after["spec"]["clusterIPs"], before["spec"]["clusterIPs"], "who does not ask gets nothing");
    let again = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "before"}, "spec": {"ports": [{"port": 80}]}});
    let (code, replaced) = cluster.json("PUT", &format!("{SERVICES}/before"), again).await;
    assert_eq!(code, 200, "{replaced}");
    assert_eq!(replaced["spec"]["ipFamilyPolicy"], "PreferDualStack");
    assert_eq!(replaced["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]), "a policy that is left out is asked for anew");
    assert_eq!(replaced["spec"]["clusterIPs"][0], before["spec"]["clusterIP"]);
    assert!(replaced["spec"]["clusterIPs"][1].as_str().unwrap().starts_with("fd00:10:96::"), "{replaced}");

    let (code, made) = create(&cluster, "two", json!({"ipFamilyPolicy": "RequireDualStack"})).await;
    assert_eq!(code, 201, "{made}");
    let second = made["spec"]["clusterIPs"][1].as_str().unwrap().to_owned();
    assert!(second.starts_with("fd00:10:96::"), "{made}");
    let object = format!("/apis/networking.k8s.io/v1/ipaddresses/{second}");
    let there = async |wanted: u16| {
        for _ in 0..100 {
            if cluster.json("GET", &object, Value::Null).await.0 == wanted {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("{object} does not answer {wanted}");
    };
    there(200).await;
    let (code, refused) = create(&cluster, "thief", json!({"clusterIP": second})).await;
    assert!(code == 422 && message(&refused).contains("provided IP is already allocated"), "{refused}");
    let single = json!({"spec": {"ipFamilyPolicy": "SingleStack"}});
    let (_, one) = cluster.json("PATCH", &format!("{SERVICES}/two"), single).await;
    assert_eq!(one["spec"]["clusterIPs"], json!([made["spec"]["clusterIP"]]), "{one}");
    there(404).await;
    assert_eq!(create(&cluster, "thief", json!({"clusterIP": second})).await.0, 201);
}
