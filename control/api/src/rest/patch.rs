//! `PATCH`: JSON Patch (RFC 6902), JSON Merge Patch (RFC 7386) and strategic merge patch, applied to the newest object.

use std::sync::Arc;

use http::Response;
use serde_json::Value;

use super::Call;
use crate::status::{Cause, Status};
use crate::wire::{self, Body};

mod json;

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
        let patch = self.decode_patch()?;
        let call = self.clone();
        let changed = self
            .change(&mut |old| {
                let mut object = patch.apply(old, &call)?;
                call.prune(&mut object)?;
                Ok(object)
            })
            .await?;
        self.render_object(200, changed).await
    }

    /// The body as the patch that its media type says.
    pub fn decode_patch(&self) -> Result<Patch, Status> {
        let bad = |e: &dyn std::fmt::Display| Status::bad_request(format!("error decoding patch: {e}"));
        match wire::media_type(&self.headers) {
            "application/json-patch+json" => {
                let patch: json_patch::Patch = serde_json::from_slice(&self.body).map_err(|e| bad(&e))?;
                if patch.0.len() > MAX_OPERATIONS {
                    return Err(Status::too_large(MAX_OPERATIONS));
                }
                Ok(Patch::Json(patch))
            }
            "application/merge-patch+json" => {
                Ok(Patch::Merge(serde_json::from_slice(&self.body).map_err(|e| bad(&e))?))
            }
            "application/strategic-merge-patch+json" => {
                Ok(Patch::Strategic(serde_json::from_slice(&self.body).map_err(|e| bad(&e))?))
            }
            _ => Err(Status::unsupported_media_type(SUPPORTED)),
        }
    }
}

impl Patch {
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
                *value = ty.strategic_merge(value, patch).map_err(|e| Status::bad_request(e.to_string()))?;
                Ok(())
            }
        }
    }

    /// The patched object.
    pub fn apply(&self, old: &Value, call: &Call) -> Result<Value, Status> {
        let mut object = old.clone();
        // A patch builds on what is there now, unless it names a resourceVersion itself.
        let version = old["metadata"]["resourceVersion"].clone();
        match self {
            Self::Json(patch) => {
                let invalid = |error: json_patch::PatchError| {
                    let cause = Cause {
                        reason: "FieldValueInvalid".into(),
                        message: format!("the server rejected our request due to an error in our request: {error}"),
                        field: "patch".into(),
                    };
                    Status::invalid(&call.resource, &call.info.name, vec![cause])
                };
                json::apply(&mut object, patch).map_err(|refused| refused.into_status(invalid))?;
            }
            Self::Merge(patch) => json_patch::merge(&mut object, patch),
            Self::Strategic(patch) => object = crate::strategy::strategic_merge(&call.resource, old, patch)?,
        }
        if !object.is_object() || !object["metadata"].is_object() {
            return Err(Status::bad_request("the patched value is not an object with metadata"));
        }
        if object["apiVersion"] != old["apiVersion"] || object["kind"] != old["kind"] {
            return Err(Status::bad_request("a patch may not change apiVersion or kind"));
        }
        if object["metadata"]["name"] != old["metadata"]["name"] {
            return Err(Status::bad_request("the name of the object does not match the name on the URL"));
        }
        if object["metadata"]["resourceVersion"] == version
            && let Some(metadata) = object["metadata"].as_object_mut()
        {
            metadata.shift_remove("resourceVersion");
        }
        Ok(object)
    }
}
