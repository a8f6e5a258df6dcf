//! `fieldPath` of a rule: `.spec.containers` or `['a.b'].c`, which must lead to a field that the schema has.

use serde_json::Value as Json;

/// The path as field errors write it, without a leading dot.
pub(super) fn normalized(path: &str, schema: &Json) -> Result<String, String> {
    let mut rest = path;
    let mut schema = schema;
    let mut written = String::new();
    while !rest.is_empty() {
        let (name, tail) = if let Some(tail) = rest.strip_prefix("['") {
            let (name, tail) = quoted(tail)?;
            (name, tail.strip_prefix(']').ok_or_else(|| format!("expected ] but got {tail}"))?)
        } else if let Some(tail) = rest.strip_prefix('.') {
            let end = tail.find(['.', '[', ']']).unwrap_or(tail.len());
            if end == 0 {
                return Err("unexpected end of JSON path".into());
            }
            (tail[..end].to_owned(), &tail[end..])
        } else {
            return Err(format!("expected [ or . but got: {rest}"));
        };
        rest = tail;
        if let Some(properties) = schema["properties"].as_object() {
            schema = properties.get(&name).ok_or("does not refer to a valid field")?;
            if !written.is_empty() {
                written.push('.');
            }
            written.push_str(&name);
        } else if schema["additionalProperties"].is_object() {
            schema = &schema["additionalProperties"];
            written.push_str(&format!("[{name}]"));
        } else {
            return Err("does not refer to a valid field".into());
        }
    }
    Ok(written)
}

fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\'' => return Ok((name, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, c @ ('\'' | '\\'))) => name.push(c),
                Some((_, 'n')) => name.push('\n'),
                Some((_, 't')) => name.push('\t'),
                Some((_, 'r')) => name.push('\r'),
                Some((_, 'a')) => name.push('\u{7}'),
                Some((_, 'b')) => name.push('\u{8}'),
                Some((_, 'f')) => name.push('\u{c}'),
                Some((_, 'v')) => name.push('\u{b}'),
                other => return Err(format!("invalid string literal: invalid escape char {other:?}")),
            },
            c => name.push(c),
        }
    }
    Err(format!("expected single quoted string but got '{text}"))
}
