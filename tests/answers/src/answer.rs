//! An answer: its code, what its headers say that is not usual, and its body.

use std::collections::BTreeMap;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::blot;

/// The headers that are compared, and what they say if nothing is written of them.
const HEADERS: [(&str, Option<&str>); 9] = [
    ("content-type", Some("application/json")),
    ("cache-control", Some("no-cache, private")),
    ("warning", None),
    ("retry-after", None),
    ("allow", None),
    ("location", None),
    ("content-encoding", None),
    ("www-authenticate", None),
    ("x-content-type-options", None),
];

/// What was answered, without what is only of one server.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The HTTP status code.
    pub code: u16,
    /// Headers that are not as usual; null is one that is not there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Option<String>>,
    /// A JSON body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// A body of several JSON documents: a watch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Value>,
    /// Another body.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// Another body that is no text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub base64: String,
}

/// An answer as it came.
#[derive(Debug, Clone, Default)]
pub struct Raw {
    /// The HTTP status code.
    pub code: u16,
    /// All headers, in small letters.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// With what is blotted out today in a text that was written down before.
    pub fn blotted_again(&self) -> Self {
        Self { text: blot::text(&self.text), ..self.clone() }
    }
}

impl Raw {
    /// Its body, if it is JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Without what is only of one server.
    pub fn blotted(&self) -> Result<Answer> {
        let mut answer = Answer { code: self.code, ..Answer::default() };
        for (name, usual) in HEADERS {
            let values = self.headers.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_str());
            let values: Vec<&str> = values.collect();
            let value = (!values.is_empty()).then(|| blot::text(&values.join("\n")));
            if value.as_deref() != usual {
                answer.headers.insert(name.into(), value);
            }
        }
        let documents = serde_json::Deserializer::from_slice(&self.body).into_iter::<Value>();
        match documents.collect::<Result<Vec<_>, _>>() {
            Ok(mut documents) if documents.len() == 1 => answer.body = documents.pop().map(blot::value),
            Ok(documents) => answer.events = documents.into_iter().map(blot::value).collect(),
            Err(_) => match std::str::from_utf8(&self.body) {
                Ok(text) => answer.text = blot::text(text),
                Err(_) => answer.base64 = STANDARD.encode(&self.body),
            },
        }
        Ok(answer)
    }
}
