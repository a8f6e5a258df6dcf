//! One question to one webhook, and what its answer does to the object.

use serde_json::Value;

use super::Refused;
use super::hooks::Hook;
use super::review::{self, Answer};
use crate::admission::attributes::Attributes;
use crate::admission::rules::Seen;
use crate::convert;
use crate::rest::{Patch, type_of};
use crate::status::Status;
use crate::strategy;
use crate::webhook::CallError;

/// Asks a validating webhook.
pub async fn validate(hook: &Hook, seen: &Seen, attributes: &Attributes<'_>, object: &Value) -> Result<(), Refused> {
    let object = versioned(attributes, seen, object);
    ask(hook, seen, attributes, &object).await.map(drop)
}

/// Asks a mutating webhook and does what it says. Whether that changed anything.
pub async fn mutate(
    hook: &Hook,
    seen: &Seen,
    attributes: &Attributes<'_>,
    object: &mut Value,
) -> Result<bool, Refused> {
    let shown = versioned(attributes, seen, object);
    let answer = ask(hook, seen, attributes, &shown).await?;
    let Some(patch) = answer.patch else { return Ok(false) };
    let failed = |why: String| Refused::Failed { why, code: 503 };
    if answer.patch_type.as_deref() != Some("JSONPatch") {
        let ty = answer.patch_type.unwrap_or_default();
        return Err(failed(format!("unsupported patch type {ty:?}")));
    }
    let patch: json_patch::Patch = serde_json::from_slice(&patch)
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
    let api_version = match seen.kind.group.as_str() {
        "" => seen.kind.version.clone(),
        group => format!("{group}/{}", seen.kind.version),
    };
    Patch::Json(patch).apply_to(&mut patched, &api_version, &seen.kind.kind).map_err(error)?;
    if !patched.is_object() || patched["apiVersion"] != shown["apiVersion"] || patched["kind"] != shown["kind"] {
        let why = "the patched value is not an object of the kind that was sent";
        return Err(Refused::Error(Status::internal(why)));
    }
    // What the type does not know is dropped, as Go's decoder drops it; what has another type is an error.
    if let Some(custom) = seen.resource.custom.as_ref().filter(|_| seen.kind.kind == seen.resource.kind) {
        // Fields of the version that the client wrote are not this version's to drop.
        if seen.resource == attributes.resource {
            custom.prune(&mut patched).map_err(|why| Refused::Error(Status::internal(why)))?;
        }
    } else if let Some(ty) = type_of(&api_version, &seen.kind.kind) {
        ty.prune(&mut patched).map_err(|why| Refused::Error(Status::internal(why)))?;
    }
    if attributes.subresource.is_empty() || seen.kind.kind == seen.resource.kind {
        strategy::default(&seen.resource, &mut patched);
    }
    if patched == shown {
        return Ok(false);
    }
    if seen.resource != attributes.resource && seen.kind.kind == seen.resource.kind {
        convert::between(&seen.resource, &attributes.resource, &mut patched);
    }
    *object = patched;
    Ok(true)
}

/// The object in the version that the webhook asked for.
pub fn versioned(attributes: &Attributes<'_>, seen: &Seen, object: &Value) -> Value {
    let mut object = object.clone();
    // What a subresource speaks is the same in every version.
    if seen.resource != attributes.resource && object.is_object() && seen.kind.kind == seen.resource.kind {
        convert::between(&attributes.resource, &seen.resource, &mut object);
    }
    object
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
    let old = attributes.old.map_or(Value::Null, |old| versioned(attributes, seen, old));
    let (uid, request) = review::request(version, seen, attributes, object, &old);
    let called = attributes.call.server.webhooks().post(client, &request, hook.timeout).await;
    let answer = called
        .map_err(|error: CallError| Refused::Failed { why: format!("failed to call webhook: {error}"), code: 503 })?;
    let answer = review::understand(version, &uid, hook.ty, answer)
        .map_err(|why| Refused::Failed { why: format!("received invalid webhook response: {why}"), code: 503 })?;
    for (key, value) in &answer.annotations {
        tracing::debug!(target: "audit", annotation = format!("{}/{key}", hook.name), value);
    }
    for warning in &answer.warnings {
        attributes.call.warn(warning);
    }
    if answer.allowed { Ok(answer) } else { Err(Refused::Denied(review::denial(&hook.name, &answer.result))) }
}
