//! What Events must satisfy (`pkg/apis/core/validation/events.go`): core/v1 keeps to the old rules, events.k8s.io/v1 adds its own.
use super::object;
use crate::field::{Errors, Path};
use crate::meta::immutable;
use crate::names::{dns1123_subdomain, qualified_name};
use crate::value::{int, same, text};
use serde_json::Value;

const WORD_MAX: usize = 128;
const NOTE_MAX: usize = 1024;
const UNSET: &str = "needs to be unset";

pub(super) fn core(event: &Value, errors: &mut Errors) {
    legacy(event, "reportingComponent", "message", errors);
}

pub(super) fn new_create(event: &Value, errors: &mut Errors) {
    legacy(event, "reportingController", "note", errors);
    let name = text(&event["metadata"]["name"]);
    errors.invalid_each(&Path::new("metadata.name"), name, dns1123_subdomain(name));
    series(event, errors);
    if event["eventTime"].is_null() {
        errors.required(&Path::new("eventTime"), "");
    }
    let kind = text(&event["type"]);
    if !matches!(kind, "Normal" | "Warning") {
        errors.invalid(&Path::new("type"), "", format!("has invalid value: {kind}"));
    }
    for (member, path) in [("deprecatedFirstTimestamp", "firstTimestamp"), ("deprecatedLastTimestamp", "lastTimestamp")]
    {
        if !event[member].is_null() {
            errors.invalid(&Path::new(path), "", UNSET);
        }
    }
    if int(&event["deprecatedCount"]) != 0 {
        errors.invalid(&Path::new("count"), "", UNSET);
    }
    let source = &event["deprecatedSource"];
    if !text(&source["component"]).is_empty() || !text(&source["host"]).is_empty() {
        errors.invalid(&Path::new("source"), "", UNSET);
    }
}

pub(super) fn new_update(new: &Value, old: &Value, errors: &mut Errors) {
    legacy(new, "reportingController", "note", errors);
    if !same(&new["series"], &old["series"]) {
        series(new, errors);
    }
    for (member, path) in [
        ("regarding", "involvedObject"),
        ("reason", "reason"),
        ("note", "message"),
        ("deprecatedSource", "source"),
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"),
        ("deprecatedCount", "count"),
        ("type", "type"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("related", "related"),
        ("reportingController", "reportingController"),
        ("reportingInstance", "reportingInstance"),
    ] {
        let zero = |value: &Value| crate::value::is_empty(value);
        if !(zero(&new[member]) && zero(&old[member])) {
            immutable(&new[member], &old[member], &Path::new(path), errors);
        }
    }
}

fn series(event: &Value, errors: &mut Errors) {
    let series = &event["series"];
    if !series.is_object() {
        return;
    }
    if int(&series["count"]) < 2 {
        errors.invalid(&Path::new("series.count"), "", "should be at least 2");
    }
    if series["lastObservedTime"].is_null() {
        errors.required(&Path::new("series.lastObservedTime"), "");
    }
}

fn legacy(event: &Value, controller: &str, note: &str, errors: &mut Errors) {
    let (namespace, about) = (text(&event["metadata"]["namespace"]), text(&object(event)["namespace"]));
    let mismatch = Path::new("involvedObject.namespace");
    let elsewhere = "does not match event.namespace";
    if event["eventTime"].is_null() {
        let fits = if about.is_empty() { matches!(namespace, "" | "default") } else { namespace == about };
        if !fits {
            errors.invalid(&mismatch, about, elsewhere);
        }
    } else {
        if about.is_empty() && !matches!(namespace, "default" | "kube-system") {
            errors.invalid(&mismatch, about, elsewhere);
        }
        let name = text(&event[controller]);
        if name.is_empty() {
            errors.required(&Path::new(controller), "");
        }
        errors.invalid_each(&Path::new(controller), name, qualified_name(name));
        for (member, required, max) in [
            ("reportingInstance", true, WORD_MAX),
            ("action", true, WORD_MAX),
            ("reason", true, WORD_MAX),
            (note, false, NOTE_MAX),
        ] {
            let (value, path) = (text(&event[member]), if member == note { "message" } else { member });
            if required && value.is_empty() {
                errors.required(&Path::new(path), "");
            }
            if value.len() > max {
                errors.invalid(&Path::new(path), "", format!("can have at most {max} characters"));
            }
        }
    }
    errors.invalid_each(&Path::new("namespace"), namespace, dns1123_subdomain(namespace));
}

#[cfg(test)]
mod tests {
    use crate::{Subresource, kind};
    use serde_json::{Value, json};

    fn event() -> Value {
        json!({
            "metadata": {"name": "test", "namespace": "bar", "resourceVersion": "1"},
            "regarding": {"kind": "Pod", "name": "p", "namespace": "bar"}, "eventTime": "2026-01-01T00:00:00.000000Z",
            "reportingController": "k8s.io/my-controller", "reportingInstance": "node-xyz", "action": "Do",
            "reason": "Because", "type": "Normal",
        })
    }

    // TestValidateEventForCoreV1Events
    #[test]
    fn an_old_event_lives_where_its_object_lives() {
        let rules = kind("", "Event");
        let event = |namespace: &str, about: &str| {
            let object =
                json!({"metadata": {"name": "test1", "namespace": namespace}, "involvedObject": {"namespace": about}});
            rules.validate_create(&object).message()
        };
        assert_eq!((event("foo", "foo").as_str(), event("default", "").as_str()), ("[]", "[]"));
        let elsewhere = "involvedObject.namespace: Invalid value: \"bar\": does not match event.namespace";
        assert_eq!(event("foo", "bar"), elsewhere);
        assert_eq!(event("foo", ""), "involvedObject.namespace: Invalid value: \"\": does not match event.namespace");
    }

    // TestValidateEventCreateForNewV1beta1Events, TestEventV1EventTimeImmutability
    #[test]
    fn a_new_event_is_strict() {
        let rules = kind("events.k8s.io", "Event");
        assert_eq!(rules.validate_create(&event()).message(), "[]");
        for (member, value, message) in [
            ("type", json!("invalid-type"), "type: Invalid value: \"\": has invalid value: invalid-type"),
            ("reportingController", json!(""), "reportingController: Required value"),
            ("action", json!("x".repeat(129)), "action: Invalid value: \"\": can have at most 128 characters"),
            ("note", json!("x".repeat(1025)), "message: Invalid value: \"\": can have at most 1024 characters"),
            ("deprecatedCount", json!(1), "count: Invalid value: \"\": needs to be unset"),
            (
                "series",
                json!({"count": 1, "lastObservedTime": "2026-01-01T00:00:00.000000Z"}),
                "series.count: Invalid value: \"\": should be at least 2",
            ),
        ] {
            let mut object = event();
            object[member] = value;
            let said = rules.validate_create(&object).message();
            assert!(said.contains(message), "{said}");
        }
        let mut new = event();
        new["reason"] = "Other".into();
        let said = rules.validate_update(&new, &event(), Subresource::None).message();
        assert_eq!(said, "reason: Invalid value: \"Other\": field is immutable");
    }
}
