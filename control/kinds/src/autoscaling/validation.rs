//! What an autoscaling/v2 spec must satisfy (`pkg/apis/autoscaling/validation`).
use super::*;
use crate::Quantity;
use crate::names::{dns1123_label, path_segment};

const PERIOD_MAX: i64 = 1800;
const WINDOW_MAX: i64 = 3600;
const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];
const SOURCE_TYPES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];

pub(super) fn spec(spec: &Value, old: Option<&Value>, errors: &mut Errors) {
    let path = Path::new("spec");
    let (min, max) = (&spec["minReplicas"], int(&spec["maxReplicas"]));
    // HPAScaleToZero is off by default: only what is at zero already may stay there.
    let lowest = if old.is_some_and(|old| old["minReplicas"].as_i64() == Some(0)) { 0 } else { 1 };
    if !min.is_null() && int(min) < lowest {
        errors.invalid(&path.child("minReplicas"), int(min), format!("must be greater than or equal to {lowest}"));
    }
    if max == 0 {
        errors.required(&path.child("maxReplicas"), "must be set and greater than 0");
    } else if max < 0 {
        errors.invalid(&path.child("maxReplicas"), max, "must be greater than or equal to 1");
    }
    if !min.is_null() && max < int(min) {
        errors.invalid(&path.child("maxReplicas"), max, "must be greater than or equal to `minReplicas`");
    }
    let (target, before) = (&spec["scaleTargetRef"], old.map(|old| &old["scaleTargetRef"]));
    let unchanged =
        before.is_some_and(|old| ["apiVersion", "kind"].iter().all(|key| text(&old[*key]) == text(&target[*key])));
    let version = if unchanged {
        Version::Any
    } else if text(&target["kind"]) == "ReplicationController" {
        Version::CoreToo
    } else {
        Version::OfGroup
    };
    reference(target, version, &path.child("scaleTargetRef"), errors);
    let (metrics, list) = (path.child("metrics"), items(&spec["metrics"]));
    for (index, metric) in list.iter().enumerate() {
        metric_spec(metric, &metrics.index(index), errors);
    }
    if min.as_i64() == Some(0) && !list.iter().any(|m| matches!(text(&m["type"]), "Object" | "External")) {
        let detail = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.forbidden(&metrics, detail);
    }
    let behavior = path.child("behavior");
    for direction in ["scaleUp", "scaleDown"] {
        let rules = &spec["behavior"][direction];
        if rules.is_object() {
            scaling_rules(rules, &behavior.child(direction), errors);
        }
    }
}

/// Which apiVersion a reference may name.
#[derive(PartialEq)]
enum Version {
    /// Whatever is stored already.
    Any,
    /// One without a group, too.
    CoreToo,
    /// One with a group.
    OfGroup,
}

fn reference(reference: &Value, allowed: Version, path: &Path<'_>, errors: &mut Errors) {
    for member in ["kind", "name"] {
        match text(&reference[member]) {
            "" => errors.required(&path.child(member), ""),
            value => errors.invalid_each(&path.child(member), value, path_segment(value)),
        }
    }
    let version = text(&reference["apiVersion"]);
    if allowed == Version::Any {
        return;
    }
    if version.matches('/').count() > 1 {
        let detail = format!("unexpected GroupVersion string: {version}");
        errors.invalid(&path.child("apiVersion"), version, detail);
    } else if allowed == Version::OfGroup && !version.contains('/') {
        errors.invalid(&path.child("apiVersion"), version, "apiVersion must specify API group");
    }
}

fn scaling_rules(rules: &Value, path: &Path<'_>, errors: &mut Errors) {
    let window = &rules["stabilizationWindowSeconds"];
    if int(window) < 0 {
        errors.invalid(&path.child("stabilizationWindowSeconds"), int(window), "must be greater than or equal to zero");
    }
    if int(window) > WINDOW_MAX {
        let detail = format!("must be less than or equal to {WINDOW_MAX}");
        errors.invalid(&path.child("stabilizationWindowSeconds"), int(window), detail);
    }
    let select = &rules["selectPolicy"];
    if !select.is_null() && !matches!(text(select), "Max" | "Min" | "Disabled") {
        errors.not_supported(&path.child("selectPolicy"), text(select), &["Disabled", "Max", "Min"]);
    }
    let policies = path.child("policies");
    if items(&rules["policies"]).is_empty() {
        errors.required(&policies, "must specify at least one Policy");
    }
    for (index, policy) in items(&rules["policies"]).iter().enumerate() {
        let path = policies.index(index);
        if !matches!(text(&policy["type"]), "Pods" | "Percent") {
            errors.not_supported(&path.child("type"), text(&policy["type"]), &["Percent", "Pods"]);
        }
        for member in ["value", "periodSeconds"] {
            if int(&policy[member]) <= 0 {
                errors.invalid(&path.child(member), int(&policy[member]), "must be greater than zero");
            }
        }
        if int(&policy["periodSeconds"]) > PERIOD_MAX {
            let detail = format!("must be less than or equal to {PERIOD_MAX}");
            errors.invalid(&path.child("periodSeconds"), int(&policy["periodSeconds"]), detail);
        }
    }
    if Quantity::from_value(&rules["tolerance"]).is_ok_and(|q| q.is_negative()) {
        errors.invalid(&path.child("tolerance"), text(&rules["tolerance"]), crate::meta::NEGATIVE);
    }
}

fn metric_spec(metric: &Value, path: &Path<'_>, errors: &mut Errors) {
    let kind = text(&metric["type"]);
    if kind.is_empty() {
        errors.required(&path.child("type"), "must specify a metric source type");
    }
    let known = SOURCES.iter().find(|(name, _)| *name == kind);
    if known.is_none() {
        errors.not_supported(&path.child("type"), kind, &SOURCE_TYPES);
    }
    let present: Vec<&str> = SOURCES.iter().map(|(_, member)| *member).filter(|m| metric[*m].is_object()).collect();
    if let Some(first) = present.first() {
        source(first, &metric[*first], &path.child(first), errors);
    }
    match known {
        Some((_, member)) if !metric[*member].is_object() => {
            errors.required(&path.child(member), "must populate information for the given metric source");
        }
        Some(_) => {}
        None => errors.not_supported(&path.child("type"), kind, &SOURCE_TYPES),
    }
    if present.len() != 1 {
        for other in present.into_iter().filter(|m| known.is_none_or(|(_, expected)| m != expected)) {
            errors.forbidden(&path.child(other), "must populate the given metric source only");
        }
    }
}

fn source(member: &str, source: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (at_target, goal) = (path.child("target"), &source["target"]);
    let has = |name: &str| !goal[name].is_null();
    match member {
        "object" => {
            reference(&source["describedObject"], Version::CoreToo, &path.child("describedObject"), errors);
            identifier(&source["metric"], &path.child("metric"), errors);
            target(goal, &at_target, errors);
            if !has("value") && !has("averageValue") {
                errors.required(&at_target.child("averageValue"), "must set either a target value or averageValue");
            }
        }
        "external" => {
            identifier(&source["metric"], &path.child("metric"), errors);
            target(goal, &at_target, errors);
            if !has("value") && !has("averageValue") {
                let detail = "must set either a target value for metric or a per-pod target";
                errors.required(&at_target.child("averageValue"), detail);
            }
            if has("value") && has("averageValue") {
                let detail = "may not set both a target value for metric and a per-pod target";
                errors.forbidden(&at_target.child("value"), detail);
            }
        }
        "pods" => {
            identifier(&source["metric"], &path.child("metric"), errors);
            target(goal, &at_target, errors);
            if !has("averageValue") {
                errors.required(&at_target.child("averageValue"), "must specify a positive target averageValue");
            }
        }
        _ => {
            if text(&source["name"]).is_empty() {
                errors.required(&path.child("name"), "must specify a resource name");
            }
            if member == "containerResource" {
                let name = text(&source["name"]);
                if !name.is_empty() {
                    crate::resource_names::validate_of_container(name, &path.child("name"), errors);
                }
                match text(&source["container"]) {
                    "" => errors.required(&path.child("container"), "must specify a container"),
                    name => errors.invalid_each(&path.child("container"), name, dns1123_label(name)),
                }
            }
            target(goal, &at_target, errors);
            if !has("averageUtilization") && !has("averageValue") {
                let detail = "must set either a target raw value or a target utilization";
                errors.required(&at_target.child("averageUtilization"), detail);
            }
            if has("averageUtilization") && has("averageValue") {
                let detail = "may not set both a target raw value and a target utilization";
                errors.forbidden(&at_target.child("averageValue"), detail);
            }
        }
    }
}

fn identifier(id: &Value, path: &Path<'_>, errors: &mut Errors) {
    match text(&id["name"]) {
        "" => errors.required(&path.child("name"), "must specify a metric name"),
        name => errors.invalid_each(&path.child("name"), name, path_segment(name)),
    }
}

fn target(target: &Value, path: &Path<'_>, errors: &mut Errors) {
    let kind = text(&target["type"]);
    if kind.is_empty() {
        errors.required(&path.child("type"), "must specify a metric target type");
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        errors.invalid(&path.child("type"), kind, "must be either Utilization, Value, or AverageValue");
    }
    for member in ["value", "averageValue"] {
        if Quantity::from_value(&target[member]).is_ok_and(|q| q.is_negative() || q.is_zero())
            && !target[member].is_null()
        {
            errors.invalid(&path.child(member), target[member].clone(), "must be positive");
        }
    }
    let utilization = &target["averageUtilization"];
    if !utilization.is_null() && int(utilization) < 1 {
        errors.invalid(&path.child("averageUtilization"), int(utilization), "must be greater than 0");
    }
}

#[cfg(test)]
mod tests {
    use crate::{Subresource, kind};
    use serde_json::{Value, json};

    fn autoscaler() -> Value {
        json!({
            "metadata": {"name": "myautoscaler", "namespace": "default", "resourceVersion": "1"},
            "spec": {
                "scaleTargetRef": {"kind": "ReplicationController", "name": "myrc"}, "minReplicas": 1, "maxReplicas": 5,
                "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}],
            },
        })
    }

    fn refused(pointer: &str, value: Value) -> String {
        let mut object = autoscaler();
        *object.pointer_mut(pointer).unwrap() = value;
        kind("autoscaling", "HorizontalPodAutoscaler").validate_create(&object).message()
    }

    // The cases of TestValidateHorizontalPodAutoscaler and TestValidateScale.
    #[test]
    fn specs_are_judged_as_kubernetes_judges_them() {
        assert_eq!(refused("/spec/maxReplicas", 5.into()), "[]");
        for (pointer, value, message) in [
            (
                "/spec/scaleTargetRef",
                json!({"apiVersion": "apps/v1", "name": "myrc"}),
                "spec.scaleTargetRef.kind: Required value",
            ),
            ("/spec/scaleTargetRef", json!({"apiVersion": "apps/v1", "kind": "...", "name": "myrc"}), "[]"),
            (
                "/spec/scaleTargetRef",
                json!({"kind": "Deployment", "name": "d"}),
                "spec.scaleTargetRef.apiVersion: Invalid value: \"\": apiVersion must specify API group",
            ),
            (
                "/spec/scaleTargetRef",
                json!({"apiVersion": "apps/v1", "kind": "..", "name": "myrc"}),
                "spec.scaleTargetRef.kind: Invalid value: \"..\": may not be '..'",
            ),
            (
                "/spec/scaleTargetRef/name",
                json!("a/b"),
                "spec.scaleTargetRef.name: Invalid value: \"a/b\": may not contain '/'",
            ),
            ("/spec/minReplicas", json!(-1), "spec.minReplicas: Invalid value: -1: must be greater than or equal to 1"),
            (
                "/spec/maxReplicas",
                json!(0),
                "[spec.maxReplicas: Required value: must be set and greater than 0, spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`]",
            ),
            (
                "/spec/minReplicas",
                json!(7),
                "spec.maxReplicas: Invalid value: 5: must be greater than or equal to `minReplicas`",
            ),
            (
                "/spec/metrics",
                json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": -10}}}]),
                "spec.metrics[0].resource.target.averageUtilization: Invalid value: -10: must be greater than 0",
            ),
            (
                "/spec/metrics",
                json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Value"}}}]),
                "spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization",
            ),
            (
                "/spec/metrics",
                json!([{"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "0"}}}]),
                "spec.metrics[0].pods.target.averageValue: Invalid value: \"0\": must be positive",
            ),
            (
                "/spec/metrics",
                json!([{"type": "Pods"}]),
                "spec.metrics[0].pods: Required value: must populate information for the given metric source",
            ),
            (
                "/spec/metrics",
                json!([{"type": "External", "external": {"metric": {"name": "a/b"}, "target": {"type": "Value", "value": "1"}}}]),
                "spec.metrics[0].external.metric.name: Invalid value: \"a/b\": may not contain '/'",
            ),
        ] {
            assert_eq!(refused(pointer, value), message, "{pointer}");
        }
    }

    // TestValidateBehavior
    #[test]
    fn behavior_is_bounded() {
        let with = |behavior: Value| {
            refused("/spec", {
                let mut spec = autoscaler()["spec"].clone();
                spec["behavior"] = behavior;
                spec
            })
        };
        assert_eq!(with(json!({"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 1800}]}})), "[]");
        assert_eq!(
            with(json!({"scaleUp": {}})),
            "spec.behavior.scaleUp.policies: Required value: must specify at least one Policy"
        );
        assert_eq!(
            with(
                json!({"scaleDown": {"stabilizationWindowSeconds": 3601, "selectPolicy": "x", "policies": [{"type": "hacked", "value": 0, "periodSeconds": 1801}]}})
            ),
            "[spec.behavior.scaleDown.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600, \
             spec.behavior.scaleDown.selectPolicy: Unsupported value: \"x\": supported values: \"Disabled\", \"Max\", \"Min\", \
             spec.behavior.scaleDown.policies[0].type: Unsupported value: \"hacked\": supported values: \"Percent\", \"Pods\", \
             spec.behavior.scaleDown.policies[0].value: Invalid value: 0: must be greater than zero, \
             spec.behavior.scaleDown.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800]"
        );
    }

    #[test]
    fn a_status_counts_from_zero() {
        let (old, mut new) = (autoscaler(), autoscaler());
        new["status"] = json!({"currentReplicas": -1});
        let rules = kind("autoscaling", "HorizontalPodAutoscaler");
        let message = rules.validate_update(&new, &old, Subresource::Status).message();
        assert_eq!(message, "status.currentReplicas: Invalid value: -1: must be greater than or equal to 0");
    }
}
