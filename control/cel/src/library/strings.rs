//! Strings: cel-go's string extension, version 2, by characters.

use std::fmt::Write;

use super::Answer;
use super::operators::texts;
use crate::value::{Evaluated, Value, failed};
use crate::work;

pub(crate) fn call<'a>(function: &str, member: bool, args: &[Value<'a>]) -> Answer<'a> {
    match (function, args) {
        (
            "size",
            [
                value @ (Value::String(_)
                | Value::Bytes(_)
                | Value::List(_)
                | Value::Joined(_)
                | Value::Map(_)
                | Value::Json(..)),
            ],
        ) => {
            return Some(Ok(Value::Int(value.size() as i64)));
        }
        ("join", [list, rest @ ..]) if member => {
            let separator = match rest {
                [Value::String(s)] => s.to_string(),
                _ => String::new(),
            };
            return Some(join(list, &separator));
        }
        ("strings.quote" | "jsonpatch.escapeKey", [Value::String(s)]) => {
            return Some(Ok(Value::string(match function {
                "strings.quote" => quote(s),
                _ => s.replace('~', "~0").replace('/', "~1"),
            })));
        }
        _ => {}
    }
    let (Value::String(s), rest) = args.split_first()? else { return None };
    Some(Ok(match (function, rest) {
        ("startsWith", [Value::String(p)]) => Value::Bool(s.starts_with(&**p)),
        ("endsWith", [Value::String(p)]) => Value::Bool(s.ends_with(&**p)),
        ("contains", [Value::String(p)]) => Value::Bool(s.contains(&**p)),
        ("lowerAscii", []) => Value::string(s.to_ascii_lowercase()),
        ("upperAscii", []) => Value::string(s.to_ascii_uppercase()),
        ("trim", []) => Value::string(s.trim()),
        ("charAt", [Value::Int(at)]) => return Some(char_at(s, *at)),
        ("substring", [Value::Int(start)]) => return Some(substring(s, *start, None)),
        ("substring", [Value::Int(start), Value::Int(end)]) => return Some(substring(s, *start, Some(*end))),
        ("indexOf", [Value::String(p), from @ ..]) => return Some(index_of(s, p, integer(from))),
        ("lastIndexOf", [Value::String(p), from @ ..]) => return Some(last_index_of(s, p, integer(from))),
        ("replace", [Value::String(old), Value::String(new)]) => return Some(replace(s, old, new, usize::MAX)),
        ("replace", [Value::String(old), Value::String(new), Value::Int(n)]) => {
            return Some(replace(s, old, new, usize::try_from(*n).unwrap_or(usize::MAX)));
        }
        ("split", [Value::String(by), limit @ ..]) => split(s, by, integer(limit)),
        ("format", [list]) => return Some(format(s, list)),
        _ => return None,
    }))
}

/// A replacement does not make more than this of a text: the costs count only what goes in.
const LONGEST: usize = 16 << 20;

fn replace<'a>(s: &str, old: &str, new: &str, times: usize) -> Evaluated<Value<'a>> {
    let matches = s.matches(old).take(times).count();
    if s.len().saturating_add(matches.saturating_mul(new.len())) > LONGEST {
        return failed("the result of replace is too long");
    }
    work::spend((matches.saturating_mul(new.len()) / 2) as u64);
    Ok(Value::string(s.replacen(old, new, times)))
}

fn integer(rest: &[Value<'_>]) -> Option<i64> {
    match rest {
        [Value::Int(n)] => Some(*n),
        _ => None,
    }
}

fn char_at<'a>(s: &str, at: i64) -> Evaluated<Value<'a>> {
    let length = s.chars().count() as i64;
    if at < 0 || at > length {
        return failed(format!("index out of range: {at}"));
    }
    Ok(Value::string(s.chars().nth(at as usize).map(String::from).unwrap_or_default()))
}

fn substring<'a>(s: &str, start: i64, end: Option<i64>) -> Evaluated<Value<'a>> {
    let length = s.chars().count() as i64;
    let last = end.unwrap_or(length);
    if end.is_some() && start > last {
        return failed(format!("invalid substring range. start: {start}, end: {last}"));
    }
    for at in [start, last] {
        if at < 0 || at > length {
            return failed(format!("index out of range: {at}"));
        }
    }
    Ok(Value::string(s.chars().skip(start as usize).take((last - start) as usize).collect::<String>()))
}

fn index_of<'a>(s: &str, part: &str, from: Option<i64>) -> Evaluated<Value<'a>> {
    let from = from.unwrap_or(0);
    if part.is_empty() && from >= 0 {
        return Ok(Value::Int(from));
    }
    if from < 0 {
        return failed(format!("index out of range: {from}"));
    }
    let Some((start, _)) = s.char_indices().nth(from as usize) else { return Ok(Value::Int(-1)) };
    let found = s[start..].find(part).map(|at| s[..start + at].chars().count() as i64);
    Ok(Value::Int(found.unwrap_or(-1)))
}

fn last_index_of<'a>(s: &str, part: &str, from: Option<i64>) -> Evaluated<Value<'a>> {
    let length = s.chars().count() as i64;
    let wide = part.chars().count() as i64;
    if part.is_empty() {
        return Ok(Value::Int(from.unwrap_or(length)));
    }
    if length < wide {
        return Ok(Value::Int(-1));
    }
    let from = from.unwrap_or(length - wide);
    if from < 0 {
        return failed(format!("index out of range: {from}"));
    }
    let end = s.char_indices().nth((from.min(length - wide) + wide) as usize).map_or(s.len(), |(at, _)| at);
    Ok(Value::Int(s[..end].rfind(part).map_or(-1, |at| s[..at].chars().count() as i64)))
}

fn split<'a>(s: &str, by: &str, limit: Option<i64>) -> Value<'a> {
    work::spend(work::ELEMENT * s.matches(by).count() as u64);
    let all: Vec<String> =
        if by.is_empty() { s.chars().map(String::from).collect() } else { s.split(by).map(Into::into).collect() };
    match limit {
        Some(0) => texts(Vec::<String>::new()),
        Some(1) => texts([s]),
        Some(n) if n > 0 && all.len() > n as usize => {
            let (head, tail) = all.split_at(n as usize - 1);
            texts(head.iter().cloned().chain([tail.join(by)]))
        }
        _ => texts(all),
    }
}

fn join<'a>(list: &Value<'a>, separator: &str) -> Evaluated<Value<'a>> {
    let Some(items) = list.items() else { return crate::value::no_overload() };
    let mut text = String::new();
    for at in 0..items.len() {
        if text.len() > LONGEST {
            return failed("the result of join is too long");
        }
        match items.get(at).transpose()? {
            Some(Value::String(s)) => {
                if at > 0 {
                    text.push_str(separator);
                }
                text.push_str(&s);
            }
            other => return failed(format!("join: invalid input: {}", other.map(|v| show(&v)).unwrap_or_default())),
        }
    }
    Ok(Value::string(text))
}

fn quote(s: &str) -> String {
    let mut quoted = String::from("\"");
    for c in s.chars() {
        match c {
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A value as Go prints it in errors and in `%s`.
pub fn show(value: &Value<'_>) -> String {
    let length = match value {
        Value::String(s) => s.len() as u64,
        _ => 0,
    };
    if !work::spend(work::VISIT + length) {
        return String::new();
    }
    match value {
        Value::Null => "null".into(),
        Value::Bool(b) => b.to_string(),
        Value::Int(i) => i.to_string(),
        Value::Uint(u) => u.to_string(),
        Value::Double(d) => super::convert::show_double(*d),
        Value::String(s) => s.to_string(),
        Value::Bytes(b) => String::from_utf8_lossy(b).into_owned(),
        Value::Duration(d) => super::time::show_duration(*d),
        Value::Timestamp(t) => t.to_string(),
        Value::Type(name) => name.to_string(),
        Value::Quantity(q) => q.to_string(),
        Value::Ip(ip) => ip.to_string(),
        Value::Cidr(ip, bits) => format!("{ip}/{bits}"),
        _ => {
            if let Some(items) = value.items() {
                let shown: Vec<String> =
                    (0..items.len()).filter_map(|n| items.get(n)?.ok()).map(|v| show(&v)).collect();
                return format!("[{}]", shown.join(", "));
            }
            match value.entries() {
                Some(Ok(entries)) => {
                    let mut shown: Vec<String> =
                        entries.iter().map(|(k, v)| format!("{}: {}", show(k), show(v))).collect();
                    shown.sort();
                    format!("{{{}}}", shown.join(", "))
                }
                _ => value.type_name().to_string(),
            }
        }
    }
}

/// `'%s %d'.format([…])`
fn format<'a>(template: &str, list: &Value<'a>) -> Evaluated<Value<'a>> {
    let Some(items) = list.items() else { return crate::value::no_overload() };
    let mut text = String::new();
    let mut chars = template.chars().peekable();
    let mut next = 0;
    while let Some(c) = chars.next() {
        if text.len() > LONGEST {
            return failed("the result of format is too long");
        }
        if c != '%' {
            text.push(c);
            continue;
        }
        if chars.peek() == Some(&'%') {
            chars.next();
            text.push('%');
            continue;
        }
        let mut precision = None;
        if chars.peek() == Some(&'.') {
            chars.next();
            let mut digits = String::new();
            while let Some(digit) = chars.peek().filter(|c| c.is_ascii_digit()) {
                digits.push(*digit);
                chars.next();
            }
            match digits.parse::<usize>() {
                Ok(n) if n <= 1000 => precision = Some(n),
                _ => return failed("error while parsing precision: could not parse precision"),
            }
        }
        let Some(clause) = chars.next() else { return failed("unexpected end of string") };
        let Some(value) = items.get(next).transpose()? else { return failed(format!("index {next} out of range")) };
        next += 1;
        let wrong = |allowed: &str| {
            let name = value.type_name();
            failed(format!(
                "error during formatting: {clause:?} clause can only be used on {allowed}, was given {name}"
            ))
        };
        let write = match (clause, &value) {
            ('s', value) => write!(text, "{}", show(value)),
            ('d', Value::Int(_) | Value::Uint(_)) => write!(text, "{}", show(&value)),
            ('d', Value::Double(d)) if d.is_nan() || d.is_infinite() => write!(text, "{}", show(&value)),
            ('d', _) => return wrong("integers"),
            ('f', value) => match number(value) {
                Some(d) => write!(text, "{d:.*}", precision.unwrap_or(6)),
                None => return wrong("doubles"),
            },
            ('e', value) => match number(value) {
                Some(d) => {
                    let shown = format!("{d:.*e}", precision.unwrap_or(6));
                    let (mantissa, exponent) = shown.split_once('e').unwrap_or((&shown, "0"));
                    let exponent: i32 = exponent.parse().unwrap_or(0);
                    let sign = if exponent < 0 { '-' } else { '+' };
                    write!(text, "{mantissa}e{sign}{:02}", exponent.abs())
                }
                None => return wrong("doubles"),
            },
            ('b', Value::Int(i)) if *i < 0 => write!(text, "-{:b}", i.unsigned_abs()),
            ('b', Value::Int(i)) => write!(text, "{i:b}"),
            ('b', Value::Uint(u)) => write!(text, "{u:b}"),
            ('b', Value::Bool(b)) => write!(text, "{}", u8::from(*b)),
            ('b', _) => return wrong("integers and bools"),
            ('o', Value::Int(i)) if *i < 0 => write!(text, "-{:o}", i.unsigned_abs()),
            ('o', Value::Int(i)) => write!(text, "{i:o}"),
            ('o', Value::Uint(u)) => write!(text, "{u:o}"),
            ('o', _) => return wrong("integers"),
            ('x' | 'X', value) => {
                let hex = match value {
                    Value::Int(i) if *i < 0 => format!("-{:x}", i.unsigned_abs()),
                    Value::Int(i) => format!("{i:x}"),
                    Value::Uint(u) => format!("{u:x}"),
                    Value::String(s) => s.bytes().map(|b| format!("{b:02x}")).collect(),
                    Value::Bytes(b) => b.iter().map(|b| format!("{b:02x}")).collect(),
                    _ => return wrong("integers, byte buffers, and strings"),
                };
                write!(text, "{}", if clause == 'X' { hex.to_uppercase() } else { hex })
            }
            (other, _) => {
                return failed(format!(
                    "could not parse formatting clause: unrecognized formatting clause \"{other}\""
                ));
            }
        };
        if write.is_err() {
            return failed("error writing format string");
        }
    }
    work::spend(text.len().saturating_sub(template.len()) as u64 / 2);
    Ok(Value::string(text))
}

fn number(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Double(d) => Some(*d),
        Value::Int(i) => Some(*i as f64),
        Value::Uint(u) => Some(*u as f64),
        _ => None,
    }
}
