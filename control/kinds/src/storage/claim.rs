//! PersistentVolumeClaim.
use super::{access_modes, class_name, default_claim};
use crate::diff::difference;
use crate::field::{Errors, Path};
use crate::kind::{GENERAL, Kind, Subresource};
use crate::labels::validate_selector;
use crate::meta::{NEGATIVE, immutable};
use crate::names;
use crate::quantity::Quantity;
use crate::table::{AGE, Column, NAME, age, name};
use crate::value::{at, copy, default_to, entries, is_empty, same, set, strings, text};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(super) const KIND: Kind = Kind {
    kind: "PersistentVolumeClaim",
    status: true,
    defaults: |_, claim| default_claim(claim),
    prepare_create: |claim| {
        set(claim, "status", json!({"phase": "Pending"}));
        drop_unknown_source(claim);
        mirror_data_source(claim);
    },
    prepare_update: |new, _, subresource| {
        if subresource != Subresource::Status {
            mirror_data_source(new);
        }
    },
    validate: |claim, errors| validate_claim_spec(&claim["spec"], &SPEC, errors),
    validate_update,
    columns: COLUMNS,
    cells,
    ..GENERAL
};

const SPEC: Path<'static> = Path::new("spec");
pub(super) const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

const COLUMNS: &[Column] = &[
    NAME,
    Column::text("Status", "phase represents the current phase of PersistentVolumeClaim."),
    Column::text("Volume", "volumeName is the binding reference to the PersistentVolume backing this claim."),
    Column::text("Capacity", "capacity represents the actual resources of the underlying volume."),
    Column::text("Access Modes", "accessModes contains the actual access modes the volume backing the PVC has. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#access-modes-1"),
    Column::text("StorageClass", "StorageClass of the pvc"),
    Column::text("VolumeAttributesClass", "VolumeAttributesClass of the pvc"),
    AGE,
    Column::text("VolumeMode", "volumeMode defines what type of volume is required by the claim. Value of Filesystem is implied when not included in claim spec.").wide(),
];

/// dataSource and dataSourceRef say the same when only one was written.
fn mirror_data_source(claim: &mut Value) {
    let Some(spec) = at(claim, &["spec"]) else { return };
    let (old, new) = (spec["dataSource"].clone(), spec["dataSourceRef"].clone());
    if !old.is_null() && new.is_null() {
        set(spec, "dataSourceRef", old);
    } else if old.is_null() && !new.is_null() && text(&new["namespace"]).is_empty() {
        default_to(spec, "dataSource", new);
    }
}

/// The old field names claims and snapshots; anything else in it was always ignored.
fn drop_unknown_source(claim: &mut Value) {
    let Some(spec) = at(claim, &["spec"]) else { return };
    let source = &spec["dataSource"];
    let known = matches!(
        (text(&source["apiGroup"]), text(&source["kind"])),
        ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
    );
    if spec["dataSourceRef"].is_null() && !known {
        crate::value::remove(spec, "dataSource");
    }
}

/// The spec of a claim, also in a StatefulSet or a pod's ephemeral volume.
pub(crate) fn validate_claim_spec(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let modes = strings(&spec["accessModes"]);
    let path_modes = path.child("accessModes");
    if modes.is_empty() {
        errors.required(&path_modes, "at least 1 access mode is required");
    }
    validate_selector(&spec["selector"], &path.child("selector"), errors);
    for mode in modes.iter().filter(|mode| !ACCESS_MODES.contains(mode)) {
        errors.not_supported(&path_modes, *mode, ACCESS_MODES);
    }
    let known = modes.iter().filter(|mode| ACCESS_MODES.contains(mode));
    if modes.contains(&"ReadWriteOncePod") && known.clone().any(|mode| *mode != "ReadWriteOncePod") {
        errors.forbidden(&path_modes, "may not use ReadWriteOncePod with other access modes");
    }
    let path_storage = path.child("resources");
    let path_storage = path_storage.key("storage");
    match spec["resources"]["requests"].get("storage") {
        None => errors.required(&path_storage, ""),
        Some(size) => match Quantity::from_value(size) {
            Ok(size) if size.is_zero() || size.is_negative() => {
                errors.invalid(&path_storage, size.to_string(), "must be greater than zero");
            }
            Ok(_) => {}
            Err(error) => errors.invalid(&path_storage, size.clone(), error.to_string()),
        },
    }
    for member in ["storageClassName", "volumeAttributesClassName"] {
        let class = text(&spec[member]);
        if !class.is_empty() {
            errors.invalid_each(&path.child(member), class, names::dns1123_subdomain(class));
        }
    }
    let mode = &spec["volumeMode"];
    if !mode.is_null() && !matches!(text(mode), "Block" | "Filesystem") {
        errors.not_supported(&path.child("volumeMode"), text(mode), &["Block", "Filesystem"]);
    }
    for member in ["dataSource", "dataSourceRef"] {
        let (source, path) = (&spec[member], path.child(member));
        if source.is_null() {
            continue;
        }
        for part in ["name", "kind"] {
            if text(&source[part]).is_empty() {
                errors.required(&path.child(part), "");
            }
        }
        if text(&source["apiGroup"]).is_empty() && text(&source["kind"]) != "PersistentVolumeClaim" {
            errors.invalid(
                &path,
                text(&source["kind"]),
                "must be 'PersistentVolumeClaim' when referencing the default apiGroup",
            );
        }
        let group = text(&source["apiGroup"]);
        if !group.is_empty() {
            errors.invalid_each(&path.child("apiGroup"), group, names::dns1123_subdomain(group));
        }
    }
    // Kubernetes prints the path, a struct without public members.
    let (old_way, new_way) = (&spec["dataSource"], &spec["dataSourceRef"]);
    if old_way.is_null() || new_way.is_null() {
        return;
    }
    if !text(&new_way["namespace"]).is_empty() {
        errors.invalid(path, json!({}), "may not be specified when dataSourceRef.namespace is specified");
    } else if ["apiGroup", "kind", "name"].iter().any(|key| text(&old_way[*key]) != text(&new_way[*key])) {
        errors.invalid(path, json!({}), "must match dataSourceRef");
    }
}

fn size(list: &Value) -> Option<Quantity> {
    list.get("storage").and_then(|size| Quantity::from_value(size).ok())
}

fn validate_update(new: &Value, old: &Value, subresource: Subresource, errors: &mut Errors) {
    if subresource == Subresource::Status {
        let capacity = Path::new("status.capacity");
        for (name, quantity) in entries(&new["status"]["capacity"]) {
            if Quantity::from_value(quantity).is_ok_and(|quantity| quantity.is_negative()) {
                errors.invalid(&capacity.key(name), text(quantity), NEGATIVE);
            }
        }
        return;
    }
    crate::meta::validate_finalizers(&new["metadata"], errors);
    validate_claim_spec(&new["spec"], &SPEC, errors);
    let (mut fixed, mut before) = (new["spec"].clone(), old["spec"].clone());
    if is_empty(&before["volumeName"]) {
        copy(&mut before, &new["spec"], "volumeName");
    }
    if old["spec"]["storageClassName"].is_null() {
        copy(&mut fixed, &old["spec"], "storageClassName");
    }
    if text(&new["status"]["phase"]) == "Bound" {
        copy(&mut fixed, &old["spec"], "volumeAttributesClassName");
        if let Some(requests) = at(&mut fixed, &["resources", "requests"]) {
            copy(requests, &old["spec"]["resources"]["requests"], "storage");
        }
    }
    if !same(&fixed, &before) {
        errors.forbidden(
            &SPEC,
            format!(
                "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n{}",
                difference(&fixed, &before, "spec")
            ),
        );
    }
    let (now, was) = (size(&new["spec"]["resources"]["requests"]), size(&old["spec"]["resources"]["requests"]));
    let zero = || Quantity::new(0, crate::quantity::Format::BinarySI);
    let now = now.unwrap_or_else(zero);
    if now < was.unwrap_or_else(zero) && now <= size(&old["status"]["capacity"]).unwrap_or_else(zero) {
        errors.forbidden(&SPEC.child("resources.requests.storage"), "field can not be less than status.capacity");
    }
    immutable(&new["spec"]["volumeMode"], &old["spec"]["volumeMode"], &Path::new("volumeMode"), errors);
}

fn cells(claim: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&claim["spec"], &claim["status"]);
    let deleting = !claim["metadata"]["deletionTimestamp"].is_null();
    let bound = !text(&spec["volumeName"]).is_empty();
    let capacity = size(&status["capacity"]).map_or("0".to_owned(), |size| size.to_string());
    vec![
        name(claim),
        if deleting { "Terminating".into() } else { text(&status["phase"]).into() },
        text(&spec["volumeName"]).into(),
        if bound { capacity.into() } else { "".into() },
        if bound { access_modes(&status["accessModes"]).into() } else { "".into() },
        class_name(claim).into(),
        spec["volumeAttributesClassName"].as_str().unwrap_or("<unset>").into(),
        age(claim, now),
        spec["volumeMode"].as_str().unwrap_or("<unset>").into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind;

    fn claim() -> Value {
        let mut object = json!({"metadata": {"name": "c", "namespace": "n", "resourceVersion": "1"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1024Mi"}}}});
        kind("", "PersistentVolumeClaim").default("v1", &mut object);
        object
    }

    #[test]
    fn a_claim_needs_modes_and_a_size() {
        let rules = kind("", "PersistentVolumeClaim");
        assert_eq!(rules.validate_create(&claim()).message(), "[]");
        assert_eq!(claim()["spec"]["resources"]["requests"]["storage"], "1Gi");
        let mut object = claim();
        object["spec"] = json!({"accessModes": ["X", "ReadWriteOncePod", "ReadWriteOnce"]});
        assert_eq!(
            rules.validate_create(&object).message(),
            "[spec.accessModes: Unsupported value: \"X\": supported values: \"ReadOnlyMany\", \"ReadWriteMany\", \"ReadWriteOnce\", \"ReadWriteOncePod\", \
             spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes, spec.resources[storage]: Required value]"
        );
    }

    #[test]
    fn only_a_bound_claim_grows() {
        let rules = kind("", "PersistentVolumeClaim");
        let (mut old, mut new) = (claim(), claim());
        new["spec"]["resources"]["requests"]["storage"] = "2Gi".into();
        assert!(
            rules
                .validate_update(&new, &old, Subresource::None)
                .message()
                .starts_with("spec: Forbidden: spec is immutable after creation")
        );
        old["status"]["phase"] = "Bound".into();
        new["status"]["phase"] = "Bound".into();
        assert_eq!(rules.validate_update(&new, &old, Subresource::None).message(), "[]");
    }

    #[test]
    fn the_row_shows_the_volume_once_bound() {
        let mut object = claim();
        object["spec"]["volumeName"] = "pv".into();
        object["status"] =
            json!({"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce", "ReadOnlyMany"]});
        let row = cells(&object, Timestamp::UNIX_EPOCH);
        assert_eq!(row[1..5], [json!("Bound"), json!("pv"), json!("1Gi"), json!("RWO,ROX")]);
        assert_eq!(row.len(), COLUMNS.len());
    }
}
