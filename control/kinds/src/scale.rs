//! The autoscaling/v1 Scale of ReplicationControllers, ReplicaSets, Deployments and StatefulSets.
use crate::field::{Errors, Path};
use crate::labels::LabelSelector;
use crate::meta::NEGATIVE;
use crate::table::{AGE, Column, NAME};
use crate::value::{at, int, set, text};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Whether the kind has a scale subresource.
pub fn has_scale(group: &str, kind: &str) -> bool {
    matches!((group, kind), ("", "ReplicationController") | ("apps", "ReplicaSet" | "Deployment" | "StatefulSet"))
}

/// The Scale that the object shows; the selector in its string form.
pub fn read(object: &Value) -> Value {
    let mut meta = Map::new();
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(key) {
            meta.insert(key.to_owned(), value.clone());
        }
    }
    let selector = &object["spec"]["selector"];
    let selector = if text(&object["apiVersion"]) == "v1" {
        LabelSelector::from_map(selector)
    } else {
        LabelSelector::from_object(selector).unwrap_or_else(|_| LabelSelector::nothing())
    };
    let mut spec = json!({});
    let replicas = int(&object["spec"]["replicas"]);
    if replicas != 0 {
        set(&mut spec, "replicas", replicas);
    }
    let mut status = json!({"replicas": int(&object["status"]["replicas"])});
    if !selector.is_empty() {
        set(&mut status, "selector", selector.to_string());
    }
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta, "spec": spec, "status": status})
}

/// A Scale as a Table of one row, without the object in it; of a custom object as its definition's server writes it.
pub fn table(scale: &Value, custom: bool, now: Timestamp) -> Value {
    let (desired, available) = match custom {
        true => ("Number of desired replicas", "Number of actual replicas"),
        false => (
            "replicas is the desired number of instances for the scaled object.",
            "replicas is the actual number of observed instances of the scaled object.",
        ),
    };
    let format = if custom { "name" } else { "" };
    let age = if custom { "date" } else { "string" };
    let columns = [
        Column { format, ..NAME },
        Column::integer("Desired", desired),
        Column::integer("Available", available),
        Column { data_type: age, ..AGE },
    ];
    let cells = vec![
        crate::table::name(scale),
        int(&scale["spec"]["replicas"]).into(),
        int(&scale["status"]["replicas"]).into(),
        crate::table::age(scale, now),
    ];
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": scale["metadata"]["resourceVersion"]},
        "columnDefinitions": columns.iter().map(Column::to_value).collect::<Vec<_>>(),
        "rows": [{"cells": cells}],
    })
}

/// What is wrong with a Scale that a client sends.
pub fn validate(scale: &Value) -> Errors {
    let mut errors = Errors::default();
    let replicas = int(&scale["spec"]["replicas"]);
    if replicas < 0 {
        errors.invalid(&Path::new("spec.replicas"), replicas, NEGATIVE);
    }
    errors
}

/// Writes a Scale's replicas into the object; its resourceVersion, if it has one, becomes the update's precondition.
pub fn write(object: &mut Value, scale: &Value) {
    if let Some(spec) = at(object, &["spec"]) {
        set(spec, "replicas", int(&scale["spec"]["replicas"]));
    }
    let version = text(&scale["metadata"]["resourceVersion"]);
    if !version.is_empty()
        && let Some(meta) = at(object, &["metadata"])
    {
        set(meta, "resourceVersion", version);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_is_read_and_written() {
        let mut rc = json!({"apiVersion": "v1", "metadata": {"name": "rc", "namespace": "n", "uid": "u", "resourceVersion": "7", "labels": {}},
            "spec": {"replicas": 3, "selector": {"b": "2", "a": "1"}}, "status": {"replicas": 2}});
        assert_eq!(
            read(&rc),
            json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": "rc", "namespace": "n", "uid": "u", "resourceVersion": "7"},
                "spec": {"replicas": 3}, "status": {"replicas": 2, "selector": "a=1,b=2"}})
        );
        write(&mut rc, &json!({"spec": {"replicas": 5}, "metadata": {"resourceVersion": "6"}}));
        assert_eq!(rc["spec"]["replicas"], 5);
        assert_eq!(rc["metadata"]["resourceVersion"], "6");
        assert!(!validate(&json!({"spec": {"replicas": -1}})).is_empty());
    }

    #[test]
    fn apps_kinds_have_selector_objects() {
        let deployment = json!({"apiVersion": "apps/v1", "spec": {"replicas": 1, "selector": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["y", "x"]}]}}});
        assert_eq!(read(&deployment)["status"]["selector"], "a in (x,y)");
    }
}
