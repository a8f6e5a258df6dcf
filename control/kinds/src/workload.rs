//! The kinds that make pods from a template: ReplicationController, ReplicaSet, Deployment, DaemonSet, StatefulSet, Job, CronJob.
use crate::field::{Errors, Path};
use crate::kind::{GENERAL, Kind};
use crate::labels::{LabelSelector, validate_selector};
use crate::meta::{immutable, non_negative};
use crate::pod::validation::validate_template;
use crate::value::{int, is_empty, text};
use serde_json::Value;

mod controller_revision;
mod cron_job;
mod daemon_set;
mod deployment;
mod job;
mod replica_set;
mod replication_controller;
mod stateful_set;

pub(crate) static KINDS: &[Kind] = &[
    replication_controller::KIND,
    replica_set::KIND,
    deployment::KIND,
    daemon_set::KIND,
    stateful_set::KIND,
    controller_revision::KIND,
    job::KIND,
    cron_job::KIND,
];

/// What the workloads of group apps have in common.
const APPS: Kind = Kind { group: "apps", status: true, generation: true, ..GENERAL };

const SPEC: Path<'static> = Path::new("spec");
const STATUS: Path<'static> = Path::new("status");

/// `spec.selector` of an apps kind: required, well-formed and not empty.
fn validate_required_selector(selector: &Value, kind: &str, path: &Path<'_>, errors: &mut Errors) {
    if selector.is_null() {
        errors.required(path, "");
        return;
    }
    validate_selector(selector, path, errors);
    if is_empty(&selector["matchLabels"]) && is_empty(&selector["matchExpressions"]) {
        errors.invalid(path, selector.clone(), format!("empty selector is invalid for {kind}"));
    }
}

/// A template whose pods must carry the selector's labels and restart forever.
fn validate_selected_template(
    template: &Value,
    selector: &LabelSelector,
    kind: &str,
    path: &Path<'_>,
    errors: &mut Errors,
) {
    validate_match(template, selector, path, errors);
    validate_template(template, path, errors);
    validate_endless(template, kind, path, errors);
}

fn validate_match(template: &Value, selector: &LabelSelector, path: &Path<'_>, errors: &mut Errors) {
    let labels = &template["metadata"]["labels"];
    if !selector.is_empty() && !selector.matches(labels) {
        errors.invalid(&path.child("metadata.labels"), labels.clone(), "`selector` does not match template `labels`");
    }
}

fn validate_endless(template: &Value, kind: &str, path: &Path<'_>, errors: &mut Errors) {
    let policy = text(&template["spec"]["restartPolicy"]);
    if policy != "Always" {
        errors.not_supported(&path.child("spec.restartPolicy"), policy, &["Always"]);
    }
    if !template["spec"]["activeDeadlineSeconds"].is_null() {
        errors.forbidden(
            &path.child("spec.activeDeadlineSeconds"),
            format!("activeDeadlineSeconds in {kind} is not Supported"),
        );
    }
}

/// An update strategy as Go prints it, by its fields' names in Go.
fn shown_strategy(strategy: &Value, members: &[(&str, &str)]) -> Value {
    let rolling = &strategy["rollingUpdate"];
    let shown = match rolling {
        Value::Null => Value::Null,
        _ => members.iter().map(|(shown, member)| ((*shown).to_owned(), rolling[*member].clone())).collect(),
    };
    serde_json::json!({"Type": text(&strategy["type"]), "RollingUpdate": shown})
}

/// The template of a workload's spec with its defaults, made if the user left it out.
fn default_template(spec: &mut Value) {
    crate::value::object_at(spec, "template");
    if let Some(pods) = crate::value::at(spec, &["template"]) {
        crate::pod::defaults::template(pods);
    }
}

/// Each of these members must not be negative.
fn validate_non_negative(object: &Value, path: &Path<'_>, members: &[&str], errors: &mut Errors) {
    for member in members {
        non_negative(&object[*member], &path.child(member), errors);
    }
}

/// Counts in a status: none negative, none above status.replicas, none that is available but not ready.
fn validate_replica_status(status: &Value, counts: &[&str], not_above_replicas: &[&str], errors: &mut Errors) {
    validate_non_negative(status, &STATUS, counts, errors);
    for member in not_above_replicas {
        if int(&status[*member]) > int(&status["replicas"]) {
            errors.invalid(&STATUS.child(member), int(&status[*member]), "cannot be greater than status.replicas");
        }
    }
    if int(&status["availableReplicas"]) > int(&status["readyReplicas"]) {
        errors.invalid(
            &STATUS.child("availableReplicas"),
            int(&status["availableReplicas"]),
            "cannot be greater than readyReplicas",
        );
    }
}

/// A status' collisionCount only grows.
fn validate_collisions(new: &Value, old: &Value, errors: &mut Errors) {
    let (now, before) = (&new["status"]["collisionCount"], &old["status"]["collisionCount"]);
    if !before.is_null() && int(now) < int(before) {
        errors.invalid(&STATUS.child("collisionCount"), int(now), "cannot be decremented");
    }
}

/// apps/v1 selectors never change.
fn validate_same_selector(new: &Value, old: &Value, errors: &mut Errors) {
    immutable(&new["spec"]["selector"], &old["spec"]["selector"], &SPEC.child("selector"), errors);
}
