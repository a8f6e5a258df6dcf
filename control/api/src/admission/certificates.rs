//! CertificateSigningRequests: who asks is who made the request; deciding and signing need the verbs `approve` and `sign` on the
//! signer (`plugin/pkg/admission/certificates`); and what is said to be a request or a certificate must be one.

use base64::{Engine, engine::general_purpose::STANDARD};
use orlop_auth::pki::{CertificateRequest, check_certificates};
use orlop_auth::{Attributes, Decision};
use serde_json::{Value, json};

use crate::object::meta;
use crate::rest::{Call, now};
use crate::status::{Cause, Status};

const GROUP: &str = "certificates.k8s.io";
const PLURAL: &str = "certificatesigningrequests";

fn concerns(call: &Call) -> bool {
    call.resource.group == GROUP && call.resource.plural == PLURAL
}

/// Fills in who asks, and when conditions were set.
pub(super) fn mutate(call: &Call, request: &mut Value, old: Option<&Value>) {
    if !concerns(call) {
        return;
    }
    let Some(old) = old else {
        if !request["spec"].is_object() {
            request["spec"] = json!({});
        }
        let user = &call.user;
        request["spec"]["username"] = user.name.as_str().into();
        for (member, value) in [("uid", json!(user.uid)), ("groups", json!(user.groups)), ("extra", json!(user.extra))]
        {
            let empty = matches!(&value, Value::String(s) if s.is_empty())
                || matches!(&value, Value::Array(a) if a.is_empty())
                || matches!(&value, Value::Object(o) if o.is_empty());
            match request["spec"].as_object_mut() {
                Some(spec) if empty => drop(spec.shift_remove(member)),
                Some(spec) => drop(spec.insert(member.into(), value)),
                None => {}
            }
        }
        return;
    };
    let conditions = request.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten().filter(|condition| condition.is_object()) {
        if condition["lastUpdateTime"].is_null() {
            condition["lastUpdateTime"] = now().into();
        }
        if condition["lastTransitionTime"].is_null() {
            let before = old["status"]["conditions"].as_array().into_iter().flatten();
            let mut same = before.filter(|c| c["type"] == condition["type"] && c["status"] == condition["status"]);
            let since = same.next().map(|c| c["lastTransitionTime"].clone()).filter(|time| !time.is_null());
            condition["lastTransitionTime"] = since.unwrap_or_else(|| now().into());
        }
    }
}

/// Judges what is asked for, and whether the user may decide or sign.
pub(super) fn validate(call: &Call, request: &Value, old: Option<&Value>) -> Result<(), Status> {
    if !concerns(call) {
        return Ok(());
    }
    let signer = request["spec"]["signerName"].as_str().unwrap_or_default();
    let name = meta(request, "name");
    match (old, call.info.subresource.as_str()) {
        (None, _) => {
            let asked = bytes(&request["spec"]["request"]);
            let asked = CertificateRequest::from_pem(&asked).map_err(|error| {
                let cause = Cause::invalid("spec.request", &request["spec"]["request"], &error.to_string());
                Status::invalid(&call.resource, name, vec![cause])
            })?;
            let masters = asked.organizations.iter().any(|group| group == "system:masters");
            if signer == "kubernetes.io/kube-apiserver-client" && masters {
                let why = format!("use of {signer} signer with system:masters group is not allowed");
                return Err(Status::forbidden(GROUP, PLURAL, name, why));
            }
            Ok(())
        }
        (Some(_), "approval") => may(call, "approve", signer, name),
        (Some(old), "status") => {
            let (new, before) = (&request["status"], &old["status"]);
            let certificate = &new["certificate"];
            if *certificate != before["certificate"] && certificate.as_str().is_some_and(|text| !text.is_empty()) {
                check_certificates(&bytes(certificate)).map_err(|why| {
                    let cause = Cause::invalid("status.certificate", &json!("<certificate data>"), &why);
                    Status::invalid(&call.resource, name, vec![cause])
                })?;
            }
            let failed = |status: &Value| -> Vec<Value> {
                let all = status["conditions"].as_array().into_iter().flatten();
                all.filter(|condition| condition["type"] == "Failed").cloned().collect()
            };
            if *certificate == before["certificate"] && failed(new) == failed(before) {
                return Ok(());
            }
            may(call, "sign", signer, name)
        }
        _ => Ok(()),
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap_or_default()).unwrap_or_default()
}

/// Whether the user has a verb on this signer, or on all signers of its domain.
fn may(call: &Call, verb: &str, signer: &str, name: &str) -> Result<(), Status> {
    let of_domain = format!("{}/*", signer.split('/').next().unwrap_or_default());
    let allowed = [signer, of_domain.as_str()].into_iter().any(|signer| {
        let question = Attributes {
            user: Some(&call.user),
            verb,
            group: GROUP,
            version: "*",
            resource: "signers",
            name: signer,
            ..Attributes::default()
        };
        matches!(call.server.authorizer().decide(&question), Decision::Allow(_))
    });
    if allowed {
        return Ok(());
    }
    let why = format!("user not permitted to {verb} requests with signerName \"{signer}\"");
    Err(Status::forbidden(GROUP, PLURAL, name, why))
}
