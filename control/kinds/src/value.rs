//! Reading and writing JSON objects the way Go code reads typed ones: what is absent reads as empty, zero or false.
use serde_json::{Map, Value};
use std::collections::BTreeMap;

static NOTHING: &[Value] = &[];

/// The string there, or "".
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The integer there, or 0.
pub fn int(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

/// The boolean there, or false.
pub fn flag(value: &Value) -> bool {
    value.as_bool().unwrap_or_default()
}

/// The items of the array there, or none.
pub fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(NOTHING, Vec::as_slice)
}

/// The strings of the array there, or none.
pub fn strings(value: &Value) -> Vec<&str> {
    items(value).iter().map(text).collect()
}

/// The entries of the object there, or none.
pub fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value))
}

/// The entries in key order, as Go's JSON would print them.
pub fn sorted(value: &Value) -> BTreeMap<&str, &Value> {
    entries(value).collect()
}

/// Whether Go would call it the zero value: absent, null, "", 0, false, [] or {}.
pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
    }
}

/// Equality as `apiequality.Semantic` sees it for decoded objects: absent, null and empty lists and maps are the same; numbers by value.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            x.iter().all(|(key, value)| same(value, y.get(key).unwrap_or(&Value::Null)))
                && y.iter().all(|(key, value)| x.contains_key(key) || same(&Value::Null, value))
        }
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y)),
        (Value::Null, other) | (other, Value::Null) => match other {
            Value::Null => true,
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        },
        _ => a == b,
    }
}

/// The object there, made if it is absent or null; any other type is left alone and `None`.
pub fn object_at<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    let slot = value.as_object_mut()?.entry(key).or_insert(Value::Null);
    if slot.is_null() {
        *slot = Value::Object(Map::new());
    }
    slot.as_object_mut()
}

/// Walks to a member, mutably.
pub fn at<'a>(value: &'a mut Value, path: &[&str]) -> Option<&'a mut Value> {
    path.iter().try_fold(value, |value, key| value.get_mut(*key)).filter(|value| !value.is_null())
}

/// The items of a member list, mutably; none when it is absent.
pub fn items_at<'a>(value: &'a mut Value, path: &[&str]) -> &'a mut [Value] {
    at(value, path).and_then(Value::as_array_mut).map_or(&mut [], Vec::as_mut_slice)
}

/// Sets a member of an object; nothing when `value` is no object.
pub fn set(value: &mut Value, key: &str, to: impl Into<Value>) {
    if let Some(map) = value.as_object_mut() {
        map.insert(key.to_owned(), to.into());
    }
}

/// Makes an absent or empty list the `null` that a Go slice without `omitempty` is written as.
pub fn null_list(value: &mut Value, key: &str) {
    if let Some(map) = value.as_object_mut()
        && map.get(key).is_none_or(is_empty)
    {
        map.insert(key.to_owned(), Value::Null);
    }
}

/// Sets a member unless it is there (a pointer field in Go: null counts as absent, zero does not).
pub fn default_to(value: &mut Value, key: &str, to: impl Into<Value>) {
    if let Some(map) = value.as_object_mut()
        && map.get(key).is_none_or(Value::is_null)
    {
        map.insert(key.to_owned(), to.into());
    }
}

/// Sets a member when it is absent or Go's zero value (a plain field in Go).
pub fn default_zero(value: &mut Value, key: &str, to: impl Into<Value>) {
    if let Some(map) = value.as_object_mut()
        && map.get(key).is_none_or(is_empty)
    {
        map.insert(key.to_owned(), to.into());
    }
}

/// Removes a member.
pub fn remove(value: &mut Value, key: &str) -> Option<Value> {
    value.as_object_mut()?.remove(key)
}

/// Copies a member from another object, or removes it when it is absent there.
pub fn copy(to: &mut Value, from: &Value, key: &str) {
    match from.get(key) {
        Some(value) => set(to, key, value.clone()),
        None => {
            remove(to, key);
        }
    }
}

/// An object as Go prints a struct without JSON tags: members by their names in Go (which differ in the first letter), sorted
/// as they were. Members that are absent are not made up.
pub fn go_names(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let named = |(key, value): (&String, &Value)| {
                let mut letters = key.chars();
                let first = letters.next().map(|c| c.to_ascii_uppercase());
                (first.into_iter().chain(letters).collect::<String>(), go_names(value))
            };
            Value::Object(map.iter().map(named).collect())
        }
        Value::Array(list) => list.iter().map(go_names).collect(),
        other => other.clone(),
    }
}

/// A string as Go's `%q` prints it.
pub fn go_quote(s: &str) -> String {
    let mut out = String::with_capacity(s.len() + 2);
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn absent_and_empty_are_the_same_but_zero_and_absent_are_not() {
        assert!(same(&json!({"a": 1, "b": []}), &json!({"a": 1, "c": {}, "d": null})));
        assert!(!same(&json!({"a": 0}), &json!({})));
        assert!(!same(&json!({"a": [1]}), &json!({"a": [2]})));
    }

    #[test]
    fn quotes_are_gos() {
        assert_eq!(go_quote("a\"b\\\n\u{1}é"), "\"a\\\"b\\\\\\n\\x01é\"");
    }
}
