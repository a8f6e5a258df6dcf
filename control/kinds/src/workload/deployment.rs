//! Deployment.
use super::{
    APPS, SPEC, validate_collisions, validate_non_negative, validate_replica_status, validate_required_selector,
    validate_same_selector, validate_selected_template,
};
use crate::field::{Errors, Path};
use crate::int_or_string;
use crate::kind::{Kind, Subresource};
use crate::labels::LabelSelector;
use crate::table::{AGE, CONTAINERS, Column, IMAGES, NAME, SELECTOR, age, containers, name};
use crate::value::{at, copy, default_to, default_zero, int, object_at, same, set, text};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(super) const KIND: Kind = Kind {
    kind: "Deployment",
    defaults: |_, deployment| defaults(deployment),
    prepare_create: |deployment| set(deployment, "status", json!({})),
    prepare_update,
    validate,
    validate_update,
    columns: COLUMNS,
    cells,
    ..APPS
};

const COLUMNS: &[Column] = &[
    NAME,
    Column::text("Ready", "Number of the pod with ready state"),
    Column::text(
        "Up-to-date",
        "Total number of non-terminating pods targeted by this deployment that have the desired template spec.",
    ),
    Column::text(
        "Available",
        "Total number of available non-terminating pods (ready for at least minReadySeconds) targeted by this deployment.",
    ),
    AGE,
    CONTAINERS,
    IMAGES,
    Column {
        description: "Label selector for pods. Existing ReplicaSets whose pods are selected by this will be the ones affected by this deployment. It must match the pod template's labels.",
        ..SELECTOR
    },
];

fn defaults(deployment: &mut Value) {
    object_at(deployment, "spec");
    let Some(spec) = at(deployment, &["spec"]) else { return };
    default_to(spec, "replicas", 1);
    super::default_template(spec);
    object_at(spec, "strategy");
    if let Some(strategy) = at(spec, &["strategy"]) {
        default_zero(strategy, "type", "RollingUpdate");
        if text(&strategy["type"]) == "RollingUpdate" {
            object_at(strategy, "rollingUpdate");
            if let Some(rolling) = at(strategy, &["rollingUpdate"]) {
                default_to(rolling, "maxUnavailable", "25%");
                default_to(rolling, "maxSurge", "25%");
            }
        }
    }
    default_to(spec, "revisionHistoryLimit", 10);
    default_to(spec, "progressDeadlineSeconds", 600);
}

/// Annotations count for the generation because they are copied to ReplicaSets; /status cannot write labels.
fn prepare_update(new: &mut Value, old: &Value, subresource: Subresource) {
    let Some(meta) = new.get_mut("metadata") else { return };
    if subresource == Subresource::Status {
        copy(meta, &old["metadata"], "labels");
    } else if !same(&meta["annotations"], &old["metadata"]["annotations"]) {
        set(meta, "generation", int(&old["metadata"]["generation"]) + 1);
    }
}

fn validate(deployment: &Value, errors: &mut Errors) {
    let spec = &deployment["spec"];
    validate_non_negative(spec, &SPEC, &["replicas"], errors);
    validate_required_selector(&spec["selector"], "deployment", &SPEC.child("selector"), errors);
    match LabelSelector::from_object(&spec["selector"]) {
        Ok(selector) => {
            validate_selected_template(&spec["template"], &selector, "ReplicaSet", &SPEC.child("template"), errors);
        }
        Err(_) => errors.invalid(&SPEC.child("selector"), spec["selector"].clone(), "invalid label selector"),
    }
    validate_strategy(&spec["strategy"], &SPEC.child("strategy"), errors);
    validate_non_negative(spec, &SPEC, &["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"], errors);
    let deadline = &spec["progressDeadlineSeconds"];
    if !deadline.is_null() && int(deadline) <= int(&spec["minReadySeconds"]) {
        errors.invalid(&SPEC.child("progressDeadlineSeconds"), int(deadline), "must be greater than minReadySeconds");
    }
}

fn validate_strategy(strategy: &Value, path: &Path<'_>, errors: &mut Errors) {
    let rolling = &strategy["rollingUpdate"];
    let path_rolling = path.child("rollingUpdate");
    match text(&strategy["type"]) {
        "Recreate" if !rolling.is_null() => {
            errors.forbidden(&path_rolling, "may not be specified when strategy `type` is 'Recreate'");
        }
        "Recreate" => {}
        "RollingUpdate" if rolling.is_null() => {
            errors.required(&path_rolling, "this should be defaulted and never be nil");
        }
        "RollingUpdate" => {
            let (unavailable, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
            let path_unavailable = path_rolling.child("maxUnavailable");
            int_or_string::validate(unavailable, &path_unavailable, errors);
            int_or_string::validate(surge, &path_rolling.child("maxSurge"), errors);
            if int_or_string::number(unavailable) == 0 && int_or_string::number(surge) == 0 {
                errors.invalid(&path_unavailable, unavailable.clone(), "may not be 0 when `maxSurge` is 0");
            }
            int_or_string::validate_at_most_100_percent(unavailable, &path_unavailable, errors);
        }
        _ => {
            let shown =
                super::shown_strategy(strategy, &[("MaxUnavailable", "maxUnavailable"), ("MaxSurge", "maxSurge")]);
            errors.not_supported(path, shown, &["Recreate", "RollingUpdate"]);
        }
    }
}

fn validate_update(new: &Value, old: &Value, subresource: Subresource, errors: &mut Errors) {
    if subresource == Subresource::Status {
        validate_replica_status(
            &new["status"],
            &[
                "observedGeneration",
                "replicas",
                "updatedReplicas",
                "readyReplicas",
                "availableReplicas",
                "unavailableReplicas",
                "terminatingReplicas",
                "collisionCount",
            ],
            &["updatedReplicas", "readyReplicas", "availableReplicas"],
            errors,
        );
        return validate_collisions(new, old, errors);
    }
    validate(new, errors);
    validate_same_selector(new, old, errors);
}

fn cells(deployment: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&deployment["spec"], &deployment["status"]);
    let [names, images] = containers(&spec["template"]["spec"]);
    let selector =
        LabelSelector::from_object(&spec["selector"]).map_or_else(|_| "<invalid>".to_owned(), |s| s.to_string());
    vec![
        name(deployment),
        format!("{}/{}", int(&status["readyReplicas"]), int(&spec["replicas"])).into(),
        int(&status["updatedReplicas"]).into(),
        int(&status["availableReplicas"]).into(),
        age(deployment, now),
        names,
        images,
        selector.into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind;

    fn deployment() -> Value {
        let mut object = json!({"metadata": {"name": "web", "namespace": "n", "resourceVersion": "1"}, "spec": {"selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "nginx:1"}]}}}});
        kind("apps", "Deployment").default("v1", &mut object);
        object
    }

    #[test]
    fn defaults_are_a_rolling_update_of_a_quarter() {
        let object = deployment();
        assert_eq!(
            object["spec"]["strategy"],
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}})
        );
        assert_eq!(object["spec"]["progressDeadlineSeconds"], 600);
        assert_eq!(kind("apps", "Deployment").validate_create(&object).message(), "[]");
    }

    #[test]
    fn the_selector_is_required_matches_and_stays() {
        let rules = kind("apps", "Deployment");
        let old = deployment();
        let mut new = deployment();
        new["spec"]["selector"]["matchLabels"]["app"] = "other".into();
        assert_eq!(
            rules.validate_update(&new, &old, Subresource::None).message(),
            "[spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`, \
             spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"other\"}}: field is immutable]"
        );
        new["spec"]["selector"] = Value::Null;
        assert!(
            rules
                .validate_create(&new)
                .message()
                .starts_with("[spec.selector: Required value, spec.template.metadata.labels: Invalid")
        );
        new["spec"]["selector"] = json!({});
        assert!(
            rules
                .validate_create(&new)
                .message()
                .contains("spec.selector: Invalid value: {}: empty selector is invalid for deployment")
        );
    }

    #[test]
    fn the_strategy_must_be_able_to_move() {
        let mut object = deployment();
        object["spec"]["strategy"]["rollingUpdate"] = json!({"maxUnavailable": 0, "maxSurge": "0%"});
        object["spec"]["minReadySeconds"] = 600.into();
        assert_eq!(
            kind("apps", "Deployment").validate_create(&object).message(),
            "[spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0, \
             spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds]"
        );
        object["spec"]["strategy"] = json!({"type": "Recreate", "rollingUpdate": {}});
        assert!(
            kind("apps", "Deployment")
                .validate_create(&object)
                .message()
                .contains("rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'")
        );
    }

    #[test]
    fn annotations_move_the_generation() {
        let rules = kind("apps", "Deployment");
        let mut old = deployment();
        rules.prepare_create(&mut old);
        let mut new = old.clone();
        new["metadata"]["annotations"] = json!({"a": "b"});
        rules.prepare_update(&mut new, &old, Subresource::None);
        assert_eq!(new["metadata"]["generation"], 2);
    }

    #[test]
    fn the_row_shows_ready_of_desired() {
        let mut object = deployment();
        object["status"] = json!({"readyReplicas": 1, "updatedReplicas": 1, "availableReplicas": 1});
        let row = cells(&object, Timestamp::UNIX_EPOCH);
        assert_eq!(
            row,
            [
                "web".into(),
                json!("1/1"),
                json!(1),
                json!(1),
                json!("<unknown>"),
                json!("c"),
                json!("nginx:1"),
                json!("app=web")
            ]
        );
    }
}
