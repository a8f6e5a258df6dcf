//! JSON Patch within limits: a few `copy` operations can double a document, or nest it in itself, time after time, so each
//! operation is looked at before it is carried out.

use json_patch::{AddOperation, PatchError, PatchErrorKind, PatchOperation};
use serde_json::Value;

use crate::object::{MAX_DEPTH, nests_within};
use crate::status::Status;
use crate::wire::BODY_LIMIT;

/// Why a patch is not applied.
pub(super) enum Refused {
    /// It does not fit the document.
    Unfit(PatchError),
    /// It nests the document too deep.
    Deep,
    /// It copies and moves more bytes than a body may have.
    Large,
}

impl Refused {
    /// Whether the document is not what the patch says it must be.
    pub(super) fn is_failed_test(&self) -> bool {
        matches!(self, Self::Unfit(error) if matches!(error.kind, PatchErrorKind::TestFailed))
    }

    /// What the client is told; `unfit` words the patch's own error.
    pub(super) fn into_status(self, unfit: impl FnOnce(PatchError) -> Status) -> Status {
        match self {
            Self::Unfit(error) => unfit(error),
            Self::Deep => Status::bad_request(format!("the patched object nests deeper than {MAX_DEPTH} levels")),
            Self::Large => Status::too_large(BODY_LIMIT),
        }
    }
}

/// Applies the operations in order. A document whose patch is refused is left in between and must be thrown away.
pub(super) fn apply(document: &mut Value, patch: &[PatchOperation]) -> Result<(), Refused> {
    let mut copied = 0;
    for (index, operation) in patch.iter().enumerate() {
        let source = match operation {
            PatchOperation::Copy(copy) => Some(&copy.from),
            PatchOperation::Move(moved) => Some(&moved.from),
            _ => None,
        };
        let source = source.and_then(|from| document.pointer(from.as_str()));
        if let Some(value) = source {
            copied += value.to_string().len();
            if copied > BODY_LIMIT {
                return Err(Refused::Large);
            }
        }
        let value = match operation {
            PatchOperation::Add(add) => Some(&add.value),
            PatchOperation::Replace(replace) => Some(&replace.value),
            _ => source,
        };
        let above = operation.path().count();
        if value.is_some_and(|value| above > MAX_DEPTH || !nests_within(value, MAX_DEPTH - above)) {
            return Err(Refused::Deep);
        }
        let added = match operation {
            PatchOperation::Replace(replace) if is_missing(document, replace.path.as_str()) => {
                Some(PatchOperation::Add(AddOperation { path: replace.path.clone(), value: replace.value.clone() }))
            }
            _ => None,
        };
        let operation = added.as_ref().unwrap_or(operation);
        json_patch::patch_unsafe(document, std::slice::from_ref(operation)).map_err(|mut error| {
            error.operation = index;
            Refused::Unfit(error)
        })?;
    }
    Ok(())
}

/// Whether a path leads to a field that an object does not have: kube-apiserver's library replaces that, too.
fn is_missing(document: &Value, path: &str) -> bool {
    let Some((above, _)) = path.rsplit_once('/') else { return false };
    document.pointer(path).is_none() && document.pointer(above).is_some_and(Value::is_object)
}
