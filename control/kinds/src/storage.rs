//! PersistentVolumes, their claims and the kinds of storage.k8s.io.
use crate::resources::canonical_requirements;
use crate::value::{at, default_to};
use serde_json::Value;

/// The spec of a claim, also inside a pod's ephemeral volumes and a StatefulSet's templates.
pub(crate) fn default_claim_spec(spec: &mut Value) {
    default_to(spec, "volumeMode", "Filesystem");
    if let Some(resources) = at(spec, &["resources"]) {
        canonical_requirements(resources);
    }
}
