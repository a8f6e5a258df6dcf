//! The controllers of CertificateSigningRequests: one approves kubelets that ask for themselves, one signs what was approved for
//! Kubernetes' own signers, one takes old requests away (`pkg/controller/certificates`).

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use orlop_auth::pki::{CertificateAuthority, CertificateRequest};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::controller::{self, Next};
use crate::{Informer, Key, Queue};

mod signers;

pub(crate) const NAME: &str = "certificate-controller";
/// `--cluster-signing-duration`
const LIFETIME: Duration = Duration::from_secs(365 * 86_400);
/// How often old requests are looked for, and how old they may become.
const CLEANING: Duration = Duration::from_secs(600);
const DECIDED_FOR: Duration = Duration::from_secs(3_600);
const PENDING_FOR: Duration = Duration::from_secs(86_400);

/// Runs the three until cancelled.
pub(crate) async fn run(
    client: Client,
    requests: Arc<Informer<CertificateSigningRequest>>,
    ca: Arc<CertificateAuthority>,
    stop: CancellationToken,
) {
    let queue = Queue::<Key>::default();
    controller::enqueue(&requests, &queue);
    requests.synced().await;
    let (view, signing) = (requests.clone(), client.clone());
    let work = controller::work(NAME, queue, 1, stop.clone(), move |key| {
        let (client, requests, ca) = (signing.clone(), view.clone(), ca.clone());
        async move {
            if let Some(request) = requests.get(&key) {
                reconcile(&client, &request, &ca).await?;
            }
            Ok(Next::Settled)
        }
    });
    let clean = async {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(CLEANING) => {}
            }
            for request in requests.all().iter().filter(|request| is_old(request, Timestamp::now())) {
                let api = Api::<CertificateSigningRequest>::all(client.clone());
                let name = request.name_any();
                if let Err(error) = controller::gone_is_fine(api.delete(&name, &DeleteParams::default()).await) {
                    tracing::warn!(request = name, %error, "taking an old request away");
                }
            }
        }
    };
    tokio::join!(work, clean);
}

fn has(request: &CertificateSigningRequest, kind: &str) -> bool {
    let conditions = request.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == kind)
}

fn certificate(request: &CertificateSigningRequest) -> Option<&ByteString> {
    request.status.as_ref()?.certificate.as_ref().filter(|certificate| !certificate.0.is_empty())
}

async fn reconcile(
    client: &Client,
    request: &CertificateSigningRequest,
    ca: &CertificateAuthority,
) -> Result<(), kube::Error> {
    if certificate(request).is_some() || has(request, "Denied") || has(request, "Failed") {
        return Ok(());
    }
    // What is no request was refused when it was made.
    let Ok(asked) = CertificateRequest::from_pem(&request.spec.request.0) else { return Ok(()) };
    if has(request, "Approved") {
        sign(client, request, &asked, ca).await
    } else {
        approve(client, request, &asked).await
    }
}

/// Approves a kubelet's client certificate if its owner may have it.
async fn approve(
    client: &Client,
    request: &CertificateSigningRequest,
    asked: &CertificateRequest,
) -> Result<(), kube::Error> {
    let spec = &request.spec;
    let usages = spec.usages.clone().unwrap_or_default();
    if spec.signer_name != signers::KUBELET_CLIENT || signers::check(signers::KUBELET_CLIENT, asked, &usages).is_err() {
        return Ok(());
    }
    let itself = spec.username.as_deref() == Some(asked.common_name.as_str());
    let ways: &[(&str, &str)] = if itself {
        &[
            ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."),
            ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview."),
        ]
    } else {
        &[("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.")]
    };
    for (subresource, message) in ways {
        let review: SubjectAccessReview = serde_json::from_value(json!({
            "spec": {
                "user": spec.username, "uid": spec.uid, "groups": spec.groups, "extra": spec.extra,
                "resourceAttributes": {
                    "group": "certificates.k8s.io", "resource": "certificatesigningrequests", "verb": "create",
                    "subresource": subresource,
                },
            },
        }))
        .map_err(kube::Error::SerdeError)?;
        let answer = Api::<SubjectAccessReview>::all(client.clone()).create(&PostParams::default(), &review).await?;
        if answer.status.is_some_and(|status| status.allowed) {
            let condition = json!({"type": "Approved", "status": "True", "reason": "AutoApproved", "message": message});
            return write(client, request, "approval", |status| add(status, condition)).await;
        }
    }
    Ok(())
}

async fn sign(
    client: &Client,
    request: &CertificateSigningRequest,
    asked: &CertificateRequest,
    ca: &CertificateAuthority,
) -> Result<(), kube::Error> {
    let spec = &request.spec;
    let usages = spec.usages.clone().unwrap_or_default();
    if !signers::is_ours(&spec.signer_name) {
        return Ok(());
    }
    let failed = |reason: &str, message: String| json!({"type": "Failed", "status": "True", "reason": reason, "message": message});
    if let Err(why) = signers::check(&spec.signer_name, asked, &usages) {
        let condition = failed("SignerValidationFailure", why);
        return write(client, request, "status", |status| add(status, condition)).await;
    }
    let wished = spec.expiration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    match ca.sign(asked, &usages, wished.map_or(LIFETIME, |wished| wished.min(LIFETIME))) {
        Ok(certificate) => {
            let encoded =
                serde_json::to_value(ByteString(certificate.into_bytes())).map_err(kube::Error::SerdeError)?;
            write(client, request, "status", |status| status["certificate"] = encoded).await
        }
        Err(error) => {
            let condition = failed("SigningError", error.to_string());
            write(client, request, "status", |status| add(status, condition)).await
        }
    }
}

fn add(status: &mut Value, condition: Value) {
    match status["conditions"].as_array_mut() {
        Some(conditions) => conditions.push(condition),
        None => status["conditions"] = json!([condition]),
    }
}

/// Writes the request as it was seen, with its status changed; a newer one is a conflict and is tried again.
async fn write(
    client: &Client,
    request: &CertificateSigningRequest,
    subresource: &str,
    change: impl FnOnce(&mut Value),
) -> Result<(), kube::Error> {
    let mut object = serde_json::to_value(request).map_err(kube::Error::SerdeError)?;
    if !object["status"].is_object() {
        object["status"] = json!({});
    }
    change(&mut object["status"]);
    let object: CertificateSigningRequest = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
    let api = Api::<CertificateSigningRequest>::all(client.clone());
    let name = request.name_any();
    let result = match subresource {
        "approval" => api.replace_subresource(subresource, &name, &PostParams::default(), &object).await,
        _ => api.replace_status(&name, &PostParams::default(), &object).await,
    };
    controller::gone_is_fine(result)
}

/// Whether a request has been lying around for too long (`pkg/controller/certificates/cleaner`).
fn is_old(request: &CertificateSigningRequest, now: Timestamp) -> bool {
    let since = |time: Timestamp| Duration::try_from(now - time).unwrap_or_default();
    let Some(created) = request.metadata.creation_timestamp.as_ref().map(|time| since(time.0)) else { return false };
    let conditions = request.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let decided = conditions
        .filter(|condition| matches!(condition.type_.as_str(), "Approved" | "Denied" | "Failed"))
        .filter_map(|condition| condition.last_update_time.as_ref())
        .map(|time| since(time.0))
        .max();
    match decided {
        Some(age) => age > DECIDED_FOR,
        None => created > PENDING_FOR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_go_an_hour_after_the_decision_or_a_day_after_nobody_decided() {
        let request = |conditions: Value| -> CertificateSigningRequest {
            serde_json::from_value(json!({
                "metadata": {"name": "r", "creationTimestamp": "2026-01-01T00:00:00Z"},
                "spec": {"request": "", "signerName": "example.com/x"},
                "status": {"conditions": conditions},
            }))
            .unwrap()
        };
        let at = |time: &str| time.parse().unwrap();
        let decided = json!([{"type": "Denied", "status": "True", "lastUpdateTime": "2026-01-01T01:00:00Z"}]);
        assert!(!is_old(&request(json!([])), at("2026-01-01T23:59:00Z")));
        assert!(is_old(&request(json!([])), at("2026-01-02T00:01:00Z")));
        assert!(!is_old(&request(decided.clone()), at("2026-01-01T01:59:00Z")));
        assert!(is_old(&request(decided), at("2026-01-01T02:01:00Z")));
    }
}
