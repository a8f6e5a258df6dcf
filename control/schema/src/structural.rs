//! A custom resource's schema: the structural form of OpenAPI v3 that CustomResourceDefinitions must have. From it come pruning,
//! defaulting, the types that server-side apply merges by, and (in `orlop-kinds`) validation.
//!
//! [`Structural::parse`] takes any schema that JSON can hold; whether it is structural is for the validator of definitions to say.

use std::collections::BTreeMap;

use serde_json::{Number, Value};

mod correlate;
mod defaults;
mod embedded;
mod overlay;
mod parse;
mod pattern;
mod prune;
mod publish;

pub use correlate::{Correlation, canonical};
pub use overlay::{CustomType, overlay};
pub use pattern::{Pattern, PatternError};
pub use publish::publish;

/// The fields that every object has, whatever its schema says.
pub const META_FIELDS: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// One node of a schema.
#[derive(Clone, Debug, Default)]
pub struct Structural {
    /// `type`, empty if it is not said.
    pub ty: String,
    /// `nullable`
    pub nullable: bool,
    /// `default`; `null` counts as none.
    pub default: Option<Value>,
    /// `title`
    pub title: String,
    /// `description`
    pub description: String,
    /// `properties`
    pub properties: BTreeMap<String, Structural>,
    /// `items`
    pub items: Option<Box<Structural>>,
    /// `additionalProperties`
    pub additional: Option<Additional>,
    /// `x-kubernetes-int-or-string`
    pub int_or_string: bool,
    /// `x-kubernetes-preserve-unknown-fields`
    pub preserve_unknown: bool,
    /// `x-kubernetes-embedded-resource`
    pub embedded: bool,
    /// `x-kubernetes-list-type`
    pub list_type: Option<String>,
    /// `x-kubernetes-list-map-keys`
    pub list_map_keys: Vec<String>,
    /// `x-kubernetes-map-type`
    pub map_type: Option<String>,
    /// `x-kubernetes-validations`
    pub rules: Vec<Value>,
    /// What a value must satisfy besides its type. Boxed: most nodes say little.
    pub validation: Box<Validation>,
}

/// `additionalProperties`
#[derive(Clone, Debug)]
pub enum Additional {
    /// Any value, or none.
    Allowed(bool),
    /// Values of this schema.
    Schema(Box<Structural>),
}

/// The part of a schema that restricts values.
#[derive(Clone, Debug, Default)]
pub struct Validation {
    /// `format`
    pub format: String,
    /// `maximum`
    pub maximum: Option<Number>,
    /// `exclusiveMaximum`
    pub exclusive_maximum: bool,
    /// `minimum`
    pub minimum: Option<Number>,
    /// `exclusiveMinimum`
    pub exclusive_minimum: bool,
    /// `maxLength`
    pub max_length: Option<i64>,
    /// `minLength`
    pub min_length: Option<i64>,
    /// `pattern`
    pub pattern: Option<Pattern>,
    /// `maxItems`
    pub max_items: Option<i64>,
    /// `minItems`
    pub min_items: Option<i64>,
    /// `uniqueItems`
    pub unique_items: bool,
    /// `multipleOf`
    pub multiple_of: Option<Number>,
    /// `maxProperties`
    pub max_properties: Option<i64>,
    /// `minProperties`
    pub min_properties: Option<i64>,
    /// `required`
    pub required: Vec<String>,
    /// `enum`
    pub values: Vec<Value>,
    /// `not`
    pub not: Option<Structural>,
    /// `allOf`
    pub all_of: Vec<Structural>,
    /// `anyOf`
    pub any_of: Vec<Structural>,
    /// `oneOf`
    pub one_of: Vec<Structural>,
}

/// A schema that has no structural form; the text is kube-apiserver's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("OpenAPIV3Schema {0}")]
pub struct Unsupported(pub(crate) String);

impl Structural {
    /// The schema of additional properties, if they have one.
    pub fn additional_schema(&self) -> Option<&Structural> {
        match &self.additional {
            Some(Additional::Schema(schema)) => Some(schema),
            _ => None,
        }
    }

    /// The node for a field of an object.
    pub fn field(&self, name: &str) -> Option<&Structural> {
        self.properties.get(name).or_else(|| self.additional_schema())
    }

    /// Whether a value of the type is an integer or a string, and not only one of them.
    pub fn type_names(&self) -> &[&str] {
        match (self.int_or_string, self.ty.as_str()) {
            (true, _) => &["integer", "string"],
            (_, "object") => &["object"],
            (_, "array") => &["array"],
            (_, "string") => &["string"],
            (_, "integer") => &["integer"],
            (_, "number") => &["number"],
            (_, "boolean") => &["boolean"],
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests;
