//! `AdmissionReview`: the question and the answer, in `admission.k8s.io/v1` and `v1beta1`. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::hooks::Type;
use crate::admission::attributes::{Attributes, GroupVersionKind};
use crate::admission::rules::Seen;
use crate::catalog::Resource;
use crate::status::Status;

/// What a webhook says.
#[derive(Debug, Default)]
pub struct Answer {
    pub allowed: bool,
    pub patch: Option<Vec<u8>>,
    pub patch_type: Option<String>,
    pub result: Value,
    pub warnings: Vec<String>,
    pub annotations: Vec<(String, String)>,
}

fn kind(kind: &GroupVersionKind) -> Value {
    json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
}

fn resource(resource: &Resource) -> Value {
    json!({"group": resource.group, "version": resource.version, "resource": resource.plural})
}

/// The question, and the uid that its answer must carry.
pub fn request(
    version: &str,
    seen: &Seen,
    attributes: &Attributes<'_>,
    object: &Value,
    old: &Value,
) -> (String, Value) {
    let uid = uuid::Uuid::new_v4().to_string();
    let mut request = json!({
        "uid": uid,
        "kind": kind(&seen.kind),
        "resource": resource(&seen.resource),
    });
    let mut set = |field: &str, value: Value| request[field] = value;
    let sub = attributes.subresource.as_str();
    if !sub.is_empty() {
        set("subResource", sub.into());
    }
    set("requestKind", kind(&attributes.kind));
    set("requestResource", resource(&attributes.resource));
    if !sub.is_empty() {
        set("requestSubResource", sub.into());
    }
    for (field, value) in [("name", &attributes.name), ("namespace", &attributes.namespace)] {
        if !value.is_empty() {
            set(field, value.as_str().into());
        }
    }
    set("operation", attributes.operation.as_str().into());
    set("userInfo", serde_json::to_value(&*attributes.call.user).unwrap_or_default());
    set("object", object.clone());
    set("oldObject", old.clone());
    set("dryRun", attributes.dry_run.into());
    set("options", attributes.options.clone());
    let review = json!({
        "kind": "AdmissionReview", "apiVersion": format!("admission.k8s.io/{version}"), "request": request,
    });
    (uid, review)
}

/// Reads an answer and holds it to what its version promises.
pub fn understand(version: &str, uid: &str, ty: Type, review: Value) -> Result<Answer, String> {
    let expected = format!("admission.k8s.io/{version}");
    let (api_version, kind) = (review["apiVersion"].as_str().unwrap_or_default(), &review["kind"]);
    let response = &review["response"];
    if !response.is_object() {
        return Err("webhook response was absent".into());
    }
    if version == "v1" {
        let theirs = response["uid"].as_str().unwrap_or_default();
        if theirs != uid {
            return Err(format!("expected response.uid=\"{uid}\", got \"{theirs}\""));
        }
        if api_version != expected || kind != "AdmissionReview" {
            let theirs = format!("{api_version}, Kind={}", kind.as_str().unwrap_or_default());
            return Err(format!("expected webhook response of {expected}, Kind=AdmissionReview, got {theirs}"));
        }
    }
    let mut answer =
        Answer { allowed: response["allowed"] == true, result: response["status"].clone(), ..Answer::default() };
    if !(response["allowed"].is_boolean() || response["allowed"].is_null()) {
        return Err(
            "json: cannot unmarshal into Go struct field AdmissionResponse.response.allowed of type bool".into()
        );
    }
    let warnings = response["warnings"].as_array().into_iter().flatten();
    answer.warnings = warnings.filter_map(|w| w.as_str().map(Into::into)).collect();
    let annotations = response["auditAnnotations"].as_object().into_iter().flatten();
    answer.annotations = annotations.map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned())).collect();
    let patch = response["patch"].as_str().unwrap_or_default();
    let patch = STANDARD.decode(patch).map_err(|error| format!("illegal base64 data in response.patch: {error}"))?;
    let patch_type = response["patchType"].as_str();
    match (version, ty) {
        ("v1", Type::Mutating) => match (patch.is_empty(), patch_type) {
            (false, None) => return Err("webhook returned response.patch but not response.patchType".into()),
            (true, Some(_)) => return Err("webhook returned response.patchType but not response.patch".into()),
            (_, Some("")) => return Err("webhook returned invalid response.patchType of \"\"".into()),
            (_, ty) => answer.patch_type = ty.map(Into::into),
        },
        ("v1", Type::Validating) => {
            if !patch.is_empty() {
                return Err("validating webhook may not return response.patch".into());
            }
            if patch_type.is_some() {
                return Err("validating webhook may not return response.patchType".into());
            }
        }
        // The elder version never said what kind of patch it is.
        _ => answer.patch_type = Some("JSONPatch".into()),
    }
    answer.patch = Some(patch).filter(|p| !p.is_empty() && ty == Type::Mutating);
    Ok(answer)
}

/// The webhook's own status with our words before its own (`webhookerrors.ToStatusErr`).
pub fn denial(name: &str, result: &Value) -> Status {
    let text = |field: &str| result[field].as_str().unwrap_or_default();
    let code = result["code"].as_u64().and_then(|c| u16::try_from(c).ok()).filter(|c| (400..600).contains(c));
    let told = format!("admission webhook \"{name}\" denied the request");
    let message = match (text("message"), text("reason")) {
        ("", "") => format!("{told} without explanation"),
        ("", reason) => format!("{told}: {reason}"),
        (message, _) => format!("{told}: {message}"),
    };
    let details: Option<Map<String, Value>> = result["details"].as_object().cloned();
    Status {
        code: code.unwrap_or(400),
        reason: text("reason").to_owned().into(),
        message,
        details: details.map(Box::new),
        next: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(version: &str, ty: Type, response: Value) -> Result<Answer, String> {
        let review = json!({
            "apiVersion": format!("admission.k8s.io/{version}"), "kind": "AdmissionReview", "response": response,
        });
        understand(version, "u", ty, review)
    }

    /// `request/admissionreview_test.go`.
    #[test]
    fn answers_are_held_to_their_version() {
        let patch = STANDARD.encode("[]");
        let error = |ty, response| read("v1", ty, response).unwrap_err();
        use Type::{Mutating, Validating};
        assert_eq!(error(Mutating, Value::Null), "webhook response was absent");
        assert_eq!(error(Mutating, json!({"uid": "x"})), "expected response.uid=\"u\", got \"x\"");
        let without = json!({"uid": "u", "allowed": true, "patch": patch});
        assert_eq!(error(Mutating, without.clone()), "webhook returned response.patch but not response.patchType");
        let only = json!({"uid": "u", "allowed": true, "patchType": "JSONPatch"});
        assert_eq!(error(Mutating, only.clone()), "webhook returned response.patchType but not response.patch");
        let invalid = json!({"uid": "u", "allowed": true, "patch": patch, "patchType": ""});
        assert_eq!(error(Mutating, invalid), "webhook returned invalid response.patchType of \"\"");
        assert_eq!(error(Validating, without), "validating webhook may not return response.patch");
        assert_eq!(error(Validating, only), "validating webhook may not return response.patchType");
        let good = read("v1", Mutating, json!({"uid": "u", "allowed": true, "patch": patch, "patchType": "JSONPatch"}));
        assert_eq!(good.unwrap().patch.unwrap(), b"[]");
        let old = read("v1beta1", Mutating, json!({"allowed": true, "patch": patch})).unwrap();
        assert_eq!((old.patch.unwrap(), old.patch_type.unwrap().as_str()), (b"[]".to_vec(), "JSONPatch"));
        assert!(read("v1beta1", Validating, json!({"allowed": true, "patch": patch})).unwrap().patch.is_none());
        let wrong =
            understand("v1", "u", Mutating, json!({"apiVersion": "x/v1", "kind": "A", "response": {"uid": "u"}}));
        let text = "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got x/v1, Kind=A";
        assert_eq!(wrong.unwrap_err(), text);
    }

    /// `errors/statuserror_test.go`.
    #[test]
    fn a_denial_says_who_denied() {
        let told = "admission webhook \"mywh\" denied the request";
        let none = denial("mywh", &Value::Null);
        assert_eq!((none.code, none.message), (400, format!("{told} without explanation")));
        assert_eq!(
            denial("mywh", &json!({"message": "you shall not pass"})).message,
            format!("{told}: you shall not pass")
        );
        let reason = denial("mywh", &json!({"reason": "Forbidden", "code": 403}));
        assert_eq!((reason.code, &*reason.reason, reason.message), (403, "Forbidden", format!("{told}: Forbidden")));
        assert_eq!(denial("mywh", &json!({"code": 200, "status": "Success"})).code, 400);
    }
}
