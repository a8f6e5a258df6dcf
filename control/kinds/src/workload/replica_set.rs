//! ReplicaSet.
use super::replication_controller::validate_status;
use super::{
    APPS, SPEC, validate_non_negative, validate_required_selector, validate_same_selector, validate_selected_template,
};
use crate::field::Errors;
use crate::kind::{FieldLabel, Kind, Subresource};
use crate::labels::{LabelSelector, format_selector};
use crate::table::{AGE, CONTAINERS, Column, IMAGES, NAME, SELECTOR, age, containers, name};
use crate::value::{at, default_to, int, object_at, set};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(super) const KIND: Kind = Kind {
    kind: "ReplicaSet",
    defaults: |_, replica_set| defaults(replica_set),
    prepare_create: |replica_set| set(replica_set, "status", json!({"replicas": 0})),
    validate,
    validate_update,
    columns: COLUMNS,
    cells,
    fields: FIELDS,
    ..APPS
};

const FIELDS: &[FieldLabel] = &[("status.replicas", |object| int(&object["status"]["replicas"]).to_string())];

const COLUMNS: &[Column] = &[
    NAME,
    Column::integer(
        "Desired",
        "Replicas is the number of desired pods. This is a pointer to distinguish between explicit zero and unspecified. Defaults to 1. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicaset",
    ),
    Column::integer(
        "Current",
        "Replicas is the most recently observed number of non-terminating pods. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicaset",
    ),
    Column::integer("Ready", "The number of non-terminating pods targeted by this ReplicaSet with a Ready Condition."),
    AGE,
    CONTAINERS,
    IMAGES,
    Column {
        description: "Selector is a label query over pods that should match the replica count. Label keys and values that must match in order to be controlled by this replica set. It must match the pod template's labels. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors",
        ..SELECTOR
    },
];

fn defaults(replica_set: &mut Value) {
    object_at(replica_set, "spec");
    if let Some(spec) = at(replica_set, &["spec"]) {
        default_to(spec, "replicas", 1);
        super::default_template(spec);
    }
}

fn validate(replica_set: &Value, errors: &mut Errors) {
    let spec = &replica_set["spec"];
    validate_non_negative(spec, &SPEC, &["replicas", "minReadySeconds"], errors);
    validate_required_selector(&spec["selector"], "deployment", &SPEC.child("selector"), errors);
    match LabelSelector::from_object(&spec["selector"]) {
        Ok(selector) => {
            validate_selected_template(&spec["template"], &selector, "ReplicaSet", &SPEC.child("template"), errors);
        }
        Err(_) => errors.invalid(&SPEC.child("selector"), spec["selector"].clone(), "invalid label selector"),
    }
}

fn validate_update(new: &Value, old: &Value, subresource: Subresource, errors: &mut Errors) {
    if subresource == Subresource::Status {
        return validate_status(&new["status"], errors);
    }
    validate(new, errors);
    validate_same_selector(new, old, errors);
}

fn cells(replica_set: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(&replica_set["spec"]["template"]["spec"]);
    vec![
        name(replica_set),
        int(&replica_set["spec"]["replicas"]).into(),
        int(&replica_set["status"]["replicas"]).into(),
        int(&replica_set["status"]["readyReplicas"]).into(),
        age(replica_set, now),
        names,
        images,
        format_selector(&replica_set["spec"]["selector"]).into(),
    ]
}
