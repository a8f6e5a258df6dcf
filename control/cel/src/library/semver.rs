//! Semantic versions.

use std::sync::Arc;

use ::semver::Version;

use super::Answer;
use crate::value::{Value, failed};

pub(crate) fn call<'a>(function: &str, args: &[Value<'a>]) -> Answer<'a> {
    match (function, args) {
        ("isSemver", [Value::String(s), rest @ ..]) => return Some(Ok(Value::Bool(parse(s, rest).is_ok()))),
        ("semver", [Value::String(s), rest @ ..]) => {
            return Some(parse(s, rest).map(|v| Value::Semver(Arc::new(v))).or_else(|e| failed(e.to_string())));
        }
        _ => {}
    }
    let (Value::Semver(own), rest) = args.split_first()? else { return None };
    let part = |n: u64| Value::Int(i64::try_from(n).unwrap_or(i64::MAX));
    Some(Ok(match (function, rest) {
        ("major", []) => part(own.major),
        ("minor", []) => part(own.minor),
        ("patch", []) => part(own.patch),
        ("isGreaterThan", [Value::Semver(other)]) => Value::Bool(own.cmp_precedence(other).is_gt()),
        ("isLessThan", [Value::Semver(other)]) => Value::Bool(own.cmp_precedence(other).is_lt()),
        ("compareTo", [Value::Semver(other)]) => Value::Int(own.cmp_precedence(other) as i64),
        _ => return None,
    }))
}

fn parse(text: &str, rest: &[Value<'_>]) -> Result<Version, ::semver::Error> {
    match rest {
        [Value::Bool(true)] => normalized(text).parse(),
        _ => text.parse(),
    }
}

/// Without the `v`, with minor and patch, and without leading zeros.
fn normalized(text: &str) -> String {
    let text = text.strip_prefix('v').unwrap_or(text);
    let mut parts: Vec<String> = text
        .splitn(3, '.')
        .map(|part| {
            let trimmed = part.trim_start_matches('0');
            match trimmed.starts_with(|c: char| c.is_ascii_digit()) || part.is_empty() {
                true => trimmed.to_owned(),
                false if part.starts_with('0') => format!("0{trimmed}"),
                false => part.to_owned(),
            }
        })
        .collect();
    // A suffix stands after the patch level only.
    if parts.len() < 3 && parts.last().is_some_and(|p| p.contains(['+', '-'])) {
        return text.to_owned();
    }
    while parts.len() < 3 {
        parts.push("0".into());
    }
    parts.join(".")
}
