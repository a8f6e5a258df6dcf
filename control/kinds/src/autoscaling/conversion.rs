//! Between autoscaling/v1 and autoscaling/v2. What v1 has no fields for travels in annotations
//! (`pkg/apis/autoscaling/v1/conversion.go`); broken annotations are dropped, as there.
use crate::value::{entries, int, items, remove, set, text};
use crate::{Quantity, quantity::Format};
use serde_json::{Value, json};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const TOLERANCES: [&str; 2] =
    ["autoscaling.alpha.kubernetes.io/scale-down-tolerance", "autoscaling.alpha.kubernetes.io/scale-up-tolerance"];

/// The internal Go names of a behavior's members, in which the annotation is written.
const INTERNAL: &[(&str, &str)] = &[
    ("scaleUp", "ScaleUp"),
    ("scaleDown", "ScaleDown"),
    ("stabilizationWindowSeconds", "StabilizationWindowSeconds"),
    ("selectPolicy", "SelectPolicy"),
    ("policies", "Policies"),
    ("tolerance", "Tolerance"),
    ("type", "Type"),
    ("value", "Value"),
    ("periodSeconds", "PeriodSeconds"),
];

/// Turns an autoscaling/v1 object into autoscaling/v2.
pub fn to_v2(object: &mut Value) {
    object["apiVersion"] = "autoscaling/v2".into();
    let annotations = object["metadata"]["annotations"].clone();
    let carried = |key: &str| serde_json::from_str::<Value>(text(&annotations[key])).ok();
    if object.get("spec").is_none_or(Value::is_null) {
        object["spec"] = json!({});
    }
    let cpu = remove(&mut object["spec"], "targetCPUUtilizationPercentage").filter(|cpu| !cpu.is_null());
    let mut metrics: Vec<Value> = Vec::new();
    if let Some(others) = carried(METRICS) {
        metrics.extend(items(&others).iter().map(metric_to_v2));
    }
    match cpu {
        Some(percentage) => metrics.push(cpu_metric(percentage)),
        None if metrics.is_empty() => metrics.push(cpu_metric(80.into())),
        None => {}
    }
    set(&mut object["spec"], "metrics", metrics);
    if let Some(behavior) = carried(BEHAVIOR).map(|b| renamed(&b, false)).filter(|b| entries(b).count() > 0) {
        set(&mut object["spec"], "behavior", behavior);
    }
    if object["status"].is_object() {
        let status = &mut object["status"];
        if let Some(percentage) = remove(status, "currentCPUUtilizationPercentage").filter(|p| !p.is_null()) {
            let current = json!([{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": percentage}}}]);
            set(status, "currentMetrics", current);
        }
    }
    if let Some(current) = carried(CURRENT_METRICS) {
        status_of(object, "currentMetrics", items(&current).iter().map(status_to_v2).collect());
    }
    if let Some(conditions) = carried(CONDITIONS).filter(Value::is_array) {
        status_of(object, "conditions", conditions);
    }
    drop_carried(object);
}

/// Turns an autoscaling/v2 object into autoscaling/v1.
pub fn to_v1(object: &mut Value) {
    object["apiVersion"] = "autoscaling/v1".into();
    drop_carried(object);
    let metrics = object.get_mut("spec").and_then(|spec| remove(spec, "metrics")).unwrap_or_default();
    let is_cpu = |metric: &Value| {
        text(&metric["type"]) == "Resource"
            && text(&metric["resource"]["name"]) == "cpu"
            && !metric["resource"]["target"]["averageUtilization"].is_null()
    };
    if let Some(cpu) = items(&metrics).iter().find(|m| is_cpu(m)) {
        let percentage = cpu["resource"]["target"]["averageUtilization"].clone();
        set(&mut object["spec"], "targetCPUUtilizationPercentage", percentage);
    }
    let others: Vec<Value> = items(&metrics).iter().filter(|m| !is_cpu(m)).map(metric_to_v1).collect();
    carry(object, METRICS, others.into());
    if let Some(behavior) = object.get_mut("spec").and_then(|spec| remove(spec, "behavior")) {
        carry(object, BEHAVIOR, renamed(&behavior, true));
    }
    let Some(status) = object.get_mut("status").filter(|status| status.is_object()) else { return };
    let (current, conditions) = (remove(status, "currentMetrics"), remove(status, "conditions"));
    let utilization =
        |metric: &&Value| text(&metric["type"]) == "Resource" && text(&metric["resource"]["name"]) == "cpu";
    let current = current.unwrap_or_default();
    for metric in items(&current).iter().filter(utilization) {
        let percentage = &metric["resource"]["current"]["averageUtilization"];
        if !percentage.is_null() {
            set(status, "currentCPUUtilizationPercentage", percentage.clone());
        }
    }
    carry(object, CURRENT_METRICS, items(&current).iter().map(status_to_v1).collect());
    carry(object, CONDITIONS, conditions.unwrap_or_default());
}

fn cpu_metric(percentage: Value) -> Value {
    json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percentage}}})
}

fn status_of(object: &mut Value, member: &str, value: Value) {
    if !object["status"].is_object() {
        object["status"] = json!({});
    }
    set(&mut object["status"], member, value);
}

/// Writes a non-empty value into an annotation.
fn carry(object: &mut Value, key: &str, value: Value) {
    if crate::value::is_empty(&value) {
        return;
    }
    if let Some(annotations) = crate::value::object_at(&mut object["metadata"], "annotations") {
        annotations.insert(key.to_owned(), value.to_string().into());
    }
}

fn drop_carried(object: &mut Value) {
    let Some(metadata) = object.get_mut("metadata") else { return };
    let Some(annotations) = metadata.get_mut("annotations") else { return };
    for key in [METRICS, BEHAVIOR, CURRENT_METRICS, CONDITIONS].into_iter().chain(TOLERANCES) {
        remove(annotations, key);
    }
    if entries(annotations).next().is_none() {
        remove(metadata, "annotations");
    }
}

/// A behavior with its members' names in Go's internal form, or back. Go writes absent pointers as null.
fn renamed(value: &Value, inward: bool) -> Value {
    match value {
        Value::Array(list) => list.iter().map(|item| renamed(item, inward)).collect(),
        Value::Object(map) => {
            let name = |key: &str| -> String {
                let pair = INTERNAL
                    .iter()
                    .find(|(out, inner)| if inward { *out == key } else { *inner == key || *out == key });
                pair.map_or(key, |(out, inner)| if inward { inner } else { out }).to_owned()
            };
            let kept = map.iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (name(key), renamed(value, inward))).collect())
        }
        other => other.clone(),
    }
}

/// The object with only those of the members that are there.
fn sparse(members: &[(&str, &Value)]) -> Value {
    let there = members.iter().filter(|(_, value)| !value.is_null());
    Value::Object(there.map(|(key, value)| ((*key).to_owned(), (*value).clone())).collect())
}

const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
    ("External", "external"),
];

fn each_source(metric: &Value, convert: impl Fn(&str, &Value) -> Value) -> Value {
    let mut out = json!({"type": metric["type"]});
    for (_, member) in SOURCES {
        if metric[member].is_object() {
            set(&mut out, member, convert(member, &metric[member]));
        }
    }
    out
}

fn metric_to_v1(metric: &Value) -> Value {
    each_source(metric, |member, source| {
        let (target, id) = (&source["target"], &source["metric"]);
        match member {
            "object" => sparse(&[
                ("target", &source["describedObject"]),
                ("metricName", &id["name"]),
                ("targetValue", or_zero(&target["value"])),
                ("selector", &id["selector"]),
                ("averageValue", &target["averageValue"]),
            ]),
            "pods" => sparse(&[
                ("metricName", &id["name"]),
                ("targetAverageValue", or_zero(&target["averageValue"])),
                ("selector", &id["selector"]),
            ]),
            "external" => sparse(&[
                ("metricName", &id["name"]),
                ("metricSelector", &id["selector"]),
                ("targetValue", &target["value"]),
                ("targetAverageValue", &target["averageValue"]),
            ]),
            _ => sparse(&[
                ("name", &source["name"]),
                ("targetAverageUtilization", &target["averageUtilization"]),
                ("targetAverageValue", &target["averageValue"]),
                ("container", &source["container"]),
            ]),
        }
    })
}

fn metric_to_v2(metric: &Value) -> Value {
    each_source(metric, |member, source| {
        let id = |selector: &str| sparse(&[("name", &source["metricName"]), ("selector", &source[selector])]);
        let target = |kind: &str, value: &Value, average: &Value, utilization: &Value| {
            let kind = Value::from(kind);
            sparse(&[("type", &kind), ("value", value), ("averageValue", average), ("averageUtilization", utilization)])
        };
        match member {
            "object" => {
                let (value, average) = (or_zero(&source["targetValue"]), &source["averageValue"]);
                let target = match average.is_null() {
                    true => target("Value", value, &Value::Null, &Value::Null),
                    // v1 cannot leave the value out: a zero beside an average means none.
                    false if is_zero(value) => target("AverageValue", &Value::Null, average, &Value::Null),
                    false => target("AverageValue", value, average, &Value::Null),
                };
                json!({"describedObject": source["target"], "metric": id("selector"), "target": target})
            }
            "pods" => {
                let average = or_zero(&source["targetAverageValue"]);
                json!({"metric": id("selector"), "target": target("AverageValue", &Value::Null, average, &Value::Null)})
            }
            "external" => {
                let (value, average) = (&source["targetValue"], &source["targetAverageValue"]);
                let kind = if value.is_null() { "AverageValue" } else { "Value" };
                json!({"metric": id("metricSelector"), "target": target(kind, value, average, &Value::Null)})
            }
            _ => {
                let (utilization, average) = (&source["targetAverageUtilization"], &source["targetAverageValue"]);
                let kind = if utilization.is_null() { "AverageValue" } else { "Utilization" };
                let target = target(kind, &Value::Null, average, utilization);
                sparse(&[("name", &source["name"]), ("container", &source["container"]), ("target", &target)])
            }
        }
    })
}

fn status_to_v1(metric: &Value) -> Value {
    each_source(metric, |member, source| {
        let (current, id) = (&source["current"], &source["metric"]);
        match member {
            "object" => sparse(&[
                ("target", &source["describedObject"]),
                ("metricName", &id["name"]),
                ("currentValue", or_zero(&current["value"])),
                ("selector", &id["selector"]),
                ("averageValue", &current["averageValue"]),
            ]),
            "pods" => sparse(&[
                ("metricName", &id["name"]),
                ("currentAverageValue", or_zero(&current["averageValue"])),
                ("selector", &id["selector"]),
            ]),
            "external" => sparse(&[
                ("metricName", &id["name"]),
                ("metricSelector", &id["selector"]),
                ("currentValue", or_zero(&current["value"])),
                ("currentAverageValue", &current["averageValue"]),
            ]),
            _ => sparse(&[
                ("name", &source["name"]),
                ("currentAverageUtilization", &current["averageUtilization"]),
                ("currentAverageValue", or_zero(&current["averageValue"])),
                ("container", &source["container"]),
            ]),
        }
    })
}

fn status_to_v2(metric: &Value) -> Value {
    each_source(metric, |member, source| {
        let id = |selector: &str| sparse(&[("name", &source["metricName"]), ("selector", &source[selector])]);
        match member {
            "object" => json!({
                "describedObject": source["target"], "metric": id("selector"),
                "current": sparse(&[("value", &source["currentValue"]), ("averageValue", &source["averageValue"])]),
            }),
            "pods" => json!({
                "metric": id("selector"),
                "current": sparse(&[("averageValue", &source["currentAverageValue"])]),
            }),
            "external" => json!({
                "metric": id("metricSelector"),
                "current": sparse(&[("value", &source["currentValue"]), ("averageValue", &source["currentAverageValue"])]),
            }),
            _ => {
                let current = sparse(&[
                    ("averageValue", &source["currentAverageValue"]),
                    ("averageUtilization", &source["currentAverageUtilization"]),
                ]);
                sparse(&[("name", &source["name"]), ("container", &source["container"]), ("current", &current)])
            }
        }
    })
}

static ZERO: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| Value::from("0"));

fn or_zero(quantity: &Value) -> &Value {
    if quantity.is_null() { &ZERO } else { quantity }
}

fn is_zero(quantity: &Value) -> bool {
    let zero = Quantity::new(0, Format::DecimalSI);
    int(quantity) == 0 && Quantity::from_value(quantity).unwrap_or(zero).is_zero()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_autoscaler_looks_at_the_cpu() {
        let mut object = json!({"apiVersion": "autoscaling/v1", "spec": {"maxReplicas": 3}});
        to_v2(&mut object);
        assert_eq!(object["spec"]["metrics"], json!([cpu_metric(80.into())]));
        to_v1(&mut object);
        assert_eq!(
            object,
            json!({"apiVersion": "autoscaling/v1", "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 80}})
        );
    }

    #[test]
    fn what_v1_does_not_know_travels_in_annotations() {
        let v2 = json!({
            "apiVersion": "autoscaling/v2",
            "metadata": {"name": "a"},
            "spec": {
                "maxReplicas": 3,
                "metrics": [
                    {"type": "Pods", "pods": {"metric": {"name": "m", "selector": {"matchLabels": {"a": "b"}}}, "target": {"type": "AverageValue", "averageValue": "5"}}},
                    {"type": "Object", "object": {"describedObject": {"kind": "Service", "name": "s", "apiVersion": "v1"}, "metric": {"name": "o"}, "target": {"type": "AverageValue", "averageValue": "5"}}},
                    {"type": "External", "external": {"metric": {"name": "e"}, "target": {"type": "Value", "value": "5"}}},
                    {"type": "ContainerResource", "containerResource": {"name": "memory", "container": "c", "target": {"type": "Utilization", "averageUtilization": 5}}},
                    cpu_metric(50.into()),
                ],
                "behavior": {"scaleDown": {"selectPolicy": "Max", "policies": [{"type": "Pods", "value": 1, "periodSeconds": 15}]}},
            },
            "status": {
                "currentReplicas": 1, "desiredReplicas": 1,
                "conditions": [{"type": "AbleToScale", "status": "True"}],
                "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageValue": "1m", "averageUtilization": 7}}}],
            },
        });
        let mut object = v2.clone();
        to_v1(&mut object);
        assert_eq!(object["spec"], json!({"maxReplicas": 3, "targetCPUUtilizationPercentage": 50}));
        assert_eq!(object["status"]["currentCPUUtilizationPercentage"], 7);
        let behavior = text(&object["metadata"]["annotations"][BEHAVIOR]);
        assert_eq!(
            behavior,
            r#"{"ScaleDown":{"SelectPolicy":"Max","Policies":[{"Type":"Pods","Value":1,"PeriodSeconds":15}]}}"#
        );
        to_v2(&mut object);
        assert_eq!(object, v2);
    }

    #[test]
    fn broken_annotations_are_dropped() {
        let mut object = json!({"metadata": {"annotations": {METRICS: "{", "kept": "x"}}, "spec": {}});
        to_v2(&mut object);
        assert_eq!(object["metadata"]["annotations"], json!({"kept": "x"}));
        assert_eq!(object["spec"]["metrics"], json!([cpu_metric(80.into())]));
    }
}
