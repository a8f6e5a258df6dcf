//! Security contexts of pods and containers.
use super::volumes::validate_descending_path;
use crate::field::{Errors, Path};
use crate::names::range_error;
use crate::value::{flag, int, items, strings, text};
use serde_json::Value;
use std::collections::BTreeSet;

const ID_MAX: i64 = i32::MAX as i64;

fn validate_id(id: &Value, path: &Path<'_>, errors: &mut Errors) {
    if !id.is_null() && !(0..=ID_MAX).contains(&int(id)) {
        errors.invalid(path, int(id), range_error(0, ID_MAX));
    }
}

pub(super) fn validate_pod(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (context, path_context) = (&spec["securityContext"], path.child("securityContext"));
    for member in ["fsGroup", "runAsUser", "runAsGroup"] {
        validate_id(&context[member], &path_context.child(member), errors);
    }
    let groups = path_context.child("supplementalGroups");
    for (index, group) in items(&context["supplementalGroups"]).iter().enumerate() {
        validate_id(group, &groups.index(index), errors);
    }
    if flag(&spec["shareProcessNamespace"]) && flag(&spec["hostPID"]) {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.invalid(&path_context.child("shareProcessNamespace"), true, detail);
    }
    validate_sysctls(&context["sysctls"], &path_context.child("sysctls"), errors);
    for (member, supported) in [
        ("fsGroupChangePolicy", ["Always", "OnRootMismatch"]),
        ("supplementalGroupsPolicy", ["Merge", "Strict"]),
        ("seLinuxChangePolicy", ["MountOption", "Recursive"]),
    ] {
        let value = &context[member];
        if !value.is_null() && !supported.contains(&text(value)) {
            errors.not_supported(&path_context.child(member), text(value), &supported);
        }
    }
    validate_profiles(context, &path_context, errors);
    if spec["hostUsers"].as_bool() == Some(false) {
        for (member, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
            if flag(&spec[member]) {
                errors.forbidden(&path.child(shown), "when `hostUsers` is false");
            }
        }
    }
}

pub(super) fn validate_container(context: &Value, host_users: bool, path: &Path<'_>, errors: &mut Errors) {
    if context.is_null() {
        return;
    }
    for member in ["runAsUser", "runAsGroup"] {
        validate_id(&context[member], &path.child(member), errors);
    }
    if let Some(mount) = context["procMount"].as_str() {
        let path = path.child("procMount");
        if !matches!(mount, "Default" | "Unmasked") {
            errors.not_supported(&path, mount, &["Default", "Unmasked"]);
        }
        if host_users && mount == "Unmasked" {
            errors.invalid(&path, mount, "`hostUsers` must be false to use `Unmasked`");
        }
    }
    validate_profiles(context, path, errors);
    if context["allowPrivilegeEscalation"].as_bool() == Some(false) {
        if flag(&context["privileged"]) {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.invalid(path, context.clone(), detail);
        }
        if strings(&context["capabilities"]["add"]).contains(&"CAP_SYS_ADMIN") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.invalid(path, context.clone(), detail);
        }
    }
}

/// seccomp and AppArmor profiles, which are of the same shape.
fn validate_profiles(context: &Value, path: &Path<'_>, errors: &mut Errors) {
    for (member, what) in [("seccompProfile", "seccomp"), ("appArmorProfile", "AppArmor")] {
        let (profile, path) = (&context[member], path.child(member));
        if profile.is_null() {
            continue;
        }
        let (kind, local) = (text(&profile["type"]), &profile["localhostProfile"]);
        match kind {
            "Localhost" | "RuntimeDefault" | "Unconfined" => {}
            "" => errors.required(
                &path.child("type"),
                "type is required when seccompProfile is set".replace("seccompProfile", member),
            ),
            _ => errors.not_supported(&path.child("type"), kind, &["Localhost", "RuntimeDefault", "Unconfined"]),
        }
        let path = path.child("localhostProfile");
        match (kind, local.as_str()) {
            ("Localhost", None) => errors.required(&path, format!("must be set when {what} type is Localhost")),
            ("Localhost", Some(file)) if member == "seccompProfile" => validate_descending_path(file, &path, errors),
            ("Localhost", Some(_)) | (_, None) => {}
            (_, Some(_)) => {
                errors.invalid(&path, profile.clone(), format!("can only be set when {what} type is Localhost"));
            }
        }
    }
}

fn validate_sysctls(sysctls: &Value, path: &Path<'_>, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (index, sysctl) in items(sysctls).iter().enumerate() {
        let (name, path) = (text(&sysctl["name"]), path.index(index));
        let path = path.child("name");
        if name.is_empty() {
            errors.required(&path, "");
        } else if !is_sysctl(name) {
            errors.invalid(
                &path,
                name,
                "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9][-_a-z0-9]*[a-z0-9]?$",
            );
        } else if !seen.insert(name) {
            errors.duplicate(&path, name);
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 253
        && name
            .split(['.', '/'])
            .all(|part| part.starts_with(lower) && part.chars().all(|c| lower(c) || c == '-' || c == '_'))
}
