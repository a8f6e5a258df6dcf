//! What a Service must satisfy.
use crate::field::Errors;
use crate::kind::Subresource;
use serde_json::Value;

pub(super) fn validate(_: &Value, _: &mut Errors) {}

pub(super) fn validate_update(_: &Value, _: &Value, _: Subresource, _: &mut Errors) {}
