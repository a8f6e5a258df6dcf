//! ReplicationController.
use super::{SPEC, validate_non_negative, validate_replica_status, validate_selected_template};
use crate::field::Errors;
use crate::kind::{FieldLabel, GENERAL, Kind, Subresource, not_supported};
use crate::labels::{LabelSelector, format_labels};
use crate::names::NameRule;
use crate::pod::defaults::template;
use crate::table::{AGE, CONTAINERS, Column, IMAGES, NAME, SELECTOR, age, containers, name};
use crate::value::{at, default_to, default_zero, int, is_empty, object_at, set};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(super) const KIND: Kind = Kind {
    kind: "ReplicationController",
    status: true,
    generation: true,
    name: NameRule::LongName,
    defaults: |_, controller| defaults(controller),
    prepare_create: |controller| set(controller, "status", json!({"replicas": 0})),
    validate,
    validate_update,
    columns: COLUMNS,
    cells,
    fields: FIELDS,
    field_error: not_supported,
    ..GENERAL
};

const FIELDS: &[FieldLabel] = &[("status.replicas", |controller| int(&controller["status"]["replicas"]).to_string())];

const COLUMNS: &[Column] = &[
    NAME,
    Column::integer(
        "Desired",
        "Replicas is the number of desired replicas. This is a pointer to distinguish between explicit zero and unspecified. Defaults to 1. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicationcontroller#what-is-a-replicationcontroller",
    ),
    Column::integer(
        "Current",
        "Replicas is the most recently observed number of replicas. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicationcontroller#what-is-a-replicationcontroller",
    ),
    Column::integer("Ready", "The number of ready replicas for this replication controller."),
    AGE,
    CONTAINERS,
    IMAGES,
    Column {
        description: "Selector is a label query over pods that should match the Replicas count. If Selector is empty, it is defaulted to the labels present on the Pod template. Label keys and values that must match in order to be controlled by this replication controller, if empty defaulted to labels on Pod template. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors",
        ..SELECTOR
    },
];

fn defaults(controller: &mut Value) {
    object_at(controller, "spec");
    let labels = controller["spec"]["template"]["metadata"]["labels"].clone();
    if let Some(spec) = at(controller, &["spec"]) {
        default_to(spec, "replicas", 1);
        if labels.is_object() {
            default_zero(spec, "selector", labels.clone());
        }
        if let Some(pods) = at(spec, &["template"]) {
            template(pods);
        }
    }
    if labels.is_object()
        && let Some(meta) = at(controller, &["metadata"])
    {
        default_zero(meta, "labels", labels);
    }
}

fn validate(controller: &Value, errors: &mut Errors) {
    let spec = &controller["spec"];
    validate_non_negative(spec, &SPEC, &["minReadySeconds"], errors);
    if is_empty(&spec["selector"]) {
        errors.required(&SPEC.child("selector"), "");
    }
    if spec["replicas"].is_null() {
        errors.required(&SPEC.child("replicas"), "");
    }
    validate_non_negative(spec, &SPEC, &["replicas"], errors);
    if spec["template"].is_null() {
        errors.required(&SPEC.child("template"), "");
        return;
    }
    let selector = LabelSelector::from_map(&spec["selector"]);
    validate_selected_template(&spec["template"], &selector, "ReplicationController", &SPEC.child("template"), errors);
}

fn validate_update(new: &Value, _: &Value, subresource: Subresource, errors: &mut Errors) {
    if subresource == Subresource::Status {
        validate_status(&new["status"], errors);
    } else {
        validate(new, errors);
    }
}

pub(super) fn validate_status(status: &Value, errors: &mut Errors) {
    validate_replica_status(
        status,
        &[
            "replicas",
            "fullyLabeledReplicas",
            "readyReplicas",
            "availableReplicas",
            "observedGeneration",
            "terminatingReplicas",
        ],
        &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
        errors,
    );
}

fn cells(controller: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(&controller["spec"]["template"]["spec"]);
    vec![
        name(controller),
        int(&controller["spec"]["replicas"]).into(),
        int(&controller["status"]["replicas"]).into(),
        int(&controller["status"]["readyReplicas"]).into(),
        age(controller, now),
        names,
        images,
        format_labels(&controller["spec"]["selector"]).into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Subresource, kind};

    #[test]
    fn selector_and_labels_default_to_the_templates() {
        let mut controller = json!({"metadata": {"name": "rc"}, "spec": {"template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}}});
        kind("", "ReplicationController").default("v1", &mut controller);
        assert_eq!(controller["spec"]["replicas"], 1);
        assert_eq!(controller["spec"]["selector"], json!({"app": "web"}));
        assert_eq!(controller["metadata"]["labels"], json!({"app": "web"}));
        assert_eq!(controller["spec"]["template"]["spec"]["restartPolicy"], "Always");
    }

    #[test]
    fn the_generation_grows_with_the_spec_only() {
        let rules = kind("", "ReplicationController");
        let mut old = json!({"metadata": {"name": "rc"}, "spec": {"replicas": 1}});
        rules.prepare_create(&mut old);
        assert_eq!((int(&old["metadata"]["generation"]), &old["status"]), (1, &json!({"replicas": 0})));
        let mut new = old.clone();
        new["metadata"]["labels"] = json!({"a": "b"});
        new["metadata"]["generation"] = 77.into();
        rules.prepare_update(&mut new, &old, Subresource::None);
        assert_eq!(new["metadata"]["generation"], 1);
        new["spec"]["replicas"] = 2.into();
        rules.prepare_update(&mut new, &old, Subresource::None);
        assert_eq!(new["metadata"]["generation"], 2);
        let mut status = json!({"metadata": {"name": "rc"}, "spec": {"replicas": 9}, "status": {"replicas": 1}});
        rules.prepare_update(&mut status, &old, Subresource::Status);
        assert_eq!(status["spec"]["replicas"], 1);
        assert_eq!(status["status"]["replicas"], 1);
    }

    #[test]
    fn template_and_selector_must_agree() {
        let rules = kind("", "ReplicationController");
        let mut controller = json!({"metadata": {"name": "rc", "namespace": "n"}, "spec": {"replicas": -1, "selector": {"app": "x"},
            "template": {"metadata": {"labels": {"app": "y"}}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}}}});
        rules.default("v1", &mut controller);
        assert_eq!(
            rules.validate_create(&controller).message(),
            "[spec.replicas: Invalid value: -1: must be greater than or equal to 0, \
             spec.template.metadata.labels: Invalid value: {\"app\":\"y\"}: `selector` does not match template `labels`, \
             spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"]"
        );
        let status = json!({"metadata": {"resourceVersion": "1"}, "status": {"replicas": 1, "readyReplicas": 2}});
        assert_eq!(
            rules.validate_update(&status, &json!({}), Subresource::Status).message(),
            "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas"
        );
    }
}
