//! HorizontalPodAutoscaler, whose rules are those of autoscaling/v2; [`conversion`] leads there from autoscaling/v1.
use crate::field::{Errors, Path};
use crate::kind::{GENERAL, Kind, Subresource};
use crate::meta::non_negative;
use crate::resources::canonical;
use crate::table::{AGE, Column, NAME, age, name};
use crate::value::{at, default_to, default_zero, int, items, items_at, object_at, set, text};
use serde_json::{Value, json};

pub mod conversion;
mod validation;

pub(crate) static KINDS: &[Kind] = &[KIND];

const KIND: Kind = Kind {
    group: "autoscaling",
    kind: "HorizontalPodAutoscaler",
    status: true,
    defaults: |version, autoscaler| {
        object_at(autoscaler, "spec");
        let Some(spec) = at(autoscaler, &["spec"]) else { return };
        default_to(spec, "minReplicas", 1);
        if version == "v2" {
            let cpu = json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]);
            default_zero(spec, "metrics", cpu);
            canonical_quantities(spec);
            if spec["behavior"].is_object() {
                default_behavior(&mut spec["behavior"]);
            }
        }
    },
    prepare_create: |autoscaler| set(autoscaler, "status", json!({"desiredReplicas": 0, "currentMetrics": null})),
    validate: |autoscaler, errors| validation::spec(&autoscaler["spec"], None, errors),
    validate_update: |new, old, subresource, errors| match subresource {
        Subresource::Status => validate_status(&new["status"], errors),
        _ => validation::spec(&new["spec"], Some(&old["spec"]), errors),
    },
    columns: &[
        NAME,
        Column::text(
            "Reference",
            "scaleTargetRef points to the target resource to scale, and is used to the pods for which metrics should be collected, as well as to actually change the replica count.",
        ),
        Column::text(
            "Targets",
            "metrics contains the specifications for which to use to calculate the desired replica count (the maximum replica count across all metrics will be used).  The desired replica count is calculated multiplying the ratio between the target value and the current value by the current number of pods.  Ergo, metrics used must decrease as the pod count is increased, and vice-versa.  See the individual metric source types for more information about how each type of metric must respond. If not set, the default metric will be set to 80% average CPU utilization.",
        ),
        Column::text(
            "MinPods",
            "minReplicas is the lower limit for the number of replicas to which the autoscaler can scale down.  It defaults to 1 pod.  minReplicas is allowed to be 0 if the alpha feature gate HPAScaleToZero is enabled and at least one Object or External metric is configured.  Scaling is active as long as at least one metric value is available.",
        ),
        Column::text(
            "MaxPods",
            "maxReplicas is the upper limit for the number of replicas to which the autoscaler can scale up. It cannot be less that minReplicas.",
        ),
        Column::text(
            "Replicas",
            "currentReplicas is current number of replicas of pods managed by this autoscaler, as last seen by the autoscaler.",
        ),
        AGE,
    ],
    cells: |autoscaler, now| {
        let spec = &autoscaler["spec"];
        let target = &spec["scaleTargetRef"];
        vec![
            name(autoscaler),
            format!("{}/{}", text(&target["kind"]), text(&target["name"])).into(),
            targets(&spec["metrics"], &autoscaler["status"]["currentMetrics"]).into(),
            spec["minReplicas"].as_i64().map_or("<unset>".to_owned(), |min| min.to_string()).into(),
            int(&spec["maxReplicas"]).into(),
            int(&autoscaler["status"]["currentReplicas"]).into(),
            age(autoscaler, now),
        ]
    },
    ..GENERAL
};

/// Targets and tolerances in the form in which Kubernetes stores quantities.
fn canonical_quantities(spec: &mut Value) {
    for metric in items_at(spec, &["metrics"]) {
        for source in ["resource", "containerResource", "pods", "object", "external"] {
            for member in ["value", "averageValue"] {
                if let Some(quantity) = at(metric, &[source, "target", member]) {
                    canonical(quantity);
                }
            }
        }
    }
    for direction in ["scaleUp", "scaleDown"] {
        if let Some(tolerance) = at(spec, &["behavior", direction, "tolerance"]) {
            canonical(tolerance);
        }
    }
}

/// Both directions get every member that the user left out.
fn default_behavior(behavior: &mut Value) {
    for (direction, policies) in [
        (
            "scaleUp",
            json!([{"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]),
        ),
        ("scaleDown", json!([{"type": "Percent", "value": 100, "periodSeconds": 15}])),
    ] {
        object_at(behavior, direction);
        let Some(rules) = at(behavior, &[direction]) else { continue };
        default_to(rules, "selectPolicy", "Max");
        default_to(rules, "policies", policies);
        if direction == "scaleUp" {
            default_to(rules, "stabilizationWindowSeconds", 0);
        }
    }
}

fn validate_status(status: &Value, errors: &mut Errors) {
    for member in ["currentReplicas", "desiredReplicas"] {
        non_negative(&status[member], &Path::new("status").child(member), errors);
    }
}

/// `cpu: 10%/80%, 5/7 (avg) + 1 more...`
fn targets(specs: &Value, statuses: &Value) -> String {
    let shown: Vec<String> =
        items(specs).iter().enumerate().map(|(index, spec)| target(spec, &statuses[index])).collect();
    match shown.len() {
        0 => "<none>".to_owned(),
        1 | 2 => shown.join(", "),
        more => format!("{} + {} more...", shown[..2].join(", "), more - 2),
    }
}

fn target(spec: &Value, status: &Value) -> String {
    let member = match text(&spec["type"]) {
        "External" => "external",
        "Pods" => "pods",
        "Object" => "object",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return "<unknown type>".to_owned(),
    };
    let (wished, current) = (&spec[member]["target"], &status[member]["current"]);
    let now = |name: &str| current[name].as_str().unwrap_or("<unknown>");
    let average = text(&wished["averageValue"]);
    match member {
        "pods" => format!("{}/{average}", now("averageValue")),
        "resource" | "containerResource" => {
            let name = text(&spec[member]["name"]);
            if !average.is_empty() {
                return format!("{name}: {}/{average}", now("averageValue"));
            }
            let percent = |value: &Value, none: &str| value.as_i64().map_or(none.to_owned(), |p| format!("{p}%"));
            let goal = percent(&wished["averageUtilization"], "<auto>");
            format!("{name}: {}/{goal}", percent(&current["averageUtilization"], "<unknown>"))
        }
        _ if !average.is_empty() => format!("{}/{average} (avg)", now("averageValue")),
        _ => format!("{}/{}", now("value"), text(&wished["value"])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind;

    #[test]
    fn an_autoscaler_looks_at_the_cpu() {
        let mut object = json!({"spec": {"behavior": {"scaleDown": {"policies": []}}}});
        kind("autoscaling", "HorizontalPodAutoscaler").default("v2", &mut object);
        assert_eq!(object["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 80);
        assert_eq!(object["spec"]["behavior"]["scaleUp"]["policies"][0]["value"], 4);
        assert_eq!(object["spec"]["behavior"]["scaleDown"], json!({"policies": [], "selectPolicy": "Max"}));
    }

    // TestPrintHPA
    #[test]
    fn targets_show_what_is_and_what_is_wished() {
        let specs = json!([
            {"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}},
            {"type": "Pods", "pods": {"target": {"averageValue": "100m"}}},
            {"type": "Object", "object": {"target": {"value": "2"}}},
        ]);
        let statuses = json!([{"resource": {"current": {"averageUtilization": 50}}}]);
        assert_eq!(targets(&specs, &statuses), "cpu: 50%/80%, <unknown>/100m + 1 more...");
        assert_eq!(targets(&json!([]), &json!([])), "<none>");
    }
}
