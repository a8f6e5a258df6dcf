//! Volume plugins by name: what each cannot do without. Pods and PersistentVolumes share most of them.
use crate::field::{Errors, Path};
use crate::names::{self, range_error};
use crate::value::{entries, flag, int, is_empty, text};
use serde_json::Value;

/// The members that a source cannot do without.
fn required_members(kind: &str) -> &'static [&'static str] {
    match kind {
        "hostPath" => &["path"],
        "nfs" => &["server", "path"],
        "gitRepo" => &["repository"],
        "gcePersistentDisk" => &["pdName"],
        "awsElasticBlockStore" | "cinder" | "portworxVolume" => &["volumeID"],
        "glusterfs" => &["endpoints", "path"],
        "rbd" => &["image"],
        "iscsi" => &["targetPortal", "iqn"],
        "azureFile" => &["secretName", "shareName"],
        "azureDisk" => &["diskName", "diskURI"],
        "flexVolume" => &["driver"],
        "vsphereVolume" => &["volumePath"],
        "photonPersistentDisk" => &["pdID"],
        "scaleIO" => &["gateway", "system", "volumeName"],
        "storageos" => &["volumeName"],
        _ => &[],
    }
}

/// A source of the kind that `path` ends in.
pub(crate) fn validate(kind: &str, source: &Value, path: &Path<'_>, errors: &mut Errors) {
    if matches!(kind, "rbd" | "cephfs") && is_empty(&source["monitors"]) {
        errors.required(&path.child("monitors"), "");
    }
    for member in required_members(kind) {
        if text(&source[*member]).is_empty() {
            errors.required(&path.child(member), "");
        }
    }
    match kind {
        "hostPath" => {
            const TYPES: [&str; 8] =
                ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
            super::validate_no_backsteps(text(&source["path"]), &path.child("path"), errors);
            let kind = text(&source["type"]);
            if !TYPES.contains(&kind) {
                errors.not_supported(&path.child("type"), kind, &TYPES);
            }
        }
        "nfs" if !text(&source["path"]).starts_with('/') => {
            errors.invalid(&path.child("path"), text(&source["path"]), "must be an absolute path");
        }
        "gitRepo" => super::validate_descending_path(text(&source["directory"]), &path.child("directory"), errors),
        "gcePersistentDisk" | "awsElasticBlockStore" => {
            let partition = int(&source["partition"]);
            if !(0..=255).contains(&partition) {
                // Zero means none; the text counts from one.
                errors.invalid(&path.child("partition"), partition, range_error(1, 255));
            }
        }
        "iscsi" => iscsi(source, path, errors),
        "fc" => fibre_channel(source, path, errors),
        "cinder" | "storageos" => {
            if kind == "storageos" {
                for member in ["volumeName", "volumeNamespace"] {
                    let name = text(&source[member]);
                    if !name.is_empty() {
                        errors.invalid_each(&path.child(member), name, names::dns1123_label(name));
                    }
                }
            }
            if !source["secretRef"].is_null() && text(&source["secretRef"]["name"]).is_empty() {
                errors.required(&path.child("secretRef.name"), "");
            }
        }
        "flocker" => flocker(source, path, errors),
        "flexVolume" => {
            for (key, _) in entries(&source["options"]) {
                let namespace = format!(".{}", key.split('/').next().unwrap_or_default().to_lowercase());
                if key.contains('/') && (namespace.ends_with(".kubernetes.io") || namespace.ends_with(".k8s.io")) {
                    let detail = "kubernetes.io and k8s.io namespaces are reserved";
                    errors.invalid(&path.child("options").key(key), key, detail);
                }
            }
        }
        "quobyte" => quobyte(source, path, errors),
        "azureDisk" => azure_disk(source, path, errors),
        _ => {}
    }
}

fn iscsi(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (iqn, lun) = (text(&source["iqn"]), int(&source["lun"]));
    if !iqn.is_empty() {
        iscsi_name(iqn, &path.child("iqn"), errors);
    }
    if !(0..=255).contains(&lun) {
        errors.invalid(&path.child("lun"), lun, range_error(0, 255));
    }
    let chap = flag(&source["chapAuthDiscovery"]) || flag(&source["chapAuthSession"]);
    if chap && source["secretRef"].is_null() {
        errors.required(&path.child("secretRef"), "");
    }
    if let Some(name) = source["initiatorName"].as_str() {
        iscsi_name(name, &path.child("initiatorname"), errors);
    }
}

/// `iqn.2014-12.com.example:storage`, `eui.` and 16 characters, or `naa.` and 32.
fn iscsi_name(name: &str, path: &Path<'_>, errors: &mut Errors) {
    let word =
        |rest: &str, length: usize| rest.len() == length + 1 && rest.bytes().skip(1).all(|c| c.is_ascii_alphanumeric());
    let good = match name.split_at_checked(3) {
        Some(("iqn", rest)) => is_qualified(rest),
        Some(("eui", rest)) => word(rest, 16),
        Some(("naa", rest)) => word(rest, 32),
        _ => return errors.invalid(path, name, "must be valid format starting with iqn, eui, or naa"),
    };
    if !good {
        errors.invalid(path, name, "must be valid format");
    }
}

/// `.YYYY-MM.authority:name`.
fn is_qualified(rest: &str) -> bool {
    let Some((date, rest)) = rest.strip_prefix('.').and_then(|rest| rest.split_once('.')) else { return false };
    let digits = |part: &str, length: usize| part.len() == length && part.bytes().all(|c| c.is_ascii_digit());
    let dated = date.split_once('-').is_some_and(|(year, month)| digits(year, 4) && digits(month, 2));
    let Some((authority, name)) = rest.split_once(':') else { return false };
    dated
        && !authority.is_empty()
        && authority.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.')
        && !name.is_empty()
        && !name.contains(|c: char| c.is_whitespace() || ",;*&$|".contains(c))
}

fn fibre_channel(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    let [targets, wide] = ["targetWWNs", "wwids"].map(|key| !is_empty(&source[key]));
    if !targets && !wide {
        let detail = "must specify either targetWWNs or wwids, but not both";
        errors.required(&path.child("targetWWNs"), detail);
    }
    if targets && wide {
        let detail = "targetWWNs and wwids can not be specified simultaneously";
        errors.invalid(&path.child("targetWWNs"), source["targetWWNs"].clone(), detail);
    }
    if targets {
        match &source["lun"] {
            Value::Null => errors.required(&path.child("lun"), "lun is required if targetWWNs is specified"),
            lun if !(0..=255).contains(&int(lun)) => errors.invalid(&path.child("lun"), int(lun), range_error(0, 255)),
            _ => {}
        }
    }
}

fn flocker(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    let [name, uuid] = ["datasetName", "datasetUUID"].map(|key| text(&source[key]));
    if name.is_empty() && uuid.is_empty() {
        errors.required(path, "one of datasetName and datasetUUID is required");
    }
    if !name.is_empty() && !uuid.is_empty() {
        errors.invalid(path, "resource", "datasetName and datasetUUID can not be specified simultaneously");
    }
    if name.contains('/') {
        errors.invalid(&path.child("datasetName"), name, "must not contain '/'");
    }
}

fn quobyte(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    let registry = text(&source["registry"]);
    let is_pair = |pair: &str| match pair.strip_prefix('[') {
        Some(rest) => rest.split_once("]:").is_some_and(|(_, port)| !port.contains(':')),
        None => pair.matches(':').count() == 1,
    };
    if registry.is_empty() {
        errors.required(&path.child("registry"), PAIRS);
    } else if text(&source["tenant"]).len() >= 65 {
        errors.required(&path.child("tenant"), "must be a UUID and may not exceed a length of 64 characters");
    } else {
        for _ in registry.split(',').filter(|pair| !is_pair(pair)) {
            errors.invalid(&path.child("registry"), registry, PAIRS);
        }
    }
    if text(&source["volume"]).is_empty() {
        errors.required(&path.child("volume"), "");
    }
}

fn azure_disk(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    const MANAGED: &str =
        "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
    const BLOB: &str = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
    let uri = text(&source["diskURI"]);
    for (member, supported) in
        [("cachingMode", ["None", "ReadOnly", "ReadWrite"]), ("kind", ["Dedicated", "Managed", "Shared"])]
    {
        if let Some(value) = source[member].as_str().filter(|value| !supported.contains(value)) {
            errors.not_supported(&path.child(member), value, &supported);
        }
    }
    let path = path.child("diskURI");
    match source["kind"].as_str() {
        Some("Managed") if !uri.starts_with("/subscriptions/") => errors.not_supported(&path, uri, &[MANAGED]),
        Some(kind) if kind != "Managed" && !uri.starts_with("https://") => errors.not_supported(&path, uri, &[BLOB]),
        _ => {}
    }
}

/// The name of a CSI driver.
pub(crate) fn csi_driver(driver: &str, path: &Path<'_>, errors: &mut Errors) {
    if driver.is_empty() {
        return errors.required(path, "");
    }
    if driver.len() > 63 {
        errors.too_long(path, 63);
    }
    errors.invalid_each(path, driver, names::dns1123_subdomain(&driver.to_lowercase()));
}
