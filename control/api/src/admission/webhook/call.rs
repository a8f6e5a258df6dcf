//! One question to one webhook, and what its answer does to the object.

use serde_json::{Value, json};

use super::Refused;
use super::hooks::Hook;
use super::review::{self, Answer};
use crate::admission::attributes::Attributes;
use crate::admission::rules::Seen;
use crate::audit::Level;
use crate::rest::Patch;
use crate::status::Status;
use crate::webhook::CallError;

/// Asks a validating webhook.
pub async fn validate(hook: &Hook, seen: &Seen, attributes: &Attributes<'_>, object: &Value) -> Result<(), Refused> {
    let object = seen.show(attributes, object).await.map_err(unconverted)?;
    ask(hook, seen, attributes, &object).await.map(drop)
}

/// Asks a mutating webhook and does what it says. Whether that changed anything. `place` is its place among all.
pub async fn mutate(
    hook: &Hook,
    seen: &Seen,
    attributes: &Attributes<'_>,
    object: &mut Value,
    place: &str,
) -> Result<bool, Refused> {
    let shown = seen.show(attributes, object).await.map_err(unconverted)?;
    let answer = ask(hook, seen, attributes, &shown).await?;
    let Some(bytes) = answer.patch else { return Ok(false) };
    let failed = |why: String| Refused::Failed { why, code: 503 };
    if answer.patch_type.as_deref() != Some("JSONPatch") {
        let ty = answer.patch_type.unwrap_or_default();
        return Err(failed(format!("unsupported patch type {ty:?}")));
    }
    let patch: json_patch::Patch = serde_json::from_slice(&bytes)
        .map_err(|error| failed(format!("received undecodable patch in webhook response: {error}")))?;
    if patch.0.is_empty() {
        return Ok(false);
    }
    if object.is_null() {
        let why = format!(
            "admission webhook \"{}\" attempted to modify the object, which is not supported for this operation",
            hook.name
        );
        return Err(Refused::Error(Status::internal(why)));
    }
    let mut patched = shown.clone();
    let error = |status: Status| Refused::Error(Status::internal(status.message));
    Patch::Json(patch).apply_to(&mut patched, &seen.api_version(), &seen.kind.kind).map_err(error)?;
    // What the type does not know is dropped, as Go's decoder drops it; what has another type is an error.
    seen.accept(attributes, &shown, &mut patched).map_err(|why| Refused::Error(Status::internal(why)))?;
    let trail = &attributes.call.trail;
    trail.annotate_from(Level::Request, &format!("patch.webhook.admission.k8s.io/{place}"), || {
        let (configuration, webhook) = (&hook.configuration, &hook.name);
        let patch: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        json!({"configuration": configuration, "webhook": webhook, "patch": patch, "patchType": "JSONPatch"})
            .to_string()
    });
    seen.default(attributes, &mut patched);
    if patched == shown {
        return Ok(false);
    }
    seen.take_back(attributes, &mut patched).await.map_err(error)?;
    *object = patched;
    Ok(true)
}

fn unconverted(status: Status) -> Refused {
    Refused::Error(Status::internal(status.message))
}

async fn ask(hook: &Hook, seen: &Seen, attributes: &Attributes<'_>, object: &Value) -> Result<Answer, Refused> {
    if attributes.dry_run {
        match hook.side_effects.as_deref() {
            Some("None" | "NoneOnDryRun") => {}
            None => return Err(Refused::Failed { why: "Webhook SideEffects is nil".into(), code: 400 }),
            Some(_) => {
                let why = format!("admission webhook \"{}\" does not support dry run", hook.name);
                return Err(Refused::Error(Status::bad_request(why)));
            }
        }
    }
    let version = hook.versions.iter().find(|v| matches!(v.as_str(), "v1" | "v1beta1"));
    let version = version.ok_or_else(|| Refused::Failed {
        why: "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)"
            .into(),
        code: 400,
    })?;
    let client = hook
        .client
        .as_ref()
        .map_err(|why| Refused::Failed { why: format!("could not get REST client: {why}"), code: 500 })?;
    let old = match attributes.old {
        Some(old) => seen.show(attributes, old).await.map_err(unconverted)?,
        None => Value::Null,
    };
    let (uid, request) = review::request(version, seen, attributes, object, &old);
    let called = attributes.call.server.webhooks().post(client, &request, hook.timeout).await;
    let answer = called
        .map_err(|error: CallError| Refused::Failed { why: format!("failed to call webhook: {error}"), code: 503 })?;
    let answer = review::understand(version, &uid, hook.ty, answer)
        .map_err(|why| Refused::Failed { why: format!("received invalid webhook response: {why}"), code: 503 })?;
    for (key, value) in &answer.annotations {
        attributes.annotate(&format!("{}/{key}", hook.name), || value.clone());
    }
    for warning in &answer.warnings {
        attributes.call.warn(warning);
    }
    if answer.allowed { Ok(answer) } else { Err(Refused::Denied(review::denial(&hook.name, &answer.result))) }
}
