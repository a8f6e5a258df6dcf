//! Volumes, and where containers mount them.
use super::env::{validate_field_ref, validate_resource_ref};
use crate::field::{Errors, Path};
use crate::names;
use crate::quantity::Quantity;
use crate::value::{flag, int, is_empty, items, text};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) mod plugins;
mod projected;

/// The valid volumes of a pod by name.
pub(super) type Volumes<'a> = BTreeMap<&'a str, &'a Value>;

const FILE_MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

const VOLUME_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

pub(super) fn validate<'a>(volumes: &'a Value, pod: &str, path: &Path<'_>, errors: &mut Errors) -> Volumes<'a> {
    let made: BTreeSet<String> = items(volumes)
        .iter()
        .filter(|volume| !pod.is_empty() && volume["ephemeral"].is_object())
        .map(|volume| format!("{pod}-{}", text(&volume["name"])))
        .collect();
    let mut valid = Volumes::new();
    for (index, volume) in items(volumes).iter().enumerate() {
        let path = path.index(index);
        let before = errors.0.len();
        validate_source(volume, pod, &path, errors);
        let name = text(&volume["name"]);
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else {
            errors.invalid_each(&path.child("name"), name, names::dns1123_label(name));
        }
        if valid.contains_key(name) {
            errors.duplicate(&path.child("name"), name);
        }
        if errors.0.len() == before {
            valid.insert(name, volume);
        }
        let claim = text(&volume["persistentVolumeClaim"]["claimName"]);
        if made.contains(claim) {
            let detail = "must not reference a PVC that gets created for an ephemeral volume";
            errors.invalid(&path.child("persistentVolumeClaim.claimName"), claim, detail);
        }
    }
    valid
}

/// Volume sources in the order in which Kubernetes looks for them.
const KINDS: [&str; 30] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

/// Exactly one source, well-formed.
fn validate_source(volume: &Value, pod: &str, path: &Path<'_>, errors: &mut Errors) {
    let mut found = false;
    for kind in KINDS.into_iter().filter(|kind| !volume[*kind].is_null()) {
        if std::mem::replace(&mut found, true) {
            errors.forbidden(&path.child(kind), "may not specify more than 1 volume type");
            continue;
        }
        let shown = if kind == "gcePersistentDisk" { "persistentDisk" } else { kind };
        validate_one(kind, &volume[kind], pod, &path.child(shown), errors);
        let name = text(&volume["name"]);
        let portal = text(&volume["iscsi"]["targetPortal"]);
        if kind == "iscsi" && !volume["iscsi"]["initiatorName"].is_null() && name.len() + portal.len() >= 64 {
            let detail = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
            errors.invalid(&path.child("name"), name, detail);
        }
        if kind == "ephemeral" && !pod.is_empty() && !name.is_empty() {
            let claim = format!("{pod}-{name}");
            for wrong in names::dns1123_subdomain(&claim) {
                let detail = format!("PVC name {}: {wrong}", crate::value::go_quote(&claim));
                errors.invalid(&path.child("name"), name, detail);
            }
        }
    }
    if !found {
        errors.required(path, "must specify a volume type");
    }
}

fn validate_one(kind: &str, source: &Value, pod: &str, path: &Path<'_>, errors: &mut Errors) {
    let mut required = |member: &str| {
        if text(&source[member]).is_empty() {
            errors.required(&path.child(member), "");
        }
    };
    match kind {
        "emptyDir" => {
            if Quantity::from_value(&source["sizeLimit"]).is_ok_and(|limit| limit.is_negative()) {
                let detail = "SizeLimit field must be a valid resource quantity";
                errors.forbidden(&path.child("sizeLimit"), detail);
            }
        }
        "secret" | "configMap" => {
            required(if kind == "secret" { "secretName" } else { "name" });
            validate_mode(&source["defaultMode"], &path.child("defaultMode"), errors);
            for (index, item) in items(&source["items"]).iter().enumerate() {
                validate_key(item, &path.child("items").index(index), errors);
            }
        }
        "persistentVolumeClaim" => required("claimName"),
        "downwardAPI" => {
            validate_mode(&source["defaultMode"], &path.child("defaultMode"), errors);
            items(&source["items"]).iter().for_each(|item| validate_downward_file(item, path, errors));
        }
        "projected" => projected::validate(source, path, errors),
        "ephemeral" => {
            let (template, path) = (&source["volumeClaimTemplate"], path.child("volumeClaimTemplate"));
            if template.is_null() {
                return errors.required(&path, "");
            }
            let (meta, path_meta) = (&template["metadata"], path.child("metadata"));
            crate::meta::validate_annotations(&meta["annotations"], &path_meta.child("annotations"), errors);
            crate::labels::validate_labels(&meta["labels"], &path_meta.child("labels"), errors);
            crate::storage::validate_claim_spec(&template["spec"], &path.child("spec"), errors);
        }
        "csi" => {
            plugins::csi_driver(text(&source["driver"]), &path.child("driver"), errors);
            let secret = &source["nodePublishSecretRef"];
            match text(&secret["name"]) {
                _ if secret.is_null() => {}
                "" => errors.required(&path.child("nodePublishSecretRef.name"), ""),
                name => errors.invalid_each(&path.child("name"), name, names::dns1123_subdomain(name)),
            }
        }
        "image" => {
            if !pod.is_empty() {
                required("reference");
            }
            super::one_of(source, "pullPolicy", &["Always", "IfNotPresent", "Never"], path, errors);
        }
        _ => plugins::validate(kind, source, path, errors),
    }
}

fn validate_mode(mode: &Value, path: &Path<'_>, errors: &mut Errors) {
    if !mode.is_null() && !(0..=0o777).contains(&int(mode)) {
        errors.invalid(path, int(mode), FILE_MODE);
    }
}

fn validate_key(item: &Value, path: &Path<'_>, errors: &mut Errors) {
    for member in ["key", "path"] {
        if text(&item[member]).is_empty() {
            errors.required(&path.child(member), "");
        }
    }
    validate_file_path(text(&item["path"]), &path.child("path"), errors);
    validate_mode(&item["mode"], &path.child("mode"), errors);
}

/// A file of the downward API. `path` is the whole list's, as Kubernetes reports it.
fn validate_downward_file(file: &Value, path: &Path<'_>, errors: &mut Errors) {
    if text(&file["path"]).is_empty() {
        errors.required(&path.child("path"), "");
    }
    validate_file_path(text(&file["path"]), &path.child("path"), errors);
    let (field, resource) = (&file["fieldRef"], &file["resourceFieldRef"]);
    if field.is_object() {
        validate_field_ref(field, VOLUME_FIELDS, &path.child("fieldRef"), errors);
        if resource.is_object() {
            let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.invalid(path, "resource", detail);
        }
    } else if resource.is_object() {
        validate_resource_ref(resource, true, &path.child("resourceFieldRef"), errors);
    } else {
        errors.required(path, "one of fieldRef and resourceFieldRef is required");
    }
    validate_mode(&file["mode"], &path.child("mode"), errors);
}

/// A relative path that does not climb.
pub(super) fn validate_descending_path(file: &str, path: &Path<'_>, errors: &mut Errors) {
    if file.starts_with('/') {
        errors.invalid(path, file, "must be a relative path");
    }
    validate_no_backsteps(file, path, errors);
}

pub(super) fn validate_no_backsteps(file: &str, path: &Path<'_>, errors: &mut Errors) {
    if file.split('/').any(|part| part == "..") {
        errors.invalid(path, file, "must not contain '..'");
    }
}

fn validate_file_path(file: &str, path: &Path<'_>, errors: &mut Errors) {
    validate_descending_path(file, path, errors);
    if file.starts_with("..") && !file.starts_with("../") {
        errors.invalid(path, file, "must not start with '..'");
    }
}

pub(super) fn validate_mounts(container: &Value, volumes: &Volumes<'_>, path: &Path<'_>, errors: &mut Errors) {
    let devices = items(&container["volumeDevices"]);
    let mut seen = BTreeSet::new();
    for (index, mount) in items(&container["volumeMounts"]).iter().enumerate() {
        let path_one = path.index(index);
        let (name, place) = (text(&mount["name"]), text(&mount["mountPath"]));
        if name.is_empty() {
            errors.required(&path_one.child("name"), "");
        }
        if !volumes.contains_key(name) {
            errors.not_found(&path_one.child("name"), name);
        }
        if place.is_empty() {
            errors.required(&path_one.child("mountPath"), "");
        }
        if !seen.insert(place) {
            errors.invalid(&path_one.child("mountPath"), place, "must be unique");
        }
        if devices.iter().any(|device| text(&device["name"]) == name) {
            errors.invalid(&path_one.child("name"), name, "must not already exist in volumeDevices");
        }
        if devices.iter().any(|device| text(&device["devicePath"]) == place) {
            let detail = "must not already exist as a path in volumeDevices";
            errors.invalid(&path_one.child("mountPath"), place, detail);
        }
        let (sub, expression) = (text(&mount["subPath"]), text(&mount["subPathExpr"]));
        validate_descending_path(sub, &path.child("subPath"), errors);
        if !expression.is_empty() && !sub.is_empty() {
            let detail = "subPathExpr and subPath are mutually exclusive";
            errors.invalid(&path_one.child("subPathExpr"), expression, detail);
        }
        validate_descending_path(expression, &path.child("subPathExpr"), errors);
        validate_propagation(mount, container, path, errors);
    }
}

fn validate_propagation(mount: &Value, container: &Value, path: &Path<'_>, errors: &mut Errors) {
    let propagation = mount["mountPropagation"].as_str();
    if let Some(mode) = propagation {
        let path = path.child("mountPropagation");
        if !matches!(mode, "Bidirectional" | "HostToContainer" | "None") {
            errors.not_supported(&path, mode, &["Bidirectional", "HostToContainer", "None"]);
        }
        if mode == "Bidirectional" && !flag(&container["securityContext"]["privileged"]) {
            errors.forbidden(&path, "Bidirectional mount propagation is available only to privileged containers");
        }
    }
    let path = path.child("recursiveReadOnly");
    match mount["recursiveReadOnly"].as_str() {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if !flag(&mount["readOnly"]) {
                errors.forbidden(&path, "may only be specified when readOnly is true");
            }
            if propagation.is_some_and(|mode| mode != "None") {
                errors.forbidden(&path, "may only be specified when mountPropagation is None or not specified");
            }
        }
        Some(other) => errors.not_supported(&path, other, &["Disabled", "Enabled", "IfPossible"]),
    }
}

pub(super) fn validate_devices(container: &Value, volumes: &Volumes<'_>, path: &Path<'_>, errors: &mut Errors) {
    let mounts = items(&container["volumeMounts"]);
    let (mut names, mut places) = (BTreeSet::new(), BTreeSet::new());
    for (index, device) in items(&container["volumeDevices"]).iter().enumerate() {
        let path = path.index(index);
        let (name, place) = (text(&device["name"]), text(&device["devicePath"]));
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else if !names.insert(name) {
            errors.invalid(&path.child("name"), name, "must be unique");
        }
        match volumes.get(name) {
            None => errors.not_found(&path.child("name"), name),
            Some(volume) if is_empty(&volume["persistentVolumeClaim"]) && is_empty(&volume["ephemeral"]) => {
                let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.invalid(&path.child("name"), name, detail);
            }
            Some(_) => {}
        }
        if place.is_empty() {
            errors.required(&path.child("devicePath"), "");
        } else if !places.insert(place) {
            errors.invalid(&path.child("devicePath"), place, "must be unique");
        }
        if place.split('/').any(|part| part == "..") {
            errors.invalid(&path.child("devicePath"), place, "can not contain backsteps ('..')");
        }
        if mounts.iter().any(|mount| text(&mount["name"]) == name) {
            errors.invalid(&path.child("name"), name, "must not already exist in volumeMounts");
        }
        if mounts.iter().any(|mount| text(&mount["mountPath"]) == place) {
            let detail = "must not already exist as a path in volumeMounts";
            errors.invalid(&path.child("devicePath"), place, detail);
        }
    }
}
