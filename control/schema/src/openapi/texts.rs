//! The descriptions of the built-in types, decompressed for as long as a document is being written.

use std::collections::HashMap;

use serde::Deserialize;

static PACKED: &[u8] = include_bytes!("../../table/v1.36.descriptions.json.zst");

/// Descriptions by type name.
#[derive(Default)]
pub(super) struct Texts(HashMap<String, TypeTexts>);

#[derive(Deserialize)]
struct TypeTexts {
    #[serde(rename = "d")]
    own: String,
    #[serde(rename = "f")]
    fields: HashMap<String, String>,
}

impl Texts {
    /// Decompresses them. They are part of the binary and the crate's tests read them; a broken build has documents without texts.
    pub(super) fn load() -> Self {
        zstd::decode_all(PACKED).ok().and_then(|json| serde_json::from_slice(&json).ok()).map(Texts).unwrap_or_default()
    }

    pub(super) fn of_type(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|t| t.own.as_str()).filter(|t| !t.is_empty())
    }

    pub(super) fn of_field(&self, name: &str, field: &str) -> Option<&str> {
        self.0.get(name)?.fields.get(field).map(String::as_str)
    }
}
