//! CustomResourceDefinitions: defaults, strategy, columns; and the part of their status that the server writes.
use serde_json::{Value, json};

use crate::kind::{GENERAL, Kind};
use crate::table::{Column, NAME, name};
use crate::value::{at, default_to, default_zero, items, object_at, set, text};

mod names;
mod schema;
mod spec;
mod structural;
mod values;

pub use names::accepted_names;

pub(crate) const CUSTOM_RESOURCE_DEFINITION: Kind = Kind {
    group: "apiextensions.k8s.io",
    kind: "CustomResourceDefinition",
    namespaced: false,
    status: true,
    status_keeps_metadata: true,
    names_version: true,
    generation: true,
    defaults: |_, definition| defaults(definition),
    prepare_create: |definition| {
        set(
            definition,
            "status",
            json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": null}),
        );
        store_version(definition);
    },
    prepare_update: |new, _, _| store_version(new),
    validate: spec::validate,
    validate_update: spec::validate_update,
    columns: &[
        NAME,
        Column {
            data_type: "date",
            ..Column::text(
                "Created At",
                "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata",
            )
        },
    ],
    cells: |definition, _| vec![name(definition), definition["metadata"]["creationTimestamp"].clone()],
    ..GENERAL
};

fn defaults(definition: &mut Value) {
    object_at(definition, "spec");
    let Some(spec) = at(definition, &["spec"]) else { return };
    object_at(spec, "names");
    if let Some(names) = at(spec, &["names"]) {
        let kind = text(&names["kind"]).to_owned();
        if !kind.is_empty() {
            default_zero(names, "singular", kind.to_lowercase());
            default_zero(names, "listKind", format!("{kind}List"));
        }
    }
    for version in spec.get_mut("versions").and_then(Value::as_array_mut).into_iter().flatten() {
        default_to(version, "served", false);
        default_to(version, "storage", false);
    }
    default_to(spec, "conversion", json!({"strategy": "None"}));
    if let Some(service) = at(spec, &["conversion", "webhook", "clientConfig", "service"]) {
        default_to(service, "port", 443);
    }
}

/// The storage version of now is one in which objects are stored.
fn store_version(definition: &mut Value) {
    let storage = items(&definition["spec"]["versions"]).iter().find(|v| v["storage"] == true);
    let Some(version) = storage.map(|v| text(&v["name"]).to_owned()) else { return };
    object_at(definition, "status");
    let Some(status) = at(definition, &["status"]) else { return };
    match status.get_mut("storedVersions").and_then(Value::as_array_mut) {
        Some(stored) if stored.iter().any(|v| v == version.as_str()) => {}
        Some(stored) => stored.push(version.into()),
        None => set(status, "storedVersions", json!([version])),
    }
}

/// A condition of a definition's status by type.
pub fn condition<'a>(definition: &'a Value, ty: &str) -> Option<&'a Value> {
    items(&definition["status"]["conditions"]).iter().find(|c| c["type"] == ty)
}

/// Whether a condition is true.
pub fn has_condition(definition: &Value, ty: &str) -> bool {
    condition(definition, ty).is_some_and(|c| c["status"] == "True")
}

/// Sets a condition; its transition time moves only with its status.
pub fn set_condition(definition: &mut Value, ty: &str, status: &str, reason: &str, message: &str, now: &str) {
    let since = condition(definition, ty).filter(|c| c["status"] == status).map(|c| c["lastTransitionTime"].clone());
    let new = json!({
        "type": ty, "status": status, "lastTransitionTime": since.unwrap_or_else(|| now.into()),
        "reason": reason, "message": message,
    });
    object_at(definition, "status");
    let Some(status) = at(definition, &["status"]) else { return };
    match status.get_mut("conditions").and_then(Value::as_array_mut) {
        Some(conditions) => match conditions.iter_mut().find(|c| c["type"] == ty) {
            Some(old) => *old = new,
            None => conditions.push(new),
        },
        None => set(status, "conditions", json!([new])),
    }
}

#[cfg(test)]
mod tests;
