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
        Column::text(
            "SignerName",
            "Requested signer for the request. It is a qualified name in the form: `scope-hostname.io/name`. If empty, it will be defaulted:\n 1. If it's a kubelet client certificate, it is assigned\n    \"kubernetes.io/kube-apiserver-client-kubelet\".\n 2. If it's a kubelet serving certificate, it is assigned\n    \"kubernetes.io/kubelet-serving\".\n 3. Otherwise, it is assigned \"kubernetes.io/legacy-unknown\".\nDistribution of trust for signers happens out of band. You can select on this field using `spec.signerName`.",
        ),
        Column::text("Requestor", "Base64-encoded PKCS#10 CSR data"),
        Column::text(
            "RequestedDuration",
            "expirationSeconds is the requested duration of validity of the issued certificate. The certificate signer may issue a certificate with a different validity duration so a client must check the delta between the notBefore and and notAfter fields in the issued certificate to determine the actual duration.\n\nThe v1.22+ in-tree implementations of the well-known Kubernetes signers will honor this field as long as the requested duration is not greater than the maximum duration they will honor per the --cluster-signing-duration CLI flag to the Kubernetes controller manager.\n\nCertificate signers may not honor this field for various reasons:\n\n  1. Old signer that is unaware of the field (such as the in-tree\n     implementations prior to v1.22)\n  2. Signer whose configured maximum is shorter than the requested duration\n  3. Signer whose configured minimum is longer than the requested duration\n\nThe minimum valid value for expirationSeconds is 600, i.e. 10 minutes.",
        ),
        Column::text("Condition", "Conditions applied to the request, such as approval or denial."),
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
