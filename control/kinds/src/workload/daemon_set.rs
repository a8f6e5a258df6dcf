//! DaemonSet. How often its template has changed is counted in an annotation, as older versions of it counted in the spec.
use super::{APPS, SPEC, STATUS, validate_collisions, validate_endless, validate_non_negative, validate_same_selector};
use crate::field::{Errors, Path};
use crate::int_or_string;
use crate::kind::{Kind, Subresource};
use crate::labels::{LabelSelector, format_labels, format_selector, validate_selector};
use crate::pod::validation::validate_template;
use crate::table::{AGE, CONTAINERS, Column, IMAGES, NAME, SELECTOR, age, containers, name};
use crate::value::{at, default_to, default_zero, int, is_empty, object_at, same, set, text};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(super) const KIND: Kind = Kind {
    kind: "DaemonSet",
    defaults: |_, daemon_set| defaults(daemon_set),
    prepare_create: |daemon_set| {
        let zero = json!({"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0});
        set(daemon_set, "status", zero);
        set_generation(daemon_set, 1);
    },
    prepare_update,
    validate,
    validate_update,
    columns: COLUMNS,
    cells,
    ..APPS
};

const COLUMNS: &[Column] = &[
    NAME,
    Column::integer(
        "Desired",
        "The total number of nodes that should be running the daemon pod (including nodes correctly running the daemon pod). More info: https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/",
    ),
    Column::integer(
        "Current",
        "The number of nodes that are running at least 1 daemon pod and are supposed to run the daemon pod. More info: https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/",
    ),
    Column::integer(
        "Ready",
        "numberReady is the number of nodes that should be running the daemon pod and have one or more of the daemon pod running with a Ready Condition.",
    ),
    Column::integer("Up-to-date", "The total number of nodes that are running updated daemon pod"),
    Column::integer(
        "Available",
        "The number of nodes that should be running the daemon pod and have one or more of the daemon pod running and available (ready for at least spec.minReadySeconds)",
    ),
    Column::text(
        "Node Selector",
        "NodeSelector is a selector which must be true for the pod to fit on a node. Selector which must match a node's labels for the pod to be scheduled on that node. More info: https://kubernetes.io/docs/concepts/configuration/assign-pod-node/",
    ),
    AGE,
    CONTAINERS,
    IMAGES,
    Column {
        description: "A label query over pods that are managed by the daemon set. Must match in order to be controlled. It must match the pod template's labels. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors",
        ..SELECTOR
    },
];

const GENERATION: &str = "deprecated.daemonset.template.generation";

const COUNTS: &[&str] = &[
    "currentNumberScheduled",
    "numberMisscheduled",
    "desiredNumberScheduled",
    "numberReady",
    "observedGeneration",
    "updatedNumberScheduled",
    "numberAvailable",
    "numberUnavailable",
    "collisionCount",
];

fn defaults(daemon_set: &mut Value) {
    object_at(daemon_set, "spec");
    let Some(spec) = at(daemon_set, &["spec"]) else { return };
    super::default_template(spec);
    object_at(spec, "updateStrategy");
    if let Some(strategy) = at(spec, &["updateStrategy"]) {
        default_zero(strategy, "type", "RollingUpdate");
        if text(&strategy["type"]) == "RollingUpdate" {
            object_at(strategy, "rollingUpdate");
            if let Some(rolling) = at(strategy, &["rollingUpdate"]) {
                default_to(rolling, "maxUnavailable", 1);
                default_to(rolling, "maxSurge", 0);
            }
        }
    }
    default_to(spec, "revisionHistoryLimit", 10);
    if generation(daemon_set).is_none() {
        set_generation(daemon_set, 0);
    }
}

fn generation(daemon_set: &Value) -> Option<i64> {
    text(&daemon_set["metadata"]["annotations"][GENERATION]).parse().ok()
}

fn set_generation(daemon_set: &mut Value, generation: i64) {
    if object_at(daemon_set, "metadata").is_some()
        && let Some(meta) = at(daemon_set, &["metadata"])
        && let Some(annotations) = object_at(meta, "annotations")
    {
        annotations.insert(GENERATION.into(), generation.to_string().into());
    }
}

/// The template's generation is what it was, or one more.
fn prepare_update(new: &mut Value, old: &Value, subresource: Subresource) {
    let changed = subresource == Subresource::None && !same(&new["spec"]["template"], &old["spec"]["template"]);
    set_generation(new, generation(old).unwrap_or(0) + i64::from(changed));
}

fn validate(daemon_set: &Value, errors: &mut Errors) {
    let spec = &daemon_set["spec"];
    let (selector, path) = (&spec["selector"], SPEC.child("selector"));
    validate_selector(selector, &path, errors);
    let template_path = SPEC.child("template");
    let pods = &spec["template"];
    if LabelSelector::from_object(selector).is_ok_and(|selector| !selector.matches(&pods["metadata"]["labels"])) {
        errors.invalid(
            &template_path.child("metadata.labels"),
            pods["metadata"]["labels"].clone(),
            "`selector` does not match template `labels`",
        );
    }
    if selector.is_object() && is_empty(&selector["matchLabels"]) && is_empty(&selector["matchExpressions"]) {
        errors.invalid(&path, selector.clone(), "empty selector is invalid for daemonset");
    }
    validate_template(pods, &template_path, errors);
    validate_endless(pods, "DaemonSet", &template_path, errors);
    validate_non_negative(spec, &SPEC, &["minReadySeconds"], errors);
    validate_strategy(&spec["updateStrategy"], &SPEC.child("updateStrategy"), errors);
    validate_non_negative(spec, &SPEC, &["revisionHistoryLimit"], errors);
}

fn validate_strategy(strategy: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (rolling, path_rolling) = (&strategy["rollingUpdate"], path.child("rollingUpdate"));
    match text(&strategy["type"]) {
        "OnDelete" => {}
        "RollingUpdate" if rolling.is_null() => errors.required(&path_rolling, ""),
        "RollingUpdate" => {
            let members = ["maxUnavailable", "maxSurge"];
            for member in members {
                int_or_string::validate(&rolling[member], &path_rolling.child(member), errors);
            }
            for member in members {
                int_or_string::validate_at_most_100_percent(&rolling[member], &path_rolling.child(member), errors);
            }
            match members.map(|member| int_or_string::number(&rolling[member]) != 0) {
                [true, true] => errors.invalid(
                    &path_rolling.child("maxSurge"),
                    rolling["maxSurge"].clone(),
                    "may not be set when maxUnavailable is non-zero",
                ),
                [false, false] => {
                    errors.required(&path_rolling.child("maxUnavailable"), "cannot be 0 when maxSurge is 0");
                }
                _ => {}
            }
        }
        _ => errors.not_supported(
            path,
            super::shown_strategy(strategy, &[("MaxUnavailable", "maxUnavailable"), ("MaxSurge", "maxSurge")]),
            &["RollingUpdate", "OnDelete"],
        ),
    }
}

fn validate_update(new: &Value, old: &Value, subresource: Subresource, errors: &mut Errors) {
    if subresource == Subresource::Status {
        validate_non_negative(&new["status"], &STATUS, COUNTS, errors);
        return validate_collisions(new, old, errors);
    }
    validate_same_selector(new, old, errors);
    validate(new, errors);
}

fn cells(daemon_set: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&daemon_set["spec"], &daemon_set["status"]);
    let count = |key: &str| Value::from(int(&status[key]));
    let [names, images] = containers(&spec["template"]["spec"]);
    vec![
        name(daemon_set),
        count("desiredNumberScheduled"),
        count("currentNumberScheduled"),
        count("numberReady"),
        count("updatedNumberScheduled"),
        count("numberAvailable"),
        format_labels(&spec["template"]["spec"]["nodeSelector"]).into(),
        age(daemon_set, now),
        names,
        images,
        format_selector(&spec["selector"]).into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind;

    #[test]
    fn surge_and_unavailability_exclude_each_other() {
        let rules = kind("apps", "DaemonSet");
        let mut object = json!({"metadata": {"name": "d", "namespace": "n"}, "spec": {"selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}}});
        rules.default("v1", &mut object);
        assert_eq!(rules.validate_create(&object).message(), "[]");
        object["spec"]["updateStrategy"]["rollingUpdate"]["maxSurge"] = 1.into();
        assert_eq!(
            rules.validate_create(&object).message(),
            "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero"
        );
        assert_eq!(cells(&object, Timestamp::UNIX_EPOCH).len(), COLUMNS.len());
    }
}
