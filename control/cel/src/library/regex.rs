//! Regular expressions: linear in the text, bounded in what they compile to.

use ::regex::{Regex, RegexBuilder};

use super::Answer;
use super::operators::texts;
use crate::value::{Value, failed};

/// A compiled expression takes at most so many bytes.
const SIZE_LIMIT: usize = 1 << 20;

/// Compiles RE2's syntax.
pub fn compile(pattern: &str) -> Result<Regex, ::regex::Error> {
    RegexBuilder::new(pattern).size_limit(SIZE_LIMIT).dfa_size_limit(SIZE_LIMIT).nest_limit(100).build()
}

pub(crate) fn call<'a>(function: &str, args: &[Value<'a>]) -> Answer<'a> {
    let [Value::String(text), Value::String(pattern), rest @ ..] = args else { return None };
    if !matches!(function, "matches" | "find" | "findAll") {
        return None;
    }
    let regex = match compile(pattern) {
        Ok(regex) => regex,
        Err(error) if function == "matches" => {
            return Some(failed(format!("error parsing regexp: {}", last_line(&error))));
        }
        Err(error) => return Some(failed(format!("Illegal regex: {}", last_line(&error)))),
    };
    Some(Ok(match function {
        "matches" => Value::Bool(regex.is_match(text)),
        "find" => Value::string(regex.find(text).map_or("", |m| m.as_str())),
        _ => {
            let limit = match rest {
                [Value::Int(n)] => usize::try_from(*n).unwrap_or(usize::MAX),
                _ => usize::MAX,
            };
            texts(regex.find_iter(text).take(limit).map(|m| m.as_str()))
        }
    }))
}

fn last_line(error: &::regex::Error) -> String {
    error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}
