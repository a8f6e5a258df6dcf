//! Values against a schema, with kube-openapi's messages (`kube-openapi/pkg/validation/validate`). An update is ratcheted: what did
//! not change is not held against it.
use orlop_schema::structural::{Additional, Correlation, Structural};
use serde_json::{Number, Value};

use super::formats;
use crate::field::{ErrorType, Errors, FieldError};
use crate::value::go_quote;

/// What is wrong with a value. `path` is where its errors are said to be, empty for a whole object; `old` is the value that it
/// replaces, if there is one.
pub(super) fn validate(node: &Structural, value: &Value, old: Option<&Value>, path: &str) -> Errors {
    let mut outcome = check(node, value, old, "");
    for error in &mut outcome.errors {
        let inner = error.field.trim_start_matches('.');
        error.field = match (path.is_empty(), inner.is_empty()) {
            (true, true) => "<nil>".to_owned(),
            (true, false) => inner.to_owned(),
            (false, true) => path.to_owned(),
            (false, false) => format!("{path}.{inner}"),
        };
    }
    outcome.errors.into()
}

/// Errors, and how many checks were made: of several alternatives the one with most checks is told about.
#[derive(Default)]
struct Outcome {
    errors: Vec<FieldError>,
    checks: usize,
}

impl Outcome {
    fn merge(&mut self, other: Self) {
        self.errors.extend(other.errors);
        self.checks += other.checks;
    }

    fn push(&mut self, kind: ErrorType, path: &str, value: impl Into<Value>, detail: impl Into<String>) {
        self.errors.push(FieldError { kind, field: path.to_owned(), value: value.into(), detail: detail.into() });
    }

    fn invalid(&mut self, path: &str, value: impl Into<Value>, detail: impl Into<String>) {
        self.push(ErrorType::Invalid, path, value, detail);
    }
}

fn check(node: &Structural, value: &Value, old: Option<&Value>, path: &str) -> Outcome {
    let mut out = Outcome::default();
    if old == Some(value) {
        return out;
    }
    if !check_type(node, value, path, &mut out) && value.is_null() {
        return out;
    }
    if value.is_null() {
        check_enum(node, value, path, &mut out);
        return out;
    }
    out.checks += 2;
    junctors(node, value, old, path, &mut out);
    match value {
        Value::String(text) => strings(node, text, path, &mut out),
        Value::Number(number) => numbers(node, number, path, &mut out),
        Value::Array(items) => arrays(node, items, old, path, &mut out),
        _ => {}
    }
    check_enum(node, value, path, &mut out);
    if value.is_object() {
        objects(node, value, old, path, &mut out);
    }
    out
}

fn type_error(path: &str, expected: &str, found: &str, out: &mut Outcome) {
    let detail = format!("{path} in body must be of type {expected}: {}", go_quote(found));
    out.push(ErrorType::TypeInvalid, path, found, detail);
}

/// Whether the value is of the type that the schema asks for.
fn check_type(node: &Structural, value: &Value, path: &str, out: &mut Outcome) -> bool {
    let types = node.type_names();
    let format = formats::effective(node);
    if types.is_empty() && format.is_empty() {
        return true;
    }
    if value.is_null() {
        if !types.is_empty() && !node.nullable {
            type_error(path, &types.join(","), "null", out);
            return false;
        }
        return true;
    }
    let (found, whole) = match value {
        Value::Bool(_) => ("boolean", false),
        Value::String(_) => ("string", false),
        Value::Array(_) => ("array", false),
        Value::Object(_) => ("object", false),
        Value::Number(n) if n.is_i64() => ("integer", false),
        Value::Number(n) => ("number", n.as_f64().is_some_and(|f| f.fract() == 0.0 && f.abs() < 9.0e15)),
        Value::Null => return true,
    };
    let numeric = types.contains(&"number") || types.contains(&"integer");
    let fits = types.contains(&found)
        || (whole && types.contains(&"integer"))
        || (found == "integer" && types.contains(&"number"));
    let shapeless = matches!(value, Value::String(_) | Value::Array(_));
    if fits || (!numeric && !format.is_empty() && shapeless) {
        return true;
    }
    if !format.is_empty() && !shapeless {
        let native = match found {
            "integer" => "int64",
            "number" => "float64",
            _ => "",
        };
        type_error(path, format, native, out);
    } else {
        type_error(path, &types.join(","), found, out);
    }
    false
}

fn junctors(node: &Structural, value: &Value, old: Option<&Value>, path: &str, out: &mut Outcome) {
    let rules = &*node.validation;
    let all_of_them = |out: &mut Outcome, text: String| {
        // These name no field: the error stands at the root.
        out.push(ErrorType::Invalid, "", "", text);
    };
    if !rules.any_of.is_empty() {
        let mut best: Option<Outcome> = None;
        let mut valid = false;
        for alternative in &rules.any_of {
            let result = check(alternative, value, old, path);
            if result.errors.is_empty() {
                out.checks += result.checks;
                valid = true;
                break;
            }
            if best.as_ref().is_none_or(|b| result.checks > b.checks) {
                best = Some(result);
            }
        }
        if !valid {
            all_of_them(out, format!("{} must validate at least one schema (anyOf)", go_quote(path)));
            if let Some(best) = best {
                out.merge(best);
            }
        }
    }
    if !rules.one_of.is_empty() {
        let mut best: Option<Outcome> = None;
        let mut valid = 0;
        for alternative in &rules.one_of {
            let result = check(alternative, value, old, path);
            if result.errors.is_empty() {
                valid += 1;
                best = None;
            } else if valid == 0 && best.as_ref().is_none_or(|b| result.checks > b.checks) {
                best = Some(result);
            }
        }
        if valid != 1 {
            let found =
                if valid == 0 { "Found none valid".to_owned() } else { format!("Found {valid} valid alternatives") };
            all_of_them(out, format!("{} must validate one and only one schema (oneOf). {found}", go_quote(path)));
            if let Some(best) = best {
                out.merge(best);
            }
        }
    }
    if !rules.all_of.is_empty() {
        let mut valid = 0;
        for part in &rules.all_of {
            let result = check(part, value, old, path);
            valid += usize::from(result.errors.is_empty());
            out.merge(result);
        }
        if valid != rules.all_of.len() {
            let none = if valid == 0 { ". None validated" } else { "" };
            all_of_them(out, format!("{} must validate all the schemas (allOf){none}", go_quote(path)));
        }
    }
    if let Some(not) = &rules.not
        && check(not, value, None, path).errors.is_empty()
    {
        all_of_them(out, format!("{} must not validate the schema (not)", go_quote(path)));
    }
}

fn strings(node: &Structural, text: &str, path: &str, out: &mut Outcome) {
    let rules = &*node.validation;
    out.checks += 1;
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    if let Some(max) = rules.max_length.filter(|max| length > *max) {
        let unit = if max == 1 { "byte" } else { "bytes" };
        out.push(ErrorType::TooLong, path, Value::Null, format!("may not be more than {max} {unit}"));
    }
    // Of these only the first is told.
    let too_long = rules.max_length.is_some_and(|max| length > max);
    if let Some(min) = rules.min_length.filter(|min| !too_long && length < *min) {
        out.invalid(path, text, format!("{path} in body should be at least {min} chars long"));
    } else if let Some(pattern) = rules.pattern.as_ref().filter(|_| !too_long) {
        match pattern.matches(text) {
            Ok(true) => {}
            Ok(false) => out.invalid(path, text, format!("{path} in body should match '{}'", pattern.as_str())),
            Err(error) => {
                let what = format!("{}, but pattern is invalid: {error}", pattern.as_str());
                out.invalid(path, text, format!("{path} in body should match '{what}'"));
            }
        }
    }
    let format = formats::effective(node);
    if !format.is_empty() && !formats::is_valid(format, text) {
        type_error(path, format, text, out);
    }
}

fn numbers(node: &Structural, number: &Number, path: &str, out: &mut Outcome) {
    let rules = &*node.validation;
    out.checks += 1;
    let value = number.as_f64().unwrap_or_default();
    if node.ty == "integer" && !is_integer(number, &rules.format) {
        let format = match rules.format.as_str() {
            "" => "(default format)".to_owned(),
            format => format!("with format {format}"),
        };
        let detail = format!("Checked value must be of type integer {format} in {path}");
        out.push(ErrorType::Invalid, "", "", detail);
    }
    let float = |n: &Number| n.as_f64().unwrap_or_default();
    if let Some(factor) = &rules.multiple_of {
        let factor_value = float(factor);
        let times = if factor_value < 1.0 { 1.0 / factor_value * value } else { value / factor_value };
        if factor_value <= 0.0 {
            let text = format!("factor MultipleOf declared for {path} must be positive: {}", go_number(factor));
            out.invalid(path, Value::Number(factor.clone()), text);
        } else if times != (times as i64) as f64 {
            let text = format!("{path} in body should be a multiple of {}", go_number(factor));
            out.invalid(path, Value::Number(number.clone()), text);
        }
    }
    let mut bound = |limit: &Option<Number>, exclusive: bool, above: bool| {
        let Some(limit) = limit else { return };
        let bound = float(limit);
        let (broken, words) = match (above, exclusive) {
            (true, false) => (value > bound, "less than or equal to"),
            (true, true) => (value >= bound, "less than"),
            (false, false) => (value < bound, "greater than or equal to"),
            (false, true) => (value <= bound, "greater than"),
        };
        if broken {
            let text = format!("{path} in body should be {words} {}", go_number(limit));
            out.invalid(path, Value::Number(number.clone()), text);
        }
    };
    bound(&rules.maximum, rules.exclusive_maximum, true);
    bound(&rules.minimum, rules.exclusive_minimum, false);
}

/// Whether a number can be written as an integer of a format.
fn is_integer(number: &Number, format: &str) -> bool {
    let whole = number.as_i64().or_else(|| {
        let float = number.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 9.2e18)?;
        Some(float as i64)
    });
    match format {
        "int32" => whole.is_some_and(|n| i32::try_from(n).is_ok()),
        "uint32" => whole.is_some_and(|n| u32::try_from(n).is_ok()),
        "uint64" => number.as_u64().is_some() || whole.is_some_and(|n| n >= 0),
        _ => whole.is_some(),
    }
}

/// A number as Go's `%v` prints a float64.
fn go_number(number: &Number) -> String {
    let value = number.as_f64().unwrap_or_default();
    if value.fract() == 0.0 && value.abs() < 1e21 { format!("{value:.0}") } else { value.to_string() }
}

fn arrays(node: &Structural, items: &[Value], old: Option<&Value>, path: &str, out: &mut Outcome) {
    let rules = &*node.validation;
    out.checks += 1;
    if let Some(item_node) = &node.items {
        // Only lists of type map can tell which element of the old list is the same one.
        let olds = old.and_then(Value::as_array).filter(|_| node.list_type.as_deref() == Some("map"));
        let olds = olds.map(|olds| Correlation::new(&node.list_map_keys, olds));
        for (at, item) in items.iter().enumerate() {
            let old = olds.as_ref().and_then(|olds| olds.find(item));
            out.merge(check(item_node, item, old, &format!("{path}[{at}]")));
        }
    }
    let size = i64::try_from(items.len()).unwrap_or(i64::MAX);
    if let Some(min) = rules.min_items.filter(|min| size < *min) {
        out.invalid(path, size, format!("{path} in body should have at least {min} items"));
    }
    if let Some(max) = rules.max_items.filter(|max| size > *max) {
        too_many(path, size, max, out);
    }
}

fn too_many(path: &str, size: i64, max: i64, out: &mut Outcome) {
    let unit = if max == 1 { "item" } else { "items" };
    out.push(ErrorType::TooMany, path, size, format!("must have at most {max} {unit}"));
}

fn check_enum(node: &Structural, value: &Value, path: &str, out: &mut Outcome) {
    let values = &node.validation.values;
    out.checks += 1;
    if values.is_empty() || values.iter().any(|v| equal(v, value)) {
        return;
    }
    let text = |v: &Value| go_quote(v.as_str().unwrap_or(&v.to_string()));
    let shown: Vec<String> = values.iter().map(text).collect();
    out.push(ErrorType::NotSupported, path, value.clone(), format!("supported values: {}", shown.join(", ")));
}

/// Numbers are equal by value.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

fn objects(node: &Structural, value: &Value, old: Option<&Value>, path: &str, out: &mut Outcome) {
    let rules = &*node.validation;
    let Some(map) = value.as_object() else { return };
    out.checks += 1;
    let size = i64::try_from(map.len()).unwrap_or(i64::MAX);
    if let Some(min) = rules.min_properties.filter(|min| size < *min) {
        out.invalid(path, size, format!("{path} in body should have at least {min} properties"));
    }
    if let Some(max) = rules.max_properties.filter(|max| size > *max) {
        too_many(path, size, max, out);
    }
    let before = |key: &str| old.and_then(|old| old.get(key));
    for (key, value) in map {
        if node.properties.contains_key(key) {
            continue;
        }
        match &node.additional {
            Some(Additional::Schema(schema)) => {
                out.merge(check(schema, value, before(key), &format!("{path}.{key}")));
            }
            Some(Additional::Allowed(false)) => {
                out.invalid(path, key.as_str(), format!("{path}.{key} in body is a forbidden property"));
            }
            _ => {}
        }
    }
    for (key, property) in &node.properties {
        if let Some(value) = map.get(key) {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            out.merge(check(property, value, before(key), &path));
        }
    }
    for key in &rules.required {
        if !map.contains_key(key) {
            out.push(ErrorType::Required, &format!("{path}.{key}"), Value::Null, "");
        }
    }
}

#[cfg(test)]
mod tests;
