//! PersistentVolumes and claims: deprecated annotations, volume plugins that are gone, sizes that are no whole bytes.
use super::{Found, ROOT, fractional_bytes, nodes};
use crate::field::Path;
use crate::value::{items, text};
use serde_json::Value;

const CLASS: (&str, &str) =
    ("volume.beta.kubernetes.io/storage-class", r#"deprecated since v1.8; use "storageClassName" attribute instead"#);
const MOUNT_OPTIONS: (&str, &str) =
    ("volume.beta.kubernetes.io/mount-options", r#"deprecated since v1.31; use "mountOptions" attribute instead"#);

/// Volume plugins by when they went.
pub(super) const GONE: [(&str, &str); 8] = [
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// Tokens of service accounts that a driver would find among a volume's attributes, which get logged.
pub(super) fn of_driver(new: &Value, old: &Value) -> Option<String> {
    let requests = &new["spec"]["tokenRequests"];
    let asks = !items(requests).is_empty() && new["spec"]["serviceAccountTokenInSecrets"].is_null();
    (asks && !crate::value::same(requests, &old["spec"]["tokenRequests"])).then(|| {
        "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes".to_owned()
    })
}

/// How a warning spells a plugin's field.
pub(super) fn shown(plugin: &str) -> &str {
    if plugin == "storageos" { "storageOS" } else { plugin }
}

fn annotations(object: &Value, known: &[(&str, &str)], found: &mut Found) {
    for (key, message) in known {
        if object["metadata"]["annotations"].get(*key).is_some() {
            found.push(format!("metadata.annotations[{key}]: {message}"));
        }
    }
}

pub(super) fn of_volume(volume: &Value, found: &mut Found) {
    annotations(volume, &[CLASS, MOUNT_OPTIONS], found);
    let (spec, path) = (&volume["spec"], ROOT.child("spec"));
    if text(&spec["persistentVolumeReclaimPolicy"]) == "Recycle" {
        found.push("spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.".to_owned());
    }
    let terms = path.child("nodeAffinity.required.nodeSelectorTerms");
    for (index, term) in items(&spec["nodeAffinity"]["required"]["nodeSelectorTerms"]).iter().enumerate() {
        nodes::of_term(term, false, &terms.index(index), found);
    }
    for plugin in ["cephfs", "photonPersistentDisk", "scaleIO", "storageos", "glusterfs", "rbd"] {
        if let Some((_, message)) = GONE.iter().find(|gone| gone.0 == plugin && !spec[plugin].is_null()) {
            found.push(format!("{}: {message}", path.child(shown(plugin))));
        }
    }
}

pub(super) fn of_claim(claim: &Value, found: &mut Found) {
    annotations(claim, &[CLASS], found);
    of_claim_spec(&claim["spec"], &ROOT.child("spec"), found);
}

pub(super) fn of_claim_spec(spec: &Value, path: &Path<'_>, found: &mut Found) {
    for list in ["requests", "limits"] {
        fractional_bytes(&spec["resources"][list], "storage", &path.child("resources").child(list), found);
    }
}
