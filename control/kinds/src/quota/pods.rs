//! What pods use (`pkg/quota/v1/evaluator/core/pods.go`).
use super::{Usage, one};
use crate::labels::LabelSelector;
use crate::quantity::Quantity;
use crate::resource_names::{is_huge_page, is_native};
use crate::resources::of_pod;
use crate::value::{items, text};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const RESOURCES: [&str; 10] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
];

/// If one of these is limited, each container must say what it takes.
const REQUIRED: [&str; 6] = ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

fn is_extended(name: &str) -> bool {
    let implicit = name.starts_with("requests.deviceclass.resource.kubernetes.io/");
    name.starts_with("requests.") && (!is_native(name) || implicit)
}

pub(super) fn counts_for(resource: &str) -> bool {
    RESOURCES.contains(&resource)
        || is_huge_page(resource)
        || resource.starts_with("requests.hugepages-")
        || is_extended(resource)
}

/// Whether a pod still uses anything: it has not ended, and its deletion is not overdue.
fn is_live(pod: &Value, now: Timestamp) -> bool {
    if matches!(text(&pod["status"]["phase"]), "Failed" | "Succeeded") {
        return false;
    }
    let metadata = &pod["metadata"];
    let (deleted, grace) = (text(&metadata["deletionTimestamp"]), metadata["deletionGracePeriodSeconds"].as_i64());
    match (deleted.parse::<Timestamp>(), grace) {
        (Ok(deleted), Some(grace)) => now.as_second() <= deleted.as_second().saturating_add(grace),
        _ => true,
    }
}

pub(super) fn usage(pod: &Value, now: Timestamp) -> Usage {
    if !is_live(pod, now) {
        return Usage::new();
    }
    compute(&of_pod(&pod["spec"], "requests"), &of_pod(&pod["spec"], "limits"))
}

fn compute(requests: &BTreeMap<String, Quantity>, limits: &BTreeMap<String, Quantity>) -> Usage {
    let mut usage = Usage::from([("pods".to_owned(), one())]);
    for (name, request) in requests {
        let common = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage");
        if common || is_huge_page(name) {
            usage.insert(name.clone(), request.clone());
        }
        if common || is_huge_page(name) || !is_native(name) {
            usage.insert(format!("requests.{name}"), request.clone());
        }
    }
    for (name, limit) in limits {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            usage.insert(format!("limits.{name}"), limit.clone());
        }
    }
    usage
}

/// What containers must say is told, resource by resource.
pub(super) fn constraints(restricted: &[&str], pod: &Value) -> Result<(), String> {
    let own = &pod["spec"]["resources"];
    let names_own = |list: &str| {
        crate::value::entries(&own[list]).any(|(name, _)| matches!(name, "cpu" | "memory") || is_huge_page(name))
    };
    if names_own("requests") || names_own("limits") {
        return Ok(());
    }
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for list in ["containers", "initContainers"] {
        for container in items(&pod["spec"][list]) {
            let [requests, limits] = ["requests", "limits"].map(|list| super::read(&container["resources"][list]));
            let said = compute(&requests, &limits);
            for resource in restricted.iter().filter(|name| REQUIRED.contains(name) && !said.contains_key(**name)) {
                missing.entry(resource).or_default().insert(text(&container["name"]));
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let list = |names: BTreeSet<&str>| names.into_iter().collect::<Vec<_>>().join(",");
    let parts: Vec<String> = missing.into_iter().map(|(name, of)| format!("{name} for: {}", list(of))).collect();
    Err(format!("must specify {}", parts.join("; ")))
}

/// With a deadline, a pod is one that ends.
pub(super) fn is_terminating(pod: &Value) -> bool {
    pod["spec"]["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 0)
}

pub(super) fn matches(requirement: &Value, pod: &Value) -> bool {
    let best_effort = || crate::qos_class(pod) == "BestEffort";
    match text(&requirement["scopeName"]) {
        "Terminating" => is_terminating(pod),
        "NotTerminating" => !is_terminating(pod),
        "BestEffort" => best_effort(),
        "NotBestEffort" => !best_effort(),
        "PriorityClass" => {
            let class = text(&pod["spec"]["priorityClassName"]);
            selects(requirement, "PriorityClass", class)
        }
        "CrossNamespacePodAffinity" => crosses_namespaces(&pod["spec"]["affinity"]),
        _ => false,
    }
}

/// Whether a requirement of names chooses a name; an empty one is none.
pub(super) fn selects(requirement: &Value, scope: &str, name: &str) -> bool {
    let (operator, values) = (&requirement["operator"], &requirement["values"]);
    let selector = json!({"matchExpressions": [{"key": scope, "operator": operator, "values": values}]});
    let labels = if name.is_empty() { json!({}) } else { json!({scope: name}) };
    LabelSelector::from_object(&selector).is_ok_and(|selector| selector.matches(&labels))
}

fn crosses_namespaces(affinity: &Value) -> bool {
    let crosses = |term: &Value| !items(&term["namespaces"]).is_empty() || !term["namespaceSelector"].is_null();
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let terms = &affinity[*kind];
        items(&terms["requiredDuringSchedulingIgnoredDuringExecution"]).iter().any(crosses)
            || items(&terms["preferredDuringSchedulingIgnoredDuringExecution"])
                .iter()
                .any(|weighted| crosses(&weighted["podAffinityTerm"]))
    })
}
