//! JSON to Kubernetes' protobuf and back, for every type of the table.
//!
//! An object travels in an envelope: the magic `k8s\0` and a `runtime.Unknown` that names apiVersion and kind beside the object's own message.
//! What protobuf cannot tell apart (an empty list from none, a zero from an absent value where Go has no pointer) is dropped on decoding, as in Go.

mod decode;
mod encode;
mod special;

use serde_json::{Map, Value};

use crate::wire::{Malformed, Raw, Reader, Writer};
use crate::{GroupVersionKind, Schema, TypeRef};

/// The media type of a single object.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// The media type of a watch: frames of a four-byte length and a `WatchEvent` without envelope.
pub const WATCH_MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf;stream=watch";

const MAGIC: &[u8; 4] = b"k8s\0";
/// Messages within messages; JSON schemas are the deepest.
const MAX_DEPTH: usize = 128;

/// Why an object cannot be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// Not in an envelope.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    NoEnvelope,
    /// Ends too early, or is no protobuf.
    #[error("malformed protobuf in {0}")]
    Malformed(String),
    /// The table has no such kind.
    #[error("no kind {kind:?} is registered for version {version:?}")]
    UnknownKind {
        /// The kind.
        kind: String,
        /// The apiVersion.
        version: String,
    },
    /// The object has a value that its field cannot hold.
    #[error("{field} cannot hold {value}")]
    Type {
        /// Type and field: `PodSpec.containers`.
        field: String,
        /// The JSON value.
        value: String,
    },
    /// The object has no apiVersion and kind.
    #[error("Object 'Kind' is missing in '{0}'")]
    NoKind(String),
    /// Messages are nested too deep.
    #[error("exceeded max depth")]
    TooDeep,
    /// The type has no protobuf form.
    #[error("{0} has no protobuf form")]
    NoForm(String),
}

/// An opened envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown<'a> {
    /// The object's apiVersion.
    pub api_version: &'a str,
    /// The object's kind.
    pub kind: &'a str,
    /// The object's message.
    pub raw: &'a [u8],
    /// Of `raw`, if it is not protobuf.
    pub content_type: &'a str,
}

/// Puts an object's message into an envelope.
pub fn seal(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut out = Writer(Vec::with_capacity(raw.len() + 48));
    out.0.extend_from_slice(MAGIC);
    let Ok(()) = out.message(1, |meta| -> Result<(), std::convert::Infallible> {
        meta.string(1, api_version);
        meta.string(2, kind);
        Ok(())
    });
    out.bytes(2, raw);
    // Go always writes both, empty.
    out.string(3, "");
    out.string(4, "");
    out.0
}

/// Opens an envelope.
pub fn open(bytes: &[u8]) -> Result<Unknown<'_>, ProtobufError> {
    let body = bytes.strip_prefix(MAGIC).ok_or(ProtobufError::NoEnvelope)?;
    let malformed = |_| ProtobufError::Malformed("runtime.Unknown".into());
    let mut found = Unknown { api_version: "", kind: "", raw: &[], content_type: "" };
    let mut fields = Reader(body);
    while let Some((tag, value)) = fields.field().map_err(malformed)? {
        match (tag, value) {
            (1, Raw::Bytes(meta)) => {
                let mut meta = Reader(meta);
                while let Some((tag, value)) = meta.field().map_err(malformed)? {
                    match (tag, value) {
                        (1, Raw::Bytes(text)) => found.api_version = utf8(text)?,
                        (2, Raw::Bytes(text)) => found.kind = utf8(text)?,
                        _ => {}
                    }
                }
            }
            (2, Raw::Bytes(raw)) => found.raw = raw,
            (4, Raw::Bytes(text)) => found.content_type = utf8(text)?,
            _ => {}
        }
    }
    Ok(found)
}

fn utf8(bytes: &[u8]) -> Result<&str, ProtobufError> {
    std::str::from_utf8(bytes).map_err(|_| ProtobufError::Malformed("a string".into()))
}

/// The message of a list, from the message of its metadata and those of its items: encoded items need not be encoded again.
pub fn list<'a>(metadata: &[u8], items: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = Writer::default();
    out.bytes(1, metadata);
    for item in items {
        out.bytes(2, item);
    }
    out.0
}

/// A `WatchEvent`'s message around an object in its envelope.
pub fn watch_event(event: &str, object: &[u8]) -> Vec<u8> {
    let mut out = Writer(Vec::with_capacity(object.len() + 32));
    out.string(1, event);
    let Ok(()) = out.message(2, |raw| -> Result<(), std::convert::Infallible> {
        raw.bytes(1, object);
        Ok(())
    });
    out.0
}

/// One frame of a watch: four bytes of length, big-endian, and the message.
pub fn frame(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 4);
    out.extend_from_slice(&(message.len() as u32).to_be_bytes());
    out.extend_from_slice(message);
    out
}

impl Schema {
    /// Encodes an object with its envelope, by its apiVersion and kind.
    pub fn encode_protobuf(&self, object: &Value) -> Result<Vec<u8>, ProtobufError> {
        let text = |key| object.get(key).and_then(Value::as_str);
        let (Some(version), Some(kind)) = (text("apiVersion"), text("kind")) else {
            return Err(ProtobufError::NoKind(object.to_string()));
        };
        let raw = self.kind_named(version, kind)?.to_protobuf(object)?;
        Ok(seal(version, kind, &raw))
    }

    /// Decodes an object from its envelope; apiVersion and kind come first.
    pub fn decode_protobuf(&self, bytes: &[u8]) -> Result<Value, ProtobufError> {
        let found = open(bytes)?;
        if found.content_type == "application/json" {
            return serde_json::from_slice(found.raw).map_err(|e| ProtobufError::Malformed(e.to_string()));
        }
        let mut object = Map::new();
        object.insert("kind".into(), found.kind.into());
        object.insert("apiVersion".into(), found.api_version.into());
        let ty = self.kind_named(found.api_version, found.kind)?;
        if let Value::Object(fields) = ty.from_protobuf(found.raw)? {
            object.extend(fields);
        }
        Ok(Value::Object(object))
    }

    fn kind_named(&self, api_version: &str, kind: &str) -> Result<TypeRef<'_>, ProtobufError> {
        self.type_by_kind(&GroupVersionKind::from_api_version(api_version, kind))
            .ok_or_else(|| ProtobufError::UnknownKind { kind: kind.into(), version: api_version.into() })
    }
}

impl TypeRef<'_> {
    /// The message of an object of this type, without envelope.
    pub fn to_protobuf(self, object: &Value) -> Result<Vec<u8>, ProtobufError> {
        let mut out = Writer::default();
        encode::Encoder::new(self.schema()).value_of(self.get(), object, &mut out)?;
        Ok(out.0)
    }

    /// An object of this type from its message, without apiVersion and kind.
    #[allow(clippy::wrong_self_convention)]
    pub fn from_protobuf(self, message: &[u8]) -> Result<Value, ProtobufError> {
        decode::Decoder { schema: self.schema() }.value_of(self.get(), message, 0)
    }
}

fn malformed(of: &str) -> impl Fn(Malformed) -> ProtobufError + '_ {
    move |_| ProtobufError::Malformed(of.to_owned())
}

#[cfg(test)]
mod tests;
