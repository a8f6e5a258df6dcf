use std::sync::Arc;

use serde_json::{Value, json};

use super::*;

fn cache(nodes: &[(&str, Value)]) -> Cache {
    let mut cache = Cache::default();
    for (name, node) in nodes {
        let mut node = node.clone();
        node["metadata"]["name"] = (*name).into();
        node["metadata"]["labels"]["kubernetes.io/hostname"] = (*name).into();
        node["status"]["allocatable"] = json!({"cpu": "4", "memory": "8Gi", "pods": "110"});
        cache.set_node(Arc::new(serde_json::from_value(node).unwrap()));
    }
    cache
}

fn zones() -> Cache {
    let zone = |zone: &str| json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}});
    cache(&[("a1", zone("a")), ("a2", zone("a")), ("b1", zone("b"))])
}

fn pod(name: &str, labels: Value, spec: Value) -> PodInfo {
    let mut value = json!({
        "metadata": {"name": name, "namespace": "d", "uid": name, "labels": labels}, "spec": {"containers": [{"name": "c"}]},
    });
    for (key, field) in spec.as_object().unwrap() {
        value["spec"][key] = field.clone();
    }
    PodInfo::new(Arc::new(serde_json::from_value(value).unwrap()))
}

fn cpu(amount: &str) -> Value {
    json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": amount, "memory": "1Gi"}}}]})
}

fn decide_in(cache: &Cache, pod: &PodInfo, selector: Option<Selector>) -> Result<String, String> {
    let cluster = Cluster { cache, namespace_labels: &|_| None, default_selector: selector };
    decide(pod, &cluster, |_| 0).map_err(|unfit| unfit.to_string())
}

/// Places pods one after the other, and says where they went.
fn place(cache: &mut Cache, pods: usize, of: impl Fn(usize) -> PodInfo, selector: Option<Selector>) -> Vec<String> {
    (0..pods)
        .map(|index| {
            let pod = of(index);
            let node = decide_in(cache, &pod, selector.clone());
            if let Ok(node) = &node {
                cache.assume(pod, node);
            }
            node.unwrap_or_else(|why| why)
        })
        .collect()
}

#[test]
fn a_pod_that_fits_nowhere_is_told_why_with_numbers() {
    let tainted = json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}});
    let cache = cache(&[("n1", json!({})), ("n2", json!({})), ("n3", tainted)]);
    assert_eq!(
        decide_in(&cache, &pod("p", json!({}), cpu("5")), None).unwrap_err(),
        "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu."
    );
    assert_eq!(
        decide_in(&Cache::default(), &pod("p", json!({}), json!({})), None).unwrap_err(),
        "no nodes available to schedule pods"
    );
}

#[test]
fn the_emptier_node_is_the_better_one() {
    let mut cache = cache(&[("n1", json!({})), ("n2", json!({}))]);
    cache.assume(pod("big", json!({}), cpu("3")), "n1");
    assert_eq!(decide_in(&cache, &pod("p", json!({}), cpu("500m")), None).unwrap(), "n2");
}

#[test]
fn pods_of_one_workload_spread_over_nodes() {
    let mut cache = cache(&[("n1", json!({})), ("n2", json!({})), ("n3", json!({}))]);
    let selector: Selector = [("app", "web")].into_iter().collect();
    let of = |index: usize| pod(&format!("p{index}"), json!({"app": "web"}), json!({}));
    let mut where_to = place(&mut cache, 3, of, Some(selector));
    where_to.sort();
    assert_eq!(where_to, ["n1", "n2", "n3"]);
}

#[test]
fn a_hard_spread_constraint_keeps_zones_level() {
    let mut cache = zones();
    let constraint = json!({"topologySpreadConstraints": [{
        "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}}}]});
    let of = |index: usize| pod(&format!("p{index}"), json!({"app": "web"}), constraint.clone());
    let where_to = place(&mut cache, 4, of, None);
    let in_a = where_to.iter().filter(|node| node.starts_with('a')).count();
    assert_eq!((in_a, where_to.len()), (2, 4));
}

#[test]
fn anti_affinity_gives_each_pod_a_node_of_its_own_and_refuses_the_last() {
    let mut cache = zones();
    let apart = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{
        "topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}}}]}}});
    let of = |index: usize| pod(&format!("p{index}"), json!({"app": "web"}), apart.clone());
    let where_to = place(&mut cache, 4, of, None);
    assert_eq!(where_to[3], "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules.");
    let bystander = pod("other", json!({"app": "web"}), json!({}));
    assert_eq!(
        decide_in(&cache, &bystander, None).unwrap_err(),
        "0/3 nodes are available: 3 node(s) didn't satisfy existing pods anti-affinity rules."
    );
}

#[test]
fn affinity_follows_the_other_pod_and_the_first_of_a_kind_may_start_anywhere() {
    let mut cache = zones();
    let near = |app: &str| {
        json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{
            "topologyKey": "topology.kubernetes.io/zone", "labelSelector": {"matchLabels": {"app": app}}}]}}})
    };
    let lonely = pod("p", json!({"app": "web"}), near("database"));
    assert_eq!(
        decide_in(&cache, &lonely, None).unwrap_err(),
        "0/3 nodes are available: 3 node(s) didn't match pod affinity rules."
    );
    cache.assume(pod("db", json!({"app": "database"}), json!({})), "b1");
    assert_eq!(decide_in(&cache, &lonely, None).unwrap(), "b1");
    assert!(decide_in(&cache, &pod("first", json!({"app": "new"}), near("new")), None).is_ok());
}

#[test]
fn preferences_of_nodes_taints_and_neighbours_decide_among_equals() {
    let mut cache = zones();
    let prefers = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
        "weight": 10, "preference": {"matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": ["a2"]}]}}]}}});
    assert_eq!(decide_in(&cache, &pod("p", json!({}), prefers), None).unwrap(), "a2");
    cache.assume(pod("db", json!({"app": "database"}), json!({})), "b1");
    let near = json!({"affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
        "weight": 100, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname",
            "labelSelector": {"matchLabels": {"app": "database"}}}}]}}});
    assert_eq!(decide_in(&cache, &pod("q", json!({}), near), None).unwrap(), "b1");
}

#[test]
fn a_pod_that_was_put_on_a_node_with_more_than_any_has_only_makes_it_full() {
    let mut cache = cache(&[("n1", json!({})), ("n2", json!({}))]);
    let most = json!({"requests": {"cpu": "9223372036854775807", "memory": "9223372036854775807"}});
    cache.assume(pod("huge", json!({}), json!({"containers": [{"name": "c", "resources": most}]})), "n1");
    assert_eq!(decide_in(&cache, &pod("a", json!({}), json!({})), None), Ok("n2".to_owned()));
}
