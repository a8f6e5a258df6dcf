//! CertificateSigningRequest.
use crate::kind::{FieldLabel, GENERAL, Kind, Subresource, not_supported};
use crate::names::NameRule;
use crate::table::{AGE, Column, NAME, age, human_duration, name, or_none};
use crate::value::{copy, items, set, text};
use serde_json::{Value, json};

mod validation;

pub(crate) use validation::validate_signer_name;

pub(crate) static KINDS: &[Kind] = &[REQUEST];

const REQUEST: Kind = Kind {
    group: "certificates.k8s.io",
    kind: "CertificateSigningRequest",
    namespaced: false,
    status: true,
    name: NameRule::PathSegment,
    prepare_create: |request| set(request, "status", json!({})),
    prepare_update: |new, old, subresource| {
        copy(new, old, "spec");
        if subresource == Subresource::Approval {
            // An approval changes the conditions and nothing else.
            let conditions = new["status"]["conditions"].take();
            copy(new, old, "status");
            if !new["status"].is_object() {
                set(new, "status", json!({}));
            }
            match conditions {
                Value::Null => drop(crate::value::remove(&mut new["status"], "conditions")),
                conditions => set(&mut new["status"], "conditions", conditions),
            }
        }
    },
    validate: validation::create,
    validate_update: validation::update,
    columns: &[
        NAME,
        AGE,
        Column::text("SignerName", "Who is to sign."),
        Column::text("Requestor", "Who asks."),
        Column::text("RequestedDuration", "For how long."),
        Column::text("Condition", "How far the request has come."),
    ],
    cells: |request, now| {
        let spec = &request["spec"];
        let duration = spec["expirationSeconds"].as_i64().map_or("<none>".to_owned(), human_duration);
        vec![
            name(request),
            age(request, now),
            or_none(text(&spec["signerName"])),
            text(&spec["username"]).into(),
            duration.into(),
            condition(request).into(),
        ]
    },
    fields: FIELDS,
    field_error: not_supported,
    ..GENERAL
};

const FIELDS: &[FieldLabel] = &[("spec.signerName", |request| text(&request["spec"]["signerName"]).to_owned())];

fn condition(request: &Value) -> String {
    let status = &request["status"];
    let has = |kind: &str| items(&status["conditions"]).iter().any(|condition| text(&condition["type"]) == kind);
    let mut shown = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied".to_owned(),
        (_, true) => "Approved".to_owned(),
        _ => "Pending".to_owned(),
    };
    if has("Failed") {
        shown.push_str(",Failed");
    }
    if !text(&status["certificate"]).is_empty() {
        shown.push_str(",Issued");
    }
    shown
}
