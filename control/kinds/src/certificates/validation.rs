//! What a CertificateSigningRequest must satisfy (`pkg/apis/certificates/validation`). Whether `spec.request` holds a signed
//! request, and `status.certificate` certificates, is the API server's to say: it knows X.509.
use std::collections::HashSet;

use crate::Subresource;
use crate::field::{Errors, Path};
use crate::names::{dns1123_label, dns1123_subdomain};
use crate::value::{go_quote, int, items, same, strings, text};
use serde_json::Value;

const LEGACY: &str = "kubernetes.io/legacy-unknown";
const DECISIONS: [&str; 2] = ["Approved", "Denied"];
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

pub(super) fn create(request: &Value, errors: &mut Errors) {
    whole(request, None, errors);
}

fn whole(request: &Value, old: Option<&Value>, errors: &mut Errors) {
    let (spec, path) = (&request["spec"], Path::new("spec"));
    let (usages, at) = (strings(&spec["usages"]), path.child("usages"));
    if usages.is_empty() {
        errors.required(&at, "");
    }
    for (index, usage) in usages.iter().enumerate().filter(|(_, usage)| !USAGES.contains(usage)) {
        errors.not_supported(&at.index(index), *usage, &USAGES);
    }
    let mut seen = HashSet::new();
    for (index, usage) in usages.iter().enumerate().filter(|(_, usage)| !seen.insert(**usage)) {
        errors.duplicate(&at.index(index), *usage);
    }
    let (signer, at) = (text(&spec["signerName"]), path.child("signerName"));
    let was_legacy = old.is_some_and(|old| text(&old["spec"]["signerName"]) == LEGACY);
    if signer == LEGACY && !was_legacy {
        errors.invalid(&at, signer, "the legacy signerName is not allowed via this API version");
    } else {
        validate_signer_name(signer, &at, errors);
    }
    if spec["expirationSeconds"].as_i64().is_some_and(|seconds| seconds < 600) {
        let detail = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.invalid(&path.child("expirationSeconds"), int(&spec["expirationSeconds"]), detail);
    }
    conditions(request, errors);
}

/// `domain.name/path` (`ValidateSignerName`).
pub(crate) fn validate_signer_name(name: &str, path: &Path<'_>, errors: &mut Errors) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    let parts: Vec<&str> = name.split('/').collect();
    let [domain, rest] = parts.as_slice() else {
        let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return errors.invalid(path, name, detail);
    };
    if domain.len() > 253 {
        errors.too_long(path, 253);
    }
    labels(domain, dns1123_label, path, errors);
    if !domain.contains('.') {
        errors.invalid(path, *domain, "should be a domain with at least two segments separated by dots");
    }
    labels(rest, dns1123_subdomain, path, errors);
    if name.len() > 571 {
        errors.too_long(path, 571);
    }
}

/// The first of a name's dotted labels that is wrong.
fn labels(name: &str, check: fn(&str) -> Vec<String>, path: &Path<'_>, errors: &mut Errors) {
    if let Some(label) = name.split('.').find(|label| !check(label).is_empty()) {
        for message in check(label) {
            errors.invalid(path, name, format!("validating label {}: {message}", go_quote(label)));
        }
    }
}

fn conditions(request: &Value, errors: &mut Errors) {
    let list = Path::new("status.conditions");
    let all = items(&request["status"]["conditions"]);
    for (index, condition) in all.iter().enumerate() {
        let path = list.index(index);
        let (kind, status) = (text(&condition["type"]), text(&condition["status"]));
        if kind.is_empty() {
            errors.required(&path.child("type"), "");
        }
        let allowed: &[&str] =
            if matches!(kind, "Approved" | "Denied" | "Failed") { &["True"] } else { &["False", "True", "Unknown"] };
        if status.is_empty() {
            errors.required(&path.child("status"), "");
        } else if !allowed.contains(&status) {
            errors.not_supported(&path.child("status"), status, allowed);
        }
        let earlier = |wanted: &str| all[..index].iter().any(|other| text(&other["type"]) == wanted);
        if kind == "Approved" && earlier("Denied") || kind == "Denied" && earlier("Approved") {
            errors.invalid(&list, kind, "Approved and Denied conditions are mutually exclusive");
        }
        if earlier(kind) {
            errors.duplicate(&path.child("type"), kind);
        }
    }
}

pub(super) fn update(new: &Value, old: &Value, subresource: Subresource, errors: &mut Errors) {
    whole(new, Some(old), errors);
    let list = Path::new("status.conditions");
    let of = |request: &Value, kind: &str| -> Vec<Value> {
        let all = items(&request["status"]["conditions"]).iter();
        all.filter(|condition| text(&condition["type"]) == kind).cloned().collect()
    };
    for kind in ["Approved", "Denied", "Failed"] {
        let (had, has) = (of(old, kind), of(new, kind));
        if has.len() < had.len() {
            errors.forbidden(&list, format!("updates may not remove a condition of type {}", go_quote(kind)));
        } else if DECISIONS.contains(&kind) && subresource != Subresource::Approval {
            if has.len() > had.len() {
                errors.forbidden(&list, format!("updates may not add a condition of type {}", go_quote(kind)));
            } else if !same(&Value::from(had), &Value::from(has)) {
                errors.forbidden(&list, format!("updates may not modify a condition of type {}", go_quote(kind)));
            }
        }
    }
    let certificate = Path::new("status.certificate");
    if text(&new["status"]["certificate"]) != text(&old["status"]["certificate"]) {
        if subresource != Subresource::Status {
            errors.forbidden(&certificate, "updates may not set certificate content");
        } else if !text(&old["status"]["certificate"]).is_empty() {
            errors.forbidden(&certificate, "updates may not modify existing certificate content");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Subresource, kind};
    use serde_json::{Value, json};

    fn request() -> Value {
        json!({
            "metadata": {"name": "r", "resourceVersion": "1"},
            "spec": {"request": "", "signerName": "example.com/some-signer-name", "usages": ["key encipherment"]},
        })
    }

    // TestValidateCertificateSigningRequestCreate
    #[test]
    fn requests_are_judged_as_kubernetes_judges_them() {
        let rules = kind("certificates.k8s.io", "CertificateSigningRequest");
        assert_eq!(rules.validate_create(&request()).message(), "[]");
        for (member, value, message) in [
            ("usages", json!([]), "spec.usages: Required value"),
            ("usages", json!(["signing", "signing"]), "spec.usages[1]: Duplicate value: \"signing\""),
            (
                "signerName",
                json!("kubernetes.io/legacy-unknown"),
                "spec.signerName: Invalid value: \"kubernetes.io/legacy-unknown\": the legacy signerName is not allowed via this API version",
            ),
            ("signerName", json!(""), "spec.signerName: Required value"),
            (
                "signerName",
                json!("noslash"),
                "spec.signerName: Invalid value: \"noslash\": must be a fully qualified domain and path of the form 'example.com/signer-name'",
            ),
            (
                "signerName",
                json!("example/foo"),
                "spec.signerName: Invalid value: \"example\": should be a domain with at least two segments separated by dots",
            ),
            (
                "expirationSeconds",
                json!(599),
                "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)",
            ),
        ] {
            let mut object = request();
            object["spec"][member] = value;
            assert_eq!(rules.validate_create(&object).message(), message);
        }
    }

    // TestValidateCertificateSigningRequestUpdate, ...StatusUpdate, ...ApprovalUpdate
    #[test]
    fn only_approval_decides_and_only_status_signs() {
        let rules = kind("certificates.k8s.io", "CertificateSigningRequest");
        let mut approved = request();
        approved["status"] = json!({"conditions": [{"type": "Approved", "status": "True"}]});
        assert_eq!(rules.validate_update(&approved, &request(), Subresource::Approval).message(), "[]");
        assert_eq!(
            rules.validate_update(&approved, &request(), Subresource::Status).message(),
            "status.conditions: Forbidden: updates may not add a condition of type \"Approved\""
        );
        assert_eq!(
            rules.validate_update(&request(), &approved, Subresource::Approval).message(),
            "status.conditions: Forbidden: updates may not remove a condition of type \"Approved\""
        );
        let mut signed = approved.clone();
        signed["status"]["certificate"] = "eA==".into();
        assert_eq!(rules.validate_update(&signed, &approved, Subresource::Status).message(), "[]");
        assert_eq!(
            rules.validate_update(&signed, &approved, Subresource::Approval).message(),
            "status.certificate: Forbidden: updates may not set certificate content"
        );
    }
}
