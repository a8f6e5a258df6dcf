use super::*;
use crate::kind;

fn job(spec: Value) -> Value {
    let mut object = json!({"metadata": {"name": "j", "namespace": "n", "uid": "u1", "resourceVersion": "1"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}}}});
    for (key, value) in crate::value::entries(&spec) {
        object["spec"][key] = value.clone();
    }
    let rules = kind("batch", "Job");
    rules.default("v1", &mut object);
    rules.prepare_create(&mut object);
    object
}

fn create(spec: Value) -> String {
    kind("batch", "Job").validate_create(&job(spec)).message()
}

#[test]
fn a_job_selects_its_pods_by_its_uid() {
    let object = job(json!({}));
    assert_eq!(object["spec"]["selector"], json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u1"}}));
    assert_eq!(object["spec"]["template"]["metadata"]["labels"]["job-name"], "j");
    assert_eq!((int(&object["spec"]["completions"]), int(&object["spec"]["backoffLimit"])), (1, 6));
    assert_eq!(create(json!({})), "[]");
}

#[test]
fn specs_are_checked() {
    for (spec, message) in [
        (json!({"parallelism": -1}), "spec.parallelism: Invalid value: -1: must be greater than or equal to 0"),
        (
            json!({"completionMode": "Indexed", "parallelism": 1}),
            "spec.completions: Required value: when completion mode is Indexed",
        ),
        (
            json!({"backoffLimitPerIndex": 1}),
            "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode",
        ),
        (
            json!({"managedBy": "me"}),
            "spec.managedBy: Invalid value: \"me\": must be a domain-prefixed path (such as \"acme.io/foo\")",
        ),
        (
            json!({"template": {"spec": {"containers": [{"name": "c", "image": "i:1"}]}}}),
            "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
        ),
        (
            json!({"podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [2, 1]}}]}}),
            "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [2,1]: must be ordered",
        ),
    ] {
        assert_eq!(create(spec), message);
    }
}

#[test]
fn the_template_is_fixed_unless_the_job_is_suspended() {
    let rules = kind("batch", "Job");
    let old = job(json!({}));
    let mut new = old.clone();
    new["spec"]["template"]["spec"]["nodeSelector"] = json!({"a": "b"});
    assert!(rules.validate_update(&new, &old, Subresource::None).message().ends_with("field is immutable"));
    let old = job(json!({"suspend": true}));
    let mut new = old.clone();
    new["spec"]["template"]["spec"]["nodeSelector"] = json!({"a": "b"});
    new["spec"]["suspend"] = false.into();
    assert_eq!(rules.validate_update(&new, &old, Subresource::None).message(), "[]");
    new["spec"]["completions"] = 5.into();
    assert_eq!(
        rules.validate_update(&new, &old, Subresource::None).message(),
        "spec.completions: Invalid value: 5: field is immutable"
    );
}

/// As `shouldAllowMutablePodTemplate` has it.
#[test]
fn the_pods_of_a_suspended_job_change_only_when_there_are_none() {
    let rules = kind("batch", "Job");
    let outcome = |status: Value, change: fn(&mut Value)| {
        let mut old = job(json!({"suspend": true}));
        old["status"] = status;
        let mut new = old.clone();
        change(&mut new["spec"]["template"]);
        rules
            .validate_update(&new, &old, Subresource::None)
            .0
            .iter()
            .map(|error| error.field.clone())
            .collect::<Vec<_>>()
    };
    let stopped =
        || json!({"startTime": "2026-01-01T00:00:00Z", "conditions": [{"type": "Suspended", "status": "True"}]});
    let elsewhere = |pods: &mut Value| pods["spec"]["nodeSelector"] = json!({"a": "b"});
    let larger = |pods: &mut Value| pods["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1"}});
    let annotated = |pods: &mut Value| pods["metadata"]["annotations"] = json!({"a": "b"});
    let image = |pods: &mut Value| pods["spec"]["containers"][0]["image"] = "other".into();
    for change in [elsewhere, larger, annotated] {
        assert_eq!(outcome(stopped(), change), [""; 0]);
        assert_eq!(outcome(json!({"startTime": "2026-01-01T00:00:00Z"}), change), ["spec.template"]);
        assert_eq!(outcome(json!({"active": 1}), change), ["spec.template"]);
    }
    assert_eq!(outcome(stopped(), image), ["spec.template.spec"]);
}

#[test]
fn the_row_shows_progress() {
    let mut object = job(json!({}));
    object["status"] = json!({"succeeded": 1, "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:30Z", "conditions": [{"type": "Complete", "status": "True"}]});
    let row = cells(&object, "2026-01-01T01:00:00Z".parse().unwrap());
    assert_eq!(row[1..4], [json!("Complete"), json!("1/1"), json!("30s")]);
    assert_eq!(row.len(), COLUMNS.len());
}
