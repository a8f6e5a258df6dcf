//! Nodes.
use crate::field::{Errors, Path};
use crate::kind::{FieldLabel, GENERAL, Kind, Subresource, not_supported};
use crate::resources::canonical_list;
use crate::table::{AGE, Column, NAME, age, name};
use crate::value::{at, copy, default_to, entries, flag, is_empty, items, object_at, same, set, text};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;

mod validation;

pub(crate) static KINDS: &[Kind] = &[Kind {
    kind: "Node",
    namespaced: false,
    status: true,
    status_on_create: true,
    defaults: |_, node| defaults(node),
    prepare_update,
    validate: validation::validate,
    validate_update: validation::validate_update,
    columns: COLUMNS,
    cells,
    fields: FIELDS,
    field_error: not_supported,
    ..GENERAL
}];

const FIELDS: &[FieldLabel] = &[("spec.unschedulable", |node| flag(&node["spec"]["unschedulable"]).to_string())];

const COLUMNS: &[Column] = &[
    NAME,
    Column::text("Status", "The status of the node"),
    Column::text("Roles", "The roles of the node"),
    AGE,
    Column::text("Version", "Kubelet Version reported by the node."),
    Column::text("Internal-IP", "List of addresses reachable to the node. Queried from cloud provider, if available. More info: https://kubernetes.io/docs/reference/node/node-status/#addresses Note: This field is declared as mergeable, but the merge key is not sufficiently unique, which can cause data corruption when it is merged. Callers should instead use a full-replacement patch. See https://pr.k8s.io/79391 for an example. Consumers should assume that addresses can change during the lifetime of a Node. However, there are some exceptions where this may not be possible, such as Pods that inherit a Node's address in its own status or consumers of the downward API (status.hostIP).").wide(),
    Column::text("External-IP", "List of addresses reachable to the node. Queried from cloud provider, if available. More info: https://kubernetes.io/docs/reference/node/node-status/#addresses Note: This field is declared as mergeable, but the merge key is not sufficiently unique, which can cause data corruption when it is merged. Callers should instead use a full-replacement patch. See https://pr.k8s.io/79391 for an example. Consumers should assume that addresses can change during the lifetime of a Node. However, there are some exceptions where this may not be possible, such as Pods that inherit a Node's address in its own status or consumers of the downward API (status.hostIP).").wide(),
    Column::text("OS-Image", "OS Image reported by the node from /etc/os-release (e.g. Debian GNU/Linux 7 (wheezy)).").wide(),
    Column::text("Kernel-Version", "Kernel Version reported by the node from 'uname -r' (e.g. 3.16.0-0.bpo.4-amd64).").wide(),
    Column::text("Container-Runtime", "ContainerRuntime Version reported by the node through runtime remote API (e.g. containerd://1.4.2).").wide(),
];

const INFO: [&str; 10] = [
    "machineID",
    "systemUUID",
    "bootID",
    "kernelVersion",
    "osImage",
    "containerRuntimeVersion",
    "kubeletVersion",
    "kubeProxyVersion",
    "operatingSystem",
    "architecture",
];

fn defaults(node: &mut Value) {
    if let Some(status) = at(node, &["status"]) {
        for list in ["capacity", "allocatable"] {
            if let Some(list) = at(status, &[list]) {
                canonical_list(list);
            }
        }
        let capacity = status["capacity"].clone();
        if !capacity.is_null() {
            default_to(status, "allocatable", capacity);
        }
    }
    // Go always writes them.
    object_at(node, "status");
    if let Some(status) = at(node, &["status"]) {
        default_to(status, "daemonEndpoints", json!({"kubeletEndpoint": {"Port": 0}}));
        object_at(status, "nodeInfo");
        if let Some(info) = at(status, &["nodeInfo"]) {
            for text in INFO {
                default_to(info, text, "");
            }
        }
    }
    mirror_pod_cidr(node);
}

/// podCIDR is the first of podCIDRs, whichever was written.
fn mirror_pod_cidr(node: &mut Value) {
    let Some(spec) = at(node, &["spec"]) else { return };
    let (one, first) = (text(&spec["podCIDR"]), text(&spec["podCIDRs"][0]));
    if !one.is_empty() && one != first {
        let only = json!([one]);
        set(spec, "podCIDRs", only);
    } else if !is_empty(&spec["podCIDRs"]) {
        let first = spec["podCIDRs"][0].clone();
        set(spec, "podCIDR", first);
    }
}

/// A plain update may write the status of a Node only through /status; config and the like stay.
fn prepare_update(new: &mut Value, old: &Value, subresource: Subresource) {
    if subresource == Subresource::Status {
        copy(new, old, "spec");
    }
}

fn cells(node: &Value, now: Timestamp) -> Vec<Value> {
    let info = &node["status"]["nodeInfo"];
    let known =
        |key: &str| if text(&info[key]).is_empty() { "<unknown>".to_owned() } else { text(&info[key]).to_owned() };
    let mut kernel = known("kernelVersion");
    let architecture = text(&info["architecture"]);
    if !architecture.is_empty() {
        kernel = format!("{kernel} ({architecture})");
    }
    vec![
        name(node),
        status(node).into(),
        roles(node).into(),
        age(node, now),
        text(&info["kubeletVersion"]).into(),
        address(node, "InternalIP").into(),
        address(node, "ExternalIP").into(),
        known("osImage").into(),
        kernel.into(),
        known("containerRuntimeVersion").into(),
    ]
}

fn status(node: &Value) -> String {
    let ready = items(&node["status"]["conditions"]).iter().rev().find(|condition| text(&condition["type"]) == "Ready");
    let status = match ready.map(|condition| text(&condition["status"])) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    if flag(&node["spec"]["unschedulable"]) { format!("{status},SchedulingDisabled") } else { status.to_owned() }
}

/// From `node-role.kubernetes.io/ROLE` labels and the older `kubernetes.io/role`.
fn roles(node: &Value) -> String {
    let mut roles = BTreeSet::new();
    for (key, value) in entries(&node["metadata"]["labels"]) {
        match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) if !role.is_empty() => roles.insert(role),
            None if key == "kubernetes.io/role" && !text(value).is_empty() => roles.insert(text(value)),
            _ => continue,
        };
    }
    if roles.is_empty() { "<none>".to_owned() } else { roles.into_iter().collect::<Vec<_>>().join(",") }
}

fn address(node: &Value, kind: &str) -> String {
    let found = items(&node["status"]["addresses"]).iter().find(|address| text(&address["type"]) == kind);
    found.map_or("<none>", |address| text(&address["address"])).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_roles_are_shown_as_kubectl_shows_them() {
        let node = json!({"metadata": {"name": "n", "labels": {"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "old"}},
            "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "Unknown"}], "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                "nodeInfo": {"kubeletVersion": "v1.36.0", "kernelVersion": "6.18", "architecture": "amd64"}}});
        let cells = cells(&node, Timestamp::UNIX_EPOCH);
        assert_eq!(
            cells,
            [
                "n",
                "NotReady,SchedulingDisabled",
                "control-plane,old,worker",
                "<unknown>",
                "v1.36.0",
                "10.0.0.1",
                "<none>",
                "<unknown>",
                "6.18 (amd64)",
                "<unknown>"
            ]
        );
        assert_eq!(status(&json!({})), "Unknown");
        assert_eq!(cells.len(), COLUMNS.len());
    }

    #[test]
    fn allocatable_defaults_to_capacity_and_the_cidrs_agree() {
        let mut node =
            json!({"spec": {"podCIDR": "10.244.1.0/24"}, "status": {"capacity": {"cpu": "2000m", "memory": "1024Mi"}}});
        defaults(&mut node);
        assert_eq!(node["status"]["allocatable"], json!({"cpu": "2", "memory": "1Gi"}));
        assert_eq!(node["spec"]["podCIDRs"], json!(["10.244.1.0/24"]));
    }
}
