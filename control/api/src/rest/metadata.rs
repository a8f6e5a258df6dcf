//! `metadata` as the server keeps it: what clients may not set, what they may not change.

use jiff::Timestamp;
use rand::Rng;
use serde_json::Value;

use super::Call;
use crate::object::{meta, metadata_mut};
use crate::status::Status;

/// Characters of generated names: no vowels, nothing that looks like another (`k8s.io/apimachinery/pkg/util/rand`).
const NAME_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Longest `generateName` prefix that is kept.
const GENERATE_PREFIX: usize = 58;

/// Five random characters, as behind a generated name.
pub fn random_suffix() -> String {
    let mut rng = rand::rng();
    (0..5).map(|_| NAME_ALPHABET[rng.random_range(0..NAME_ALPHABET.len())] as char).collect()
}

/// Now, as Kubernetes writes times: whole seconds, UTC.
pub fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl Call {
    /// Checks a new object's metadata and drops from it what only the server sets.
    pub(super) fn check_metadata(&self, object: &mut Value) -> Result<(), Status> {
        let resource = &self.resource;
        let namespace = self.namespace().to_owned();
        let Some(metadata) = metadata_mut(object) else {
            return Err(Status::bad_request("metadata must be an object"));
        };
        if resource.namespaced {
            match metadata.get("namespace").and_then(Value::as_str) {
                None | Some("") => {
                    metadata.insert("namespace".into(), namespace.into());
                }
                Some(own) if own == namespace => {}
                Some(_) => {
                    return Err(Status::bad_request(
                        "the namespace of the provided object does not match the namespace sent on the request",
                    ));
                }
            }
        } else if metadata.get("namespace").and_then(Value::as_str).is_some_and(|n| !n.is_empty()) {
            return Err(Status::bad_request("namespace is not allowed on this type"));
        } else {
            metadata.shift_remove("namespace");
        }
        if metadata.get("resourceVersion").and_then(Value::as_str).is_some_and(|v| !v.is_empty()) {
            return Err(Status::unknown("resourceVersion should not be set on objects to be created"));
        }
        for unsettable in [
            "selfLink",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "resourceVersion",
            "uid",
            "creationTimestamp",
        ] {
            metadata.shift_remove(unsettable);
        }
        Ok(())
    }

    /// Fills a new object's metadata, after whoever may change it has seen it.
    pub(super) fn fill_metadata(&self, object: &mut Value) -> Result<(), Status> {
        let resource = &self.resource;
        let namespace = self.namespace().to_owned();
        let Some(metadata) = metadata_mut(object) else {
            return Err(Status::bad_request("metadata must be an object"));
        };
        if resource.namespaced {
            metadata.insert("namespace".into(), namespace.into());
        }
        let name = metadata.get("name").and_then(Value::as_str).unwrap_or_default();
        if name.is_empty() {
            let prefix = metadata.get("generateName").and_then(Value::as_str).unwrap_or_default();
            // Without either it is refused with whatever else is wrong with it.
            if !prefix.is_empty() {
                let mut end = prefix.len().min(GENERATE_PREFIX);
                while !prefix.is_char_boundary(end) {
                    end -= 1;
                }
                let generated = format!("{}{}", &prefix[..end], random_suffix());
                metadata.insert("name".into(), generated.into());
            }
        }
        for unsettable in ["selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion"] {
            metadata.shift_remove(unsettable);
        }
        metadata.insert("uid".into(), uuid::Uuid::new_v4().to_string().into());
        metadata.insert("creationTimestamp".into(), now().into());
        Ok(())
    }

    /// Carries over from `old` what an update may not change, and refuses an update of another object.
    pub(super) fn keep_metadata(&self, object: &mut Value, old: &Value) -> Result<(), Status> {
        let name = meta(old, "name").to_owned();
        let uid = meta(object, "uid");
        if !uid.is_empty() && uid != meta(old, "uid") {
            let key = self.resource.key(self.namespace(), &name);
            let why = format!(
                "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: \
                 UID in precondition: {uid}, UID in object meta: {}",
                meta(old, "uid")
            );
            return Err(Status::conflict(&self.resource, &name, why));
        }
        let namespace = meta(object, "namespace");
        if self.resource.namespaced && !namespace.is_empty() && namespace != meta(old, "namespace") {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        let Some(metadata) = metadata_mut(object) else {
            return Err(Status::bad_request("metadata must be an object"));
        };
        for kept in [
            "namespace",
            "uid",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "generation",
            "generateName",
        ] {
            match old["metadata"].get(kept) {
                Some(value) => {
                    metadata.insert(kept.into(), value.clone());
                }
                None => {
                    metadata.shift_remove(kept);
                }
            }
        }
        metadata.insert("name".into(), name.into());
        metadata.shift_remove("selfLink");
        for emptied in ["labels", "annotations", "finalizers", "ownerReferences"] {
            let empty = match metadata.get(emptied) {
                Some(Value::Object(map)) => map.is_empty(),
                Some(Value::Array(list)) => list.is_empty(),
                Some(Value::Null) => true,
                _ => false,
            };
            if empty {
                metadata.shift_remove(emptied);
            }
        }
        Ok(())
    }
}
