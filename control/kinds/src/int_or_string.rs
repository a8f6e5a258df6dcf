//! IntOrString values: `3`, `"25%"`, `"http"`.
use crate::field::{Errors, Path};
use crate::names;
use crate::value::int;
use serde_json::Value;

/// The percentage, when it is one.
pub(crate) fn percent(value: &Value) -> Option<i64> {
    let text = value.as_str()?;
    names::percent(text).is_empty().then(|| text.trim_end_matches('%').parse().ok()).flatten()
}

/// The number, of percents or plain; a string without `%` reads as the number in it or 0.
pub(crate) fn number(value: &Value) -> i64 {
    percent(value).unwrap_or_else(|| value.as_str().map_or_else(|| int(value), |text| text.parse().unwrap_or_default()))
}

/// Must be a percentage or an integer that is not negative.
pub(crate) fn validate(value: &Value, path: &Path<'_>, errors: &mut Errors) {
    match value.as_str() {
        Some(text) => errors.invalid_each(path, text, names::percent(text)),
        None => crate::meta::non_negative(value, path, errors),
    }
}

/// A percentage must not exceed 100 %.
pub(crate) fn validate_at_most_100_percent(value: &Value, path: &Path<'_>, errors: &mut Errors) {
    if percent(value).is_some_and(|percent| percent > 100) {
        errors.invalid(path, value.clone(), "must not be greater than 100%");
    }
}

/// As printers show it; `default` when absent.
pub(crate) fn show(value: &Value, default: &str) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => default.to_owned(),
    }
}
