//! Events, as core/v1 and as events.k8s.io/v1 spell them.
use crate::kind::{FieldLabel, GENERAL, Kind, not_supported};
use crate::names::NameRule;
use crate::table::{Column, NAME, parse_time, since};
use crate::value::{default_to, int, object_at, text};
use jiff::Timestamp;
use serde_json::Value;

mod validation;

const EVENT: Kind = Kind {
    kind: "Event",
    name: NameRule::PathSegment,
    defaults: |_, event| zeroes(event, ["firstTimestamp", "lastTimestamp"], "source", "involvedObject"),
    validate: validation::core,
    validate_update: |new, _, _, errors| validation::core(new, errors),
    columns: COLUMNS,
    cells,
    fields: FIELDS,
    field_error: not_supported,
    ..GENERAL
};

pub(crate) static KINDS: &[Kind] = &[
    EVENT,
    Kind {
        group: "events.k8s.io",
        defaults: |_, event| {
            zeroes(event, ["deprecatedFirstTimestamp", "deprecatedLastTimestamp"], "deprecatedSource", "regarding");
        },
        validate: validation::new_create,
        validate_update: |new, old, _, errors| validation::new_update(new, old, errors),
        ..EVENT
    },
];

const COLUMNS: &[Column] = &[
    Column::text("Last Seen", "The time at which the most recent occurrence of this event was recorded."),
    Column::text("Type", "Type of this event (Normal, Warning), new types could be added in the future"),
    Column::text("Reason", "This should be a short, machine understandable string that gives the reason for the transition into the object's current status."),
    Column::text("Object", "The object that this event is about."),
    Column::text("Subobject", "If referring to a piece of an object instead of an entire object, this string should contain a valid JSON/Go field access statement, such as desiredState.manifest.containers[2]. For example, if the object reference is to a container within a pod, this would take on a value like: \"spec.containers{name}\" (where \"name\" refers to the name of the container that triggered the event) or if no container name is specified \"spec.containers[2]\" (container with index 2 in this pod). This syntax is chosen only to have some well-defined way of referencing a part of an object.").wide(),
    Column::text("Source", "The component reporting this event. Should be a short machine understandable string.").wide(),
    Column::text("Message", "A human-readable description of the status of this operation."),
    Column::text("First Seen", "The time at which the event was first recorded. (Time of server receipt is in TypeMeta.)").wide(),
    Column::text("Count", "The number of times this event has occurred.").wide(),
    Column { priority: 1, ..NAME },
];

/// What Go writes of an event though nobody has set it.
fn zeroes(event: &mut Value, times: [&str; 2], source: &str, about: &str) {
    for time in times.into_iter().chain(["eventTime"]) {
        default_to(event, time, Value::Null);
    }
    for member in [source, about] {
        object_at(event, member);
    }
    if about == "involvedObject" {
        default_to(event, "reportingComponent", "");
        default_to(event, "reportingInstance", "");
    }
}

fn object(event: &Value) -> &Value {
    if event["involvedObject"].is_object() { &event["involvedObject"] } else { &event["regarding"] }
}

/// The first of these that is not empty.
fn either(values: [&Value; 2]) -> &str {
    values.map(text).into_iter().find(|value| !value.is_empty()).unwrap_or_default()
}

fn component(event: &Value) -> &str {
    let reporting = either([&event["reportingComponent"], &event["reportingController"]]);
    let source = either([&event["source"]["component"], &event["deprecatedSource"]["component"]]);
    if source.is_empty() { reporting } else { source }
}

const FIELDS: &[FieldLabel] = &[
    ("involvedObject.kind", |event| text(&object(event)["kind"]).to_owned()),
    ("involvedObject.namespace", |event| text(&object(event)["namespace"]).to_owned()),
    ("involvedObject.name", |event| text(&object(event)["name"]).to_owned()),
    ("involvedObject.uid", |event| text(&object(event)["uid"]).to_owned()),
    ("involvedObject.apiVersion", |event| text(&object(event)["apiVersion"]).to_owned()),
    ("involvedObject.resourceVersion", |event| text(&object(event)["resourceVersion"]).to_owned()),
    ("involvedObject.fieldPath", |event| text(&object(event)["fieldPath"]).to_owned()),
    ("regarding.kind", |event| text(&object(event)["kind"]).to_owned()),
    ("regarding.namespace", |event| text(&object(event)["namespace"]).to_owned()),
    ("regarding.name", |event| text(&object(event)["name"]).to_owned()),
    ("regarding.uid", |event| text(&object(event)["uid"]).to_owned()),
    ("reason", |event| text(&event["reason"]).to_owned()),
    ("reportingComponent", |event| either([&event["reportingComponent"], &event["reportingController"]]).to_owned()),
    ("reportingController", |event| either([&event["reportingComponent"], &event["reportingController"]]).to_owned()),
    ("source", |event| component(event).to_owned()),
    ("type", |event| text(&event["type"]).to_owned()),
];

fn cells(event: &Value, now: Timestamp) -> Vec<Value> {
    let time = |keys: [&str; 2]| keys.into_iter().map(|key| &event[key]).find(|time| parse_time(time).is_some());
    let first = time(["firstTimestamp", "deprecatedFirstTimestamp"]).unwrap_or(&event["eventTime"]);
    let last = time(["lastTimestamp", "deprecatedLastTimestamp"]).unwrap_or(first);
    let series = &event["series"];
    let (last, count) = if series.is_object() {
        (&series["lastObservedTime"], int(&series["count"]))
    } else {
        (last, int(&event["count"]).max(int(&event["deprecatedCount"])).max(1))
    };
    let about = object(event);
    let kind = text(&about["kind"]).to_lowercase();
    let target = if text(&about["name"]).is_empty() { kind } else { format!("{kind}/{}", text(&about["name"])) };
    let host = either([&event["source"]["host"], &event["reportingInstance"]]);
    let source = if host.is_empty() { component(event).to_owned() } else { format!("{}, {host}", component(event)) };
    vec![
        since(last, now).into(),
        text(&event["type"]).into(),
        text(&event["reason"]).into(),
        target.into(),
        text(&about["fieldPath"]).into(),
        source.into(),
        either([&event["message"], &event["note"]]).trim().into(),
        since(first, now).into(),
        count.into(),
        text(&event["metadata"]["name"]).into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_spellings_print_the_same() {
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        let core = json!({"metadata": {"name": "e"}, "type": "Normal", "reason": "Pulled", "message": " text ", "count": 2, "source": {"component": "kubelet", "host": "n"},
            "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec"}, "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:30Z"});
        assert_eq!(
            cells(&core, now),
            [
                json!("30s"),
                json!("Normal"),
                json!("Pulled"),
                json!("pod/p"),
                json!("spec"),
                json!("kubelet, n"),
                json!("text"),
                json!("60s"),
                json!(2),
                json!("e")
            ]
        );
        let new = json!({"metadata": {"name": "e"}, "type": "Normal", "note": "text", "reportingController": "kubelet", "regarding": {"kind": "Pod", "name": "p"}, "eventTime": "2026-01-01T00:00:00.000000Z"});
        let row = cells(&new, now);
        assert_eq!(
            (&row[0], &row[3], &row[5], &row[8]),
            (&json!("60s"), &json!("pod/p"), &json!("kubelet"), &json!(1))
        );
    }

    #[test]
    fn events_are_selected_by_what_they_are_about() {
        let rules = crate::kind("", "Event");
        let selector = crate::FieldSelector::parse("involvedObject.name=p,type!=Warning").unwrap();
        assert!(rules.check_fields(&selector).is_ok());
        assert!(rules.matches_fields(&selector, &json!({"involvedObject": {"name": "p"}, "type": "Normal"})));
        let bad = crate::FieldSelector::parse("foo=bar").unwrap();
        assert_eq!(rules.check_fields(&bad).unwrap_err().to_string(), "field label not supported: foo");
    }
}
