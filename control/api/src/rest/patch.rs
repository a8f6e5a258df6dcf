//! `PATCH`: JSON Patch (RFC 6902), JSON Merge Patch (RFC 7386) and strategic merge patch, applied to the newest object.

use std::sync::Arc;

use http::Response;
use serde_json::Value;

use super::Call;
use super::body::go_kind;
use crate::status::Status;
use crate::wire::{self, Body};

mod json;
mod shown;

/// JSON Patch may not have more operations (kube-apiserver's limit).
const MAX_OPERATIONS: usize = 10_000;

const SUPPORTED: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// A decoded patch.
pub enum Patch {
    /// RFC 6902.
    Json(json_patch::Patch),
    /// RFC 7386.
    Merge(Value),
    /// Kubernetes' own.
    Strategic(Value),
}

impl Call {
    pub(super) async fn patch(self: &Arc<Self>) -> Result<Response<Body>, Status> {
        if self.applies() {
            return self.apply().await;
        }
        let (patch, strict) = self.decode_patch()?;
        let call = self.clone();
        let changed = self
            .change(&mut |old| {
                let mut object = patch.apply(old, &call)?;
                call.prune(&mut object, &patch, &strict, || patch.shown(old, &call))?;
                Ok(object)
            })
            .await?;
        self.render_object(200, changed).await
    }

    /// What a patch makes of a view of the object, in that view's form.
    pub fn patched(&self, (patch, strict): &(Patch, Vec<String>), old: &Value) -> Result<Value, Status> {
        let mut object = patch.merged(old, self)?;
        self.prune(&mut object, patch, strict, || patch.shown(old, self))?;
        Ok(object)
    }

    /// The body as the patch that its media type says, with what stands twice in it, or is no part of an operation.
    pub fn decode_patch(&self) -> Result<(Patch, Vec<String>), Status> {
        let bad = |e: &dyn std::fmt::Display| Status::bad_request(format!("error decoding patch: {e}"));
        match wire::media_type(&self.headers) {
            "application/json-patch+json" => {
                let (operations, mut strict) = parsed(&self.body).map_err(|e| bad(&e))?;
                for (index, operation) in operations.as_array().into_iter().flatten().enumerate() {
                    let known = ["op", "path", "from", "value"];
                    let unknown = operation.as_object().into_iter().flat_map(|operation| operation.keys());
                    let unknown = unknown.filter(|key| !known.contains(&key.as_str()));
                    strict.extend(unknown.map(|key| format!("unknown field \"[{index}].{key}\"")));
                }
                let strict = strict.into_iter().map(|text| format!("json patch {text}")).collect();
                if !operations.is_array() {
                    let why = format!(
                        "json: cannot unmarshal {} into Go value of type []handlers.jsonPatchOp",
                        go_kind(&operations)
                    );
                    return Err(bad(&why));
                }
                let patch: json_patch::Patch = serde_json::from_value(operations).map_err(|_| Status::rejected())?;
                if patch.0.len() > MAX_OPERATIONS {
                    return Err(Status::too_large(MAX_OPERATIONS));
                }
                Ok((Patch::Json(patch), strict))
            }
            "application/merge-patch+json" => {
                let (patch, strict) = document(&self.body).map_err(|e| bad(&e))?;
                Ok((Patch::Merge(patch), strict))
            }
            "application/strategic-merge-patch+json" => {
                let (patch, strict) = document(&self.body).map_err(|e| bad(&e))?;
                Ok((Patch::Strategic(patch), strict))
            }
            _ => Err(Status::no_such_patch()),
        }
    }
}

/// JSON, or why it is none in the words of Go.
fn parsed(body: &[u8]) -> Result<(Value, Vec<String>), String> {
    let parsed = orlop_schema::decode::parse(body).map_err(|error| error.to_string())?;
    Ok((parsed.object, parsed.strict))
}

fn document(body: &[u8]) -> Result<(Value, Vec<String>), String> {
    let (value, strict) = parsed(body)?;
    match value.is_object() {
        true => Ok((value, strict)),
        false => {
            Err(format!("json: cannot unmarshal {} into Go value of type map[string]interface {{}}", go_kind(&value)))
        }
    }
}

impl Patch {
    /// Carries out a JSON patch; false if one of its tests fails.
    pub fn apply_json(value: &mut Value, patch: &json_patch::Patch) -> Result<bool, Status> {
        match json::apply(value, patch) {
            Ok(()) => Ok(true),
            Err(refused) if refused.is_failed_test() => Ok(false),
            Err(refused) => Err(refused.into_status(|error| Status::bad_request(error.to_string()))),
        }
    }

    /// Patches any value; `kind` decides how a strategic patch merges.
    pub fn apply_to(&self, value: &mut Value, api_version: &str, kind: &str) -> Result<(), Status> {
        match self {
            Self::Json(patch) => json::apply(value, patch)
                .map_err(|refused| refused.into_status(|error| Status::bad_request(error.to_string()))),
            Self::Merge(patch) => {
                json_patch::merge(value, patch);
                Ok(())
            }
            Self::Strategic(patch) => {
                let ty = super::type_of(api_version, kind).ok_or_else(|| Status::unsupported_media_type(SUPPORTED))?;
                *value = ty.strategic_merge(value, patch).map_err(|error| crate::strategy::refused_patch(&error))?;
                Ok(())
            }
        }
    }

    /// As kube-apiserver shows what its type refuses: the merged object, or the patch as Go prints it.
    fn shown(&self, old: &Value, call: &Call) -> String {
        if let Self::Strategic(patch) = self {
            return orlop_schema::apply::go(patch);
        }
        // In the order in which Go writes what was there.
        let mut old = old.clone();
        let _ = call.prune_body(&mut old);
        let mut merged = self.merged(&old, call).unwrap_or_default();
        match self {
            Self::Json(patch) => shown::patched(&mut merged, patch),
            Self::Merge(patch) => shown::merged(&mut merged, &old, patch),
            Self::Strategic(_) => {}
        }
        shown::text(&merged)
    }

    fn merged(&self, old: &Value, call: &Call) -> Result<Value, Status> {
        let mut object = old.clone();
        match self {
            Self::Json(patch) => {
                let refused = |_| Status::rejected();
                json::apply(&mut object, patch).map_err(|error| error.into_status(refused))?;
            }
            Self::Merge(patch) => json_patch::merge(&mut object, patch),
            Self::Strategic(patch) => {
                let view = call.ty().filter(|_| call.resource.custom.is_none());
                let ty = view.ok_or_else(|| Status::unsupported_media_type(crate::custom::PATCHES))?;
                object = ty.strategic_merge(old, patch).map_err(|error| crate::strategy::refused_patch(&error))?;
            }
        }
        Ok(object)
    }

    /// The patched object.
    pub fn apply(&self, old: &Value, call: &Call) -> Result<Value, Status> {
        let mut object = self.merged(old, call)?;
        // A patch builds on what is there now, unless it names a resourceVersion itself.
        let version = old["metadata"]["resourceVersion"].clone();
        if !object.is_object() || !object["metadata"].is_object() {
            return Err(Status::bad_request("the patched value is not an object with metadata"));
        }
        if object["apiVersion"] != old["apiVersion"] || object["kind"] != old["kind"] {
            return Err(Status::bad_request("a patch may not change apiVersion or kind"));
        }
        if object["metadata"]["name"] != old["metadata"]["name"] {
            let (name, own) = (object["metadata"]["name"].as_str().unwrap_or_default(), &call.info.name);
            let why = format!("the name of the object ({name}) does not match the name on the URL ({own})");
            return Err(Status::bad_request(why));
        }
        if object["metadata"]["resourceVersion"] == version
            && let Some(metadata) = object["metadata"].as_object_mut()
        {
            metadata.shift_remove("resourceVersion");
        }
        Ok(object)
    }
}
