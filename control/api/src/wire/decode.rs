//! Request bodies into objects: JSON, YAML or protobuf, bounded in depth.

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use orlop_schema::protobuf::MEDIA_TYPE;
use serde_json::Value;

use super::protobuf;
use crate::object::{MAX_DEPTH, nests_within};
use crate::status::Status;

/// A body's media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFormat {
    /// JSON (also when nothing is said).
    Json,
    /// YAML.
    Yaml,
    /// Protobuf in its envelope.
    Protobuf,
}

const SUPPORTED: &[&str] = &["application/json", "application/yaml", MEDIA_TYPE];

impl BodyFormat {
    /// From `Content-Type`.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, Status> {
        match media_type(headers) {
            "" | "application/json" | "*/*" => Ok(Self::Json),
            "application/yaml" | "application/x-yaml" | "text/yaml" | "application/apply-patch+yaml" => Ok(Self::Yaml),
            MEDIA_TYPE => Ok(Self::Protobuf),
            _ => Err(Status::unsupported_media_type(SUPPORTED)),
        }
    }
}

/// `Content-Type` without its parameters.
pub fn media_type(headers: &HeaderMap) -> &str {
    let text = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim()
}

/// Decodes one object, expected to be of a kind. Its nesting is bounded, so whatever recurses into it cannot exhaust the stack.
pub fn decode_object(format: BodyFormat, bytes: &[u8], api_version: &str, kind: &str) -> Result<Value, Status> {
    let value: Value = match format {
        BodyFormat::Json => serde_json::from_slice(bytes).map_err(|e| undecodable(&e))?,
        BodyFormat::Protobuf => protobuf::decode(bytes, api_version, kind)?,
        BodyFormat::Yaml => {
            let text = std::str::from_utf8(bytes).map_err(|e| undecodable(&e))?;
            serde_saphyr::from_str(text).map_err(|e| undecodable(&e))?
        }
    };
    if !nests_within(&value, MAX_DEPTH) {
        return Err(undecodable(&format_args!("it nests deeper than {MAX_DEPTH} levels")));
    }
    if value.is_object() { Ok(value) } else { Err(undecodable(&"json: cannot unmarshal into an object")) }
}

fn undecodable(why: &dyn std::fmt::Display) -> Status {
    Status::bad_request(format!("the object provided is unrecognized (must be of type object): {why}"))
}
