//! What is accepted and yet unwise, as kube-apiserver tells it in `Warning` headers: one text each, in its words. Nothing here
//! refuses anything; [`of`] is asked after validation, and only writes of people's own kinds get an answer.
use crate::field::Path;
use crate::kind::Subresource;
use crate::names;
use crate::quantity::Quantity;
use crate::value::{int, items, same, strings, text};
use serde_json::Value;

mod addresses;
mod found;
mod nodes;
mod pod;
mod ports;
mod secret;
mod service;
mod storage;

use found::Found;

const ROOT: Path<'static> = Path::new("");

/// Drivers' names are compared as they stand, and others write them in lower case.
fn upper_case_driver(slice: &Value) -> Option<String> {
    let driver = text(&slice["driver"]);
    let shown = crate::value::go_quote(driver);
    driver
        .bytes()
        .any(|c| c.is_ascii_uppercase())
        .then(|| format!("spec.driver: driver names should be lowercase; {shown} contains uppercase characters"))
}

/// The warnings of a creation (`old` is null) or an update.
pub(crate) fn of(group: &str, kind: &str, new: &Value, old: &Value, subresource: Subresource) -> Vec<String> {
    let mut found = Found::default();
    match (group, kind, subresource) {
        ("", "Pod", Subresource::Status) => addresses::of_pod_status(&new["status"], &mut found),
        ("", "Service", Subresource::Status) => addresses::of_service_status(&new["status"], &mut found),
        (_, _, Subresource::Status) => {}
        ("", "Pod", Subresource::None) if old.is_null() => pod::of_pod(new, &mut found),
        ("", "Service", _) => service::of(new, &mut found),
        ("", "PersistentVolume", _) => storage::of_volume(new, &mut found),
        ("", "PersistentVolumeClaim", _) => storage::of_claim(new, &mut found),
        ("", "Node", _) => nodes::of_node(&new["spec"], &mut found),
        ("", "Secret", _) => found.extend(secret::of(new)),
        ("", "Endpoints", _) => addresses::of_endpoints(new, &mut found),
        ("", "ServiceAccount", _) => found.extend(enforced_secrets(new, old)),
        ("", "ResourceQuota", _) if old.is_null() => quota(&new["spec"]["hard"], &mut found),
        ("networking.k8s.io", "NetworkPolicy", _) => addresses::of_network_policy(&new["spec"], &mut found),
        ("storage.k8s.io", "CSIDriver", _) => found.extend(storage::of_driver(new, old)),
        ("discovery.k8s.io", "EndpointSlice", _) if old.is_null() && text(&new["addressType"]) == "FQDN" => {
            found.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
        }
        ("resource.k8s.io", "ResourceSlice", _) if old.is_null() => found.extend(upper_case_driver(&new["spec"])),
        ("node.k8s.io", "RuntimeClass", _) => nodes::of_runtime_class(new, &mut found),
        ("", "PodTemplate", _) => template(new, old, "template", &new["template"], &mut found),
        ("", "ReplicationController", _) => {
            pod_names(new, old, &mut found);
            // Kubernetes asks about the template that was there before.
            let asked = if old.is_null() { new } else { old };
            template(new, old, "spec.template", &asked["spec"]["template"], &mut found);
        }
        ("apps", "Deployment" | "ReplicaSet", _) => {
            pod_names(new, old, &mut found);
            template(new, old, "spec.template", &new["spec"]["template"], &mut found);
        }
        ("apps", "DaemonSet", _) if old.is_null() || !same(&new["spec"]["template"], &old["spec"]["template"]) => {
            pod::of_template(&new["spec"]["template"], &Path::new("spec.template"), &mut found);
        }
        ("apps", "StatefulSet", _) => stateful_set(new, old, &mut found),
        ("batch", "Job", _) => {
            pod_names(new, old, &mut found);
            job(new, old, "spec", &new["spec"], &mut found);
        }
        ("batch", "CronJob", _) => {
            pod_names(new, old, &mut found);
            job(new, old, "spec.jobTemplate.spec", &new["spec"]["jobTemplate"]["spec"], &mut found);
            if !old.is_null() && text(&new["spec"]["schedule"]).contains("TZ") {
                found.push("cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details".to_owned());
            }
        }
        _ => {}
    }
    found.into_vec()
}

/// Whether the object is new or another than it was.
fn changed(new: &Value, old: &Value) -> bool {
    old.is_null() || new["metadata"]["generation"] != old["metadata"]["generation"]
}

fn template(new: &Value, old: &Value, path: &str, template: &Value, found: &mut Found) {
    if changed(new, old) {
        pod::of_template(template, &Path::new(path), found);
    }
}

/// A new workload whose name is no label makes pods with surprising host names.
fn pod_names(new: &Value, old: &Value, found: &mut Found) {
    if old.is_null() {
        label_name(new, "Pod names and hostnames", found);
    }
}

fn label_name(object: &Value, used: &str, found: &mut Found) {
    let wrong = names::dns1123_label(text(&object["metadata"]["name"]));
    if !wrong.is_empty() {
        found.push(format!(
            "metadata.name: this is used in {used}, which can result in surprising behavior; a DNS label is recommended: [{}]",
            wrong.join(" ")
        ));
    }
}

fn stateful_set(new: &Value, old: &Value, found: &mut Found) {
    template(new, old, "spec.template", &new["spec"]["template"], found);
    let path = Path::new("spec.volumeClaimTemplates");
    for (index, claim) in items(&new["spec"]["volumeClaimTemplates"]).iter().enumerate() {
        let path = path.index(index);
        storage::of_claim_spec(&claim["spec"], &path.child(if old.is_null() { "" } else { "Spec" }), found);
    }
    if int(&new["spec"]["revisionHistoryLimit"]) < 0 {
        found.push(
            "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"
                .to_owned(),
        );
    }
}

fn job(new: &Value, old: &Value, path: &str, spec: &Value, found: &mut Found) {
    if !changed(new, old) {
        return;
    }
    let indexed = text(&spec["completionMode"]) == "Indexed";
    if indexed && int(&spec["completions"]) > 100_000 && int(&spec["parallelism"]) > 10_000 {
        found.push(format!("{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"));
    }
    let path = Path::new(path);
    pod::of_template(&spec["template"], &path.child("template"), found);
}

fn enforced_secrets(new: &Value, old: &Value) -> Option<String> {
    const KEY: &str = "kubernetes.io/enforce-mountable-secrets";
    let annotated = |account: &Value| account["metadata"]["annotations"].get(KEY).is_some();
    (annotated(new) && !annotated(old)).then(|| {
        format!("metadata.annotations[{KEY}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets")
    })
}

/// Requests that a quota allows beyond the limits that it allows.
fn quota(hard: &Value, found: &mut Found) {
    let amount = |name: &str| hard.get(name).and_then(|value| Quantity::from_value(value).ok());
    for name in ["cpu", "memory", "storage", "ephemeral-storage"] {
        let (mut request_name, limit_name) = (format!("requests.{name}"), format!("limits.{name}"));
        let mut request = amount(&request_name);
        if request.is_none() && matches!(name, "cpu" | "memory") {
            request = amount(name);
            name.clone_into(&mut request_name);
        }
        if let (Some(request), Some(limit)) = (request, amount(&limit_name))
            && request > limit
        {
            found.push(format!("ResourceQuota {request_name} ({request}) should be less than {limit_name} ({limit})"));
        }
    }
}

/// `PATH: fractional byte value "1500m" is invalid, must be an integer` for an entry of a resource list that counts bytes.
fn fractional_bytes(list: &Value, name: &str, path: &Path<'_>, found: &mut Found) {
    if let Some(Ok(quantity)) = list.get(name).map(Quantity::from_value)
        && quantity.milli_value() % 1000 != 0
    {
        let shown = crate::value::go_quote(&quantity.to_string());
        found.push(format!("{}: fractional byte value {shown} is invalid, must be an integer", path.key(name)));
    }
}

/// Every IP address of a list of strings.
fn each_address(list: &Value, path: &Path<'_>, found: &mut Found) {
    for (index, address) in strings(list).into_iter().enumerate() {
        addresses::address(address, &path.index(index), found);
    }
}

#[cfg(test)]
mod tests;
