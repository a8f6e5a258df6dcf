//! OpenAPI documents, written from the table: one v3 document per group and version with its index, and the single v2 document in JSON and in
//! the protobuf form that kubectl asks for.
//!
//! Documents are made when asked for and not kept: the texts are decompressed for the call and dropped with it. Callers keep the bytes they
//! serve, under the hash of [`v3::hash`].

mod convert;
mod definitions;
mod gnostic;
mod merge;
mod operations;
mod paths;
mod share;
mod texts;
pub mod v2;
pub mod v3;

use serde_json::{Value, json};

/// The two generations of the specification, as far as they differ here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Swagger.
    V2,
    /// OpenAPI v3.
    V3,
}

impl Dialect {
    /// A reference to a named type.
    pub(crate) fn reference(self, name: &str) -> Value {
        match self {
            Dialect::V2 => json!({ "$ref": format!("#/definitions/{name}") }),
            Dialect::V3 => json!({ "$ref": format!("#/components/schemas/{name}") }),
        }
    }
}

#[cfg(test)]
mod tests;
