//! Selectable fields: the values of an object that a field selector can ask for.

use std::borrow::Cow;

use serde_json::Value;

use crate::catalog::Resource;
use crate::strategy;

/// The selectable values of one object, besides its name and namespace.
pub fn of(resource: &Resource, value: &Value) -> Box<[(Cow<'static, str>, Box<str>)]> {
    if let Some(custom) = &resource.custom {
        return custom.fields(value);
    }
    let labels = strategy::rules(resource).field_labels(value).into_iter();
    labels
        .filter(|(path, _)| !path.starts_with("metadata."))
        .map(|(path, value)| (path.into(), value.into_boxed_str()))
        .collect()
}
