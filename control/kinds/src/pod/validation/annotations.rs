//! Annotations of Pods that Kubernetes reads.
use crate::field::{Errors, Path};
use crate::pod::app_armor;
use crate::value::{entries, items, text};
use serde_json::Value;
use std::collections::HashSet;

use super::scheduling::validate_tolerations;
use super::volumes::validate_descending_path;

pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const TOLERATIONS: &str = "scheduler.alpha.kubernetes.io/tolerations";
const SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_OF: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// The annotations of a Pod, or of a template, whose spec is `spec`.
pub(super) fn validate(annotations: &Value, spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    if let Some(mirror) = annotations.get(MIRROR)
        && text(&spec["nodeName"]).is_empty()
    {
        let detail = "must set spec.nodeName if mirror pod annotation is set";
        errors.invalid(&path.key(MIRROR), mirror.clone(), detail);
    }
    let tolerations = text(&annotations[TOLERATIONS]);
    if !tolerations.is_empty() {
        match serde_json::from_str::<Value>(tolerations) {
            Ok(list) => validate_tolerations(&list, &path.child(TOLERATIONS), errors),
            Err(_) => {
                let first = tolerations.chars().next().unwrap_or_default();
                let detail = format!("invalid character '{first}' looking for beginning of value");
                errors.invalid(path, TOLERATIONS, detail);
            }
        }
    }
    if let Some(cost) = annotations.get(DELETION_COST)
        && !is_cost(text(cost))
    {
        errors.invalid(&path.key(DELETION_COST), cost.clone(), "must be a 32bit integer");
    }
    if let Some(profile) = annotations.get(SECCOMP) {
        seccomp(text(profile), &path.child(SECCOMP), errors);
    }
    for (key, profile) in entries(annotations).filter(|(key, _)| key.starts_with(SECCOMP_OF)) {
        seccomp(text(profile), &path.child(key), errors);
    }
    let lists = ["initContainers", "containers", "ephemeralContainers"].into_iter();
    let containers: HashSet<&str> = lists.flat_map(|list| items(&spec[list])).map(|one| text(&one["name"])).collect();
    for (key, profile) in entries(annotations) {
        let Some(container) = app_armor::container(key) else { continue };
        if !containers.contains(container) {
            errors.invalid(&path.key(key), container, "container not found");
        }
        if !app_armor::is_profile(text(profile)) {
            let detail = format!("invalid AppArmor profile name: {}", crate::value::go_quote(text(profile)));
            errors.invalid(&path.key(key), text(profile), detail);
        }
    }
}

/// A 32-bit integer without a plus sign or leading zeros.
fn is_cost(cost: &str) -> bool {
    let canonical = cost == "0" || !(cost.starts_with('+') || cost.trim_start_matches('-').starts_with('0'));
    canonical && cost.parse::<i32>().is_ok()
}

fn seccomp(profile: &str, path: &Path<'_>, errors: &mut Errors) {
    if matches!(profile, "runtime/default" | "docker/default" | "unconfined") {
        return;
    }
    match profile.strip_prefix("localhost/") {
        Some(file) => validate_descending_path(file, path, errors),
        None => errors.invalid(path, profile, "must be a valid seccomp profile"),
    }
}
