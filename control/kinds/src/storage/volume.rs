//! PersistentVolume.
use super::claim::ACCESS_MODES;
use super::{access_modes, class_name};
use crate::diff::difference;
use crate::field::{Errors, Path};
use crate::kind::{GENERAL, Kind, Subresource};
use crate::meta::{IMMUTABLE, immutable};
use crate::names::{self, NameRule};
use crate::pod::defaults::volume_source;
use crate::pod::validation::plugins;
use crate::quantity::Quantity;
use crate::resources::canonical_list;
use crate::table::{AGE, Column, NAME, age, name};
use crate::value::{
    at, default_to, default_zero, entries, items, items_at, object_at, remove, same, set, strings, text,
};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(super) const KIND: Kind = Kind {
    kind: "PersistentVolume",
    namespaced: false,
    status: true,
    defaults: |_, volume| defaults(volume),
    prepare_create: |volume| set(volume, "status", json!({"phase": "Pending"})),
    validate,
    validate_update: |new, old, subresource, errors| {
        if subresource != Subresource::Status {
            // Kubernetes asks twice.
            validate(new, errors);
            validate(new, errors);
            validate_fixed(&new["spec"], &old["spec"], errors);
        }
    },
    columns: COLUMNS,
    cells,
    ..GENERAL
};

const SPEC: Path<'static> = Path::new("spec");

const COLUMNS: &[Column] = &[
    NAME,
    Column::text("Capacity", "capacity is the description of the persistent volume's resources and capacity. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#capacity"),
    Column::text("Access Modes", "accessModes contains all ways the volume can be mounted. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#access-modes"),
    Column::text("Reclaim Policy", "persistentVolumeReclaimPolicy defines what happens to a persistent volume when released from its claim. Valid options are Retain (default for manually created PersistentVolumes), Delete (default for dynamically provisioned PersistentVolumes), and Recycle (deprecated). Recycle must be supported by the volume plugin underlying this PersistentVolume. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#reclaiming"),
    Column::text("Status", "phase indicates if a volume is available, bound to a claim, or released by a claim. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#phase"),
    Column::text("Claim", "claimRef is part of a bi-directional binding between PersistentVolume and PersistentVolumeClaim. Expected to be non-nil when bound. claim.VolumeName is the authoritative bind between PV and PVC. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#binding"),
    Column::text("StorageClass", "StorageClass of the pv"),
    Column::text("VolumeAttributesClass", "VolumeAttributesClass of the pv"),
    Column::text("Reason", "reason is a brief CamelCase string that describes any failure and is meant for machine parsing and tidy display in the CLI."),
    AGE,
    Column::text("VolumeMode", "volumeMode defines if a volume is intended to be used with a formatted filesystem or to remain in raw block state. Value of Filesystem is implied when not included in spec.").wide(),
];

fn defaults(volume: &mut Value) {
    object_at(volume, "spec");
    if let Some(spec) = at(volume, &["spec"]) {
        default_zero(spec, "persistentVolumeReclaimPolicy", "Retain");
        default_to(spec, "volumeMode", "Filesystem");
        if let Some(capacity) = at(spec, &["capacity"]) {
            canonical_list(capacity);
        }
        volume_source(spec);
        if let Some(path) = at(spec, &["hostPath"]) {
            default_to(path, "type", "");
        }
    }
    object_at(volume, "status");
    if let Some(status) = at(volume, &["status"]) {
        default_zero(status, "phase", "Pending");
    }
}

/// The members of a spec that say where the storage is.
fn sources(spec: &Value) -> Vec<&str> {
    const OTHERS: [&str; 9] = [
        "accessModes",
        "capacity",
        "claimRef",
        "mountOptions",
        "nodeAffinity",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "volumeAttributesClassName",
        "volumeMode",
    ];
    entries(spec).filter(|(key, value)| !OTHERS.contains(key) && !value.is_null()).map(|(key, _)| key).collect()
}

/// The volume of a VolumeAttachment that stands in no PersistentVolume: a CSI volume and its access modes, nothing else.
pub(super) fn validate_inline(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    const CONTEXT: &str = "may not be specified in the context of inline volumes";
    let is_set = |member: &str| !crate::value::is_empty(&spec[member]);
    for member in ["claimRef", "capacity"] {
        if is_set(member) {
            errors.forbidden(&path.child(member), CONTEXT);
        }
    }
    if spec["csi"].is_null() {
        errors.required(&path.child("csi"), "has to be specified in the context of inline volumes");
    }
    let (modes, at) = (strings(&spec["accessModes"]), path.child("accessModes"));
    if modes.is_empty() {
        errors.required(&at, "");
    }
    for mode in modes.iter().filter(|mode| !ACCESS_MODES.contains(mode)) {
        errors.not_supported(&at, *mode, ACCESS_MODES);
    }
    if modes.len() > 1 && modes.contains(&"ReadWriteOncePod") {
        errors.forbidden(&at, "may not use ReadWriteOncePod with other access modes");
    }
    if !matches!(text(&spec["persistentVolumeReclaimPolicy"]), "" | "Retain") {
        let detail = "may only be Retain in the context of inline volumes";
        errors.forbidden(&path.child("persistentVolumeReclaimPolicy"), detail);
    }
    if !spec["nodeAffinity"].is_null() {
        errors.forbidden(&path.child("nodeAffinity"), CONTEXT);
    }
    let csi = &spec["csi"];
    if csi.is_object() {
        super::csi::driver_name(text(&csi["driver"]), &path.child("csi.driver"), errors);
        if text(&csi["volumeHandle"]).is_empty() {
            errors.required(&path.child("csi.volumeHandle"), "");
        }
    }
    let found = sources(spec);
    for extra in found.iter().skip(1) {
        errors.forbidden(&path.child(extra), "may not specify more than 1 volume type");
    }
    if found.is_empty() {
        errors.required(path, "must specify a volume type");
    }
    if is_set("storageClassName") {
        errors.forbidden(&path.child("storageClassName"), CONTEXT);
    }
    if spec["volumeMode"].as_str().is_some_and(|mode| mode != "Filesystem") {
        let detail = "may not specify volumeMode other than Filesystem in the context of inline volumes";
        errors.forbidden(&path.child("volumeMode"), detail);
    }
}

/// What never changes: where the storage is, how it is mounted, which nodes reach it.
fn validate_fixed(new: &Value, old: &Value, errors: &mut Errors) {
    let mut now = new.clone();
    if old["csi"].is_object()
        && old["csi"]["controllerExpandSecretRef"].is_null()
        && let Some(csi) = at(&mut now, &["csi"])
    {
        remove(csi, "controllerExpandSecretRef");
    }
    let pick =
        |spec: &Value| -> Value { sources(spec).into_iter().map(|key| (key.to_owned(), spec[key].clone())).collect() };
    let (now, before) = (pick(&now), pick(old));
    if !same(&now, &before) {
        let changes = difference(&now, &before, "spec");
        let detail = format!("spec.persistentvolumesource is immutable after creation\n{changes}");
        errors.forbidden(&SPEC.child("persistentvolumesource"), detail);
    }
    immutable(&new["volumeMode"], &old["volumeMode"], &Path::new("volumeMode"), errors);
    if !old["nodeAffinity"].is_null()
        && !same(&new["nodeAffinity"], &renamed(&old["nodeAffinity"], &new["nodeAffinity"]))
    {
        let detail = format!("{IMMUTABLE}, except for updating from beta label to GA");
        errors.invalid(&Path::new("nodeAffinity"), new["nodeAffinity"].clone(), detail);
    }
    if !old["volumeAttributesClassName"].is_null() && new["volumeAttributesClassName"].is_null() {
        errors.forbidden(&SPEC.child("volumeAttributesClassName"), "update from non-nil value to nil is forbidden");
    }
}

/// The nodes of a volume with those labels renamed that have another name by now, where the new nodes are chosen by that.
fn renamed(old: &Value, new: &Value) -> Value {
    const STABLE: [(&str, &str); 5] = [
        ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
        ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
        ("beta.kubernetes.io/os", "kubernetes.io/os"),
        ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
        ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
    ];
    let mut nodes = old.clone();
    let now = items(&new["required"]["nodeSelectorTerms"]);
    for (term, now) in items_at(&mut nodes, &["required", "nodeSelectorTerms"]).iter_mut().zip(now) {
        for list in ["matchExpressions", "matchFields"] {
            for (requirement, now) in items_at(term, &[list]).iter_mut().zip(items(&now[list])) {
                let pair = (text(&requirement["key"]), text(&now["key"]));
                if STABLE.contains(&pair) {
                    set(requirement, "key", pair.1);
                }
            }
        }
    }
    nodes
}

fn validate_csi(csi: &Value, path: &Path<'_>, errors: &mut Errors) {
    plugins::csi_driver(text(&csi["driver"]), &path.child("driver"), errors);
    if text(&csi["volumeHandle"]).is_empty() {
        errors.required(&path.child("volumeHandle"), "");
    }
    let secrets =
        ["controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"];
    for member in secrets.into_iter().filter(|member| !csi[*member].is_null()) {
        let (secret, path) = (&csi[member], path.child(member));
        for (part, rule) in [("name", NameRule::Subdomain), ("namespace", NameRule::Label)] {
            match text(&secret[part]) {
                "" => errors.required(&path.child(part), ""),
                name => errors.invalid_each(&path.child(part), name, rule.check(name, false)),
            }
        }
    }
}

fn validate(volume: &Value, errors: &mut Errors) {
    let spec = &volume["spec"];
    let (modes, path) = (strings(&spec["accessModes"]), SPEC.child("accessModes"));
    if modes.is_empty() {
        errors.required(&path, "");
    }
    for mode in modes.iter().filter(|mode| !ACCESS_MODES.contains(mode)) {
        errors.not_supported(&path, *mode, ACCESS_MODES);
    }
    if modes.len() > 1 && modes.contains(&"ReadWriteOncePod") {
        errors.forbidden(&path, "may not use ReadWriteOncePod with other access modes");
    }
    let (capacity, path) = (&spec["capacity"], SPEC.child("capacity"));
    if crate::value::is_empty(capacity) {
        errors.required(&path, "");
    }
    if capacity.get("storage").is_none() || entries(capacity).count() > 1 {
        errors.not_supported(&path, capacity.clone(), &["storage"]);
    }
    for (name, size) in entries(capacity) {
        match Quantity::from_value(size) {
            Ok(size) if size.is_zero() || size.is_negative() => {
                if size.is_negative() {
                    errors.invalid(&path.key(name), size.value(), "must be a valid resource quantity");
                }
                errors.invalid(&path.key(name), size.to_string(), "must be greater than zero");
            }
            Ok(_) => {}
            Err(error) => errors.invalid(&path.key(name), size.clone(), error.to_string()),
        }
    }
    let (policy, path) = (text(&spec["persistentVolumeReclaimPolicy"]), SPEC.child("persistentVolumeReclaimPolicy"));
    if !matches!(policy, "" | "Delete" | "Recycle" | "Retain") {
        errors.not_supported(&path, policy, &["Delete", "Recycle", "Retain"]);
    }
    let found = sources(spec);
    for extra in found.iter().skip(1) {
        errors.forbidden(&SPEC.child(extra), "may not specify more than 1 volume type");
    }
    if found.is_empty() {
        errors.required(&SPEC, "must specify a volume type");
    }
    let host_path = &spec["hostPath"];
    if host_path.is_object() {
        let place = text(&host_path["path"]);
        if place.is_empty() {
            errors.required(&SPEC.child("hostPath.path"), "");
        } else if place.split('/').any(|part| part == "..") {
            errors.invalid(&SPEC.child("hostPath.path"), place, "must not contain '..'");
        }
        if policy == "Recycle" && place == "/" {
            let detail = "may not be 'recycle' for a hostPath mount of '/'";
            errors.forbidden(&SPEC.child("persistentVolumeReclaimPolicy"), detail);
        }
    }
    for kind in found.iter().take(1).filter(|kind| !matches!(**kind, "hostPath" | "local" | "csi" | "azureFile")) {
        let shown = if *kind == "gcePersistentDisk" { "persistentDisk" } else { kind };
        plugins::validate(kind, &spec[*kind], &SPEC.child(shown), errors);
    }
    if !spec["csi"].is_null() {
        validate_csi(&spec["csi"], &SPEC.child("csi"), errors);
    }
    if spec["local"].is_object() && spec["nodeAffinity"].is_null() {
        errors.required(&SPEC.child("nodeAffinity"), "Local volume requires node affinity");
    }
    let class = text(&spec["storageClassName"]);
    if !class.is_empty() {
        errors.invalid_each(&SPEC.child("storageClassName"), class, names::dns1123_subdomain(class));
    }
    let mode = &spec["volumeMode"];
    if !mode.is_null() && !matches!(text(mode), "Block" | "Filesystem") {
        errors.not_supported(&SPEC.child("volumeMode"), text(mode), &["Block", "Filesystem"]);
    }
    if let Some(class) = spec["volumeAttributesClassName"].as_str() {
        let path = SPEC.child("volumeAttributesClassName");
        if class.is_empty() {
            errors.required(&path, "an empty string is disallowed");
        } else {
            errors.invalid_each(&path, class, names::dns1123_subdomain(class));
        }
        if spec["csi"].is_null() {
            errors.required(&SPEC.child("csi"), "has to be specified when using volumeAttributesClassName");
        }
    }
    if !spec["nodeAffinity"].is_null() && spec["nodeAffinity"]["required"].is_null() {
        errors.required(&SPEC.child("nodeAffinity.required"), "must specify required node constraints");
    }
    if !spec["nodeAffinity"]["required"].is_null() {
        let path = SPEC.child("nodeAffinity.required");
        crate::pod::validation::validate_node_selector(&spec["nodeAffinity"]["required"], &path, errors);
    }
}

fn cells(volume: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&volume["spec"], &volume["status"]);
    let claim = &spec["claimRef"];
    let claim =
        if claim.is_null() { String::new() } else { format!("{}/{}", text(&claim["namespace"]), text(&claim["name"])) };
    let size =
        Quantity::from_value(&spec["capacity"]["storage"]).map_or_else(|_| "0".to_owned(), |size| size.to_string());
    let deleting = !volume["metadata"]["deletionTimestamp"].is_null();
    vec![
        name(volume),
        size.into(),
        access_modes(&spec["accessModes"]).into(),
        text(&spec["persistentVolumeReclaimPolicy"]).into(),
        if deleting { "Terminating".into() } else { text(&status["phase"]).into() },
        claim.into(),
        class_name(volume).into(),
        spec["volumeAttributesClassName"].as_str().unwrap_or("<unset>").into(),
        text(&status["reason"]).into(),
        age(volume, now),
        spec["volumeMode"].as_str().unwrap_or("<unset>").into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind;

    #[test]
    fn a_volume_has_one_source_and_a_size() {
        let rules = kind("", "PersistentVolume");
        let mut object = json!({"metadata": {"name": "v"}, "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}});
        rules.default("v1", &mut object);
        assert_eq!(rules.validate_create(&object).message(), "[]");
        assert_eq!(object["spec"]["persistentVolumeReclaimPolicy"], "Retain");
        object["spec"]["nfs"] = json!({"server": "s", "path": "/"});
        object["spec"]["capacity"] = json!({"storage": "0"});
        assert_eq!(
            rules.validate_create(&object).message(),
            "[spec.capacity[storage]: Invalid value: \"0\": must be greater than zero, spec.nfs: Forbidden: may not specify more than 1 volume type]"
        );
        assert_eq!(cells(&object, Timestamp::UNIX_EPOCH).len(), COLUMNS.len());
    }

    /// Cases of Kubernetes' `TestValidationPersistentVolumeNodeAffinityUpdate`.
    #[test]
    fn a_volumes_nodes_stay_but_their_labels_may_get_the_names_of_today() {
        let rules = kind("", "PersistentVolume");
        let in_zone = |label: &str, zone: &str| {
            let terms = json!([{"matchExpressions": [{"key": label, "operator": "In", "values": [zone]}]}]);
            let mut object = json!({"metadata": {"name": "v", "resourceVersion": "1"}, "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
                "hostPath": {"path": "/x"}, "nodeAffinity": {"required": {"nodeSelectorTerms": terms}}}});
            rules.default("v1", &mut object);
            object
        };
        let (beta, stable) = ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone");
        let update = |new: Value, old: Value| rules.validate_update(&new, &old, Subresource::None).message();
        assert_eq!(update(in_zone(stable, "a"), in_zone(beta, "a")), "[]");
        for (new, old) in [
            (in_zone(beta, "a"), in_zone(stable, "a")),
            (in_zone(stable, "b"), in_zone(beta, "a")),
            (in_zone("topology.kubernetes.io/region", "a"), in_zone(beta, "a")),
        ] {
            assert!(update(new, old).ends_with("field is immutable, except for updating from beta label to GA"));
        }
    }
}
