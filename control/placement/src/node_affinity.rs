//! `spec.nodeSelector` and `spec.affinity.nodeAffinity`.

use std::cmp::Ordering;

use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec};

/// Whether a Node is among those that a pod demands.
pub fn required(spec: &PodSpec, node: &Node) -> bool {
    let selected = spec.node_selector.iter().flatten().all(|(key, value)| label(node, key) == Some(value));
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    // Terms are alternatives.
    selected && required.is_none_or(|required| required.node_selector_terms.iter().any(|term| matches(term, node)))
}

/// The weights of the preferences that a Node meets, summed.
pub fn preferred(spec: &PodSpec, node: &Node) -> i64 {
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let terms = affinity.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref());
    let met = terms.into_iter().flatten().filter(|term| matches(&term.preference, node));
    met.map(|term| i64::from(term.weight)).sum()
}

fn label<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

/// A term without anything in it matches nothing; otherwise all of it must match.
fn matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let (expressions, fields) =
        (term.match_expressions.as_deref().unwrap_or_default(), term.match_fields.as_deref().unwrap_or_default());
    let field = |key: &str| node.metadata.name.as_deref().filter(|_| key == "metadata.name");
    (!expressions.is_empty() || !fields.is_empty())
        && expressions.iter().all(|requirement| meets(requirement, label(node, &requirement.key)))
        && fields.iter().all(|requirement| meets(requirement, field(&requirement.key)))
}

fn meets(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = || value.is_some_and(|value| values.iter().any(|listed| listed == value));
    let compared = |ordering| {
        let number = |text: &str| text.parse::<i64>().ok();
        let (value, bound) = (value.and_then(number), values.first().and_then(|bound| number(bound)));
        value.zip(bound).is_some_and(|(value, bound)| value.cmp(&bound) == ordering)
    };
    match requirement.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared(Ordering::Greater),
        "Lt" => compared(Ordering::Less),
        _ => false,
    }
}
