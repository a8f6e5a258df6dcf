//! One line of a file: a request, and the answer that is expected.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::answer::Answer;

/// The user who asks if a case names none, in `system:masters`.
pub const ADMIN: &str = "admin";

/// A request and its answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What is tried; unique within the file.
    pub what: String,
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The body: JSON, or a string that is sent as it is.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub body: Value,
    /// A body of bytes, instead.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub base64: String,
    /// `Content-Type`; JSON if there is a body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// `Accept`; JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept: Option<String>,
    /// Further headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The user who asks; empty for nobody.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The user's group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Why ours answers otherwise, and is meant to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differs: Option<String>,
    /// What kube-apiserver answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
}

impl Case {
    /// The bytes of the body.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        Ok(match &self.body {
            Value::Null => STANDARD.decode(&self.base64).context("base64")?,
            Value::String(text) => text.clone().into_bytes(),
            value => value.to_string().into_bytes(),
        })
    }

    /// All headers.
    pub fn headers(&self) -> Vec<(&str, &str)> {
        let mut headers =
            vec![("user-agent", "answers/1.0"), ("accept", self.accept.as_deref().unwrap_or("application/json"))];
        let has_body = !self.body.is_null() || !self.base64.is_empty();
        match self.content.as_deref() {
            Some(content) => headers.push(("content-type", content)),
            None if has_body => headers.push(("content-type", "application/json")),
            None => {}
        }
        headers.extend(self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        headers
    }

    /// Who asks, and in which group; `None` is nobody.
    pub fn user(&self) -> Option<(&str, &str)> {
        match self.user.as_deref() {
            None => Some((ADMIN, "system:masters")),
            Some("") => None,
            Some(user) => Some((user, self.group.as_deref().unwrap_or_default())),
        }
    }
}
