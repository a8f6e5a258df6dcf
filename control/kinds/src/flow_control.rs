//! FlowSchema and PriorityLevelConfiguration.
use crate::kind::{GENERAL, Kind, Subresource};
use crate::table::{AGE, Column, NAME, age, name, or_none};
use crate::value::{at, default_to, default_zero, int, items, items_at, null_list, object_at, set, text};
use serde_json::{Value, json};

pub mod bootstrap;
mod validation;

pub(crate) static KINDS: &[Kind] = &[FLOW_SCHEMA, PRIORITY_LEVEL];

const FLOW_CONTROL: Kind = Kind {
    group: "flowcontrol.apiserver.k8s.io",
    namespaced: false,
    status: true,
    generation: true,
    prepare_create: |object| set(object, "status", json!({})),
    ..GENERAL
};

const FLOW_SCHEMA: Kind = Kind {
    kind: "FlowSchema",
    defaults: |_, schema| {
        object_at(schema, "spec");
        if let Some(spec) = at(schema, &["spec"]) {
            default_zero(spec, "matchingPrecedence", 1000);
            for rule in items_at(spec, &["rules"]) {
                items_at(rule, &["resourceRules"]).iter_mut().for_each(|one| null_list(one, "namespaces"));
            }
        }
    },
    validate: |schema, errors| validation::flow_schema(schema, errors),
    validate_update: |new, _, subresource, errors| match subresource {
        Subresource::Status => validation::conditions(new, errors),
        _ => validation::flow_schema(new, errors),
    },
    columns: &[
        NAME,
        Column::text("PriorityLevel", "The level of such requests."),
        Column::text("MatchingPrecedence", "Which schema is asked first."),
        Column::text("DistinguisherMethod", "What makes a flow."),
        AGE,
        Column::text("MissingPL", "references a broken or non-existent PriorityLevelConfiguration"),
    ],
    cells: |schema, now| {
        let spec = &schema["spec"];
        let dangling = items(&schema["status"]["conditions"]).iter().find(|c| text(&c["type"]) == "Dangling");
        vec![
            name(schema),
            or_none(text(&spec["priorityLevelConfiguration"]["name"])),
            int(&spec["matchingPrecedence"]).into(),
            or_none(text(&spec["distinguisherMethod"]["type"])),
            age(schema, now),
            dangling.map_or("?", |condition| text(&condition["status"])).into(),
        ]
    },
    ..FLOW_CONTROL
};

const PRIORITY_LEVEL: Kind = Kind {
    kind: "PriorityLevelConfiguration",
    defaults: |_, level| {
        if let Some(exempt) = at(level, &["spec", "exempt"]) {
            default_to(exempt, "nominalConcurrencyShares", 0);
            default_to(exempt, "lendablePercent", 0);
        }
        if let Some(limited) = at(level, &["spec", "limited"]) {
            default_to(limited, "nominalConcurrencyShares", 30);
            default_to(limited, "lendablePercent", 0);
        }
        if let Some(queuing) = at(level, &["spec", "limited", "limitResponse", "queuing"]) {
            default_zero(queuing, "handSize", 8);
            default_zero(queuing, "queues", 64);
            default_zero(queuing, "queueLengthLimit", 50);
        }
    },
    validate: |level, errors| validation::priority_level(level, errors),
    validate_update: |new, _, subresource, errors| match subresource {
        Subresource::Status => validation::conditions(new, errors),
        _ => validation::priority_level(new, errors),
    },
    columns: &[
        NAME,
        Column::text("Type", "Whether requests are limited."),
        Column::text("NominalConcurrencyShares", "The level's share of all seats."),
        Column::text("Queues", "The number of queues."),
        Column::text("HandSize", "The queues that a flow may use."),
        Column::text("QueueLengthLimit", "The requests that a queue holds."),
        AGE,
    ],
    cells: |level, now| {
        let spec = &level["spec"];
        let queuing = &spec["limited"]["limitResponse"]["queuing"];
        let number = |value: &Value| value.as_i64().map_or("<none>".into(), |number| Value::from(number.to_string()));
        vec![
            name(level),
            text(&spec["type"]).into(),
            number(&spec["limited"]["nominalConcurrencyShares"]),
            number(&queuing["queues"]),
            number(&queuing["handSize"]),
            number(&queuing["queueLengthLimit"]),
            age(level, now),
        ]
    },
    ..FLOW_CONTROL
};
