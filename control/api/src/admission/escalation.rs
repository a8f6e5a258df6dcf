//! Nobody gives away what they do not have: a role may only hold, and a binding only grant, what its author may do, unless
//! they may `escalate` or `bind` (`pkg/registry/rbac`).

use orlop_auth::{Attributes, Decision, PolicyRule, uncovered};
use serde_json::Value;

use crate::object::meta;
use crate::rest::Call;
use crate::status::Status;

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn validate(call: &Call, object: Option<&Value>, old: Option<&Value>) -> Result<(), Status> {
    let Some(object) = object.filter(|_| call.resource.group == GROUP) else { return Ok(()) };
    let is_masters = call.user.groups.iter().any(|g| g == "system:masters");
    let same = |fields: &[&str]| old.is_some_and(|old| fields.iter().all(|f| object[*f] == old[*f]));
    let (verb, plural, name, wanted) = match call.resource.plural.as_str() {
        _ if is_masters => return Ok(()),
        "roles" | "clusterroles" => {
            if same(&["rules", "aggregationRule"]) {
                return Ok(());
            }
            let mut rules = rules_of(object);
            if !object["aggregationRule"].is_null() {
                // It can come to hold anything.
                rules.extend(everything());
            }
            ("escalate", call.resource.plural.as_str(), meta(object, "name"), rules)
        }
        "rolebindings" | "clusterrolebindings" => {
            if same(&["roleRef", "subjects"]) {
                return Ok(());
            }
            let name = object["roleRef"]["name"].as_str().unwrap_or_default();
            let of_cluster = object["roleRef"]["kind"] == "ClusterRole";
            let (plural, namespace) = if of_cluster { ("clusterroles", "") } else { ("roles", call.namespace()) };
            // A role that does not exist yet could be anything.
            let rules = call.server.authorizer().rbac(|rbac| rbac.role_rules(namespace, name).map(<[_]>::to_vec));
            ("bind", plural, name, rules.unwrap_or_else(everything))
        }
        _ => return Ok(()),
    };
    let decision = call.server.authorizer().decide(&Attributes {
        user: Some(&call.user),
        verb,
        group: GROUP,
        version: "v1",
        resource: plural,
        namespace: call.namespace(),
        name,
        ..Attributes::default()
    });
    if matches!(decision, Decision::Allow(_)) {
        return Ok(());
    }
    let owned = call.server.authorizer().rbac(|rbac| rbac.rules_for(&call.user, call.namespace()));
    let missing = uncovered(&owned, &wanted);
    if missing.is_empty() {
        return Ok(());
    }
    let why = format!(
        "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        call.user.name,
        quoted(&call.user.groups),
        missing.iter().map(describe).collect::<Vec<_>>().join("\n")
    );
    Err(Status::forbidden(GROUP, &call.resource.plural, meta(object, "name"), why))
}

fn rules_of(role: &Value) -> Vec<PolicyRule> {
    role["rules"].as_array().into_iter().flatten().map(PolicyRule::read).collect()
}

fn everything() -> Vec<PolicyRule> {
    let all = || vec!["*".to_owned()];
    let resources = PolicyRule { verbs: all(), api_groups: all(), resources: all(), ..PolicyRule::default() };
    let paths = PolicyRule { verbs: all(), non_resource_urls: all(), ..PolicyRule::default() };
    vec![resources, paths]
}

/// As Go prints a rule: `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`.
fn describe(rule: &PolicyRule) -> String {
    let parts = [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.non_resource_urls),
        ("ResourceNames", &rule.resource_names),
        ("Verbs", &rule.verbs),
    ];
    let parts: Vec<String> =
        parts.into_iter().filter(|(_, l)| !l.is_empty()).map(|(n, l)| format!("{n}:{}", quoted(l))).collect();
    format!("{{{}}}", parts.join(", "))
}

fn quoted(list: &[String]) -> String {
    let list: Vec<String> = list.iter().map(|item| format!("{item:?}")).collect();
    format!("[{}]", list.join(" "))
}
