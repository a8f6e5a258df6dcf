//! The default ClusterRoles, Roles and their bindings (Kubernetes v1.36 bootstrap policy), as tables.
//!
//! `cluster-roles.txt` and `controller-roles.txt` list them in a short form; [`bootstrap_policy`] turns them into the API's
//! objects. The API server reconciles them at start: missing rules and subjects are added, unless
//! `rbac.authorization.kubernetes.io/autoupdate` is "false" on the stored object.

use serde_json::{Value, json};

const CLUSTER_ROLES: &str = include_str!("bootstrap/cluster-roles.txt");
const CONTROLLER_ROLES: &str = include_str!("bootstrap/controller-roles.txt");
const BINDINGS: &str = include_str!("bootstrap/bindings.txt");

const NAMESPACE_ROLES: &str = include_str!("bootstrap/namespace-roles.txt");
const NAMESPACE_BINDINGS: &str = include_str!("bootstrap/namespace-bindings.txt");

const RBAC: &str = "rbac.authorization.k8s.io";

/// Every default ClusterRole and ClusterRoleBinding, roles first.
pub fn bootstrap_policy() -> Vec<Value> {
    let mut objects = roles(CLUSTER_ROLES, "");
    let controllers = roles(CONTROLLER_ROLES, "system:controller:");
    let bindings = controllers.iter().filter_map(|role| role.pointer("/metadata/name")?.as_str()).map(|role| {
        let account = role.trim_start_matches("system:controller:");
        binding(role, role, json!({"kind": "ServiceAccount", "name": account, "namespace": "kube-system"}))
    });
    let bindings: Vec<Value> = bindings.collect();
    objects.extend(controllers);
    objects.extend(bindings);
    objects.extend(self::bindings(BINDINGS));
    objects
}

/// The default Roles and RoleBindings of system namespaces, roles first.
pub fn namespace_policy() -> Vec<Value> {
    let mut objects = roles(NAMESPACE_ROLES, "");
    objects.extend(bindings(NAMESPACE_BINDINGS));
    for object in &mut objects {
        let place = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let Some((namespace, name)) = place.split_once('/') else { continue };
        object["metadata"]["namespace"] = namespace.into();
        object["metadata"]["name"] = name.into();
        object["kind"] = object["kind"].as_str().unwrap_or_default().trim_start_matches("Cluster").into();
        if object["roleRef"].is_object() {
            object["roleRef"]["kind"] = "Role".into();
        }
    }
    objects
}

/// Reads a table of bindings: name, role, subjects.
fn bindings(table: &str) -> Vec<Value> {
    let read = lines(table).filter_map(|line| {
        let mut words = line.split_whitespace();
        let mut object = binding(words.next()?, words.next()?, Value::Null);
        object["subjects"] = words.map(subject).collect();
        Some(object)
    });
    read.collect()
}

fn lines(table: &str) -> impl Iterator<Item = &str> {
    table.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
}

fn metadata(name: &str) -> Value {
    json!({
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
    })
}

fn binding(name: &str, role: &str, subject: Value) -> Value {
    json!({
        "apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRoleBinding", "metadata": metadata(name),
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role}, "subjects": [subject],
    })
}

fn subject(word: &str) -> Value {
    let (kind, name) = word.split_once('=').unwrap_or(("User", word));
    match name.split_once('/') {
        Some((namespace, name)) if kind == "ServiceAccount" => {
            json!({"kind": kind, "namespace": namespace, "name": name})
        }
        _ => json!({"apiGroup": RBAC, "kind": kind, "name": name}),
    }
}

/// Reads a table: a line without indent names a role (and its labels); an indented one is a rule,
/// `verbs groups resources [names]`, or `verbs urls paths`; `aggregate LABEL` makes the role a union. Lists are joined by
/// commas, `core` is the core group, `R` and `W` and `RW` stand for the reading, writing and all verbs.
fn roles(table: &str, prefix: &str) -> Vec<Value> {
    let mut roles: Vec<Value> = Vec::new();
    for line in lines(table) {
        let mut words = line.split_whitespace();
        if !line.starts_with(' ') {
            let Some(name) = words.next() else { continue };
            let mut role = json!({
                "apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRole",
                "metadata": metadata(&format!("{prefix}{name}")), "rules": [],
            });
            for label in words {
                role["metadata"]["labels"][format!("{RBAC}/{label}")] = json!("true");
            }
            roles.push(role);
        } else if let (Some(role), Some(first), Some(second)) = (roles.last_mut(), words.next(), words.next()) {
            let rest: Vec<&str> = words.collect();
            if first == "aggregate" {
                role["aggregationRule"] =
                    json!({"clusterRoleSelectors": [{"matchLabels": {format!("{RBAC}/{second}"): "true"}}]});
            } else if let Some(rules) = role["rules"].as_array_mut() {
                rules.push(rule(first, second, &rest));
            }
        }
    }
    roles
}

fn rule(verbs: &str, groups: &str, rest: &[&str]) -> Value {
    let list = |word: &str| word.split(',').map(str::to_owned).collect::<Vec<_>>();
    let verbs: Vec<&str> = match verbs {
        "R" => vec!["get", "list", "watch"],
        "W" => vec!["create", "delete", "deletecollection", "patch", "update"],
        "RW" => vec!["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        other => other.split(',').collect(),
    };
    let what = rest.first().copied().unwrap_or_default();
    if groups == "urls" {
        return json!({"verbs": verbs, "nonResourceURLs": list(what)});
    }
    let groups: Vec<String> =
        groups.split(',').map(|group| if group == "core" { "" } else { group }.to_owned()).collect();
    let mut rule = json!({"verbs": verbs, "apiGroups": groups, "resources": list(what)});
    if let Some(names) = rest.get(1) {
        rule["resourceNames"] = json!(list(names));
    }
    rule
}
