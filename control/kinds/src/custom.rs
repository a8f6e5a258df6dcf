//! Custom resources: the rules of CustomResourceDefinitions themselves, and what a definition's schema asks of its objects.
//!
//! A definition that passes [`Kind::validate_create`](crate::Kind::validate_create) has a structural schema for each version; an
//! object of it is pruned and defaulted by [`orlop_schema::structural`], then validated here.

mod definition;
mod formats;
mod json_path;
mod lists;
mod metadata;
mod objects;
mod rules;
mod value;

pub(crate) use definition::CUSTOM_RESOURCE_DEFINITION;
pub use definition::{accepted_names, condition, has_condition, set_condition};
pub use formats::unrecognized_formats;
pub use json_path::JsonPath;
pub use objects::{CustomRules, Scale, check_finalizers};
pub use rules::Rules;
