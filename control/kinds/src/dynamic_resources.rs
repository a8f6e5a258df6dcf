//! The kinds of resource.k8s.io: device classes, claims on devices, their templates, and the slices of devices that drivers offer.
use crate::kind::{FieldLabel, GENERAL, Kind, Subresource, not_supported};
use crate::table::{AGE, Column, NAME, age, default_cells, name};
use crate::value::{at, default_zero, int, items, items_at, set, text};
use serde_json::{Value, json};

mod validation;

pub(crate) static KINDS: &[Kind] = &[DEVICE_CLASS, RESOURCE_CLAIM, RESOURCE_CLAIM_TEMPLATE, RESOURCE_SLICE];

const RESOURCE: Kind = Kind { group: "resource.k8s.io", ..GENERAL };

const DEVICE_CLASS: Kind = Kind {
    kind: "DeviceClass",
    namespaced: false,
    generation: true,
    validate: |class, errors| validation::class(&class["spec"], errors),
    validate_update: |new, _, _, errors| validation::class(&new["spec"], errors),
    columns: &[NAME, AGE],
    cells: default_cells,
    ..RESOURCE
};

const RESOURCE_CLAIM: Kind = Kind {
    kind: "ResourceClaim",
    status: true,
    defaults: |_, claim| default_claim(claim, &["spec", "devices", "requests"]),
    prepare_create: |claim| set(claim, "status", json!({})),
    validate: |claim, errors| validation::claim(&claim["spec"], &crate::field::Path::new("spec"), errors),
    validate_update: |new, old, subresource, errors| match subresource {
        Subresource::Status => validation::claim_status(new, old, errors),
        _ => crate::meta::immutable(&new["spec"], &old["spec"], &crate::field::Path::new("spec"), errors),
    },
    columns: &[
        NAME,
        Column::text("State", "A summary of the current state (allocated, pending, reserved, etc.)."),
        AGE,
    ],
    cells: |claim, now| vec![name(claim), state(claim).into(), age(claim, now)],
    ..RESOURCE
};

const RESOURCE_CLAIM_TEMPLATE: Kind = Kind {
    kind: "ResourceClaimTemplate",
    defaults: |_, template| default_claim(template, &["spec", "spec", "devices", "requests"]),
    validate: |template, errors| validation::template(&template["spec"], errors),
    validate_update: |new, old, _, errors| {
        crate::meta::immutable(&new["spec"], &old["spec"], &crate::field::Path::new("spec"), errors);
        validation::template(&new["spec"], errors);
    },
    columns: &[NAME, AGE],
    cells: default_cells,
    ..RESOURCE
};

const RESOURCE_SLICE: Kind = Kind {
    kind: "ResourceSlice",
    namespaced: false,
    generation: true,
    validate: |slice, errors| validation::slice(&slice["spec"], errors),
    validate_update: |new, old, _, errors| {
        validation::slice(&new["spec"], errors);
        validation::slice_update(&new["spec"], &old["spec"], errors);
    },
    columns: &[
        NAME,
        Column::text(
            "Node",
            "NodeName identifies the node which provides the resources in this pool. A field selector can be used to list only ResourceSlice objects belonging to a certain node.\n\nThis field can be used to limit access from nodes to ResourceSlices with the same node name. It also indicates to autoscalers that adding new nodes of the same type as some old node might also make new resources available.\n\nExactly one of NodeName, NodeSelector, AllNodes, and PerDeviceNodeSelection must be set. This field is immutable.",
        ),
        Column::text(
            "Driver",
            "Driver identifies the DRA driver providing the capacity information. A field selector can be used to list only ResourceSlice objects with a certain driver name.\n\nMust be a DNS subdomain and should end with a DNS domain owned by the vendor of the driver. It should use only lower case characters. This field is immutable.",
        ),
        Column::text(
            "Pool",
            "Name is used to identify the pool. For node-local devices, this is often the node name, but this is not required.\n\nIt must not be longer than 253 characters and must consist of one or more DNS sub-domains separated by slashes. This field is immutable.",
        ),
        AGE,
    ],
    cells: |slice, now| {
        let spec = &slice["spec"];
        let node = if text(&spec["nodeName"]).is_empty() { "<unset>" } else { text(&spec["nodeName"]) };
        vec![
            name(slice),
            node.into(),
            text(&spec["driver"]).into(),
            text(&spec["pool"]["name"]).into(),
            age(slice, now),
        ]
    },
    fields: SLICE_FIELDS,
    field_error: not_supported,
    ..RESOURCE
};

const SLICE_FIELDS: &[FieldLabel] = &[
    ("spec.driver", |slice| text(&slice["spec"]["driver"]).to_owned()),
    ("spec.nodeName", |slice| text(&slice["spec"]["nodeName"]).to_owned()),
];

/// Each request asks for one device unless it says otherwise.
fn default_claim(object: &mut Value, requests: &[&str]) {
    for request in items_at(object, requests) {
        if let Some(exactly) = at(request, &["exactly"]) {
            default_request(exactly);
        }
        items_at(request, &["firstAvailable"]).iter_mut().for_each(default_request);
    }
}

fn default_request(request: &mut Value) {
    default_zero(request, "allocationMode", "ExactCount");
    if text(&request["allocationMode"]) == "ExactCount" && int(&request["count"]) == 0 {
        set(request, "count", 1);
    }
    for toleration in items_at(request, &["tolerations"]) {
        default_zero(toleration, "operator", "Equal");
    }
}

fn state(claim: &Value) -> String {
    let deleted = !claim["metadata"]["deletionTimestamp"].is_null();
    let mut states = Vec::new();
    if deleted {
        states.push("deleted");
    }
    if claim["status"]["allocation"].is_object() {
        states.push("allocated");
        if !items(&claim["status"]["reservedFor"]).is_empty() {
            states.push("reserved");
        }
    } else if !deleted {
        states.push("pending");
    }
    states.join(",")
}
