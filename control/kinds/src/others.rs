//! Kinds whose own rules are few: defaults, what they count as a change, and their columns. Their specs are not validated yet.
use crate::kind::{FieldLabel, GENERAL, Kind};
use crate::labels::{format_labels, format_selector};
use crate::names::NameRule;
use crate::pod::defaults::template;
use crate::table::{AGE, CONTAINERS, Column, IMAGES, NAME, age, containers, name, or_none};
use crate::value::{at, default_to, default_zero, flag, int, is_empty, items, items_at, object_at, set, strings, text};
use serde_json::{Value, json};

mod admission;
mod certificates;
mod flow_control;
mod networking;
mod quota;

pub(crate) static KINDS: &[Kind] = &[
    POD_TEMPLATE,
    HORIZONTAL_POD_AUTOSCALER,
    PRIORITY_CLASS,
    RUNTIME_CLASS,
    quota::RESOURCE_QUOTA,
    quota::LIMIT_RANGE,
    networking::INGRESS,
    networking::INGRESS_CLASS,
    networking::NETWORK_POLICY,
    networking::IP_ADDRESS,
    networking::SERVICE_CIDR,
    admission::VALIDATING_WEBHOOKS,
    admission::MUTATING_WEBHOOKS,
    admission::POLICY,
    admission::POLICY_BINDING,
    certificates::REQUEST,
    flow_control::FLOW_SCHEMA,
    flow_control::PRIORITY_LEVEL,
    API_SERVICE,
    CUSTOM_RESOURCE_DEFINITION,
];

const POD_TEMPLATE: Kind = Kind {
    kind: "PodTemplate",
    generation: true,
    defaults: |_, object| {
        if let Some(pods) = at(object, &["template"]) {
            template(pods);
        }
    },
    validate: |object, errors| {
        let path = crate::field::Path::new("template");
        crate::pod::validation::validate_template(&object["template"], &path, errors);
    },
    columns: &[
        NAME,
        Column { priority: 0, ..CONTAINERS },
        Column { priority: 0, ..IMAGES },
        Column::text("Pod Labels", "The labels for the pod template."),
    ],
    cells: |object, _| {
        let [names, images] = containers(&object["template"]["spec"]);
        vec![name(object), names, images, format_labels(&object["template"]["metadata"]["labels"]).into()]
    },
    ..GENERAL
};

const HORIZONTAL_POD_AUTOSCALER: Kind = Kind {
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
            if spec["behavior"].is_object() {
                default_behavior(&mut spec["behavior"]);
            }
        }
    },
    prepare_create: |autoscaler| set(autoscaler, "status", json!({"desiredReplicas": 0, "currentMetrics": null})),
    columns: &[
        NAME,
        Column::text("Reference", "What is scaled."),
        Column::text("MinPods", "The least number of pods."),
        Column::text("MaxPods", "The greatest number of pods."),
        Column::text("Replicas", "The present number of pods."),
        AGE,
    ],
    cells: |autoscaler, now| {
        let spec = &autoscaler["spec"];
        let target = &spec["scaleTargetRef"];
        vec![
            name(autoscaler),
            format!("{}/{}", text(&target["kind"]), text(&target["name"])).into(),
            spec["minReplicas"].as_i64().map_or("<unset>".to_owned(), |min| min.to_string()).into(),
            int(&spec["maxReplicas"]).into(),
            int(&autoscaler["status"]["currentReplicas"]).into(),
            age(autoscaler, now),
        ]
    },
    ..GENERAL
};

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

const PRIORITY_CLASS: Kind = Kind {
    group: "scheduling.k8s.io",
    kind: "PriorityClass",
    namespaced: false,
    generation: true,
    defaults: |_, class| default_to(class, "preemptionPolicy", "PreemptLowerPriority"),
    validate: |class, errors| {
        let (name, value) = (text(&class["metadata"]["name"]), int(&class["value"]));
        if !name.starts_with("system-") && value > 1_000_000_000 {
            let detail = "maximum allowed value of a user defined priority is 1000000000";
            errors.forbidden(&crate::field::Path::new("value"), detail);
        }
    },
    validate_update: |new, old, _, errors| {
        if int(&new["value"]) != int(&old["value"]) {
            errors.forbidden(&crate::field::Path::new("value"), "may not be changed in an update.");
        }
    },
    columns: &[
        NAME,
        Column::integer("Value", "The priority."),
        Column::boolean("Global-Default", "Whether pods without a class get it."),
        AGE,
        Column::text("PreemptionPolicy", "Whether such pods evict others.").wide(),
    ],
    cells: |class, now| {
        vec![
            name(class),
            int(&class["value"]).into(),
            flag(&class["globalDefault"]).into(),
            age(class, now),
            text(&class["preemptionPolicy"]).into(),
        ]
    },
    ..GENERAL
};

const RUNTIME_CLASS: Kind = Kind {
    group: "node.k8s.io",
    kind: "RuntimeClass",
    namespaced: false,
    validate_update: |new, old, _, errors| {
        let path = crate::field::Path::new("handler");
        crate::meta::immutable(&new["handler"], &old["handler"], &path, errors);
    },
    columns: &[NAME, Column::text("Handler", "The runtime's own name for the class."), AGE],
    cells: |class, now| vec![name(class), text(&class["handler"]).into(), age(class, now)],
    ..GENERAL
};

const API_SERVICE: Kind =
    Kind { group: "apiregistration.k8s.io", kind: "APIService", namespaced: false, status: true, ..GENERAL };

const CUSTOM_RESOURCE_DEFINITION: Kind = Kind {
    group: "apiextensions.k8s.io",
    kind: "CustomResourceDefinition",
    namespaced: false,
    status: true,
    generation: true,
    columns: &[NAME, Column { format: "date", ..Column::text("Created At", "When the object was created.") }],
    cells: |definition, _| vec![name(definition), definition["metadata"]["creationTimestamp"].clone()],
    ..GENERAL
};

#[cfg(test)]
mod tests {
    use crate::{all, kind};
    use jiff::Timestamp;
    use serde_json::json;
    use std::collections::BTreeSet;

    #[test]
    fn every_kind_stands_once_and_fills_its_columns() {
        let mut seen = BTreeSet::new();
        for rules in all() {
            assert!(seen.insert((rules.group, rules.kind)), "{rules:?} stands twice");
            let empty = json!({"metadata": {"name": "x"}});
            assert_eq!(rules.cells(&empty, Timestamp::UNIX_EPOCH).len(), rules.columns().len(), "{rules:?}");
        }
    }

    #[test]
    fn every_kind_survives_an_empty_object() {
        for rules in all() {
            let mut object = json!({"metadata": {"name": "x", "namespace": "n"}});
            rules.default("v1", &mut object);
            let once = object.clone();
            rules.default("v1", &mut object);
            assert_eq!(object, once, "{rules:?} defaults twice differently");
            rules.prepare_create(&mut object);
            rules.validate_create(&object);
            rules.validate_update(&object, &once, crate::Subresource::None);
            rules.validate_update(&object, &once, crate::Subresource::Status);
        }
    }

    #[test]
    fn an_autoscaler_looks_at_the_cpu() {
        let mut object = json!({"spec": {"behavior": {"scaleDown": {"policies": []}}}});
        kind("autoscaling", "HorizontalPodAutoscaler").default("v2", &mut object);
        assert_eq!(object["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 80);
        assert_eq!(object["spec"]["behavior"]["scaleUp"]["policies"][0]["value"], 4);
        assert_eq!(object["spec"]["behavior"]["scaleDown"], json!({"policies": [], "selectPolicy": "Max"}));
    }
}
