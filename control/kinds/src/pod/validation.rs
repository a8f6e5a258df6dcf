//! What Pods and pod templates must satisfy.
use crate::field::{Errors, Kept, Path};
use crate::kind::Subresource;
use crate::labels::validate_labels;
use crate::meta::validate_annotations;
use crate::names::{self, NameRule};
use crate::net::validate_ip;
use crate::value::{flag, int, is_empty, items, strings, text};
use serde_json::Value;
use std::collections::BTreeSet;

mod annotations;
mod claims;
mod containers;
mod env;
mod handlers;
mod os;
mod resize;
mod resources;
mod scheduling;
mod security;
mod update;
mod volumes;

pub(crate) use resources::validate_limits;
pub(crate) use scheduling::{validate_node_selector, validate_tolerations};
pub(super) use update::validate_update;
pub(crate) use volumes::plugins;

const SPEC: Path<'static> = Path::new("spec");

/// What a Pod or a workload's template may keep of what would be refused in a new one.
pub(crate) fn kept(group: &str, kind: &str, old: &Value) -> Kept {
    let spec = match (group, kind) {
        ("", "Pod") => &old["spec"],
        ("", "PodTemplate") => &old["template"]["spec"],
        ("apps", _) | ("batch", "Job") | ("", "ReplicationController") => &old["spec"]["template"]["spec"],
        ("batch", "CronJob") => &old["spec"]["jobTemplate"]["spec"]["template"]["spec"],
        _ => return Kept::default(),
    };
    Kept {
        se_linux_change_policy: !spec["securityContext"]["seLinuxChangePolicy"].is_null(),
        indivisible_huge_pages: resources::has_indivisible_pages(spec),
    }
}

/// A Pod that is to be created.
pub(super) fn validate_create(pod: &Value, errors: &mut Errors) {
    validate_pod(pod, errors);
    let spec = &pod["spec"];
    if !is_empty(&spec["ephemeralContainers"]) {
        errors.forbidden(&SPEC.child("ephemeralContainers"), "cannot be set on create");
    }
    if !text(&spec["nodeName"]).is_empty() && !is_empty(&spec["schedulingGates"]) {
        errors.forbidden(&SPEC.child("nodeName"), "cannot be set until all schedulingGates have been cleared");
    }
}

/// What every stored Pod satisfies.
fn validate_pod(pod: &Value, errors: &mut Errors) {
    let spec = &pod["spec"];
    annotations::validate(&pod["metadata"]["annotations"], spec, &Path::new("metadata.annotations"), errors);
    validate_spec(spec, Some(pod), &SPEC, errors);
    if text(&spec["serviceAccountName"]).is_empty() {
        let volumes = SPEC.child("volumes");
        for (index, volume) in items(&spec["volumes"]).iter().enumerate() {
            let volume_path = volumes.index(index);
            let sources = volume_path.child("projected.sources");
            for (index, source) in items(&volume["projected"]["sources"]).iter().enumerate() {
                if source["serviceAccountToken"].is_object() {
                    errors.forbidden(
                        &sources.index(index).child("serviceAccountToken"),
                        "must not be specified when serviceAccountName is not set",
                    );
                }
            }
        }
    }
    for list in ["containers", "initContainers"] {
        let path = SPEC.child(list);
        for (index, container) in items(&spec[list]).iter().enumerate() {
            let image = text(&container["image"]);
            if image.trim().len() != image.len() {
                errors.invalid(
                    &path.index(index).child("image"),
                    image,
                    "must not have leading or trailing whitespace",
                );
            }
        }
    }
}

/// The template of a workload.
pub(crate) fn validate_template(template: &Value, path: &Path<'_>, errors: &mut Errors) {
    validate_labels(&template["metadata"]["labels"], &path.child("labels"), errors);
    let annotations = &template["metadata"]["annotations"];
    validate_annotations(annotations, &path.child("annotations"), errors);
    annotations::validate(annotations, &template["spec"], &path.child("annotations"), errors);
    validate_spec(&template["spec"], None, &path.child("spec"), errors);
    if !is_empty(&template["spec"]["ephemeralContainers"]) {
        errors.forbidden(&path.child("spec.ephemeralContainers"), "ephemeral containers not allowed in pod template");
    }
}

/// A pod spec; `pod` is the Pod itself, none in templates.
fn validate_spec(spec: &Value, pod: Option<&Value>, path: &Path<'_>, errors: &mut Errors) {
    let is_pod = pod.is_some();
    let metadata = &pod.unwrap_or(&Value::Null)["metadata"];
    let mirror = metadata["annotations"].get(annotations::MIRROR).is_some();
    let pod = text(&metadata["name"]);
    if spec["terminationGracePeriodSeconds"].is_null() {
        errors.required(&path.child("terminationGracePeriodSeconds"), "");
    }
    let volumes = volumes::validate(&spec["volumes"], pod, &path.child("volumes"), errors);
    let claims = claims::validate(&spec["resourceClaims"], mirror, &path.child("resourceClaims"), errors);
    containers::validate(spec, &volumes, &claims, path, errors);
    resources::validate_pod_level(spec, &claims, &path.child("resources"), errors);
    if flag(&spec["hostNetwork"]) {
        validate_host_ports(spec, is_pod, &path.child("containers"), errors);
    }
    one_of(spec, "restartPolicy", &["Always", "OnFailure", "Never"], path, errors);
    one_of(spec, "dnsPolicy", &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"], path, errors);
    validate_labels(&spec["nodeSelector"], &path.child("nodeSelector"), errors);
    security::validate_pod(spec, path, errors);
    scheduling::validate_affinity(&spec["affinity"], &path.child("affinity"), errors);
    validate_dns(spec, &path.child("dnsConfig"), errors);
    validate_gates(spec, path, errors);
    scheduling::validate_spread(&spec["topologySpreadConstraints"], &path.child("topologySpreadConstraints"), errors);
    os::host_process(spec, path, errors);
    security::validate_host_users(spec, path, errors);
    validate_host_name(spec, path, errors);
    validate_names(spec, path, errors);
    validate_deadline(&spec["activeDeadlineSeconds"], 1, &path.child("activeDeadlineSeconds"), errors);
    scheduling::validate_tolerations(&spec["tolerations"], &path.child("tolerations"), errors);
    let aliases = path.child("hostAliases");
    for (index, alias) in items(&spec["hostAliases"]).iter().enumerate() {
        let path = aliases.index(index);
        validate_ip(text(&alias["ip"]), &path.child("ip"), errors);
        for (index, name) in strings(&alias["hostnames"]).into_iter().enumerate() {
            errors.invalid_each(&path.child("hostnames").index(index), name, names::dns1123_subdomain(name));
        }
    }
    if !spec["preemptionPolicy"].is_null() {
        one_of(spec, "preemptionPolicy", &["PreemptLowerPriority", "Never"], path, errors);
    }
    if !spec["overhead"].is_null() {
        let overhead = serde_json::json!({"limits": spec["overhead"]});
        resources::validate(&overhead, &path.child("overhead"), errors);
    }
    os::validate(spec, path, errors);
    env::validate_file_volumes(spec, path, errors);
}

/// A required member of an enumeration.
fn one_of(object: &Value, member: &str, supported: &[&str], path: &Path<'_>, errors: &mut Errors) {
    let value = text(&object[member]);
    if value.is_empty() {
        errors.required(&path.child(member), "");
    } else if !supported.contains(&value) {
        errors.not_supported(&path.child(member), value, supported);
    }
}

fn validate_host_ports(spec: &Value, is_pod: bool, path: &Path<'_>, errors: &mut Errors) {
    for (index, container) in items(&spec["containers"]).iter().enumerate() {
        let path = path.index(index);
        let path = path.child("ports");
        for (index, port) in items(&container["ports"]).iter().enumerate() {
            let (host, container) = (int(&port["hostPort"]), int(&port["containerPort"]));
            if (is_pod || host != 0) && host != container {
                errors.invalid(
                    &path.index(index).child("hostPort"),
                    host,
                    "must match `containerPort` when `hostNetwork` is true",
                );
            }
        }
    }
}

/// The optional names in a pod spec.
fn validate_names(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    const NAMES: [(&str, NameRule); 6] = [
        ("serviceAccountName", NameRule::Subdomain),
        ("nodeName", NameRule::Subdomain),
        ("hostname", NameRule::Label),
        ("subdomain", NameRule::Label),
        ("priorityClassName", NameRule::Subdomain),
        ("runtimeClassName", NameRule::Subdomain),
    ];
    for (member, rule) in NAMES {
        let name = text(&spec[member]);
        if !name.is_empty() {
            errors.invalid_each(&path.child(member), name, rule.check(name, false));
        }
    }
    let secrets = path.child("imagePullSecrets");
    for (index, secret) in items(&spec["imagePullSecrets"]).iter().enumerate() {
        if crate::value::entries(secret).any(|(key, _)| key != "name") {
            errors.invalid(&secrets.index(index), secret.clone(), "only name may be set");
        }
    }
}

fn validate_deadline(deadline: &Value, min: i64, path: &Path<'_>, errors: &mut Errors) {
    let max = i64::from(i32::MAX);
    if !deadline.is_null() && !(min..=max).contains(&int(deadline)) {
        errors.invalid(path, int(deadline), names::range_error(min, max));
    }
}

fn validate_host_name(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(name) = spec["hostnameOverride"].as_str() else { return };
    let path = path.child("hostnameOverride");
    if flag(&spec["setHostnameAsFQDN"]) {
        errors.forbidden(&path, "may not be specified when setHostnameAsFQDN is true");
    }
    if flag(&spec["hostNetwork"]) {
        errors.forbidden(&path, "may not be specified when hostNetwork is true");
    }
    if name.len() > 64 {
        errors.too_long(&path, 64);
    }
    errors.invalid_each(&path, name, names::dns1123_subdomain(name));
}

fn validate_gates(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let readiness = path.child("readinessGates");
    for (index, gate) in items(&spec["readinessGates"]).iter().enumerate() {
        let name = text(&gate["conditionType"]);
        errors.invalid_each(&readiness.index(index).child("conditionType"), name, names::qualified_name(name));
    }
    let scheduling = path.child("schedulingGates");
    let mut seen = BTreeSet::new();
    for (index, gate) in items(&spec["schedulingGates"]).iter().enumerate() {
        let (name, path) = (text(&gate["name"]), scheduling.index(index));
        errors.invalid_each(&path, name, names::qualified_name(name));
        if !seen.insert(name) {
            errors.duplicate(&path, name);
        }
    }
}

fn validate_dns(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let config = &spec["dnsConfig"];
    if text(&spec["dnsPolicy"]) == "None" {
        if config.is_null() {
            return errors.required(path, "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        if is_empty(&config["nameservers"]) {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            return errors.required(&path.child("nameservers"), detail);
        }
    }
    let (servers, path_servers) = (strings(&config["nameservers"]), path.child("nameservers"));
    if servers.len() > 3 {
        errors.invalid(&path_servers, config["nameservers"].clone(), "must not have more than 3 nameservers");
    }
    for (index, server) in servers.into_iter().enumerate() {
        validate_ip(server, &path_servers.index(index), errors);
    }
    let (searches, path_searches) = (strings(&config["searches"]), path.child("searches"));
    if searches.len() > 32 {
        errors.invalid(&path_searches, config["searches"].clone(), "must not have more than 32 search paths");
    }
    if searches.join(" ").len() > 2048 {
        let detail = "must not have more than 2048 characters (including spaces) in the search list";
        errors.invalid(&path_searches, config["searches"].clone(), detail);
    }
    for (index, search) in searches.into_iter().enumerate().filter(|(_, search)| *search != ".") {
        let search = search.strip_suffix('.').unwrap_or(search);
        errors.invalid_each(&path_searches.index(index), search, names::dns1123_subdomain_with_underscore(search));
    }
    for (index, option) in items(&config["options"]).iter().enumerate() {
        if text(&option["name"]).is_empty() {
            errors.required(&path.child("options").index(index), "must not be empty");
        }
    }
}

#[cfg(test)]
mod tests;
