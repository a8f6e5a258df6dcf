//! Pods and pod templates: what is deprecated, what hides what, what matches nothing.
use super::{Found, ROOT, addresses, each_address, fractional_bytes, label_name, nodes, ports, storage};
use crate::field::Path;
use crate::value::{entries, go_quote, int, items, text};
use serde_json::Value;
use std::collections::HashSet;

mod paths;

pub(super) const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

const ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        r#"non-functional in v1.16+; use the "priorityClassName" field instead"#,
    ),
    ("security.alpha.kubernetes.io/sysctls", r#"non-functional in v1.11+; use the "sysctls" field instead"#),
    ("security.alpha.kubernetes.io/unsafe-sysctls", r#"non-functional in v1.11+; use the "sysctls" field instead"#),
];

const NO_MATCH: &str = "a null labelSelector results in matching no pod";

/// A Pod that was just created.
pub(super) fn of_pod(pod: &Value, found: &mut Found) {
    app_armor_of_pod(pod, found);
    label_name(pod, "the Pod's hostname", found);
    of_spec(&pod["spec"], &pod["metadata"], false, &ROOT, found);
}

/// A pod template at `path`.
pub(super) fn of_template(template: &Value, path: &Path<'_>, found: &mut Found) {
    of_spec(&template["spec"], &template["metadata"], true, path, found);
}

fn of_spec(spec: &Value, meta: &Value, template: bool, path: &Path<'_>, found: &mut Found) {
    let (spec_path, annotations) = (path.child("spec"), path.child("metadata.annotations"));
    of_placement(spec, &spec_path, found);
    for (key, message) in ANNOTATIONS {
        if meta["annotations"].get(key).is_some() {
            found.push(format!("{}: {message}", annotations.key(key)));
        }
    }
    of_volumes(spec, &spec_path, found);
    if items(&spec["hostAliases"]).len() > 1 {
        duplicates(&spec["hostAliases"], "ip", &spec_path.child("hostAliases"), found);
    }
    let secrets = spec_path.child("imagePullSecrets");
    duplicates(&spec["imagePullSecrets"], "name", &secrets, found);
    for (index, secret) in items(&spec["imagePullSecrets"]).iter().enumerate() {
        if text(&secret["name"]).is_empty() {
            found.push(format!("{}: invalid empty name \"\"", secrets.index(index).child("name")));
        }
    }
    for name in ["memory", "ephemeral-storage"] {
        fractional_bytes(&spec["overhead"], name, &spec_path.child("overhead"), found);
    }
    let key = "seccomp.security.alpha.kubernetes.io/pod";
    if spec["securityContext"]["seccompProfile"].is_null() && meta["annotations"].get(key).is_some() {
        found.push(seccomp(key, &annotations));
    }
    for list in LISTS {
        let path = spec_path.child(list);
        for (index, container) in items(&spec[list]).iter().enumerate() {
            of_annotations(container, spec, meta, template, &annotations, found);
            of_container(container, &path.index(index), found);
        }
    }
    ports::of(spec, &spec_path, found);
    if int(&spec["terminationGracePeriodSeconds"]) < 0 {
        found.push(format!(
            "{}: must be >= 0; negative values are invalid and will be treated as 1",
            spec_path.child("terminationGracePeriodSeconds")
        ));
    }
    of_affinity(&spec["affinity"], &spec_path.child("affinity"), found);
    each_address(&spec["dnsConfig"]["nameservers"], &spec_path.child("dnsConfig.nameservers"), found);
    for (index, alias) in items(&spec["hostAliases"]).iter().enumerate() {
        addresses::address(text(&alias["ip"]), &spec_path.child("hostAliases").index(index).child("ip"), found);
    }
}

fn seccomp(key: &str, annotations: &Path<'_>) -> String {
    format!("{}: non-functional in v1.27+; use the \"seccompProfile\" field instead", annotations.key(key))
}

/// Node labels that were renamed, and spreading that counts no pods.
fn of_placement(spec: &Value, path: &Path<'_>, found: &mut Found) {
    for (key, _) in entries(&spec["nodeSelector"]) {
        if let Some(message) = nodes::deprecated_label(key) {
            found.push(format!("{}: {message}", path.child("nodeSelector").key(key)));
        }
    }
    let (affinity, path_affinity) = (&spec["affinity"]["nodeAffinity"], path.child("affinity.nodeAffinity"));
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let terms = path_affinity.child(required);
    let terms = terms.child("nodeSelectorTerms");
    for (index, term) in items(&affinity[required]["nodeSelectorTerms"]).iter().enumerate() {
        nodes::of_term(term, false, &terms.index(index), found);
    }
    let preferred = path_affinity.child("preferredDuringSchedulingIgnoredDuringExecution");
    for (index, term) in items(&affinity["preferredDuringSchedulingIgnoredDuringExecution"]).iter().enumerate() {
        nodes::of_term(&term["preference"], true, &preferred.index(index).child("preference"), found);
    }
    let constraints = path.child("topologySpreadConstraints");
    for (index, constraint) in items(&spec["topologySpreadConstraints"]).iter().enumerate() {
        let (path, key) = (constraints.index(index), text(&constraint["topologyKey"]));
        if let Some(message) = nodes::deprecated_label(key) {
            found.push(format!("{}: {key} is {message}", path.child("topologyKey")));
        }
        if constraint["labelSelector"].is_null() {
            found.push(format!("{}: {NO_MATCH}", path.child("labelSelector")));
        }
    }
}

fn of_affinity(affinity: &Value, path: &Path<'_>, found: &mut Found) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let path = path.child(kind);
        for (list, inner) in [
            ("requiredDuringSchedulingIgnoredDuringExecution", ""),
            ("preferredDuringSchedulingIgnoredDuringExecution", "podAffinityTerm"),
        ] {
            let path = path.child(list);
            for (index, term) in items(&affinity[kind][list]).iter().enumerate() {
                let inner_term = if inner.is_empty() { term } else { &term[inner] };
                if inner_term["labelSelector"].is_null() {
                    let path = path.index(index);
                    found.push(format!("{}: {NO_MATCH}", path.child(inner).child("labelSelector")));
                }
            }
        }
    }
}

fn of_volumes(spec: &Value, path: &Path<'_>, found: &mut Found) {
    let volumes = path.child("volumes");
    for (index, volume) in items(&spec["volumes"]).iter().enumerate() {
        let path = volumes.index(index);
        let mut gone = |plugin: &str, message: &str| {
            if !volume[plugin].is_null() {
                found.push(format!("{}: {message}", path.child(storage::shown(plugin))));
            }
        };
        gone("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+");
        gone("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+");
        for plugin in ["scaleIO", "flocker", "storageos", "quobyte", "glusterfs"] {
            storage::GONE.iter().filter(|known| known.0 == plugin).for_each(|known| gone(plugin, known.1));
        }
        let claim = &volume["ephemeral"]["volumeClaimTemplate"]["spec"];
        let claim_path = path.child("ephemeral.volumeClaimTemplate.spec");
        storage::of_claim_spec(claim, &claim_path, found);
        for plugin in ["cephfs", "rbd"] {
            if !volume[plugin].is_null() {
                found.push(format!("{}: deprecated in v1.28, non-functional in v1.31+", path.child(plugin)));
            }
        }
    }
    paths::of_volumes(&spec["volumes"], found);
}

/// Items of a list that name the same thing.
fn duplicates(list: &Value, member: &str, path: &Path<'_>, found: &mut Found) {
    let mut seen = HashSet::new();
    for (index, item) in items(list).iter().enumerate() {
        let value = text(&item[member]);
        if !seen.insert(value) {
            found.push(format!("{}: duplicate {member} {}", path.index(index).child(member), go_quote(value)));
        }
    }
}

/// Annotations that stood for fields of a container.
fn of_annotations(
    container: &Value,
    spec: &Value,
    meta: &Value,
    template: bool,
    annotations: &Path<'_>,
    found: &mut Found,
) {
    let (name, context) = (text(&container["name"]), &container["securityContext"]);
    let key = format!("container.seccomp.security.alpha.kubernetes.io/{name}");
    if context["seccompProfile"].is_null() && meta["annotations"].get(&key).is_some() {
        found.push(seccomp(&key, annotations));
    }
    let key = crate::pod::app_armor::key(name);
    if template
        && context["appArmorProfile"].is_null()
        && let Some(annotation) = meta["annotations"].get(&key)
    {
        let of_pod = &spec["securityContext"]["appArmorProfile"];
        let meant = crate::pod::app_armor::of_annotation(text(annotation)).unwrap_or_default();
        if of_pod.is_null() || *of_pod != meant {
            found.push(app_armor(&key, annotations));
        }
    }
}

fn app_armor(key: &str, annotations: &Path<'_>) -> String {
    format!("{}: deprecated since v1.30; use the \"appArmorProfile\" field instead", annotations.key(key))
}

/// A Pod's annotations became fields while it was prepared: those that are now fields, and those that could not be.
fn app_armor_of_pod(pod: &Value, found: &mut Found) {
    if text(&pod["spec"]["os"]["name"]) == "windows" {
        return;
    }
    let of_pod = &pod["spec"]["securityContext"]["appArmorProfile"];
    for list in LISTS {
        for container in items(&pod["spec"][list]) {
            let key = crate::pod::app_armor::key(text(&container["name"]));
            let Some(annotation) = pod["metadata"]["annotations"].get(&key) else { continue };
            let meant = crate::pod::app_armor::of_annotation(text(annotation));
            let field = &container["securityContext"]["appArmorProfile"];
            let warned = match &meant {
                None => field.is_null(),
                Some(meant) => field == meant && meant != of_pod,
            };
            if warned {
                found.push(app_armor(&key, &Path::new("metadata.annotations")));
            }
        }
    }
}

fn of_container(container: &Value, path: &Path<'_>, found: &mut Found) {
    let resources = &container["resources"];
    for name in ["memory", "ephemeral-storage"] {
        for list in ["limits", "requests"] {
            fractional_bytes(&resources[list], name, &path.child("resources").child(list), found);
        }
    }
    let mut seen = HashSet::new();
    for (index, variable) in items(&container["env"]).iter().enumerate() {
        let (name, value) = (text(&variable["name"]), text(&variable["value"]));
        if seen.insert(name) {
            continue;
        }
        let reference = format!("$({name})");
        if !variable["valueFrom"].is_null() || value == reference || !value.contains(&reference) {
            found.push(format!(
                "{}: hides previous definition of {}, which may be dropped when using apply",
                path.child("env").index(index),
                go_quote(name)
            ));
        }
    }
}
