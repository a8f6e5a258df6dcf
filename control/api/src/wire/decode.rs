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
            serde_saphyr::from_str(text).map_err(|e| undecodable(&told(&e)))?
        }
    };
    if !nests_within(&value, MAX_DEPTH) {
        return Err(undecodable(&format_args!("it nests deeper than {MAX_DEPTH} levels")));
    }
    if value.is_object() { Ok(value) } else { Err(undecodable(&"json: cannot unmarshal into an object")) }
}

/// Decodes YAML in which a key may stand twice: the last one counts, and the first such key is told in Go's words.
pub fn decode_yaml(bytes: &[u8], kind: &str) -> Result<(Value, Option<String>), Status> {
    let kind = if kind.is_empty() { "object" } else { kind };
    let unreadable = |why| {
        let shown = crate::rest::summary(bytes);
        Status::bad_request(format!("the object provided is unrecognized (must be of type {kind}): {why} ({shown})"))
    };
    parse_yaml(bytes).map_err(unreadable)
}

/// Likewise; the error is what Go's YAML reader says, which counts no first line.
pub fn parse_yaml(bytes: &[u8]) -> Result<(Value, Option<String>), String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "yaml: invalid leading UTF-8 octet".to_owned())?;
    let (value, twice) = match serde_saphyr::from_str::<Value>(text) {
        Ok(value) => (value, None),
        // Nothing is read twice that is not worth it.
        Err(error) if !error.without_snippet().to_string().contains("duplicate") => return Err(told(&error)),
        Err(error) => {
            let options = serde_saphyr::Options {
                duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::LastWins,
                ..serde_saphyr::Options::default()
            };
            let value = serde_saphyr::from_str_with_options::<Value>(text, options).map_err(|error| told(&error))?;
            let line = error.location().map_or(0, |location| location.line());
            let at = text.lines().nth(usize::try_from(line).unwrap_or(0).saturating_sub(1)).unwrap_or_default();
            let key = at.trim_start_matches([' ', '-']).split(':').next().unwrap_or_default().trim_matches(['"', '\'']);
            (value, Some(format!("yaml: unmarshal errors:\n  line {line}: key {key:?} already set in map")))
        }
    };
    if nests_within(&value, MAX_DEPTH) {
        Ok((value, twice))
    } else {
        Err(format!("yaml: exceeded max depth of {MAX_DEPTH}"))
    }
}

fn told(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let text = text.lines().next().unwrap_or_default();
    let text = text.split(" at line ").next().unwrap_or_default();
    let line = error.location().map_or(0, |location| location.line());
    let place = if line > 1 { format!("line {line}: ") } else { String::new() };
    format!("yaml: {place}{text}")
}

fn undecodable(why: &dyn std::fmt::Display) -> Status {
    Status::bad_request(format!("the object provided is unrecognized (must be of type object): {why}"))
}
