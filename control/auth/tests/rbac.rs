//! RBAC and Node authorization, as sentences.
#![allow(missing_docs, clippy::unwrap_used)]

use orlop_auth::bootstrap::{bootstrap_policy, namespace_policy};
use orlop_auth::{Attributes, Decision, NodeAuthorizer, PolicyRule, Rbac, UserInfo, uncovered};
use serde_json::{Value, json};

fn rbac() -> Rbac {
    let mut rbac = Rbac::default();
    for object in bootstrap_policy() {
        rbac.upsert(object["kind"].as_str().unwrap(), &object);
    }
    rbac
}

fn may(rbac: &Rbac, user: &UserInfo, verb: &str, group: &str, resource: &str, namespace: &str) -> bool {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let attributes =
        Attributes { user: Some(user), verb, group, resource, subresource, namespace, ..Attributes::default() };
    matches!(rbac.authorize(&attributes), Decision::Allow(_))
}

#[test]
fn masters_may_everything_and_strangers_only_read_version_and_health() {
    let rbac = rbac();
    let admin = UserInfo::new("admin", ["system:masters"]);
    assert!(may(&rbac, &admin, "delete", "apps", "deployments", "x"));
    let anonymous = UserInfo::anonymous();
    assert!(!may(&rbac, &anonymous, "get", "", "pods", "default"));
    let path = |path| {
        let attributes = Attributes { user: Some(&anonymous), verb: "get", path, ..Attributes::default() };
        matches!(rbac.authorize(&attributes), Decision::Allow(_))
    };
    assert!(path("/version") && path("/healthz"));
    assert!(!path("/metrics") && !path("/api"));
}

#[test]
fn every_controller_has_its_own_role_and_no_more() {
    let rbac = rbac();
    let rc = UserInfo::service_account("kube-system", "replication-controller");
    assert!(may(&rbac, &rc, "create", "", "pods", "default"));
    assert!(may(&rbac, &rc, "update", "", "replicationcontrollers/status", "default"));
    assert!(!may(&rbac, &rc, "delete", "", "services", "default"));
    assert!(!may(&rbac, &rc, "get", "", "secrets", "default"));
    let scheduler = UserInfo::new("system:kube-scheduler", [""; 0]);
    assert!(may(&rbac, &scheduler, "create", "", "pods/binding", "default"));
    assert!(!may(&rbac, &scheduler, "create", "", "pods", "default"));
}

#[test]
fn the_token_controllers_write_in_their_namespaces_only() {
    let mut rbac = rbac();
    for object in namespace_policy() {
        rbac.upsert(object["kind"].as_str().unwrap(), &object);
    }
    let cleaner = UserInfo::service_account("kube-system", "token-cleaner");
    assert!(may(&rbac, &cleaner, "delete", "", "secrets", "kube-system"));
    assert!(!may(&rbac, &cleaner, "delete", "", "secrets", "default"));
    let signer = UserInfo::service_account("kube-system", "bootstrap-signer");
    let update = |name: &str| {
        let attributes = Attributes {
            user: Some(&signer),
            verb: "update",
            resource: "configmaps",
            namespace: "kube-public",
            name,
            ..Attributes::default()
        };
        matches!(rbac.authorize(&attributes), Decision::Allow(_))
    };
    assert!(update("cluster-info") && !update("other"));
    assert!(may(&rbac, &signer, "list", "", "secrets", "kube-system"));
}

#[test]
fn a_role_grants_what_stands_in_it_and_a_role_binding_holds_in_its_namespace_only() {
    let mut rbac = rbac();
    let jane = UserInfo::new("jane", [""; 0]);
    rbac.upsert(
        "RoleBinding",
        &json!({"metadata": {"name": "jane", "namespace": "web"},
            "roleRef": {"kind": "ClusterRole", "name": "admin"}, "subjects": [{"kind": "User", "name": "jane"}]}),
    );
    assert!(!may(&rbac, &jane, "list", "", "pods", "web"), "an aggregated role is empty before its rules are written");
    let rules = json!([{"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]}]);
    rbac.upsert("ClusterRole", &json!({"metadata": {"name": "admin"}, "rules": rules}));
    assert!(may(&rbac, &jane, "list", "", "pods", "web"));
    assert!(!may(&rbac, &jane, "list", "", "pods", "other"));
    rbac.remove("RoleBinding", "web", "jane");
    assert!(!may(&rbac, &jane, "list", "", "pods", "web"));
}

#[test]
fn subresources_and_names_are_matched_as_kubernetes_does() {
    let rule = |resources: &[&str], names: &[&str]| {
        PolicyRule::read(&json!({"verbs": ["get"], "apiGroups": [""], "resources": resources, "resourceNames": names}))
    };
    let get =
        |resource, subresource, name| Attributes { verb: "get", resource, subresource, name, ..Attributes::default() };
    assert!(!rule(&["pods"], &[]).allows(&get("pods", "log", "a")));
    assert!(rule(&["pods/log"], &[]).allows(&get("pods", "log", "a")));
    assert!(rule(&["*/scale"], &[]).allows(&get("deployments", "scale", "a")));
    assert!(rule(&["*"], &[]).allows(&get("pods", "log", "a")));
    assert!(rule(&["pods"], &["a"]).allows(&get("pods", "", "a")));
    assert!(!rule(&["pods"], &["a"]).allows(&get("pods", "", "b")));
    assert!(!rule(&["pods"], &["a"]).allows(&get("pods", "", "")));
}

#[test]
fn giving_away_more_than_one_has_is_an_escalation() {
    let read = |value: Value| PolicyRule::read(&value);
    let owned = [read(json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["*"]}))];
    let less = [read(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "pods/log"]}))];
    let more = [read(json!({"verbs": ["get", "delete"], "apiGroups": [""], "resources": ["pods"]}))];
    assert!(uncovered(&owned, &less).is_empty());
    assert_eq!(uncovered(&owned, &more).len(), 1);
    let named = [read(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]}))];
    assert!(uncovered(&owned, &named).is_empty());
    assert_eq!(uncovered(&named, &less).len(), 2, "a name does not give the collection");
}

#[test]
fn a_kubelet_reads_only_the_secrets_of_its_own_pods() {
    let mut nodes = NodeAuthorizer::default();
    let pod = |name: &str, node: &str, secret: &str| {
        json!({"metadata": {"namespace": "default", "name": name}, "spec": {"nodeName": node,
            "serviceAccountName": "web", "containers": [{"envFrom": [{"secretRef": {"name": secret}}]}]}})
    };
    nodes.upsert_pod(&pod("a", "node1", "s1"));
    nodes.upsert_pod(&pod("b", "node2", "s2"));
    let kubelet = UserInfo::new("system:node:node1", ["system:nodes"]);
    let ask = |nodes: &NodeAuthorizer, verb, resource, subresource, name| {
        let request = Attributes {
            user: Some(&kubelet),
            verb,
            resource,
            subresource,
            name,
            namespace: "default",
            ..Attributes::default()
        };
        matches!(nodes.authorize(&request), Decision::Allow(_))
    };
    assert!(ask(&nodes, "get", "secrets", "", "s1"));
    assert!(!ask(&nodes, "get", "secrets", "", "s2"));
    assert!(!ask(&nodes, "list", "secrets", "", ""));
    assert!(ask(&nodes, "create", "serviceaccounts", "token", "web"));
    assert!(ask(&nodes, "patch", "pods", "status", "a"));
    assert!(ask(&nodes, "get", "pods", "", "a"));
    assert!(!ask(&nodes, "get", "pods", "", "b"));
    assert!(!ask(&nodes, "create", "pods", "eviction", "b"));
    // What it may write is admission's to say, so that it hears of a pod that is gone as everybody does.
    assert!(ask(&nodes, "patch", "pods", "status", "gone"));
    assert!(ask(&nodes, "delete", "pods", "", "gone"));
    assert!(!ask(&nodes, "get", "pods", "", "gone"));
    assert!(ask(&nodes, "patch", "nodes", "status", "node1"));
    assert!(!ask(&nodes, "patch", "nodes", "status", "node2"));
    nodes.upsert_pod(&pod("a", "node1", "other"));
    assert!(!ask(&nodes, "get", "secrets", "", "s1"), "the pod no longer refers to it");
    nodes.remove_pod("default", "a");
    assert!(!ask(&nodes, "get", "secrets", "", "other"));
}

#[test]
fn every_line_of_the_tables_is_a_whole_rule() {
    for object in bootstrap_policy() {
        let name = &object["metadata"]["name"];
        match object["kind"].as_str().unwrap() {
            "ClusterRole" => {
                let rules = object["rules"].as_array().unwrap();
                assert!(!rules.is_empty() || object.get("aggregationRule").is_some(), "{name}");
                for rule in rules.iter().map(PolicyRule::read) {
                    assert!(
                        rule.verbs.iter().all(|verb| verb == "*" || verb.chars().all(|c| c.is_ascii_lowercase())),
                        "{name}"
                    );
                    let resource = !rule.api_groups.is_empty() && rule.resources.iter().all(|r| !r.is_empty());
                    assert!(resource && !rule.resources.is_empty() || !rule.non_resource_urls.is_empty(), "{name}");
                }
            }
            _ => assert!(object["roleRef"]["name"].is_string(), "{name}"),
        }
    }
}
