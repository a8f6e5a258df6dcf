//! Role, ClusterRole and their bindings.
use crate::field::{Errors, Path};
use crate::kind::{GENERAL, Kind};
use crate::labels::validate_selector;
use crate::names::{NameRule, dns1123_subdomain, path_segment};
use crate::table::{AGE, CREATED_AT, Column, NAME, age, created_at, name};
use crate::value::{at, default_zero, is_empty, items, items_at, null_list, object_at, same, text};
use jiff::Timestamp;
use serde_json::{Value, json};

const GROUP: &str = "rbac.authorization.k8s.io";
const RBAC: Kind = Kind { group: GROUP, name: NameRule::PathSegment, ..GENERAL };

const ROLE: Kind =
    Kind { defaults: |_, role| null_list(role, "rules"), columns: CREATED_AT, cells: created_at, ..RBAC };

const BINDING: Kind = Kind {
    defaults: |_, binding| defaults(binding),
    columns: &[
        NAME,
        Column::text(
            "Role",
            "RoleRef can reference a Role in the current namespace or a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the Authorizer must return an error.",
        ),
        AGE,
        Column::text("Users", "Users in the roleBinding").wide(),
        Column::text("Groups", "Groups in the roleBinding").wide(),
        Column::text("ServiceAccounts", "ServiceAccounts in the roleBinding").wide(),
    ],
    cells,
    ..RBAC
};

pub(crate) static KINDS: &[Kind] = &[
    Kind {
        kind: "Role",
        validate: |role, errors| validate_rules(role, true, errors),
        validate_update: |new, _, _, errors| validate_rules(new, true, errors),
        ..ROLE
    },
    Kind {
        kind: "ClusterRole",
        namespaced: false,
        validate: validate_cluster_role,
        validate_update: |new, _, _, errors| validate_cluster_role(new, errors),
        ..ROLE
    },
    Kind {
        kind: "RoleBinding",
        validate: |binding, errors| validate_binding(binding, true, errors),
        validate_update: |new, old, _, errors| validate_binding_update(new, old, true, errors),
        ..BINDING
    },
    Kind {
        kind: "ClusterRoleBinding",
        namespaced: false,
        columns: &[
            NAME,
            Column::text(
                "Role",
                "RoleRef can only reference a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the Authorizer must return an error.",
            ),
            AGE,
            Column::text("Users", "Users in the clusterRoleBinding").wide(),
            Column::text("Groups", "Groups in the clusterRoleBinding").wide(),
            Column::text("ServiceAccounts", "ServiceAccounts in the clusterRoleBinding").wide(),
        ],
        validate: |binding, errors| validate_binding(binding, false, errors),
        validate_update: |new, old, _, errors| validate_binding_update(new, old, false, errors),
        ..BINDING
    },
];

fn defaults(binding: &mut Value) {
    object_at(binding, "roleRef");
    if let Some(role) = at(binding, &["roleRef"]) {
        default_zero(role, "apiGroup", GROUP);
    }
    for subject in items_at(binding, &["subjects"]) {
        if matches!(text(&subject["kind"]), "User" | "Group") {
            default_zero(subject, "apiGroup", GROUP);
        }
    }
}

fn validate_cluster_role(role: &Value, errors: &mut Errors) {
    validate_rules(role, false, errors);
    if role["aggregationRule"].is_null() {
        return;
    }
    let (selectors, path) =
        (items(&role["aggregationRule"]["clusterRoleSelectors"]), Path::new("aggregationRule.clusterRoleSelectors"));
    if selectors.is_empty() {
        errors.required(&path, "at least one clusterRoleSelector required if aggregationRule is non-nil");
    }
    for (index, selector) in selectors.iter().enumerate() {
        let path = path.index(index);
        let before = errors.0.len();
        validate_selector(selector, &path, errors);
        if errors.0.len() > before {
            errors.invalid(&path, Value::Null, "invalid label selector.");
        }
    }
}

fn validate_rules(role: &Value, namespaced: bool, errors: &mut Errors) {
    let rules = Path::new("rules");
    for (index, rule) in items(&role["rules"]).iter().enumerate() {
        let path = rules.index(index);
        if is_empty(&rule["verbs"]) {
            errors.required(&path.child("verbs"), "verbs must contain at least one value");
        }
        let urls = &rule["nonResourceURLs"];
        if !is_empty(urls) {
            let path = path.child("nonResourceURLs");
            if namespaced {
                errors.invalid(&path, urls.clone(), "namespaced rules cannot apply to non-resource URLs");
            }
            if ["apiGroups", "resources", "resourceNames"].iter().any(|member| !is_empty(&rule[*member])) {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                errors.invalid(&path, urls.clone(), detail);
            }
            continue;
        }
        if is_empty(&rule["apiGroups"]) {
            errors.required(&path.child("apiGroups"), "resource rules must supply at least one api group");
        }
        if is_empty(&rule["resources"]) {
            errors.required(&path.child("resources"), "resource rules must supply at least one resource");
        }
    }
}

fn validate_binding(binding: &Value, namespaced: bool, errors: &mut Errors) {
    let (role, path) = (&binding["roleRef"], Path::new("roleRef"));
    let [group, kind, name] = ["apiGroup", "kind", "name"].map(|member| text(&role[member]));
    if group != GROUP {
        errors.not_supported(&path.child("apiGroup"), group, &[GROUP]);
    }
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !kinds.contains(&kind) {
        errors.not_supported(&path.child("kind"), kind, kinds);
    }
    if name.is_empty() {
        errors.required(&path.child("name"), "");
    } else {
        errors.invalid_each(&path.child("name"), name, path_segment(name));
    }
    let subjects = Path::new("subjects");
    for (index, subject) in items(&binding["subjects"]).iter().enumerate() {
        validate_subject(subject, namespaced, &subjects.index(index), errors);
    }
}

fn validate_subject(subject: &Value, namespaced: bool, path: &Path<'_>, errors: &mut Errors) {
    let [kind, group, name] = ["kind", "apiGroup", "name"].map(|member| text(&subject[member]));
    if name.is_empty() {
        errors.required(&path.child("name"), "");
    }
    match kind {
        "ServiceAccount" => {
            if !name.is_empty() {
                errors.invalid_each(&path.child("name"), name, dns1123_subdomain(name));
            }
            if !group.is_empty() {
                errors.not_supported(&path.child("apiGroup"), group, &[""]);
            }
            if !namespaced && text(&subject["namespace"]).is_empty() {
                errors.required(&path.child("namespace"), "");
            }
        }
        "User" | "Group" if group != GROUP => errors.not_supported(&path.child("apiGroup"), group, &[GROUP]),
        "User" | "Group" => {}
        _ => errors.not_supported(&path.child("kind"), kind, &["ServiceAccount", "User", "Group"]),
    }
}

fn validate_binding_update(new: &Value, old: &Value, namespaced: bool, errors: &mut Errors) {
    validate_binding(new, namespaced, errors);
    if !same(&new["roleRef"], &old["roleRef"]) {
        let [group, kind, name] = ["apiGroup", "kind", "name"].map(|member| text(&new["roleRef"][member]));
        let shown = json!({"APIGroup": group, "Kind": kind, "Name": name});
        errors.invalid(&Path::new("roleRef"), shown, "cannot change roleRef");
    }
}

fn cells(binding: &Value, now: Timestamp) -> Vec<Value> {
    let role = &binding["roleRef"];
    let subjects = |kind: &str| {
        let of_kind = items(&binding["subjects"]).iter().filter(|subject| text(&subject["kind"]) == kind);
        let shown = of_kind.map(|subject| match text(&subject["namespace"]) {
            namespace if kind == "ServiceAccount" && !namespace.is_empty() => {
                format!("{namespace}/{}", text(&subject["name"]))
            }
            _ => text(&subject["name"]).to_owned(),
        });
        Value::from(shown.collect::<Vec<_>>().join(", "))
    };
    vec![
        name(binding),
        format!("{}/{}", text(&role["kind"]), text(&role["name"])).into(),
        age(binding, now),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Subresource, kind};
    use serde_json::json;

    #[test]
    fn role_names_are_path_segments_and_rules_are_whole() {
        let role = json!({"metadata": {"name": "system:node"}, "rules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz"]}]});
        assert_eq!(kind(GROUP, "ClusterRole").validate_create(&role).message(), "[]");
        let role = json!({"metadata": {"name": "r", "namespace": "n"}, "rules": [{"nonResourceURLs": ["/x"]}, {"verbs": ["get"]}]});
        assert_eq!(
            kind(GROUP, "Role").validate_create(&role).message(),
            "[rules[0].verbs: Required value: verbs must contain at least one value, \
             rules[0].nonResourceURLs: Invalid value: [\"/x\"]: namespaced rules cannot apply to non-resource URLs, \
             rules[1].apiGroups: Required value: resource rules must supply at least one api group, \
             rules[1].resources: Required value: resource rules must supply at least one resource]"
        );
    }

    #[test]
    fn a_binding_keeps_its_role() {
        let rules = kind(GROUP, "ClusterRoleBinding");
        let mut old = json!({"metadata": {"name": "b", "resourceVersion": "1"}, "roleRef": {"kind": "ClusterRole", "name": "admin"},
            "subjects": [{"kind": "User", "name": "me"}, {"kind": "ServiceAccount", "name": "sa", "namespace": "n"}]});
        rules.default("v1", &mut old);
        assert_eq!(rules.validate_create(&old).message(), "[]");
        let row = rules.cells(&old, Timestamp::UNIX_EPOCH);
        assert_eq!((&row[1], &row[3], &row[5]), (&json!("ClusterRole/admin"), &json!("me"), &json!("n/sa")));
        let mut new = old.clone();
        new["roleRef"]["name"] = "edit".into();
        assert!(rules.validate_update(&new, &old, Subresource::None).message().ends_with("cannot change roleRef"));
    }
}
