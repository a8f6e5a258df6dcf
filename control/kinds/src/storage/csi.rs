//! CSIDriver, CSINode, CSIStorageCapacity and VolumeAttachment.
use crate::field::{Errors, Path};
use crate::kind::{GENERAL, Kind};
use crate::names;
use crate::table::{AGE, Column, NAME, age, name};
use crate::value::{at, default_to, default_zero, flag, int, items, object_at, set, strings, text};
use serde_json::{Value, json};

const STORAGE: Kind = Kind { group: "storage.k8s.io", ..GENERAL };

pub(super) const DRIVER: Kind = Kind {
    kind: "CSIDriver",
    namespaced: false,
    generation: true,
    defaults: |_, driver| {
        object_at(driver, "spec");
        if let Some(spec) = at(driver, &["spec"]) {
            default_to(spec, "attachRequired", true);
            for member in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
                default_to(spec, member, false);
            }
            default_to(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
            default_zero(spec, "volumeLifecycleModes", json!(["Persistent"]));
        }
    },
    validate: validate_driver,
    validate_update: |new, old, _, errors| {
        validate_driver(new, errors);
        let path = Path::new("spec");
        for (member, shown) in
            [("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")]
        {
            crate::meta::immutable(&new["spec"][member], &old["spec"][member], &path.child(shown), errors);
        }
    },
    columns: &[
        NAME,
        Column::boolean("AttachRequired", "Whether volumes are attached before they are mounted."),
        Column::boolean("PodInfoOnMount", "Whether the driver is told which pod mounts."),
        Column::boolean("StorageCapacity", "Whether the driver publishes its capacity."),
        Column::text("TokenRequests", "The audiences of tokens that the driver gets."),
        Column::boolean("RequiresRepublish", "Whether volumes are published again and again."),
        Column::text("Modes", "The volume modes that the driver has."),
        AGE,
    ],
    cells: |driver, now| {
        let spec = &driver["spec"];
        let tokens = match spec["tokenRequests"].as_array() {
            Some(list) => list.iter().map(|token| text(&token["audience"])).collect::<Vec<_>>().join(","),
            None => "<unset>".to_owned(),
        };
        let modes = strings(&spec["volumeLifecycleModes"]).join(",");
        vec![
            name(driver),
            spec["attachRequired"].as_bool().unwrap_or(true).into(),
            flag(&spec["podInfoOnMount"]).into(),
            flag(&spec["storageCapacity"]).into(),
            tokens.into(),
            flag(&spec["requiresRepublish"]).into(),
            crate::table::or_none(&modes),
            age(driver, now),
        ]
    },
    ..STORAGE
};

pub(super) const NODE: Kind = Kind {
    kind: "CSINode",
    namespaced: false,
    validate: validate_node,
    validate_update: |new, _, _, errors| validate_node(new, errors),
    columns: &[
        NAME,
        Column::integer("Drivers", "Drivers indicates the number of CSI drivers registered on the node"),
        AGE,
    ],
    cells: |node, now| vec![name(node), items(&node["spec"]["drivers"]).len().into(), age(node, now)],
    ..STORAGE
};

pub(super) const STORAGE_CAPACITY: Kind = Kind {
    kind: "CSIStorageCapacity",
    defaults: |_, capacity| {
        for member in ["capacity", "maximumVolumeSize"] {
            if let Some(size) = at(capacity, &[member]) {
                crate::resources::canonical(size);
            }
        }
    },
    validate: |capacity, errors| {
        crate::labels::validate_selector(&capacity["nodeTopology"], &Path::new("nodeTopology"), errors);
        let class = text(&capacity["storageClassName"]);
        errors.invalid_each(&Path::new("storageClassName"), class, names::dns1123_subdomain(class));
        if crate::Quantity::from_value(&capacity["capacity"]).is_ok_and(|size| size.is_negative()) {
            errors.invalid(&Path::new("capacity"), text(&capacity["capacity"]), crate::meta::NEGATIVE);
        }
    },
    validate_update: |new, old, _, errors| {
        for member in ["nodeTopology", "storageClassName"] {
            crate::meta::immutable(&new[member], &old[member], &Path::new(member), errors);
        }
    },
    columns: &[
        NAME,
        Column::text("StorageClassName", "The class that the capacity is for."),
        Column::text("Capacity", "How much can still be made."),
    ],
    cells: |capacity, _| {
        vec![
            name(capacity),
            text(&capacity["storageClassName"]).into(),
            capacity["capacity"].as_str().unwrap_or("<unset>").into(),
        ]
    },
    ..STORAGE
};

pub(super) const VOLUME_ATTACHMENT: Kind = Kind {
    kind: "VolumeAttachment",
    namespaced: false,
    status: true,
    prepare_create: |attachment| set(attachment, "status", json!({"attached": false})),
    validate: |attachment, errors| {
        let (spec, path) = (&attachment["spec"], Path::new("spec"));
        for member in ["attacher", "nodeName"] {
            if text(&spec[member]).is_empty() {
                errors.required(&path.child(member), "");
            }
        }
        if text(&spec["source"]["persistentVolumeName"]).is_empty() && spec["source"]["inlineVolumeSpec"].is_null() {
            errors.required(
                &path.child("source"),
                "must specify exactly one of inlineVolumeSpec and persistentVolumeName",
            );
        }
    },
    validate_update: |new, old, _, errors| {
        crate::meta::immutable(&new["spec"], &old["spec"], &Path::new("spec"), errors);
    },
    columns: &[
        NAME,
        Column { format: "name", ..Column::text("Attacher", "Who attaches.") },
        Column::text("PV", "The volume that is attached."),
        Column::text("Node", "The node that it is attached to."),
        Column::boolean("Attached", "Whether it is attached."),
        AGE,
    ],
    cells: |attachment, now| {
        let spec = &attachment["spec"];
        vec![
            name(attachment),
            text(&spec["attacher"]).into(),
            text(&spec["source"]["persistentVolumeName"]).into(),
            text(&spec["nodeName"]).into(),
            flag(&attachment["status"]["attached"]).into(),
            age(attachment, now),
        ]
    },
    ..STORAGE
};

fn validate_driver(driver: &Value, errors: &mut Errors) {
    let (spec, path) = (&driver["spec"], Path::new("spec"));
    let name = text(&driver["metadata"]["name"]);
    if name.len() > 63 {
        errors.too_long(&Path::new("metadata.name"), 63);
    }
    for (member, shown) in [
        ("attachRequired", "attachedRequired"),
        ("podInfoOnMount", "podInfoOnMount"),
        ("storageCapacity", "storageCapacity"),
        ("seLinuxMount", "seLinuxMount"),
    ] {
        if spec[member].is_null() {
            errors.required(&path.child(shown), "");
        }
    }
    if let Some(policy) = spec["fsGroupPolicy"].as_str()
        && !matches!(policy, "ReadWriteOnceWithFSType" | "File" | "None")
    {
        let known = ["File", "None", "ReadWriteOnceWithFSType"];
        errors.not_supported(&path.child("fsGroupPolicy"), policy, &known);
    }
    let (requests, list) = (items(&spec["tokenRequests"]), path.child("tokenRequests"));
    for (index, request) in requests.iter().enumerate() {
        let (path, audience) = (list.index(index), text(&request["audience"]));
        if requests[..index].iter().any(|earlier| text(&earlier["audience"]) == audience) {
            errors.duplicate(&path.child("audience"), audience);
            continue;
        }
        let Some(seconds) = request["expirationSeconds"].as_i64() else { continue };
        if seconds < 600 {
            let detail = "may not specify a duration less than 10 minutes";
            errors.invalid(&path.child("expirationSeconds"), seconds, detail);
        }
        if seconds > 1 << 32 {
            let detail = "may not specify a duration larger than 2^32 seconds";
            errors.invalid(&path.child("expirationSeconds"), seconds, detail);
        }
    }
    for mode in strings(&spec["volumeLifecycleModes"]) {
        if !matches!(mode, "Persistent" | "Ephemeral") {
            errors.not_supported(&path.child("volumeLifecycleModes"), mode, &["Persistent", "Ephemeral"]);
        }
    }
    if spec["nodeAllocatableUpdatePeriodSeconds"].as_i64().is_some_and(|seconds| seconds < 10) {
        let at = path.child("nodeAllocatableUpdatePeriodSeconds");
        let seconds = int(&spec["nodeAllocatableUpdatePeriodSeconds"]);
        errors.invalid(&at, seconds, "must be greater than or equal to 10 seconds");
    }
    if !spec["serviceAccountTokenInSecrets"].is_null() && requests.is_empty() {
        let detail = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
        let value = spec["serviceAccountTokenInSecrets"].clone();
        errors.invalid(&path.child("serviceAccountTokenInSecrets"), value, detail);
    }
}

fn validate_node(node: &Value, errors: &mut Errors) {
    let drivers = Path::new("spec.drivers");
    let mut seen = std::collections::BTreeSet::new();
    for (index, driver) in items(&node["spec"]["drivers"]).iter().enumerate() {
        let (path, name, id) = (drivers.index(index), text(&driver["name"]), text(&driver["nodeID"]));
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else {
            errors.invalid_each(&path.child("name"), name, names::dns1123_subdomain(&name.to_lowercase()));
        }
        if id.is_empty() {
            errors.required(&path.child("nodeID"), "");
        } else if id.len() > 256 {
            errors.invalid(&path.child("nodeID"), id, "must be 256 characters or less");
        }
        if !seen.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
        let count = &driver["allocatable"]["count"];
        if !count.is_null() && int(count) < 0 {
            errors.invalid(&path.child("allocatable.count"), int(count), crate::meta::NEGATIVE);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Subresource, kind};
    use serde_json::{Value, json};

    // TestCSIDriverValidation, TestCSIDriverValidationUpdate
    #[test]
    fn a_driver_keeps_how_it_attaches() {
        let rules = kind("storage.k8s.io", "CSIDriver");
        let driver = |spec: Value| {
            let mut object = json!({"metadata": {"name": "test-driver", "resourceVersion": "1"}, "spec": spec});
            rules.default("v1", &mut object);
            object
        };
        assert_eq!(rules.validate_create(&driver(json!({}))).message(), "[]");
        for (spec, message) in [
            (
                json!({"fsGroupPolicy": "unknown"}),
                "spec.fsGroupPolicy: Unsupported value: \"unknown\": supported values: \"File\", \"None\", \"ReadWriteOnceWithFSType\"",
            ),
            (
                json!({"tokenRequests": [{"audience": "a"}, {"audience": "a"}]}),
                "spec.tokenRequests[1].audience: Duplicate value: \"a\"",
            ),
            (
                json!({"tokenRequests": [{"audience": "a", "expirationSeconds": 10}]}),
                "spec.tokenRequests[0].expirationSeconds: Invalid value: 10: may not specify a duration less than 10 minutes",
            ),
            (
                json!({"volumeLifecycleModes": ["no-such-mode"]}),
                "spec.volumeLifecycleModes: Unsupported value: \"no-such-mode\": supported values: \"Persistent\", \"Ephemeral\"",
            ),
        ] {
            assert_eq!(rules.validate_create(&driver(spec)).message(), message);
        }
        let said =
            rules.validate_update(&driver(json!({"attachRequired": false})), &driver(json!({})), Subresource::None);
        assert_eq!(said.message(), "spec.attachedRequired: Invalid value: false: field is immutable");
    }

    // TestValidateCSIStorageCapacity
    #[test]
    fn a_capacity_is_not_negative() {
        let rules = kind("storage.k8s.io", "CSIStorageCapacity");
        let object =
            json!({"metadata": {"name": "c", "namespace": "n"}, "storageClassName": "bar", "capacity": "-1Gi"});
        let said = rules.validate_create(&object).message();
        assert_eq!(said, "capacity: Invalid value: \"-1Gi\": must be greater than or equal to 0");
    }
}
