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
        Column::text(
            "PriorityLevel",
            "`name` is the name of the priority level configuration being referenced Required.",
        ),
        Column::text(
            "MatchingPrecedence",
            "`matchingPrecedence` is used to choose among the FlowSchemas that match a given request. The chosen FlowSchema is among those with the numerically lowest (which we take to be logically highest) MatchingPrecedence.  Each MatchingPrecedence value must be ranged in [1,10000]. Note that if the precedence is not specified, it will be set to 1000 as default.",
        ),
        Column::text(
            "DistinguisherMethod",
            "`distinguisherMethod` defines how to compute the flow distinguisher for requests that match this schema. `nil` specifies that the distinguisher is disabled and thus will always be the empty string.",
        ),
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
        Column::text(
            "Type",
            "`type` indicates whether this priority level is subject to limitation on request execution.  A value of `\"Exempt\"` means that requests of this priority level are not subject to a limit (and thus are never queued) and do not detract from the capacity made available to other priority levels.  A value of `\"Limited\"` means that (a) requests of this priority level _are_ subject to limits and (b) some of the server's limited capacity is made available exclusively to this priority level. Required.",
        ),
        Column::text(
            "NominalConcurrencyShares",
            "`nominalConcurrencyShares` (NCS) contributes to the computation of the NominalConcurrencyLimit (NominalCL) of this level. This is the number of execution seats available at this priority level. This is used both for requests dispatched from this priority level as well as requests dispatched from other priority levels borrowing seats from this level. The server's concurrency limit (ServerCL) is divided among the Limited priority levels in proportion to their NCS values:\n\nNominalCL(i)  = ceil( ServerCL * NCS(i) / sum_ncs ) sum_ncs = sum[priority level k] NCS(k)\n\nBigger numbers mean a larger nominal concurrency limit, at the expense of every other priority level.\n\nIf not specified, this field defaults to a value of 30.\n\nSetting this field to zero supports the construction of a \"jail\" for this priority level that is used to hold some request(s)",
        ),
        Column::text(
            "Queues",
            "`queues` is the number of queues for this priority level. The queues exist independently at each apiserver. The value must be positive.  Setting it to 1 effectively precludes shufflesharding and thus makes the distinguisher method of associated flow schemas irrelevant.  This field has a default value of 64.",
        ),
        Column::text(
            "HandSize",
            "`handSize` is a small positive number that configures the shuffle sharding of requests into queues.  When enqueuing a request at this priority level the request's flow identifier (a string pair) is hashed and the hash value is used to shuffle the list of queues and deal a hand of the size specified here.  The request is put into one of the shortest queues in that hand. `handSize` must be no larger than `queues`, and should be significantly smaller (so that a few heavy flows do not saturate most of the queues).  See the user-facing documentation for more extensive guidance on setting this field.  This field has a default value of 8.",
        ),
        Column::text(
            "QueueLengthLimit",
            "`queueLengthLimit` is the maximum number of requests allowed to be waiting in a given queue of this priority level at a time; excess requests are rejected.  This value must be positive.  If not specified, it will be defaulted to 50.",
        ),
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
