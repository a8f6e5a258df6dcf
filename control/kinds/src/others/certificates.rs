//! CertificateSigningRequest.
use super::*;
use crate::kind::not_supported;
use crate::table::human_duration;

pub(super) const REQUEST: Kind = Kind {
    group: "certificates.k8s.io",
    kind: "CertificateSigningRequest",
    namespaced: false,
    status: true,
    prepare_create: |request| set(request, "status", json!({})),
    prepare_update: |new, old, subresource| {
        crate::value::copy(new, old, "spec");
        if subresource == crate::Subresource::Approval {
            return;
        }
        if subresource == crate::Subresource::None {
            crate::value::copy(new, old, "status");
        }
    },
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
