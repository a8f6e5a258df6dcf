//! Nodes, and labels of Nodes that were renamed long ago.
use super::Found;
use super::addresses::block;
use crate::field::Path;
use crate::names;
use crate::value::{entries, is_empty, items, strings, text};
use serde_json::Value;

/// What to say of a label that Nodes should no longer be chosen by.
pub(super) fn deprecated_label(key: &str) -> Option<&'static str> {
    Some(match key {
        "beta.kubernetes.io/arch" => r#"deprecated since v1.14; use "kubernetes.io/arch" instead"#,
        "beta.kubernetes.io/os" => r#"deprecated since v1.14; use "kubernetes.io/os" instead"#,
        "failure-domain.beta.kubernetes.io/region" => {
            r#"deprecated since v1.17; use "topology.kubernetes.io/region" instead"#
        }
        "failure-domain.beta.kubernetes.io/zone" => {
            r#"deprecated since v1.17; use "topology.kubernetes.io/zone" instead"#
        }
        "beta.kubernetes.io/instance-type" => {
            r#"deprecated since v1.17; use "node.kubernetes.io/instance-type" instead"#
        }
        "app.kubernetes.io/created-by" => "deprecated since v1.9",
        "scheduler.alpha.kubernetes.io/preferAvoidPods" => "deprecated since v1.22; use Taints and Tolerations instead",
        "node-role.kubernetes.io/master" => r#"use "node-role.kubernetes.io/control-plane" instead"#,
        _ => return None,
    })
}

/// A term of a node selector; the values of a preferred one are not validated, so they are warned of.
pub(super) fn of_term(term: &Value, check_values: bool, path: &Path<'_>, found: &mut Found) {
    let path = path.child("matchExpressions");
    for (index, expression) in items(&term["matchExpressions"]).iter().enumerate() {
        let (key, path) = (text(&expression["key"]), path.index(index));
        if let Some(message) = deprecated_label(key) {
            found.push(format!("{}: {key} is {message}", path.child("key")));
        }
        for (index, value) in strings(&expression["values"]).into_iter().enumerate().filter(|_| check_values) {
            for message in names::label_value(value) {
                found.push(format!("{}: {value} is invalid, {message}", path.child("values").index(index)));
            }
        }
    }
}

pub(super) fn of_node(spec: &Value, found: &mut Found) {
    if !spec["configSource"].is_null() {
        found.push("spec.configSource: the feature is removed".to_owned());
    }
    if !is_empty(&spec["externalID"]) {
        found.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned());
    }
    let path = Path::new("spec.podCIDRs");
    for (index, cidr) in strings(&spec["podCIDRs"]).into_iter().enumerate() {
        block(cidr, &path.index(index), found);
    }
}

pub(super) fn of_runtime_class(class: &Value, found: &mut Found) {
    let messages = entries(&class["scheduling"]["nodeSelector"]).filter_map(|(key, _)| deprecated_label(key));
    found.extend(messages.map(|message| format!("scheduling.nodeSelector: {message}")));
}
