//! One object as the cache holds it: its encoded bytes, shared by everyone who reads or watches it, and the few values that
//! selectors and preconditions ask for. The decoded tree is not kept; who needs it decodes.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::Value;

use crate::catalog::Resource;
use crate::fields;

/// How deep a stored object may nest. serde_json reads 127 levels back; lists, watch events and tables wrap objects in a few more.
pub const MAX_DEPTH: usize = 120;

/// Whether arrays and objects within a value nest at most so many levels. Looks no deeper than that itself.
pub fn nests_within(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels > 0 && items.iter().all(|item| nests_within(item, levels - 1)),
        Value::Object(fields) => levels > 0 && fields.values().all(|field| nests_within(field, levels - 1)),
        _ => true,
    }
}

/// An object at one revision.
#[derive(Debug)]
pub struct Object {
    /// Namespace, empty for cluster scope.
    pub namespace: Box<str>,
    /// Name.
    pub name: Box<str>,
    /// The store's revision of the last change: its `resourceVersion`.
    pub revision: i64,
    /// The store's revision at its creation.
    pub created: i64,
    /// JSON in the stored version, `resourceVersion` included.
    pub json: Bytes,
    labels: Box<[(Box<str>, Box<str>)]>,
    fields: Box<[(Cow<'static, str>, Box<str>)]>,
}

/// Why stored bytes are no object.
#[derive(Debug, thiserror::Error)]
#[error("stored value of {key} cannot be decoded: {reason}")]
pub struct DecodeError {
    /// The key.
    pub key: String,
    /// What is wrong.
    pub reason: String,
}

impl Object {
    /// Decodes a stored value.
    pub fn decode(
        resource: &Resource,
        key: &[u8],
        value: &[u8],
        revision: i64,
        created: i64,
    ) -> Result<Self, DecodeError> {
        let mut value: Value = serde_json::from_slice(value)
            .map_err(|e| DecodeError { key: String::from_utf8_lossy(key).into_owned(), reason: e.to_string() })?;
        if let Some(custom) = &resource.custom {
            custom.load(&mut value);
        }
        Ok(Self::from_value(resource, value, revision, created))
    }

    /// Wraps a decoded object, setting its `resourceVersion`; at revision 0 (a creation that was only tried) it has none.
    pub fn from_value(resource: &Resource, mut value: Value, revision: i64, created: i64) -> Self {
        if let Some(metadata) = metadata_mut(&mut value) {
            match revision {
                0 => metadata.shift_remove("resourceVersion"),
                revision => metadata.insert("resourceVersion".into(), revision.to_string().into()),
            };
        }
        let metadata = &value["metadata"];
        let text = |v: &Value| -> Box<str> { v.as_str().unwrap_or_default().into() };
        let labels = match metadata["labels"].as_object() {
            Some(labels) => labels.iter().map(|(k, v)| (k.as_str().into(), text(v))).collect(),
            None => Box::default(),
        };
        Self {
            namespace: text(&metadata["namespace"]),
            name: text(&metadata["name"]),
            revision,
            created,
            labels,
            fields: fields::of(resource, &value),
            // Serializing a tree that was just parsed cannot fail; an empty body would be seen at once.
            json: serde_json::to_vec(&value).unwrap_or_default().into(),
        }
    }

    /// The decoded tree.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.json).unwrap_or_default()
    }

    /// The same state under another `resourceVersion`.
    pub fn at(&self, resource: &Resource, revision: i64) -> Self {
        Self::from_value(resource, self.value(), revision, self.created)
    }

    /// A label's value.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(k, _)| &**k == key).map(|(_, v)| &**v)
    }

    /// A selectable field's value.
    pub fn field(&self, path: &str) -> Option<&str> {
        match path {
            "metadata.name" => Some(&self.name),
            "metadata.namespace" => Some(&self.namespace),
            _ => self.fields.iter().find(|(k, _)| *k == path).map(|(_, v)| &**v),
        }
    }

    /// Its key within its resource: `namespace/name`, or `name` for cluster scope.
    pub fn key(&self) -> String {
        if self.namespace.is_empty() { self.name.to_string() } else { format!("{}/{}", self.namespace, self.name) }
    }
}

/// An object's `metadata`, created if it is missing.
pub fn metadata_mut(value: &mut Value) -> Option<&mut serde_json::Map<String, Value>> {
    value.as_object_mut()?.entry("metadata").or_insert_with(|| Value::Object(Default::default())).as_object_mut()
}

/// A text in `metadata`, empty if absent.
pub fn meta<'a>(value: &'a Value, field: &str) -> &'a str {
    value["metadata"][field].as_str().unwrap_or_default()
}
