//! CSIDriver, CSINode and CSIStorageCapacity.
use crate::field::{Errors, Path};
use crate::kind::{GENERAL, Kind};
use crate::names;
use crate::table::{AGE, CREATED_AT, Column, NAME, age, created_at, name};
use crate::value::{
    at, default_to, default_zero, flag, int, items, items_at, null_list, object_at, same, set, strings, text,
};
use serde_json::{Value, json};

const STORAGE: Kind = Kind { group: "storage.k8s.io", ..GENERAL };

pub(super) const DRIVER: Kind = Kind {
    kind: "CSIDriver",
    namespaced: false,
    names_version: true,
    // The generation counts changes only: a new driver has none.
    prepare_update: |new, old, _| {
        if !same(&new["spec"], &old["spec"])
            && let Some(meta) = new.get_mut("metadata")
        {
            set(meta, "generation", int(&old["metadata"]["generation"]) + 1);
        }
    },
    defaults: |_, driver| {
        object_at(driver, "spec");
        if let Some(spec) = at(driver, &["spec"]) {
            default_to(spec, "attachRequired", true);
            for member in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
                default_to(spec, member, false);
            }
            default_to(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
            default_zero(spec, "volumeLifecycleModes", json!(["Persistent"]));
            for request in items_at(spec, &["tokenRequests"]) {
                default_to(request, "audience", "");
            }
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
    names_version: true,
    defaults: |_, node| {
        object_at(node, "spec");
        if let Some(spec) = at(node, &["spec"]) {
            null_list(spec, "drivers");
            items_at(spec, &["drivers"]).iter_mut().for_each(|driver| null_list(driver, "topologyKeys"));
        }
    },
    validate: validate_node,
    validate_update: |new, old, _, errors| {
        validate_node(new, errors);
        let path = Path::new("spec.drivers");
        for had in items(&old["spec"]["drivers"]) {
            for driver in items(&new["spec"]["drivers"]).iter().filter(|driver| driver["name"] == had["name"]) {
                let members = ["nodeID", "topologyKeys"];
                if members.iter().any(|member| !same(&driver[*member], &had[*member])) {
                    let keys = &driver["topologyKeys"];
                    let shown = json!({"Name": text(&driver["name"]), "NodeID": text(&driver["nodeID"]),
                        "TopologyKeys": keys, "Allocatable": null});
                    errors.invalid(&path, shown, crate::meta::IMMUTABLE);
                }
            }
        }
    },
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
    names_version: true,
    defaults: |_, capacity| {
        for member in ["capacity", "maximumVolumeSize"] {
            if let Some(size) = at(capacity, &[member]) {
                crate::resources::canonical(size);
            }
        }
    },
    validate: validate_capacity,
    validate_update: |new, old, _, errors| {
        validate_capacity(new, errors);
        if !same(&new["nodeTopology"], &old["nodeTopology"]) {
            let shown = crate::labels::shown_selector(&new["nodeTopology"]);
            errors.invalid(&Path::new("nodeTopology"), shown, crate::meta::IMMUTABLE);
        }
        let class = "storageClassName";
        crate::meta::immutable_text(&new[class], &old[class], &Path::new(class), errors);
    },
    columns: CREATED_AT,
    cells: created_at,
    ..STORAGE
};

fn validate_driver(driver: &Value, errors: &mut Errors) {
    let (spec, path) = (&driver["spec"], Path::new("spec"));
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
        driver_name(name, &path.child("name"), errors);
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
        let mut keys = std::collections::BTreeSet::new();
        for key in strings(&driver["topologyKeys"]) {
            if key.is_empty() {
                errors.required(&path, "");
            }
            if !keys.insert(key) {
                errors.duplicate(&path, key);
            }
            errors.invalid_each(&path, key, names::qualified_name(key));
        }
    }
}

/// A CSI driver's name where another object refers to it.
pub(super) fn driver_name(name: &str, path: &Path<'_>, errors: &mut Errors) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    if name.len() > 63 {
        errors.too_long(path, 63);
    }
    errors.invalid_each(path, name, names::dns1123_subdomain(&name.to_lowercase()));
}

fn validate_capacity(capacity: &Value, errors: &mut Errors) {
    crate::labels::validate_selector(&capacity["nodeTopology"], &Path::new("nodeTopology"), errors);
    let class = text(&capacity["storageClassName"]);
    errors.invalid_each(&Path::new("storageClassName"), class, names::dns1123_subdomain(class));
    for member in ["capacity", "maximumVolumeSize"] {
        if crate::Quantity::from_value(&capacity[member]).is_ok_and(|size| size.is_negative()) {
            errors.invalid(&Path::new(member), text(&capacity[member]), crate::meta::NEGATIVE);
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
