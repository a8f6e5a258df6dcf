//! PersistentVolumes, their claims and the kinds of storage.k8s.io.
use crate::kind::Kind;
use crate::resources::canonical_requirements;
use crate::value::{at, default_to, default_zero, object_at, sorted, strings, text};
use serde_json::Value;

mod attachment;
mod claim;
mod class;
mod csi;
mod volume;

pub(crate) use claim::validate_claim_spec;

pub(crate) static KINDS: &[Kind] = &[
    volume::KIND,
    claim::KIND,
    class::STORAGE_CLASS,
    class::VOLUME_ATTRIBUTES_CLASS,
    csi::DRIVER,
    csi::NODE,
    csi::STORAGE_CAPACITY,
    attachment::KIND,
];

/// A PersistentVolumeClaim, also as a StatefulSet's template.
pub(crate) fn default_claim(claim: &mut Value) {
    object_at(claim, "spec");
    if let Some(spec) = at(claim, &["spec"]) {
        default_claim_spec(spec);
    }
    object_at(claim, "status");
    if let Some(status) = at(claim, &["status"]) {
        default_zero(status, "phase", "Pending");
        for list in ["capacity", "allocatedResources"] {
            if let Some(list) = at(status, &[list]) {
                crate::resources::canonical_list(list);
            }
        }
    }
}

/// The spec of a claim, also inside a pod's ephemeral volumes.
pub(crate) fn default_claim_spec(spec: &mut Value) {
    default_to(spec, "volumeMode", "Filesystem");
    if let Some(resources) = at(spec, &["resources"]) {
        canonical_requirements(resources);
    }
}

/// Access modes as printers show them: `RWO,ROX,RWX,RWOP`, each once.
fn access_modes(modes: &Value) -> String {
    const SHORT: [(&str, &str); 4] =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let modes = strings(modes);
    let shown: Vec<&str> = SHORT.iter().filter(|(mode, _)| modes.contains(mode)).map(|(_, short)| *short).collect();
    shown.join(",")
}

/// The storage class of a volume or claim: the old annotation, or the field.
fn class_name(object: &Value) -> &str {
    match object["metadata"]["annotations"].get("volume.beta.kubernetes.io/storage-class") {
        Some(class) => text(class),
        None => text(&object["spec"]["storageClassName"]),
    }
}

/// Whether the annotations make a class the default one.
fn is_default(object: &Value) -> bool {
    sorted(&object["metadata"]["annotations"]).into_iter().any(|(key, value)| {
        matches!(
            key,
            "storageclass.kubernetes.io/is-default-class" | "storageclass.beta.kubernetes.io/is-default-class"
        ) && text(value) == "true"
    })
}
