//! Services. Cluster IPs, node ports and IP families are allocated by the API server between preparation and validation.
use crate::field::Errors;
use crate::kind::{FieldLabel, GENERAL, Kind, not_supported};
use crate::names::NameRule;
use crate::value::text;
use serde_json::Value;

mod columns;
mod defaults;
mod strategy;
mod validation;

pub(crate) static KINDS: &[Kind] = &[Kind {
    kind: "Service",
    status: true,
    name: NameRule::Label,
    defaults: |_, service| defaults::defaults(service),
    prepare_create: strategy::prepare_create,
    prepare_update: strategy::prepare_update,
    validate: validation::validate,
    validate_update: validation::validate_update,
    columns: columns::COLUMNS,
    cells: columns::cells,
    fields: FIELDS,
    field_error: not_supported,
    ..GENERAL
}];

/// What is wrong with a Service's addresses and IP families as such: judged before any are allocated.
pub fn service_addresses(service: &Value) -> Errors {
    let mut errors = Errors::default();
    validation::validate_addresses(service, &mut errors);
    errors
}

const FIELDS: &[FieldLabel] = &[
    ("spec.clusterIP", |service| text(&service["spec"]["clusterIP"]).to_owned()),
    ("spec.type", |service| text(&service["spec"]["type"]).to_owned()),
];
