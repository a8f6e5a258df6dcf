//! One object as the cache holds it: its encoded bytes, which are the store's own and shared by everyone who reads or watches it, and
//! the few values that selectors and preconditions ask for. The decoded tree is not kept; who needs it decodes. `resourceVersion` is
//! not among the bytes, for they are written before it is known: it is put in its place whenever they are sent.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
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

/// An object at one revision. A clone shares everything, and so does the same state under another revision.
#[derive(Debug, Clone)]
pub struct Object {
    /// Namespace, empty for cluster scope.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// UID.
    pub uid: Arc<str>,
    /// The store's revision of the last change: its `resourceVersion`; 0 if it was never stored.
    pub revision: i64,
    /// JSON in the stored version, without `resourceVersion`: the very bytes that the store holds.
    stored: Bytes,
    /// Where the fields of `metadata` begin in it.
    slot: usize,
    labels: Arc<[(Box<str>, Box<str>)]>,
    fields: Arc<[(Cow<'static, str>, Box<str>)]>,
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
    pub fn decode(resource: &Resource, key: &[u8], stored: &Bytes, revision: i64) -> Result<Self, DecodeError> {
        let mut value: Value = serde_json::from_slice(stored)
            .map_err(|e| DecodeError { key: String::from_utf8_lossy(key).into_owned(), reason: e.to_string() })?;
        if let Some(custom) = &resource.custom {
            custom.load(&mut value);
            let mut object = Self::from_value(resource, &value, revision);
            if object.stored == stored {
                object.stored = stored.clone();
            }
            return Ok(object);
        }
        let head = head(&value);
        // Others may write other spaces, which would not do within a list or an event.
        let compact = matches!(stored.get(head.len()), Some(b'"' | b'}')) && stored.ends_with(b"}");
        let as_written = compact && stored.starts_with(&head) && value["metadata"]["resourceVersion"].is_null();
        Ok(match as_written {
            true => Self::over(resource, &value, stored.clone(), head.len(), revision),
            false => Self::from_value(resource, &value, revision),
        })
    }

    /// Encodes a decoded object, whose own `resourceVersion` counts for nothing; at revision 0 (one that was only tried) it has none.
    pub fn from_value(resource: &Resource, value: &Value, revision: i64) -> Self {
        let (stored, slot) = encode(value);
        Self::over(resource, value, stored, slot, revision)
    }

    fn over(resource: &Resource, value: &Value, stored: Bytes, slot: usize, revision: i64) -> Self {
        let metadata = &value["metadata"];
        let text = |v: &Value| v.as_str().unwrap_or_default().into();
        let labels = match metadata["labels"].as_object() {
            Some(labels) => {
                labels.iter().map(|(k, v)| (k.as_str().into(), v.as_str().unwrap_or_default().into())).collect()
            }
            None => Arc::default(),
        };
        Self {
            namespace: text(&metadata["namespace"]),
            name: text(&metadata["name"]),
            uid: text(&metadata["uid"]),
            revision,
            labels,
            fields: fields::of(resource, value).into(),
            stored,
            slot,
        }
    }

    /// What the store holds: JSON without `resourceVersion`, which is the key's revision.
    pub fn stored(&self) -> &Bytes {
        &self.stored
    }

    /// JSON as clients get it.
    pub fn json(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(self.size());
        self.write(&mut bytes);
        bytes.freeze()
    }

    /// At least as many bytes as its JSON has.
    pub fn size(&self) -> usize {
        self.stored.len() + RESOURCE_VERSION.len() + 24
    }

    /// The bytes of its JSON.
    pub fn length(&self) -> usize {
        let version = if self.revision == 0 {
            0
        } else {
            let digits = self.revision.unsigned_abs().ilog10() as usize + 1 + usize::from(self.revision < 0);
            RESOURCE_VERSION.len() + digits + self.after_version().len()
        };
        self.stored.len() + version
    }

    /// The bytes of its JSON as an item of a list.
    pub fn item_length(&self) -> usize {
        1 + self.length() - (self.slot - METADATA.len())
    }

    /// What comes behind the number of its `resourceVersion`.
    fn after_version(&self) -> &'static [u8] {
        if self.stored.get(self.slot) == Some(&b'}') { b"\"" } else { b"\"," }
    }

    /// Appends its JSON.
    pub fn write(&self, bytes: &mut BytesMut) {
        self.write_from(0, bytes);
    }

    /// Appends its JSON without `kind` and `apiVersion`, as an item of a list that says them for all.
    pub fn write_item(&self, bytes: &mut BytesMut) {
        bytes.put_u8(b'{');
        self.write_from(self.slot - METADATA.len(), bytes);
    }

    /// Appends its `PartialObjectMetadata`.
    pub fn write_metadata(&self, bytes: &mut BytesMut) {
        bytes.put_slice(br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","#);
        self.write_part(self.slot - METADATA.len(), self.slot + end_of_object(&self.stored[self.slot..]), bytes);
        bytes.put_u8(b'}');
    }

    fn write_from(&self, start: usize, bytes: &mut BytesMut) {
        self.write_part(start, self.stored.len(), bytes);
    }

    fn write_part(&self, start: usize, end: usize, bytes: &mut BytesMut) {
        bytes.put_slice(&self.stored[start..self.slot]);
        if self.revision != 0 {
            bytes.put_slice(RESOURCE_VERSION);
            bytes.put_slice(itoa::Buffer::new().format(self.revision).as_bytes());
            bytes.put_slice(self.after_version());
        }
        bytes.put_slice(&self.stored[self.slot..end]);
    }

    /// The decoded tree.
    pub fn value(&self) -> Value {
        let mut value = serde_json::from_slice(&self.stored).unwrap_or_default();
        if self.revision != 0
            && let Some(metadata) = metadata_mut(&mut value)
        {
            metadata.insert("resourceVersion".into(), self.revision.to_string().into());
        }
        value
    }

    /// The same state under another `resourceVersion`.
    pub fn at(&self, revision: i64) -> Self {
        Self { revision, ..self.clone() }
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

/// What comes before the fields of `metadata`, last.
const METADATA: &[u8] = b"\"metadata\":{";
/// What comes before the number.
const RESOURCE_VERSION: &[u8] = b"\"resourceVersion\":\"";

/// How an object's bytes begin: what it is, then its `metadata`.
fn head(value: &Value) -> Vec<u8> {
    let mut head = Vec::with_capacity(96);
    head.push(b'{');
    for field in ["kind", "apiVersion"] {
        let text = &value[field];
        if !text.is_null() {
            entry(&mut head, field, text);
            head.push(b',');
        }
    }
    head.extend_from_slice(METADATA);
    head
}

/// An object's bytes as the store holds them, and where the fields of its `metadata` begin.
fn encode(value: &Value) -> (Bytes, usize) {
    let mut bytes = head(value);
    let slot = bytes.len();
    let empty = serde_json::Map::new();
    let mut first = true;
    for (key, field) in value["metadata"].as_object().unwrap_or(&empty) {
        if key != "resourceVersion" {
            if !std::mem::take(&mut first) {
                bytes.push(b',');
            }
            entry(&mut bytes, key, field);
        }
    }
    bytes.push(b'}');
    for (key, field) in value.as_object().unwrap_or(&empty) {
        if !matches!(key.as_str(), "kind" | "apiVersion" | "metadata") {
            bytes.push(b',');
            entry(&mut bytes, key, field);
        }
    }
    bytes.push(b'}');
    // It is kept for long: without the room that it grew in.
    (bytes.into_boxed_slice().into(), slot)
}

/// Where an object ends that `json` is within: behind its closing brace.
fn end_of_object(json: &[u8]) -> usize {
    let (mut depth, mut at) = (1_usize, 0);
    while let Some(byte) = json.get(at) {
        at += 1;
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b'"' => {
                while let Some(byte) = json.get(at).filter(|byte| **byte != b'"') {
                    at += if *byte == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    at.min(json.len())
}

fn entry(bytes: &mut Vec<u8>, key: &str, value: &Value) {
    // Writing a tree into memory cannot fail.
    let _ = serde_json::to_writer(&mut *bytes, key);
    bytes.push(b':');
    let _ = serde_json::to_writer(bytes, value);
}

/// An object's `metadata`, created if it is missing.
pub fn metadata_mut(value: &mut Value) -> Option<&mut serde_json::Map<String, Value>> {
    value.as_object_mut()?.entry("metadata").or_insert_with(|| Value::Object(Default::default())).as_object_mut()
}

/// A text in `metadata`, empty if absent.
pub fn meta<'a>(value: &'a Value, field: &str) -> &'a str {
    value["metadata"][field].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::Catalog;

    fn maps() -> Arc<Resource> {
        Catalog::builtin().get("", "v1", "configmaps").unwrap().clone()
    }

    fn map() -> Value {
        json!({"metadata": {"name": "a", "namespace": "b", "resourceVersion": "3", "labels": {"k": "}\\\"v"}}, "data": {"k": "\"v"},
            "apiVersion": "v1", "kind": "ConfigMap"})
    }

    #[test]
    fn its_revision_is_in_what_clients_get_and_not_in_what_is_stored() {
        let object = Object::from_value(&maps(), &map(), 7);
        let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        let mut expected = map();
        expected["metadata"]["resourceVersion"] = "7".into();
        assert_eq!(read(&object.json()), expected);
        assert_eq!(object.value(), expected);
        assert!(object.json().len() <= object.size());
        assert_eq!(read(&object.at(12).json())["metadata"]["resourceVersion"], "12");
        expected["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        assert_eq!(read(object.stored()), expected);
        assert_eq!(read(&object.at(0).json()), expected);
        let mut item = BytesMut::new();
        object.write_item(&mut item);
        assert!(item.starts_with(br#"{"metadata":{"resourceVersion":"7","name""#), "{item:?}");
        assert_eq!(read(&item)["data"], expected["data"]);
        let mut partial = BytesMut::new();
        object.write_metadata(&mut partial);
        let kind = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object.value()["metadata"]});
        assert_eq!(read(&partial), kind);
        assert_eq!(object.label("k"), Some("}\\\"v"));
    }

    #[test]
    fn stored_bytes_are_kept_once() {
        let object = Object::from_value(&maps(), &map(), 7);
        let again = Object::decode(&maps(), b"/registry/configmaps/b/a", object.stored(), 9).unwrap();
        assert_eq!(again.stored().as_ptr(), object.stored().as_ptr());
        assert_eq!(again.json(), object.at(9).json());
    }

    #[test]
    fn what_somebody_else_wrote_is_brought_into_form() {
        let spaced = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{ }}"#.to_owned();
        let lined = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"}}"#.to_owned() + "\n";
        let other = r#"{"metadata":{},"kind":"ConfigMap","apiVersion":"v1"}"#.to_owned();
        for stored in [map().to_string(), other, spaced, lined] {
            let object = Object::decode(&maps(), b"", &stored.into(), 5).unwrap();
            assert!(
                object
                    .json()
                    .starts_with(br#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"5""#)
            );
            assert_eq!(serde_json::from_slice::<Value>(&object.json()).unwrap(), object.value());
            assert!(!object.json().contains(&b'\n'));
        }
    }
}
