//! Kinds whose own rules are few: defaults, what they count as a change, what they check, and their columns.
use crate::kind::{GENERAL, Kind};
use crate::labels::format_labels;
use crate::pod::defaults::template;
use crate::table::{AGE, CONTAINERS, Column, IMAGES, NAME, age, containers, name};
use crate::value::{at, default_to, flag, int, items, items_at, object_at, set, text};
use serde_json::{Value, json};

mod admission;
mod api_service;
mod priority_class;
mod quota;
mod runtime_class;
mod webhooks;

pub(crate) static KINDS: &[Kind] = &[
    POD_TEMPLATE,
    priority_class::KIND,
    runtime_class::KIND,
    quota::RESOURCE_QUOTA,
    quota::LIMIT_RANGE,
    webhooks::VALIDATING,
    webhooks::MUTATING,
    admission::POLICY,
    admission::POLICY_BINDING,
    admission::MUTATING_POLICY,
    admission::MUTATING_POLICY_BINDING,
    COMPONENT_STATUS,
    api_service::API_SERVICE,
    crate::custom::CUSTOM_RESOURCE_DEFINITION,
];

const POD_TEMPLATE: Kind = Kind {
    kind: "PodTemplate",
    generation: true,
    defaults: |_, object| {
        crate::value::object_at(object, "template");
        if let Some(pods) = at(object, &["template"]) {
            template(pods);
        }
    },
    validate: |object, errors| {
        let path = crate::field::Path::new("template");
        crate::pod::validation::validate_template(&object["template"], &path, errors);
    },
    validate_update: |new, _, _, errors| {
        let path = crate::field::Path::new("template");
        crate::pod::validation::validate_template(&new["template"], &path, errors);
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

const COMPONENT_STATUS: Kind = Kind {
    kind: "ComponentStatus",
    namespaced: false,
    columns: &[
        NAME,
        Column::text("Status", "Status of the component conditions"),
        Column::text("Message", "Message of the component conditions"),
        Column::text("Error", "Error of the component conditions"),
    ],
    cells: |component, _| {
        let healthy = items(&component["conditions"]).iter().find(|condition| text(&condition["type"]) == "Healthy");
        let status = match healthy.map(|condition| text(&condition["status"])) {
            None => "Unknown",
            Some("True") => "Healthy",
            Some(_) => "Unhealthy",
        };
        let member = |name: &str| healthy.map_or("", |condition| text(&condition[name])).into();
        vec![name(component), status.into(), member("message"), member("error")]
    },
    ..GENERAL
};

#[cfg(test)]
mod tests {
    use crate::all;
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
}
