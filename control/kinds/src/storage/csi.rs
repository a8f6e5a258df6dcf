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
        Column::boolean(
            "AttachRequired",
            "attachRequired indicates this CSI volume driver requires an attach operation (because it implements the CSI ControllerPublishVolume() method), and that the Kubernetes attach detach controller should call the attach volume interface which checks the volumeattachment status and waits until the volume is attached before proceeding to mounting. The CSI external-attacher coordinates with CSI volume driver and updates the volumeattachment status when the attach operation is complete. If the value is specified to false, the attach operation will be skipped. Otherwise the attach operation will be called.\n\nThis field is immutable.",
        ),
        Column::boolean(
            "PodInfoOnMount",
            "podInfoOnMount indicates this CSI volume driver requires additional pod information (like podName, podUID, etc.) during mount operations, if set to true. If set to false, pod information will not be passed on mount. Default is false.\n\nThe CSI driver specifies podInfoOnMount as part of driver deployment. If true, Kubelet will pass pod information as VolumeContext in the CSI NodePublishVolume() calls. The CSI driver is responsible for parsing and validating the information passed in as VolumeContext.\n\nThe following VolumeContext will be passed if podInfoOnMount is set to true. This list might grow, but the prefix will be used. \"csi.storage.k8s.io/pod.name\": pod.Name \"csi.storage.k8s.io/pod.namespace\": pod.Namespace \"csi.storage.k8s.io/pod.uid\": string(pod.UID) \"csi.storage.k8s.io/ephemeral\": \"true\" if the volume is an ephemeral inline volume\n                                defined by a CSIVolumeSource, otherwise \"false\"\n\n\"csi.storage.k8s.io/ephemeral\" is a new feature in Kubernetes 1.16. It is only required for drivers which support both the \"Persistent\" and \"Ephemeral\" VolumeLifecycleMode. Other drivers can leave pod info disabled and/or ignore this field. As Kubernetes 1.15 doesn't support this field, drivers can only support one mode when deployed on such a cluster and the deployment determines which mode that is, for example via a command line parameter of the driver.\n\nThis field was immutable in Kubernetes < 1.29 and now is mutable.",
        ),
        Column::boolean(
            "StorageCapacity",
            "storageCapacity indicates that the CSI volume driver wants pod scheduling to consider the storage capacity that the driver deployment will report by creating CSIStorageCapacity objects with capacity information, if set to true.\n\nThe check can be enabled immediately when deploying a driver. In that case, provisioning new volumes with late binding will pause until the driver deployment has published some suitable CSIStorageCapacity object.\n\nAlternatively, the driver can be deployed with the field unset or false and it can be flipped later when storage capacity information has been published.\n\nThis field was immutable in Kubernetes <= 1.22 and now is mutable.",
        ),
        Column::text(
            "TokenRequests",
            "tokenRequests indicates the CSI driver needs pods' service account tokens it is mounting volume for to do necessary authentication. Kubelet will pass the tokens in VolumeContext in the CSI NodePublishVolume calls. The CSI driver should parse and validate the following VolumeContext: \"csi.storage.k8s.io/serviceAccount.tokens\": {\n  \"<audience>\": {\n    \"token\": <token>,\n    \"expirationTimestamp\": <expiration timestamp in RFC3339>,\n  },\n  ...\n}\n\nNote: Audience in each TokenRequest should be different and at most one token is empty string. To receive a new token after expiry, RequiresRepublish can be used to trigger NodePublishVolume periodically.",
        ),
        Column::boolean(
            "RequiresRepublish",
            "requiresRepublish indicates the CSI driver wants `NodePublishVolume` being periodically called to reflect any possible change in the mounted volume. This field defaults to false.\n\nNote: After a successful initial NodePublishVolume call, subsequent calls to NodePublishVolume should only update the contents of the volume. New mount points will not be seen by a running container.",
        ),
        Column::text(
            "Modes",
            "volumeLifecycleModes defines what kind of volumes this CSI volume driver supports. The default if the list is empty is \"Persistent\", which is the usage defined by the CSI specification and implemented in Kubernetes via the usual PV/PVC mechanism.\n\nThe other mode is \"Ephemeral\". In this mode, volumes are defined inline inside the pod spec with CSIVolumeSource and their lifecycle is tied to the lifecycle of that pod. A driver has to be aware of this because it is only going to get a NodePublishVolume call for such a volume.\n\nFor more information about implementing this mode, see https://kubernetes-csi.github.io/docs/ephemeral-local-volumes.html A driver can support one or more of these modes and more modes may be added in the future.\n\nThis field is beta. This field is immutable.",
        ),
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
