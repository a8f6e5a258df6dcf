//! What a Job's spec must satisfy, in a Job and in a CronJob's template.
use super::super::validate_non_negative;
use super::{failure_policy, success_policy};
use crate::field::{Errors, Path};
use crate::names;
use crate::pod::validation::validate_template;
use crate::value::{int, text};
use serde_json::Value;

const INDEXED_MAX: i64 = 100_000;
const HIGH_COMPLETIONS_MAX: i64 = 10_000;

pub(in super::super) fn validate_spec(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let counts = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ];
    validate_non_negative(spec, path, &counts, errors);
    let per_index = !spec["backoffLimitPerIndex"].is_null();
    if !spec["maxFailedIndexes"].is_null() && !per_index {
        errors.required(&path.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    if let Some(manager) = spec["managedBy"].as_str() {
        validate_manager(manager, &path.child("managedBy"), errors);
    }
    let mode = spec["completionMode"].as_str().unwrap_or("NonIndexed");
    match mode {
        "Indexed" => validate_indexed(spec, path, errors),
        "NonIndexed" => {
            for member in ["backoffLimitPerIndex", "maxFailedIndexes"] {
                if !spec[member].is_null() {
                    errors.invalid(&path.child(member), int(&spec[member]), "requires indexed completion mode");
                }
            }
        }
        _ => errors.not_supported(&path.child("completionMode"), mode, &["NonIndexed", "Indexed"]),
    }
    let with_failure_policy = !spec["podFailurePolicy"].is_null();
    if with_failure_policy {
        failure_policy::validate(spec, &path.child("podFailurePolicy.rules"), errors);
    }
    if !spec["successPolicy"].is_null() && mode != "Indexed" {
        let detail = "requires indexed completion mode";
        errors.invalid(&path.child("successPolicy"), crate::value::go_names(&spec["successPolicy"]), detail);
    } else if !spec["successPolicy"].is_null() {
        success_policy::validate(spec, &path.child("successPolicy.rules"), errors);
    }
    if let Some(policy) = spec["podReplacementPolicy"].as_str() {
        let supported: &[&str] = if with_failure_policy { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
        if !supported.contains(&policy) {
            errors.not_supported(&path.child("podReplacementPolicy"), policy, supported);
        }
    }
    validate_template(&spec["template"], &path.child("template"), errors);
    let restart = text(&spec["template"]["spec"]["restartPolicy"]);
    let path = path.child("template.spec.restartPolicy");
    match restart {
        "Always" | "" => errors.required(&path, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if with_failure_policy => {
            errors.invalid(&path, restart, "only \"Never\" is supported when podFailurePolicy is specified");
        }
        "OnFailure" | "Never" => {}
        _ => errors.not_supported(&path, restart, &["OnFailure", "Never"]),
    }
}

fn validate_manager(manager: &str, path: &Path<'_>, errors: &mut Errors) {
    if manager.is_empty() {
        errors.required(path, "");
    } else {
        match manager.split_once('/') {
            Some((host, rest)) if !host.is_empty() && !rest.is_empty() => {
                errors.invalid_each(path, host, names::dns1123_subdomain(host));
            }
            _ => errors.invalid(path, manager, "must be a domain-prefixed path (such as \"acme.io/foo\")"),
        }
    }
    if manager.len() > 63 {
        errors.too_long(path, 63);
    }
}

fn validate_indexed(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (completions, parallelism) = (spec["completions"].as_i64(), int(&spec["parallelism"]));
    let failed = spec["maxFailedIndexes"].as_i64();
    let path_failed = path.child("maxFailedIndexes");
    if completions.is_none() {
        errors.required(&path.child("completions"), "when completion mode is Indexed");
    }
    if parallelism > INDEXED_MAX {
        let detail = format!("must be less than or equal to {INDEXED_MAX} when completion mode is Indexed");
        errors.invalid(&path.child("parallelism"), parallelism, detail);
    }
    if let (Some(completions), Some(failed)) = (completions, failed)
        && failed > completions
    {
        errors.invalid(&path_failed, failed, "must be less than or equal to completions");
    }
    if let Some(failed) = failed
        && failed > INDEXED_MAX
    {
        errors.invalid(&path_failed, failed, format!("must be less than or equal to {INDEXED_MAX}"));
    }
    if completions.is_some_and(|completions| completions > INDEXED_MAX) && !spec["backoffLimitPerIndex"].is_null() {
        let high = format!(
            "must be less than or equal to {HIGH_COMPLETIONS_MAX} when completions are above {INDEXED_MAX} and used with backoff limit per index"
        );
        if parallelism > HIGH_COMPLETIONS_MAX {
            errors.invalid(&path.child("parallelism"), parallelism, high.as_str());
        }
        match failed {
            None => {
                errors.required(&path_failed, format!("must be specified when completions is above {INDEXED_MAX}"));
            }
            Some(failed) if failed > HIGH_COMPLETIONS_MAX => errors.invalid(&path_failed, failed, high),
            Some(_) => {}
        }
    }
}
