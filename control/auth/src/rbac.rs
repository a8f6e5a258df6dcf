//! RBAC: an index of roles and bindings that answers "may this user do that".
//!
//! The API server keeps it equal to the stored objects with [`Rbac::upsert`] and [`Rbac::remove`]; a question walks the
//! bindings of the request's namespace and of the cluster, as `plugin/pkg/auth/authorizer/rbac` does. A role grants
//! the rules that stand in it: those of a ClusterRole with an aggregationRule are written there by a controller.

mod rule;

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

pub use rule::{PolicyRule, uncovered};

use crate::{Attributes, Decision, UserInfo};

/// Namespace and name; the namespace of cluster-scoped objects is empty.
type Key = (String, String);

#[derive(Debug, PartialEq, Eq)]
enum Subject {
    User(String),
    Group(String),
    ServiceAccount { namespace: String, name: String },
}

impl Subject {
    fn describe(&self) -> String {
        match self {
            Self::User(name) => format!("User \"{name}\""),
            Self::Group(name) => format!("Group \"{name}\""),
            Self::ServiceAccount { namespace, name } => format!("ServiceAccount \"{name}/{namespace}\""),
        }
    }

    fn matches(&self, user: &UserInfo) -> bool {
        match self {
            Self::User(name) => *name == user.name,
            Self::Group(name) => user.groups.contains(name),
            Self::ServiceAccount { namespace, name } => {
                user.name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'))
                    == Some((namespace.as_str(), name.as_str()))
            }
        }
    }
}

#[derive(Debug)]
struct Binding {
    name: String,
    cluster_role: bool,
    role: String,
    subjects: Vec<Subject>,
}

/// Every Role, ClusterRole, RoleBinding and ClusterRoleBinding.
#[derive(Debug, Default)]
pub struct Rbac {
    roles: HashMap<Key, Vec<PolicyRule>>,
    /// By namespace, then by name.
    bindings: HashMap<String, BTreeMap<String, Binding>>,
}

impl Rbac {
    /// Takes in an object of group `rbac.authorization.k8s.io` (any of the four kinds) in its present form.
    pub fn upsert(&mut self, kind: &str, object: &Value) {
        let key = key_of(object);
        match kind {
            "Role" | "ClusterRole" => {
                self.roles.insert(key, items(object, "/rules").map(PolicyRule::read).collect());
            }
            "RoleBinding" | "ClusterRoleBinding" => {
                let binding = read_binding(&key, object);
                self.bindings.entry(key.0).or_default().insert(key.1, binding);
            }
            _ => {}
        }
    }

    /// Forgets an object.
    pub fn remove(&mut self, kind: &str, namespace: &str, name: &str) {
        match kind {
            "Role" | "ClusterRole" => {
                self.roles.remove(&(namespace.to_owned(), name.to_owned()));
            }
            "RoleBinding" | "ClusterRoleBinding" => {
                if let Some(bindings) = self.bindings.get_mut(namespace) {
                    bindings.remove(name);
                    if bindings.is_empty() {
                        self.bindings.remove(namespace);
                    }
                }
            }
            _ => {}
        }
    }

    /// The rules of a role. `namespace` is empty for a ClusterRole.
    pub fn role_rules(&self, namespace: &str, name: &str) -> Option<&[PolicyRule]> {
        self.roles.get(&(namespace.to_owned(), name.to_owned())).map(Vec::as_slice)
    }

    /// Every rule that holds for the user in `namespace` (empty: cluster-wide only), for SelfSubjectRulesReview and the
    /// escalation check.
    pub fn rules_for(&self, user: &UserInfo, namespace: &str) -> Vec<PolicyRule> {
        let mut rules = Vec::new();
        self.visit(user, namespace, |_, _, rule| {
            rules.push(rule.clone());
            true
        });
        rules
    }

    /// Answers a question. `system:masters` may everything, as kube-apiserver's privileged group authorizer says.
    pub fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        let Some(user) = attributes.user else {
            return Decision::NoOpinion("no user on request".into());
        };
        if user.groups.iter().any(|group| group == "system:masters") {
            return Decision::Allow(String::new());
        }
        let mut reason = None;
        self.visit(user, attributes.namespace, |binding, namespace, rule| {
            if rule.allows(attributes) {
                let (kind, role) = (if binding.cluster_role { "ClusterRole" } else { "Role" }, &binding.role);
                let by = if namespace.is_empty() { "ClusterRoleBinding" } else { "RoleBinding" };
                let place = if namespace.is_empty() { String::new() } else { format!("/{namespace}") };
                let to = binding.subjects.iter().find(|subject| subject.matches(user)).map(Subject::describe);
                let to = to.unwrap_or_default();
                reason =
                    Some(format!("RBAC: allowed by {by} \"{}{place}\" of {kind} \"{role}\" to {to}", binding.name));
            }
            reason.is_none()
        });
        reason.map_or_else(|| Decision::NoOpinion(String::new()), Decision::Allow)
    }

    /// Calls `each` with every rule that holds for the user, cluster-wide first, until it says false.
    fn visit(&self, user: &UserInfo, namespace: &str, mut each: impl FnMut(&Binding, &str, &PolicyRule) -> bool) {
        let places: &[&str] = if namespace.is_empty() { &[""] } else { &["", namespace] };
        for &place in places {
            let Some(bindings) = self.bindings.get(place) else { continue };
            for binding in bindings.values() {
                if !binding.subjects.iter().any(|subject| subject.matches(user)) {
                    continue;
                }
                let role_place = if binding.cluster_role { "" } else { place };
                for rule in self.role_rules(role_place, &binding.role).unwrap_or_default() {
                    if !each(binding, place, rule) {
                        return;
                    }
                }
            }
        }
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn key_of(object: &Value) -> Key {
    let metadata = object.get("metadata").unwrap_or(&Value::Null);
    (text(metadata, "namespace").to_owned(), text(metadata, "name").to_owned())
}

fn items<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn read_binding(key: &Key, object: &Value) -> Binding {
    let role = object.get("roleRef").unwrap_or(&Value::Null);
    let subjects = items(object, "/subjects").filter_map(|subject| {
        let name = text(subject, "name").to_owned();
        Some(match text(subject, "kind") {
            "User" => Subject::User(name),
            "Group" => Subject::Group(name),
            "ServiceAccount" => {
                // A RoleBinding's subject without a namespace never matches: validation asks for one.
                Subject::ServiceAccount { namespace: text(subject, "namespace").to_owned(), name }
            }
            _ => return None,
        })
    });
    Binding {
        name: key.1.clone(),
        cluster_role: text(role, "kind") == "ClusterRole",
        role: text(role, "name").to_owned(),
        subjects: subjects.collect(),
    }
}
