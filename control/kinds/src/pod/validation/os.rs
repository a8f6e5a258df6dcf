//! What only Windows pods or only Linux pods may set.
use crate::field::{Errors, Path};
use crate::names::dns1123_subdomain;
use crate::value::{flag, is_empty, items, text};
use serde_json::Value;

const NOT_ON_WINDOWS: &str = "cannot be set for a windows pod";
const NOT_ON_LINUX: &str = "windows options cannot be set for a linux pod";
const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// `spec.os`, and what follows from it.
pub(super) fn validate(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let os = &spec["os"];
    if !os.is_null() {
        match text(&os["name"]) {
            "" => errors.required(&path.child("os.name"), ""),
            "linux" => linux(spec, path, errors),
            "windows" => windows(spec, path, errors),
            other => errors.not_supported(&path.child("os"), other, &["linux", "windows"]),
        }
    }
}

/// Each container's security context with its path.
fn contexts<'a>(spec: &'a Value, path: &Path<'_>, mut visit: impl FnMut(&'a Value, &Path<'_>)) {
    for list in LISTS {
        let path = path.child(list);
        for (index, container) in items(&spec[list]).iter().enumerate() {
            visit(&container["securityContext"], &path.index(index).child("securityContext"));
        }
    }
}

fn linux(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let mut check = |context: &Value, path: &Path<'_>| {
        if !context["windowsOptions"].is_null() {
            errors.forbidden(&path.child("windowsOptions"), NOT_ON_LINUX);
        }
    };
    check(&spec["securityContext"], &path.child("securityContext"));
    contexts(spec, path, check);
}

fn windows(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    // In Kubernetes' own order; those with false live in the spec itself.
    const OF_POD: [(&str, bool); 15] = [
        ("appArmorProfile", true),
        ("seLinuxOptions", true),
        ("hostUsers", false),
        ("hostPID", false),
        ("hostIPC", false),
        ("seccompProfile", true),
        ("fsGroup", true),
        ("fsGroupChangePolicy", true),
        ("sysctls", true),
        ("shareProcessNamespace", false),
        ("runAsUser", true),
        ("runAsGroup", true),
        ("supplementalGroups", true),
        ("supplementalGroupsPolicy", true),
        ("seLinuxChangePolicy", true),
    ];
    const OF_CONTAINER: [&str; 10] = [
        "appArmorProfile",
        "seLinuxOptions",
        "seccompProfile",
        "capabilities",
        "readOnlyRootFilesystem",
        "privileged",
        "allowPrivilegeEscalation",
        "procMount",
        "runAsUser",
        "runAsGroup",
    ];
    for (member, in_context) in OF_POD {
        let value = if in_context { &spec["securityContext"][member] } else { &spec[member] };
        let set = match member {
            "hostPID" | "hostIPC" => flag(value),
            "sysctls" => !is_empty(value),
            _ => !value.is_null(),
        };
        if set {
            let path = path.child(if in_context { "securityContext" } else { "" });
            errors.forbidden(&path.child(member), NOT_ON_WINDOWS);
        }
    }
    contexts(spec, path, |context, path| {
        for member in OF_CONTAINER {
            if !context[member].is_null() {
                errors.forbidden(&path.child(member), NOT_ON_WINDOWS);
            }
        }
    });
}

/// All of a pod's containers are HostProcess containers or none, and such pods are on the host's network.
pub(super) fn host_process(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let of_pod = spec["securityContext"]["windowsOptions"]["hostProcess"].as_bool();
    let (mut all, mut on_host) = (0, 0);
    contexts(spec, path, |context, path| {
        all += 1;
        let own = context["windowsOptions"]["hostProcess"].as_bool();
        if let (Some(of_pod), Some(own)) = (of_pod, own)
            && of_pod != own
        {
            let detail = format!("pod hostProcess value must be identical if both are specified, was {of_pod}");
            errors.invalid(&path.child("windowsOptions.hostProcess"), own, detail);
        }
        on_host += i32::from(own.or(of_pod) == Some(true));
    });
    if on_host == 0 {
        return;
    }
    if on_host != all {
        let detail = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.invalid(path, "", detail);
    }
    if !flag(&spec["hostNetwork"]) {
        let detail = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.invalid(&path.child("hostNetwork"), false, detail);
    }
}

/// `windowsOptions` of a pod or a container.
pub(super) fn options(options: &Value, path: &Path<'_>, errors: &mut Errors) {
    if let Some(name) = options["gmsaCredentialSpecName"].as_str() {
        errors.invalid_each(&path.child("gmsaCredentialSpecName"), name, dns1123_subdomain(name));
    }
    if let Some(spec) = options["gmsaCredentialSpec"].as_str() {
        let path = path.child("gmsaCredentialSpec");
        if spec.is_empty() {
            errors.invalid(&path, spec, "gmsaCredentialSpec cannot be an empty string");
        } else if spec.len() > 64 * 1024 {
            errors.invalid(&path, spec, "gmsaCredentialSpec size must be under 64 KiB");
        }
    }
    if let Some(name) = options["runAsUserName"].as_str() {
        for wrong in user_name(name) {
            errors.invalid(&path.child("runAsUserName"), name, format!("runAsUserName{wrong}"));
        }
    }
}

/// What is wrong with `USER` or `DOMAIN\USER`.
fn user_name(name: &str) -> Vec<&'static str> {
    if name.is_empty() {
        return vec![" cannot be an empty string"];
    }
    if name.chars().any(char::is_control) {
        return vec![" cannot contain control characters"];
    }
    let (domain, user) = match name.split('\\').collect::<Vec<_>>()[..] {
        [user] => (None, user),
        [domain, user] => (Some(domain), user),
        _ => return vec![" cannot contain more than one backslash"],
    };
    let mut wrong = Vec::new();
    if domain.is_some_and(|domain| domain.len() >= 256) {
        wrong.push("'s Domain length must be under 256 characters");
    }
    if domain.is_some_and(|domain| !is_net_bios(domain) && !is_windows_domain(domain)) {
        wrong.push("'s Domain doesn't match the NetBios nor the DNS format");
    }
    match user.len() {
        0 => wrong.push("'s User cannot be empty"),
        105.. => wrong.push("'s User length must not be longer than 104 characters"),
        _ => {}
    }
    if !user.is_empty() && user.chars().all(|c| c == '.' || c == ' ') {
        wrong.push("'s User cannot contain only periods or spaces");
    }
    if user.contains(['"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']']) {
        wrong.push(r#"'s User cannot contain the following characters: "/\:;|=,+*?<>@[]"#);
    }
    wrong
}

fn is_net_bios(domain: &str) -> bool {
    (1..=15).contains(&domain.len())
        && !domain.starts_with('.')
        && !domain.contains(['\\', '/', ':', '*', '?', '"', '<', '>', '|'])
}

fn is_windows_domain(domain: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric();
    let label = |label: &str| {
        !label.is_empty()
            && label.starts_with(word)
            && label.ends_with(word)
            && label.chars().all(|c| word(c) || c == '-')
    };
    domain.split('.').all(label)
}
