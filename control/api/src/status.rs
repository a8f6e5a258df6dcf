//! `metav1.Status`: how every refusal is told, with kube-apiserver's codes, reasons, messages and details, because clients
//! decide by them and people read them.

use std::borrow::Cow;
use std::fmt;

use indexmap::IndexSet;
use serde_json::{Map, Value, json};

use crate::catalog::Resource;

/// A refused request. The constructors are those of `k8s.io/apimachinery/pkg/api/errors`.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// Machine-readable reason, for example `AlreadyExists`.
    pub reason: Cow<'static, str>,
    /// What a person reads.
    pub message: String,
    /// `details`, if there are any. Boxed: errors travel by value through every handler.
    pub details: Option<Box<Map<String, Value>>>,
    /// `metadata.continue`: how an expired list may go on.
    pub next: Option<Box<str>>,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

/// One reason why an object is invalid (`metav1.StatusCause`).
#[derive(Debug, Clone, PartialEq)]
pub struct Cause {
    /// For example `FieldValueRequired`.
    pub reason: String,
    /// For example `Required value`.
    pub message: String,
    /// For example `spec.containers[0].name`.
    pub field: String,
}

impl Status {
    fn plain(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason: Cow::Borrowed(reason), message: message.into(), details: None, next: None }
    }

    fn about(mut self, group: &str, kind: &str, name: &str) -> Self {
        let details = self.details.get_or_insert_with(Default::default);
        if !name.is_empty() {
            details.insert("name".into(), name.into());
        }
        if !group.is_empty() {
            details.insert("group".into(), group.into());
        }
        if !kind.is_empty() {
            details.insert("kind".into(), kind.into());
        }
        self
    }

    /// 404 `NotFound` for one object.
    pub fn not_found(resource: &Resource, name: &str) -> Self {
        Self::not_found_as(&resource.group, &resource.plural, name)
    }

    /// 404 `NotFound` for an object of another resource than the one asked for.
    pub fn not_found_as(group: &str, plural: &str, name: &str) -> Self {
        let qualified = qualified(plural, group);
        Self::plain(404, "NotFound", format!("{qualified} \"{name}\" not found")).about(group, plural, name)
    }

    /// 404 for a path that no API serves.
    pub fn no_such_path() -> Self {
        Self {
            details: Some(Box::default()),
            ..Self::plain(404, "NotFound", "the server could not find the requested resource")
        }
    }

    /// 409 `AlreadyExists`.
    pub fn already_exists(resource: &Resource, name: &str) -> Self {
        let qualified = qualified(&resource.plural, &resource.group);
        Self::plain(409, "AlreadyExists", format!("{qualified} \"{name}\" already exists")).about(
            &resource.group,
            &resource.plural,
            name,
        )
    }

    /// 409 `Conflict`: `Operation cannot be fulfilled on …`.
    pub fn conflict(resource: &Resource, name: &str, why: impl fmt::Display) -> Self {
        Self::conflict_as(&resource.group, &resource.plural, name, why)
    }

    /// 409 `Conflict` on what is named by its resource or, before a deletion, by its kind.
    pub fn conflict_as(group: &str, plural: &str, name: &str, why: impl fmt::Display) -> Self {
        let qualified = qualified(plural, group);
        let message = format!("Operation cannot be fulfilled on {qualified} \"{name}\": {why}");
        Self::plain(409, "Conflict", message).about(group, plural, name)
    }

    /// 409 because the object changed since it was read.
    pub fn modified(resource: &Resource, name: &str) -> Self {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 422 `Invalid` with its causes.
    pub fn invalid(resource: &Resource, name: &str, causes: Vec<Cause>) -> Self {
        Self::invalid_as(&resource.group, &resource.kind, name, causes)
    }

    /// 422 `Invalid` for something that is no resource.
    pub fn invalid_as(group: &str, short_kind: &str, name: &str, causes: Vec<Cause>) -> Self {
        let kind = qualified(short_kind, group);
        let texts: IndexSet<String> = causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
        let alone = texts.len() == 1;
        let text = texts.into_iter().collect::<Vec<_>>().join(", ");
        let text = if alone { text } else { format!("[{text}]") };
        let mut status =
            Self::plain(422, "Invalid", format!("{kind} \"{name}\" is invalid: {text}")).about(group, short_kind, name);
        let causes =
            causes.into_iter().map(|c| json!({"reason": c.reason, "message": c.message, "field": c.field})).collect();
        status.details.get_or_insert_with(Default::default).insert("causes".into(), Value::Array(causes));
        status
    }

    /// 409 because others own fields that an apply sets.
    pub fn apply_conflict(message: String) -> Self {
        Self::plain(409, "Conflict", message)
    }

    /// 400 `BadRequest`.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::plain(400, "BadRequest", message)
    }

    /// 403 `Forbidden`: `pods "x" is forbidden: why`.
    pub fn forbidden(group: &str, plural: &str, name: &str, why: impl fmt::Display) -> Self {
        let qualified = qualified(plural, group);
        let message = if name.is_empty() {
            format!("{qualified} is forbidden: {why}")
        } else {
            format!("{qualified} \"{name}\" is forbidden: {why}")
        };
        Self::plain(403, "Forbidden", message).about(group, plural, name)
    }

    /// 403 for a path that is no resource.
    pub fn forbidden_path(why: impl fmt::Display) -> Self {
        Self { details: Some(Box::default()), ..Self::plain(403, "Forbidden", format!("forbidden: {why}")) }
    }

    /// 401 `Unauthorized`.
    pub fn unauthorized() -> Self {
        Self::plain(401, "Unauthorized", "Unauthorized")
    }

    /// 405 for a resource. kube-apiserver's router does not say which.
    pub fn method_not_supported() -> Self {
        Self { details: Some(Box::default()), ..Self::method_not_allowed() }
    }

    /// 422 without a word of why: a JSON patch that does not apply.
    pub fn rejected() -> Self {
        let message = "the server rejected our request due to an error in our request";
        Self { details: Some(Box::default()), ..Self::plain(422, "Invalid", message) }
    }

    /// 405 for objects of a custom resource whose definition is being deleted.
    pub fn not_while_terminating(verb: &str) -> Self {
        let message = format!("{verb} not allowed while custom resource definition is terminating");
        Self { details: Some(Box::default()), ..Self::plain(405, "MethodNotAllowed", message) }
    }

    /// 405 for a path that is no resource.
    pub fn method_not_allowed() -> Self {
        Self::plain(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    }

    /// 501: known to Kubernetes, absent here.
    pub fn not_implemented(what: impl fmt::Display) -> Self {
        Self::plain(501, "NotImplemented", format!("{what} is not implemented by this server"))
    }

    /// 410 `Expired`: the history asked for is gone.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::plain(410, "Expired", message)
    }

    /// 413: a body over the limit.
    pub fn too_large(limit: usize) -> Self {
        Self::plain(413, "RequestEntityTooLarge", format!("Request entity too large: limit is {limit}"))
    }

    /// 406: none of the accepted media types can be produced.
    pub fn not_acceptable(supported: &[&str]) -> Self {
        Self::unacceptable(format!("only the following media types are accepted: {}", supported.join(", ")))
    }

    /// 406 in other words.
    pub fn unacceptable(message: impl Into<String>) -> Self {
        Self::plain(406, "NotAcceptable", message)
    }

    /// 406 by kube-apiserver's router, which looks at nothing but the type.
    pub fn not_producible(produced: &[&str]) -> Self {
        let message = format!("406: Not Acceptable\n\nAvailable representations: {}", produced.join(", "));
        Self { details: Some(Box::default()), ..Self::plain(406, "NotAcceptable", message) }
    }

    /// 415: the body's media type cannot be read.
    pub fn unsupported_media_type(supported: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            supported.join(", ")
        );
        Self::plain(415, "UnsupportedMediaType", message)
    }

    /// 415 by kube-apiserver's router: no patch has this media type.
    pub fn no_such_patch() -> Self {
        let message = "415: Unsupported Media Type";
        Self { details: Some(Box::default()), ..Self::plain(415, "UnsupportedMediaType", message) }
    }

    /// 504: the server has not caught up with what was asked for.
    pub fn timeout(message: impl Into<String>) -> Self {
        let mut status = Self::plain(504, "Timeout", format!("Timeout: {}", message.into()));
        status.details.get_or_insert_with(Default::default).insert("retryAfterSeconds".into(), 1.into());
        status
    }

    /// 429: come back later.
    pub fn too_many_requests(message: impl Into<String>, retry_after: u64) -> Self {
        let mut status = Self::plain(429, "TooManyRequests", message);
        if retry_after > 0 {
            status.details.get_or_insert_with(Default::default).insert("retryAfterSeconds".into(), retry_after.into());
        }
        status
    }

    /// 503: a part that the request needs does not answer.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::plain(503, "ServiceUnavailable", message)
    }

    /// 405 of a verb that a custom resource does not know.
    pub fn verb_not_supported(resource: &Resource, verb: &str) -> Self {
        let what = qualified(&resource.plural, &resource.group);
        let message = format!("{verb} is not supported on resources of kind {what:?}");
        let mut status = Self::plain(405, "MethodNotAllowed", message);
        let details = status.details.get_or_insert_with(Default::default);
        details.insert("group".into(), resource.group.as_str().into());
        details.insert("kind".into(), resource.plural.as_str().into());
        status
    }

    /// 500 of no reason that anybody has named.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self::plain(500, "", message)
    }

    /// 500 `InternalError`.
    pub fn internal(why: impl fmt::Display) -> Self {
        let why = why.to_string();
        Self::plain(500, "InternalError", format!("Internal error occurred: {why}")).caused_by("", &why, "")
    }

    /// Adds a cause to `details` (as pod eviction and finalizers do).
    #[must_use]
    pub fn caused_by(mut self, reason: &str, message: &str, field: &str) -> Self {
        let details = self.details.get_or_insert_with(Default::default);
        let mut cause = json!({});
        if !reason.is_empty() {
            cause["reason"] = reason.into();
        }
        cause["message"] = message.into();
        if !field.is_empty() {
            cause["field"] = field.into();
        }
        match details.get_mut("causes").and_then(Value::as_array_mut) {
            Some(causes) => causes.push(cause),
            None => {
                details.insert("causes".into(), json!([cause]));
            }
        }
        self
    }

    /// The `Status` object as it goes over the wire.
    pub fn to_value(&self) -> Value {
        let mut value = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message,
        });
        if !self.reason.is_empty() {
            value["reason"] = (*self.reason).into();
        }
        if let Some(next) = &self.next {
            value["metadata"]["continue"] = (**next).into();
        }
        if let Some(details) = &self.details {
            value["details"] = Value::Object((**details).clone());
        }
        value["code"] = self.code.into();
        value
    }

    /// Seconds for a `Retry-After` header.
    pub fn retry_after(&self) -> Option<u64> {
        self.details.as_ref()?.get("retryAfterSeconds")?.as_u64()
    }
}

impl Cause {
    /// `Required value`.
    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        let message = if detail.is_empty() { "Required value".to_owned() } else { format!("Required value: {detail}") };
        Self { reason: "FieldValueRequired".into(), message, field: field.into() }
    }

    /// `Invalid value: …: detail`.
    pub fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        let message = format!("Invalid value: {value}: {detail}");
        Self { reason: "FieldValueInvalid".into(), message, field: field.into() }
    }
}

fn qualified(plural: &str, group: &str) -> String {
    if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") }
}
