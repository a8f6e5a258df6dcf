//! CronJob.
use super::{SPEC, job, validate_non_negative};
use crate::field::{Errors, Path};
use crate::kind::{GENERAL, Kind, Subresource};
use crate::labels::format_selector;
use crate::table::{AGE, CONTAINERS, Column, IMAGES, NAME, SELECTOR, age, containers, name, since};
use crate::value::{at, default_to, default_zero, flag, items, object_at, set, text};
use jiff::Timestamp;
use serde_json::{Value, json};

mod schedule;

pub(super) const KIND: Kind = Kind {
    group: "batch",
    kind: "CronJob",
    status: true,
    generation: true,
    defaults: |_, cron_job| defaults(cron_job),
    prepare_create: |cron_job| set(cron_job, "status", json!({})),
    validate: |cron_job, errors| {
        validate_spec(&cron_job["spec"], &Value::Null, errors);
        let name = text(&cron_job["metadata"]["name"]);
        if name.len() > 52 {
            errors.invalid(&Path::new("metadata.name"), name, "must be no more than 52 characters");
        }
    },
    validate_update: |new, old, subresource, errors| {
        if subresource != Subresource::Status {
            validate_spec(&new["spec"], &old["spec"], errors);
        }
    },
    columns: COLUMNS,
    cells,
    ..GENERAL
};

const COLUMNS: &[Column] = &[
    NAME,
    Column::text("Schedule", "The schedule in Cron format, see https://en.wikipedia.org/wiki/Cron."),
    Column::text(
        "Timezone",
        "The time zone name for the given schedule, see https://en.wikipedia.org/wiki/List_of_tz_database_time_zones. If not specified, this will default to the time zone of the kube-controller-manager process. The set of valid time zone names and the time zone offset is loaded from the system-wide time zone database by the API server during CronJob validation and the controller manager during execution. If no system-wide time zone database can be found a bundled version of the database is used instead. If the time zone name becomes invalid during the lifetime of a CronJob or due to a change in host configuration, the controller will stop creating new new Jobs and will create a system event with the reason UnknownTimeZone. More information can be found in https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#time-zones",
    ),
    Column::boolean(
        "Suspend",
        "This flag tells the controller to suspend subsequent executions, it does not apply to already started executions.  Defaults to false.",
    ),
    Column::integer("Active", "A list of pointers to currently running jobs."),
    Column::text("Last Schedule", "Information when was the last time the job was successfully scheduled."),
    AGE,
    CONTAINERS,
    IMAGES,
    Column {
        description: "A label query over pods that should match the pod count. Normally, the system sets this field for you. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors",
        ..SELECTOR
    },
];

fn defaults(cron_job: &mut Value) {
    object_at(cron_job, "spec");
    let Some(spec) = at(cron_job, &["spec"]) else { return };
    default_zero(spec, "concurrencyPolicy", "Allow");
    default_to(spec, "suspend", false);
    default_to(spec, "successfulJobsHistoryLimit", 3);
    default_to(spec, "failedJobsHistoryLimit", 1);
    object_at(spec, "jobTemplate");
    if let Some(template) = at(spec, &["jobTemplate"]) {
        object_at(template, "metadata");
        object_at(template, "spec");
    }
    if let Some(job) = at(spec, &["jobTemplate", "spec"]) {
        job::default_template(job);
        if let Some(pods) = at(job, &["template"]) {
            object_at(pods, "metadata");
        }
    }
}

fn validate_spec(spec: &Value, old: &Value, errors: &mut Errors) {
    let (schedule, zone) = (text(&spec["schedule"]), &spec["timeZone"]);
    let path = SPEC.child("schedule");
    if schedule.is_empty() {
        errors.required(&path, "");
    } else {
        if let Err(wrong) = schedule::parse(schedule) {
            errors.invalid(&path, schedule, wrong);
        }
        let had_zone = text(&old["schedule"]).contains("TZ");
        if schedule.contains("TZ") && !had_zone {
            let detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
            errors.invalid(&path, schedule, detail);
        } else if schedule.contains("TZ") && !zone.is_null() {
            let detail = "cannot use both timeZone field and TZ or CRON_TZ in schedule";
            errors.invalid(&path, schedule, detail);
        }
    }
    validate_non_negative(spec, &SPEC, &["startingDeadlineSeconds"], errors);
    if *zone != old["timeZone"] {
        validate_zone(zone, &SPEC.child("timeZone"), errors);
    }
    let (policy, path) = (text(&spec["concurrencyPolicy"]), SPEC.child("concurrencyPolicy"));
    match policy {
        "Allow" | "Forbid" | "Replace" => {}
        "" => errors.required(&path, ""),
        _ => errors.not_supported(&path, policy, &["Allow", "Forbid", "Replace"]),
    }
    let (job, path) = (&spec["jobTemplate"]["spec"], SPEC.child("jobTemplate.spec"));
    job::validate_spec(job, &path, errors);
    if !job["selector"].is_null() {
        errors.invalid(&path.child("selector"), job["selector"].clone(), "`selector` will be auto-generated");
    }
    if flag(&job["manualSelector"]) {
        errors.not_supported(&path.child("manualSelector"), true, &["nil", "false"]);
    }
    validate_non_negative(spec, &SPEC, &["successfulJobsHistoryLimit", "failedJobsHistoryLimit"], errors);
}

fn validate_zone(zone: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(zone) = zone.as_str() else { return };
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+');
    let odd = |part: &str| {
        part.is_empty() || part == "." || part == ".." || part.starts_with('-') || !part.chars().all(known)
    };
    if zone.is_empty() {
        errors.invalid(path, zone, "timeZone must be nil or non-empty string");
    } else if zone.split('/').any(odd) {
        errors.invalid(path, zone, format!("unknown time zone {zone}"));
    } else if zone.eq_ignore_ascii_case("Local") {
        let detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.invalid(path, zone, detail);
    } else if jiff::tz::TimeZone::get(zone).is_err() {
        errors.invalid(path, zone, format!("unknown time zone {zone}"));
    }
}

fn cells(cron_job: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&cron_job["spec"], &cron_job["status"]);
    let job = &spec["jobTemplate"]["spec"];
    let [names, images] = containers(&job["template"]["spec"]);
    let last = &status["lastScheduleTime"];
    let last = if last.is_null() { "<none>".to_owned() } else { since(last, now) };
    let suspend = spec["suspend"].as_bool().map_or("<unset>".to_owned(), |suspend| {
        let mut text = suspend.to_string();
        text[..1].make_ascii_uppercase();
        text
    });
    vec![
        name(cron_job),
        text(&spec["schedule"]).into(),
        spec["timeZone"].as_str().unwrap_or("<none>").into(),
        suspend.into(),
        items(&status["active"]).len().into(),
        last.into(),
        age(cron_job, now),
        names,
        images,
        format_selector(&job["selector"]).into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind;

    #[test]
    fn schedules_and_zones_are_checked() {
        let rules = kind("batch", "CronJob");
        let mut object = json!({"metadata": {"name": "c", "namespace": "n"}, "spec": {"schedule": "*/5 * * * *", "timeZone": "UTC",
            "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "OnFailure", "containers": [{"name": "c", "image": "i:1"}]}}}}}});
        rules.default("v1", &mut object);
        assert_eq!(rules.validate_create(&object).message(), "[]");
        object["spec"]["schedule"] = "error".into();
        object["spec"]["timeZone"] = "../x".into();
        object["spec"]["concurrencyPolicy"] = "Maybe".into();
        assert_eq!(
            rules.validate_create(&object).message(),
            "[spec.schedule: Invalid value: \"error\": expected exactly 5 fields, found 1: [error], spec.timeZone: Invalid value: \"../x\": unknown time zone ../x, \
             spec.concurrencyPolicy: Unsupported value: \"Maybe\": supported values: \"Allow\", \"Forbid\", \"Replace\"]"
        );
        assert_eq!(cells(&object, Timestamp::UNIX_EPOCH).len(), COLUMNS.len());
    }
}
