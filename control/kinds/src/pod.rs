//! Pods, and the pod specs inside every workload's template.
use crate::kind::{FieldLabel, GENERAL, Kind, not_supported};
use crate::value::{flag, items, text};
use serde_json::Value;

pub(crate) mod app_armor;
mod columns;
pub(crate) mod defaults;
pub(crate) mod disabled;
mod qos;
mod strategy;
pub(crate) mod validation;

pub use qos::qos_class;

pub(crate) static KINDS: &[Kind] = &[Kind {
    kind: "Pod",
    status: true,
    defaults: |_, pod| defaults::pod(pod),
    prepare_create: strategy::prepare_create,
    prepare_update: strategy::prepare_update,
    validate: validation::validate_create,
    validate_update: validation::validate_update,
    columns: columns::COLUMNS,
    cells: columns::cells,
    fields: FIELDS,
    field_error: not_supported,
    ..GENERAL
}];

const FIELDS: &[FieldLabel] = &[
    ("spec.nodeName", |pod| text(&pod["spec"]["nodeName"]).to_owned()),
    ("spec.host", |pod| text(&pod["spec"]["nodeName"]).to_owned()),
    ("spec.restartPolicy", |pod| text(&pod["spec"]["restartPolicy"]).to_owned()),
    ("spec.schedulerName", |pod| text(&pod["spec"]["schedulerName"]).to_owned()),
    ("spec.serviceAccountName", |pod| text(&pod["spec"]["serviceAccountName"]).to_owned()),
    ("spec.hostNetwork", |pod| flag(&pod["spec"]["hostNetwork"]).to_string()),
    ("status.phase", |pod| text(&pod["status"]["phase"]).to_owned()),
    ("status.podIP", |pod| text(&items(&pod["status"]["podIPs"]).first().unwrap_or(&Value::Null)["ip"]).to_owned()),
    ("status.podIPs", |pod| text(&items(&pod["status"]["podIPs"]).first().unwrap_or(&Value::Null)["ip"]).to_owned()),
    ("status.nominatedNodeName", |pod| text(&pod["status"]["nominatedNodeName"]).to_owned()),
];

/// Whether an init container runs beside the main ones (restartPolicy Always).
pub(crate) fn is_sidecar(container: &Value) -> bool {
    text(&container["restartPolicy"]) == "Always"
}
