//! Security contexts of pods and containers.
use super::volumes::validate_descending_path;
use crate::field::{Errors, Path};
use crate::names::range_error;
use crate::value::{flag, int, items, strings, text};
use serde_json::{Value, json};
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
    validate_sysctls(spec, &path_context.child("sysctls"), errors);
    let policy = |member: &str, supported: &[&str], errors: &mut Errors| {
        let value = &context[member];
        if !value.is_null() && !supported.contains(&text(value)) {
            errors.not_supported(&path_context.child(member), text(value), supported);
        }
    };
    policy("fsGroupChangePolicy", &["Always", "OnRootMismatch"], errors);
    validate_seccomp(context, &path_context, errors);
    super::os::options(&context["windowsOptions"], &path_context.child("windowsOptions"), errors);
    validate_app_armor(context, &path_context, errors);
    policy("supplementalGroupsPolicy", &["Merge", "Strict"], errors);
    // MountOption waits for the feature gate SELinuxMount.
    let kept = errors.kept().se_linux_change_policy;
    policy("seLinuxChangePolicy", if kept { &["MountOption", "Recursive"] } else { &["Recursive"] }, errors);
}

/// What a pod with a user namespace of its own may not share with its host.
pub(super) fn validate_host_users(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
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
    validate_seccomp(context, path, errors);
    if context["allowPrivilegeEscalation"].as_bool() == Some(false) {
        if flag(&context["privileged"]) {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.invalid(path, shown(context), detail);
        }
        if strings(&context["capabilities"]["add"]).contains(&"CAP_SYS_ADMIN") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.invalid(path, shown(context), detail);
        }
    }
    super::os::options(&context["windowsOptions"], &path.child("windowsOptions"), errors);
    validate_app_armor(context, path, errors);
}

/// A container's security context as Go prints it: every field, by its name in Go.
fn shown(context: &Value) -> Value {
    const FIELDS: [(&str, &str); 12] = [
        ("Capabilities", "capabilities"),
        ("Privileged", "privileged"),
        ("SELinuxOptions", "seLinuxOptions"),
        ("WindowsOptions", "windowsOptions"),
        ("RunAsUser", "runAsUser"),
        ("RunAsGroup", "runAsGroup"),
        ("RunAsNonRoot", "runAsNonRoot"),
        ("ReadOnlyRootFilesystem", "readOnlyRootFilesystem"),
        ("AllowPrivilegeEscalation", "allowPrivilegeEscalation"),
        ("ProcMount", "procMount"),
        ("SeccompProfile", "seccompProfile"),
        ("AppArmorProfile", "appArmorProfile"),
    ];
    let mut fields = serde_json::Map::new();
    for (shown, member) in FIELDS {
        let value = match (member, &context[member]) {
            (_, Value::Null) => Value::Null,
            ("capabilities", value) => json!({"Add": value["add"], "Drop": value["drop"]}),
            ("seccompProfile" | "appArmorProfile", value) => shown_profile(value),
            ("seLinuxOptions", value) => {
                let [user, role, kind, level] = ["user", "role", "type", "level"].map(|key| text(&value[key]));
                json!({"User": user, "Role": role, "Type": kind, "Level": level})
            }
            ("windowsOptions", value) => {
                json!({"GMSACredentialSpecName": value["gmsaCredentialSpecName"], "GMSACredentialSpec": value["gmsaCredentialSpec"],
                    "RunAsUserName": value["runAsUserName"], "HostProcess": value["hostProcess"]})
            }
            (_, value) => value.clone(),
        };
        fields.insert(shown.to_owned(), value);
    }
    fields.into()
}

fn shown_profile(profile: &Value) -> Value {
    json!({"Type": text(&profile["type"]), "LocalhostProfile": profile["localhostProfile"]})
}

fn validate_seccomp(context: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (profile, path) = (&context["seccompProfile"], path.child("seccompProfile"));
    if profile.is_null() {
        return;
    }
    let kind = text(&profile["type"]);
    validate_profile_type(kind, "seccompProfile", &path.child("type"), errors);
    let path = path.child("localhostProfile");
    match (kind, profile["localhostProfile"].as_str()) {
        ("Localhost", None) => errors.required(&path, "must be set when seccomp type is Localhost"),
        ("Localhost", Some(file)) => validate_descending_path(file, &path, errors),
        (_, None) => {}
        (_, Some(_)) => {
            errors.invalid(&path, shown_profile(profile), "can only be set when seccomp type is Localhost");
        }
    }
}

fn validate_app_armor(context: &Value, path: &Path<'_>, errors: &mut Errors) {
    const REQUIRED: &str = "must be set when AppArmor type is Localhost";
    let (profile, path) = (&context["appArmorProfile"], path.child("appArmorProfile"));
    if profile.is_null() {
        return;
    }
    let kind = text(&profile["type"]);
    validate_profile_type(kind, "appArmorProfile", &path.child("type"), errors);
    let path = path.child("localhostProfile");
    match (kind, profile["localhostProfile"].as_str()) {
        ("Localhost", None) => errors.required(&path, REQUIRED),
        ("Localhost", Some(name)) => {
            if name.trim() != name {
                errors.invalid(&path, name, "must not be padded with whitespace");
            } else if name.is_empty() {
                errors.required(&path, REQUIRED);
            }
            if name.len() > 4095 {
                errors.too_long(&path, 4095);
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(name)) => {
            errors.invalid(&path, name, "can only be set when AppArmor type is Localhost");
        }
        _ => {}
    }
}

fn validate_profile_type(kind: &str, member: &str, path: &Path<'_>, errors: &mut Errors) {
    match kind {
        "Localhost" | "RuntimeDefault" | "Unconfined" => {}
        "" => errors.required(path, format!("type is required when {member} is set")),
        _ => errors.not_supported(path, kind, &["Localhost", "RuntimeDefault", "Unconfined"]),
    }
}

fn validate_sysctls(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (index, sysctl) in items(&spec["securityContext"]["sysctls"]).iter().enumerate() {
        let (name, path) = (text(&sysctl["name"]), path.index(index));
        let path = path.child("name");
        if name.is_empty() {
            errors.required(&path, "");
        } else if !is_sysctl(name) {
            errors.invalid(
                &path,
                name,
                "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$",
            );
        } else if !seen.insert(name) {
            errors.duplicate(&path, name);
        }
        for (shared, of_namespace) in [("hostNetwork", is_net_sysctl as fn(&str) -> bool), ("hostIPC", is_ipc_sysctl)] {
            if flag(&spec[shared]) && of_namespace(&name.replace('/', ".")) {
                errors.invalid(&path, name, format!("may not be specified when '{shared}' is true"));
            }
        }
    }
}

fn is_net_sysctl(name: &str) -> bool {
    name.starts_with("net.")
}

fn is_ipc_sysctl(name: &str) -> bool {
    name == "kernel.sem" || ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|prefix| name.starts_with(prefix))
}

fn is_sysctl(name: &str) -> bool {
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 253
        && name.split(['.', '/']).all(|part| {
            part.starts_with(lower) && part.ends_with(lower) && part.chars().all(|c| lower(c) || c == '-' || c == '_')
        })
}
