//! How one answer differs from another, place by place.

use anyhow::Result;
use serde_json::Value;

use crate::answer::Answer;

/// So much of a value is shown.
const SHOWN: usize = 400;

/// Every difference; empty if there is none.
pub fn differences(theirs: &Answer, ours: &Answer) -> Result<Vec<String>> {
    let mut found = Vec::new();
    compare(&serde_json::to_value(theirs)?, &serde_json::to_value(ours)?, "", &mut found);
    Ok(found)
}

fn compare(theirs: &Value, ours: &Value, at: &str, found: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(left), Value::Object(right)) => {
            for (name, value) in left {
                match right.get(name) {
                    Some(own) => compare(value, own, &format!("{at}.{name}"), found),
                    None => found.push(format!("{at}.{name}: only theirs: {}", shown(value))),
                }
            }
            for (name, value) in right.iter().filter(|(name, _)| !left.contains_key(*name)) {
                found.push(format!("{at}.{name}: only ours: {}", shown(value)));
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (index, (value, own)) in left.iter().zip(right).enumerate() {
                compare(value, own, &format!("{at}[{index}]"), found);
            }
        }
        _ if theirs == ours => {}
        _ => found.push(format!("{at}:\n      theirs: {}\n      ours:   {}", shown(theirs), shown(ours))),
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{} ...", &text[..end]),
        None => text,
    }
}
