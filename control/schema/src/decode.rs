//! Strict decoding: from the bytes of a request to an object that has only fields its type knows, in Go's order, in canonical form.
//!
//! Unknown and duplicate fields are dropped and reported, with kube-apiserver's texts, for the caller to warn about, refuse or ignore
//! (`fieldValidation`). A value of the wrong type is an error with the text of Go's decoder. `null` is dropped, and so are zero and empty values that
//! Go's structs do not tell from absent ones; times and quantities are rewritten to their canonical form.

mod parse;
mod syntax;
mod walk;

pub(crate) use parse::MAX_STRICT;

use serde_json::Value;

use crate::{Ty, TypeRef};

/// What a request held.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The object, pruned.
    pub object: Value,
    /// What was dropped: `unknown field "spec.foo"`, `duplicate field "spec.bar"`.
    pub strict: Vec<String>,
}

/// Why a request cannot be decoded. The text is what kube-apiserver puts behind `Pod in version "v1" cannot be handled as a Pod: `.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON.
    #[error("{0}")]
    Syntax(String),
    /// A value of the wrong type.
    #[error("json: cannot unmarshal {value} into {target} of type {go_type}")]
    Type {
        /// What was found: `string`, `number 1.5`.
        value: String,
        /// `Go struct field PodSpec.spec.containers`, or `Go value`.
        target: String,
        /// `[]v1.Container`.
        go_type: String,
    },
    /// A string that its type's own rules refuse: a time, a quantity, base64.
    #[error("{0}")]
    Form(String),
}

/// The text for `fieldValidation: Strict`.
pub fn strict_decoding_error(errors: &[String]) -> String {
    format!("strict decoding error: {}", errors.join(", "))
}

/// Parses JSON of no known type; duplicate fields are reported, the last one counts.
pub fn parse(json: &[u8]) -> Result<Decoded, DecodeError> {
    parse::parse(json)
}

/// Brings what was found in JSON that [`parse`] has read into the order in which it stands there, as Go's decoder finds it in one pass.
pub fn order(json: &[u8], strict: &mut [String]) {
    parse::order(json, strict);
}

impl TypeRef<'_> {
    /// Decodes a request's JSON body.
    pub fn decode(self, json: &[u8]) -> Result<Decoded, DecodeError> {
        let mut decoded = parse::parse(json)?;
        let unknown = self.prune(&mut decoded.object)?;
        let mixed = !unknown.is_empty() && !decoded.strict.is_empty();
        decoded.strict.extend(unknown);
        if mixed {
            order(json, &mut decoded.strict);
        }
        Ok(decoded)
    }

    /// Brings a value that came by another way (YAML, CBOR, a merged patch) into the same form. Returns what was dropped.
    pub fn prune(self, object: &mut Value) -> Result<Vec<String>, DecodeError> {
        let ty = Ty::Ref(self.id());
        let mut walk = walk::Walk::new(self.schema());
        walk.value(&ty, object)?;
        Ok(walk.strict)
    }
}

/// Whether Go's `omitempty` leaves a value out.
pub(crate) fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
    }
}

#[cfg(test)]
mod tests;
