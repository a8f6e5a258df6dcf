//! Node authorization: a kubelet reaches only what its own pods need (`plugin/pkg/auth/authorizer/node`).
//!
//! Applies to users `system:node:NAME` in group `system:nodes`. Secrets, ConfigMaps, PersistentVolumeClaims and
//! ServiceAccounts are reachable if a pod bound to that node refers to them; the API server feeds pods in. Everything else
//! that a kubelet may do is the role `system:node`, minus other nodes' objects.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use serde_json::Value;

use crate::rbac::PolicyRule;
use crate::{Attributes, Decision, UserInfo, bootstrap};

/// The node that a user is the kubelet of.
pub fn node_name(user: &UserInfo) -> Option<&str> {
    let node = user.name.strip_prefix("system:node:")?;
    (!node.is_empty() && user.groups.iter().any(|group| group == "system:nodes")).then_some(node)
}

/// An object that a pod refers to: resource, namespace, name.
type Reference = (&'static str, String, String);

struct PodEntry {
    node: String,
    references: Vec<Reference>,
}

/// What each node's pods refer to.
#[derive(Default)]
pub struct NodeAuthorizer {
    pods: HashMap<(String, String), PodEntry>,
    /// How many pods of a node refer to an object.
    nodes: HashMap<String, HashMap<Reference, usize>>,
}

static NODE_RULES: LazyLock<Vec<PolicyRule>> = LazyLock::new(|| {
    let role = bootstrap::bootstrap_policy().into_iter().find(|object| {
        object.get("kind").and_then(Value::as_str) == Some("ClusterRole")
            && object.pointer("/metadata/name").and_then(Value::as_str) == Some("system:node")
    });
    let rules = role.as_ref().and_then(|role| role["rules"].as_array()).cloned().unwrap_or_default();
    rules.iter().map(PolicyRule::read).collect()
});

impl NodeAuthorizer {
    /// Takes in a pod in its present form.
    pub fn upsert_pod(&mut self, pod: &Value) {
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (namespace, name, node) = (text("/metadata/namespace"), text("/metadata/name"), text("/spec/nodeName"));
        self.remove_pod(&namespace, &name);
        if node.is_empty() {
            return;
        }
        let references = references(pod, &namespace);
        let counts = self.nodes.entry(node.clone()).or_default();
        for reference in &references {
            *counts.entry(reference.clone()).or_default() += 1;
        }
        self.pods.insert((namespace, name), PodEntry { node, references });
    }

    /// Forgets a pod.
    pub fn remove_pod(&mut self, namespace: &str, name: &str) {
        let Some(entry) = self.pods.remove(&(namespace.to_owned(), name.to_owned())) else { return };
        let Some(counts) = self.nodes.get_mut(&entry.node) else { return };
        for reference in entry.references {
            if let Some(count) = counts.get_mut(&reference) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&reference);
                }
            }
        }
        if counts.is_empty() {
            self.nodes.remove(&entry.node);
        }
    }

    /// Answers a question; has no opinion about users who are no kubelets.
    pub fn authorize(&self, request: &Attributes<'_>) -> Decision {
        let Some(node) = request.user.and_then(node_name) else {
            return Decision::NoOpinion(String::new());
        };
        let own = |name: &str| name == node;
        let refused = |why: &str| Decision::NoOpinion(format!("{why} for node {node:?}"));
        let reading = matches!(request.verb, "get" | "list" | "watch");
        match (request.group, request.resource, request.subresource) {
            ("", "secrets" | "configmaps", "") if reading => self.referred(node, request),
            ("", "persistentvolumeclaims", "") if request.verb == "get" => self.referred(node, request),
            ("", "persistentvolumeclaims", "status") => self.referred(node, request),
            ("", "serviceaccounts", "token") if request.verb == "create" => self.referred(node, request),
            ("", "serviceaccounts", "") if request.verb == "get" => self.referred(node, request),
            ("", "nodes", "" | "status") if request.verb != "create" => {
                // list and watch only of itself (KEP-4601)
                let name = if request.name.is_empty() { request.field_selector } else { request.name };
                if own(name) { Self::role(request) } else { refused("node can only access its own Node object") }
            }
            ("", "pods", "") if matches!(request.verb, "list" | "watch") => {
                if request.pod_node_selector == node {
                    Self::role(request)
                } else {
                    refused("can only list/watch pods with spec.nodeName field selector")
                }
            }
            // Of pods that are another's, admission knows (NodeRestriction); of one that is gone, the kubelet shall hear that.
            ("", "pods", "") if request.verb == "delete" => Self::role(request),
            ("", "pods", "status") if matches!(request.verb, "update" | "patch") => Self::role(request),
            ("", "pods", "" | "status" | "eviction") if !request.name.is_empty() => {
                match self.pods.get(&(request.namespace.to_owned(), request.name.to_owned())) {
                    Some(pod) if own(&pod.node) => Self::role(request),
                    _ if request.verb == "create" && request.subresource.is_empty() => Self::role(request),
                    _ => refused("no relationship found between node and this object"),
                }
            }
            ("coordination.k8s.io", "leases", "") => {
                let named = request.name.is_empty() && request.verb == "create" || own(request.name);
                if request.namespace == "kube-node-lease" && named {
                    Self::role(request)
                } else {
                    refused("can only access node lease with the same name as the requesting node")
                }
            }
            ("storage.k8s.io", "csinodes", "") if request.verb != "create" && !own(request.name) => {
                refused("can only access CSINode with the same name as the requesting node")
            }
            _ => Self::role(request),
        }
    }

    fn referred(&self, node: &str, request: &Attributes<'_>) -> Decision {
        let resource = match request.resource {
            "secrets" => "secrets",
            "configmaps" => "configmaps",
            "persistentvolumeclaims" => "persistentvolumeclaims",
            _ => "serviceaccounts",
        };
        // A list or watch of one name by field selector is how kubelets watch single objects.
        let name = if request.name.is_empty() { request.field_selector } else { request.name };
        if name.is_empty() {
            return Decision::NoOpinion(format!("No Object name found for node {node:?}"));
        }
        let reference = (resource, request.namespace.to_owned(), name.to_owned());
        if self.nodes.get(node).is_some_and(|counts| counts.contains_key(&reference)) {
            Decision::Allow(String::new())
        } else {
            Decision::NoOpinion(format!("no relationship found between node '{node}' and this object"))
        }
    }

    fn role(request: &Attributes<'_>) -> Decision {
        if NODE_RULES.iter().any(|rule| rule.allows(request)) {
            Decision::Allow(String::new())
        } else {
            Decision::NoOpinion(String::new())
        }
    }
}

/// Everything that a pod's spec names and its kubelet must read.
fn references(pod: &Value, namespace: &str) -> Vec<Reference> {
    // Kubelets make these themselves: they must not be able to give themselves anything by them.
    if pod.pointer("/metadata/annotations").is_some_and(|a| a.get("kubernetes.io/config.mirror").is_some()) {
        return Vec::new();
    }
    let mut found: HashSet<Reference> = HashSet::new();
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let account = spec.get("serviceAccountName").and_then(Value::as_str).unwrap_or("default");
    found.insert(("serviceaccounts", namespace.to_owned(), account.to_owned()));
    collect(spec, namespace, &mut found);
    found.into_iter().collect()
}

/// Walks the spec: the fields that refer to objects have names of their own wherever they stand.
fn collect(value: &Value, namespace: &str, found: &mut HashSet<Reference>) {
    let mut add = |resource, name: Option<&Value>| {
        if let Some(name) = name.and_then(Value::as_str).filter(|name| !name.is_empty()) {
            found.insert((resource, namespace.to_owned(), name.to_owned()));
        }
    };
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, namespace, found)),
        Value::Object(fields) => {
            for (field, inner) in fields {
                match field.as_str() {
                    "secretKeyRef" | "secretRef" => add("secrets", inner.get("name")),
                    "secret" => {
                        add("secrets", inner.get("secretName"));
                        add("secrets", inner.get("name"));
                    }
                    "configMapKeyRef" | "configMapRef" | "configMap" => add("configmaps", inner.get("name")),
                    "persistentVolumeClaim" => add("persistentvolumeclaims", inner.get("claimName")),
                    "imagePullSecrets" => {
                        inner.as_array().into_iter().flatten().for_each(|item| add("secrets", item.get("name")));
                    }
                    _ => {}
                }
            }
            fields.values().for_each(|inner| collect(inner, namespace, found));
        }
        _ => {}
    }
}
