//! Job.
use super::{SPEC, validate_match, validate_non_negative};
use crate::field::{Errors, Path};
use crate::kind::{FieldLabel, GENERAL, Kind, Subresource};
use crate::labels::{LabelSelector, format_selector, validate_selector};
use crate::meta::immutable;
use crate::names::dns1123_label;
use crate::table::{
    AGE, CONTAINERS, Column, IMAGES, NAME, SELECTOR, age, containers, human_duration, name, parse_time,
};
use crate::value::{at, default_to, default_zero, flag, int, items, items_at, object_at, set, text};
use jiff::Timestamp;
use serde_json::{Value, json};

mod failure_policy;
mod success_policy;
mod validation;

pub(super) use validation::validate_spec;

pub(super) const KIND: Kind = Kind {
    group: "batch",
    kind: "Job",
    status: true,
    generation: true,
    defaults: |_, job| defaults(job),
    prepare_create: |job| {
        generate_selector(job);
        label_as_pods(job);
        set(job, "status", json!({}));
    },
    validate,
    validate_update,
    columns: COLUMNS,
    cells,
    fields: FIELDS,
    field_error: |_, label| format!("field label {} not supported for Job", crate::value::go_quote(label)),
    ..GENERAL
};

const FIELDS: &[FieldLabel] = &[("status.successful", |job| int(&job["status"]["succeeded"]).to_string())];

const COLUMNS: &[Column] = &[
    NAME,
    Column::text("Status", "Status of the job."),
    Column::text(
        "Completions",
        "The number of pods which reached phase Succeeded. The value increases monotonically for a given spec. However, it may decrease in reaction to scale down of elastic indexed jobs.",
    ),
    Column::text("Duration", "Time required to complete the job."),
    AGE,
    CONTAINERS,
    IMAGES,
    Column {
        description: "A label query over pods that should match the pod count. Normally, the system sets this field for you. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors",
        ..SELECTOR
    },
];

fn defaults(job: &mut Value) {
    object_at(job, "spec");
    if let Some(spec) = at(job, &["spec"]) {
        if spec["completions"].is_null() && spec["parallelism"].is_null() {
            set(spec, "completions", 1);
        }
        default_to(spec, "parallelism", 1);
        let limit = if spec["backoffLimitPerIndex"].is_null() { 6 } else { i64::from(i32::MAX) };
        default_to(spec, "backoffLimit", limit);
        default_to(spec, "completionMode", "NonIndexed");
        default_to(spec, "suspend", false);
        let replace = if spec["podFailurePolicy"].is_null() { "TerminatingOrFailed" } else { "Failed" };
        default_to(spec, "podReplacementPolicy", replace);
        default_to(spec, "manualSelector", false);
        default_template(spec);
    }
    label_as_pods(job);
}

/// A Job without labels gets those of its pods.
fn label_as_pods(job: &mut Value) {
    let labels = job["spec"]["template"]["metadata"]["labels"].clone();
    if labels.is_object()
        && let Some(meta) = at(job, &["metadata"])
    {
        default_zero(meta, "labels", labels);
    }
}

/// What a CronJob's template gets as well.
pub(super) fn default_template(spec: &mut Value) {
    for rule in items_at(spec, &["podFailurePolicy", "rules"]) {
        for pattern in items_at(rule, &["onPodConditions"]) {
            default_zero(pattern, "status", "True");
        }
    }
    super::default_template(spec);
}

const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];
const NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];

/// Unless the user manages the selector, a Job selects its pods by its own uid, and labels them with uid and name.
fn generate_selector(job: &mut Value) {
    if flag(&job["spec"]["manualSelector"]) {
        return;
    }
    let (uid, name) = (job["metadata"]["uid"].clone(), job["metadata"]["name"].clone());
    let Some(spec) = at(job, &["spec"]) else { return };
    if let Some(pods) = at(spec, &["template"])
        && object_at(pods, "metadata").is_some()
        && let Some(meta) = at(pods, &["metadata"])
        && let Some(labels) = object_at(meta, "labels")
    {
        for label in NAME_LABELS {
            labels.entry(label).or_insert_with(|| name.clone());
        }
        for label in UID_LABELS {
            labels.entry(label).or_insert_with(|| uid.clone());
        }
    }
    object_at(spec, "selector");
    if let Some(selector) = at(spec, &["selector"])
        && let Some(labels) = object_at(selector, "matchLabels")
    {
        labels.entry(UID_LABELS[1]).or_insert(uid);
    }
}

fn validate(job: &Value, errors: &mut Errors) {
    validate_generated_selector(job, errors);
    validate_with_selector(job, errors);
    let (spec, name) = (&job["spec"], text(&job["metadata"]["name"]));
    let completions = int(&spec["completions"]);
    if text(&spec["completionMode"]) == "Indexed" && completions > 0 {
        let host = format!("{name}-{}", completions - 1);
        if !dns1123_label(&host).is_empty() {
            let detail = format!("will not able to create pod with invalid DNS label: {host}");
            errors.invalid(&Path::new("metadata.name"), name, detail);
        }
    }
}

fn validate_generated_selector(job: &Value, errors: &mut Errors) {
    let spec = &job["spec"];
    if flag(&spec["manualSelector"]) || spec["selector"].is_null() {
        return;
    }
    let (uid, name) = (text(&job["metadata"]["uid"]), text(&job["metadata"]["name"]));
    if uid.is_empty() {
        errors.required(&Path::new("metadata.uid"), "");
    }
    let path = Path::new("spec.template.metadata.labels");
    let labels = &spec["template"]["metadata"]["labels"];
    let mut expected = json!({});
    for (keys, value) in [(UID_LABELS, uid), (NAME_LABELS, name)] {
        for key in keys {
            set(&mut expected, key, value);
            match labels.get(key).map(text) {
                None => errors.required(&path.key(key), format!("must be '{value}'")),
                Some(actual) if actual != value => {
                    errors.invalid(&path.key(key), labels.clone(), format!("must be '{value}'"));
                }
                Some(_) => {}
            }
        }
    }
    if LabelSelector::from_object(&spec["selector"]).is_ok_and(|selector| !selector.matches(&expected)) {
        errors.invalid(&SPEC.child("selector"), spec["selector"].clone(), "`selector` not auto-generated");
    }
}

fn validate_with_selector(job: &Value, errors: &mut Errors) {
    let spec = &job["spec"];
    validate_spec(spec, &SPEC, errors);
    if spec["selector"].is_null() {
        errors.required(&SPEC.child("selector"), "");
    }
    validate_selector(&spec["selector"], &SPEC.child("selector"), errors);
    if let Ok(selector) = LabelSelector::from_object(&spec["selector"]) {
        validate_match(&spec["template"], &selector, &SPEC.child("template"), errors);
    }
}

fn validate_update(new: &Value, old: &Value, subresource: Subresource, errors: &mut Errors) {
    let (spec, before) = (&new["spec"], &old["spec"]);
    if subresource == Subresource::Status {
        let counts = ["active", "succeeded", "failed", "ready", "terminating"];
        return validate_non_negative(&new["status"], &Path::new("status"), &counts, errors);
    }
    validate(new, errors);
    validate_with_selector(new, errors);
    let mut fixed =
        vec!["selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"];
    if text(&spec["completionMode"]) != "Indexed" {
        fixed.push("completions");
    } else if spec["completions"] != before["completions"] && spec["completions"] != spec["parallelism"] {
        let detail = "can only be modified in tandem with spec.parallelism";
        errors.invalid(&SPEC.child("completions"), spec["completions"].clone(), detail);
    }
    for member in fixed {
        if matches!(member, "podFailurePolicy" | "successPolicy") && spec[member].is_object() {
            if !crate::value::same(&spec[member], &before[member]) {
                let shown = json!({"Rules": crate::value::go_names(&spec[member]["rules"])});
                errors.invalid(&SPEC.child(member), shown, crate::meta::IMMUTABLE);
            }
            continue;
        }
        immutable(&spec[member], &before[member], &SPEC.child(member), errors);
    }
    if !may_change_pods(old) {
        return immutable(&spec["template"], &before["template"], &SPEC.child("template"), errors);
    }
    let mut pods = before["template"].clone();
    allow_scheduling_directives(&mut pods, &spec["template"]);
    for list in ["containers", "initContainers"] {
        let now = items(&spec["template"]["spec"][list]);
        for (container, now) in items_at(&mut pods, &["spec", list]).iter_mut().zip(now) {
            if container["name"] == now["name"] {
                crate::value::copy(container, now, "resources");
            }
        }
    }
    immutable(&spec["template"]["spec"], &pods["spec"], &SPEC.child("template.spec"), errors);
}

/// Pods of a suspended Job may run elsewhere and with other resources when there are none: it never started, or they are gone.
fn may_change_pods(job: &Value) -> bool {
    let status = &job["status"];
    let is_suspended =
        |condition: &Value| text(&condition["type"]) == "Suspended" && text(&condition["status"]) == "True";
    let stopped = status["startTime"].is_null() || items(&status["conditions"]).iter().any(is_suspended);
    flag(&job["spec"]["suspend"]) && stopped && int(&status["active"]) == 0
}

/// Makes of the template before what it may be: its pods may run elsewhere.
fn allow_scheduling_directives(before: &mut Value, now: &Value) {
    if let Some(meta) = at(before, &["metadata"]) {
        for member in ["annotations", "labels"] {
            crate::value::copy(meta, &now["metadata"], member);
        }
    }
    let Some(spec) = at(before, &["spec"]) else { return };
    for member in ["nodeSelector", "tolerations", "schedulingGates"] {
        crate::value::copy(spec, &now["spec"], member);
    }
    object_at(spec, "affinity");
    if let Some(affinity) = at(spec, &["affinity"]) {
        crate::value::copy(affinity, &now["spec"]["affinity"], "nodeAffinity");
    }
}

fn cells(job: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&job["spec"], &job["status"]);
    let [names, images] = containers(&spec["template"]["spec"]);
    let succeeded = int(&status["succeeded"]);
    let completions = match (spec["completions"].as_i64(), int(&spec["parallelism"])) {
        (Some(completions), _) => format!("{succeeded}/{completions}"),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        _ => format!("{succeeded}/1"),
    };
    let duration = match (parse_time(&status["startTime"]), parse_time(&status["completionTime"])) {
        (Some(start), end) => human_duration(end.unwrap_or(now).as_second() - start.as_second()),
        (None, _) => String::new(),
    };
    vec![
        name(job),
        status_of(job).into(),
        completions.into(),
        duration.into(),
        age(job, now),
        names,
        images,
        format_selector(&spec["selector"]).into(),
    ]
}

fn status_of(job: &Value) -> &'static str {
    let conditions = items(&job["status"]["conditions"]);
    let has =
        |kind: &str| conditions.iter().find(|c| text(&c["type"]) == kind).is_some_and(|c| text(&c["status"]) == "True");
    if has("Complete") {
        "Complete"
    } else if has("Failed") {
        "Failed"
    } else if !job["metadata"]["deletionTimestamp"].is_null() {
        "Terminating"
    } else if has("Suspended") {
        "Suspended"
    } else if has("FailureTarget") {
        "FailureTarget"
    } else if has("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

#[cfg(test)]
mod tests;
