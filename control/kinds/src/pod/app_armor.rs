//! AppArmor profiles that are still written as annotations.
use crate::value::{at, items_at, object_at, set, text};
use serde_json::{Value, json};

const PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";

/// The annotation of a container.
pub(crate) fn key(container: &str) -> String {
    format!("{PREFIX}{container}")
}

/// The container that an annotation is for.
pub(super) fn container(key: &str) -> Option<&str> {
    key.strip_prefix(PREFIX)
}

/// Whether an annotation's value has the form of a profile.
pub(super) fn is_profile(value: &str) -> bool {
    matches!(value, "" | "runtime/default" | "unconfined") || value.starts_with("localhost/")
}

/// The field that says what an annotation said.
pub(crate) fn of_annotation(value: &str) -> Option<Value> {
    match value {
        "unconfined" => Some(json!({"type": "Unconfined"})),
        "runtime/default" => Some(json!({"type": "RuntimeDefault"})),
        _ => {
            let profile = value.strip_prefix("localhost/").filter(|profile| !profile.is_empty())?;
            let good = profile.trim() == profile && profile.len() <= 4095;
            good.then(|| json!({"type": "Localhost", "localhostProfile": profile}))
        }
    }
}

/// Writes annotations of a new Pod into fields, where they say something else than the pod's own profile.
pub(super) fn annotations_into_fields(pod: &mut Value) {
    if text(&pod["spec"]["os"]["name"]) == "windows" {
        return;
    }
    let annotations = pod["metadata"]["annotations"].clone();
    let of_pod = pod["spec"]["securityContext"]["appArmorProfile"].clone();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in items_at(pod, &["spec", list]) {
            let Some(annotation) = annotations.get(key(text(&container["name"]))) else { continue };
            if !container["securityContext"]["appArmorProfile"].is_null() {
                continue;
            }
            let Some(meant) = of_annotation(text(annotation)).filter(|meant| *meant != of_pod) else { continue };
            object_at(container, "securityContext");
            if let Some(context) = at(container, &["securityContext"]) {
                set(context, "appArmorProfile", meant);
            }
        }
    }
}
