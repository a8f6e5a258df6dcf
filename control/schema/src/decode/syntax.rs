//! What Go's scanner (`encoding/json`) says of text that is no JSON: the first byte that cannot stand where it stands.

/// Where the scanner is.
enum Expect {
    Value,
    /// A value, or the end of an empty list.
    Element,
    Key,
    /// A key, or the end of an empty object.
    Field,
    Colon,
    /// What follows a whole value.
    After,
}

/// The complaint, none if it is JSON.
pub(super) fn complaint(json: &[u8]) -> Option<String> {
    let mut open: Vec<u8> = Vec::new();
    let mut expect = Expect::Value;
    let mut at = 0;
    while let Some(&byte) = json.get(at) {
        if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
            at += 1;
            continue;
        }
        let unexpected = |place: &str| Some(format!("invalid character {} {place}", quoted(byte)));
        match expect {
            Expect::Element if byte == b']' => {
                open.pop();
                (at, expect) = (at + 1, Expect::After);
            }
            Expect::Field if byte == b'}' => {
                open.pop();
                (at, expect) = (at + 1, Expect::After);
            }
            Expect::Value | Expect::Element => match byte {
                b'{' | b'[' => {
                    open.push(byte);
                    (at, expect) = (at + 1, if byte == b'{' { Expect::Field } else { Expect::Element });
                }
                _ => match scalar(json, at) {
                    Ok(end) => (at, expect) = (end, Expect::After),
                    Err(why) => return Some(why),
                },
            },
            Expect::Key | Expect::Field => {
                if byte != b'"' {
                    return unexpected("looking for beginning of object key string");
                }
                match string(json, at) {
                    Ok(end) => (at, expect) = (end, Expect::Colon),
                    Err(why) => return Some(why),
                }
            }
            Expect::Colon if byte == b':' => (at, expect) = (at + 1, Expect::Value),
            Expect::Colon => return unexpected("after object key"),
            Expect::After => match (open.last(), byte) {
                (Some(b'{'), b',') => (at, expect) = (at + 1, Expect::Key),
                (Some(b'['), b',') => (at, expect) = (at + 1, Expect::Value),
                (Some(b'{'), b'}') | (Some(b'['), b']') => {
                    open.pop();
                    at += 1;
                }
                (Some(b'{'), _) => return unexpected("after object key:value pair"),
                (Some(_), _) => return unexpected("after array element"),
                (None, _) => return unexpected("after top-level value"),
            },
        }
    }
    (!open.is_empty() || !matches!(expect, Expect::After)).then(end)
}

fn end() -> String {
    "unexpected end of JSON input".to_owned()
}

/// Where a string, number or literal ends that begins here.
fn scalar(json: &[u8], at: usize) -> Result<usize, String> {
    match json[at] {
        b'"' => string(json, at),
        b'-' | b'0'..=b'9' => number(json, at),
        b't' => literal(json, at, "true"),
        b'f' => literal(json, at, "false"),
        b'n' => literal(json, at, "null"),
        other => Err(format!("invalid character {} looking for beginning of value", quoted(other))),
    }
}

fn string(json: &[u8], at: usize) -> Result<usize, String> {
    let mut at = at + 1;
    while let Some(&byte) = json.get(at) {
        at += 1;
        match byte {
            b'"' => return Ok(at),
            b'\\' => {
                let escaped = *json.get(at).ok_or_else(end)?;
                at += 1;
                match escaped {
                    b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => {}
                    b'u' => {
                        for _ in 0..4 {
                            let digit = *json.get(at).ok_or_else(end)?;
                            if !digit.is_ascii_hexdigit() {
                                let place = "in \\u hexadecimal character escape";
                                return Err(format!("invalid character {} {place}", quoted(digit)));
                            }
                            at += 1;
                        }
                    }
                    other => return Err(format!("invalid character {} in string escape code", quoted(other))),
                }
            }
            0..0x20 => return Err(format!("invalid character {} in string literal", quoted(byte))),
            _ => {}
        }
    }
    Err(end())
}

fn number(json: &[u8], at: usize) -> Result<usize, String> {
    let mut at = at;
    let digits = |at: &mut usize, place: &str| {
        let first = *json.get(*at).ok_or_else(end)?;
        if !first.is_ascii_digit() {
            return Err(format!("invalid character {} {place}", quoted(first)));
        }
        while json.get(*at).is_some_and(u8::is_ascii_digit) {
            *at += 1;
        }
        Ok(())
    };
    if json[at] == b'-' {
        at += 1;
    }
    if json.get(at) == Some(&b'0') {
        at += 1;
    } else {
        digits(&mut at, "in numeric literal")?;
    }
    if json.get(at) == Some(&b'.') {
        at += 1;
        digits(&mut at, "after decimal point in numeric literal")?;
    }
    if matches!(json.get(at), Some(b'e' | b'E')) {
        at += 1;
        if matches!(json.get(at), Some(b'+' | b'-')) {
            at += 1;
        }
        digits(&mut at, "in exponent of numeric literal")?;
    }
    Ok(at)
}

fn literal(json: &[u8], at: usize, word: &str) -> Result<usize, String> {
    for (offset, expected) in word.bytes().enumerate() {
        let found = *json.get(at + offset).ok_or_else(end)?;
        if found != expected {
            let expected = char::from(expected);
            return Err(format!("invalid character {} in literal {word} (expecting '{expected}')", quoted(found)));
        }
    }
    Ok(at + word.len())
}

/// As Go quotes one byte.
fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => "'\\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\\' => "'\\\\'".to_owned(),
        7 => "'\\a'".to_owned(),
        8 => "'\\b'".to_owned(),
        9 => "'\\t'".to_owned(),
        10 => "'\\n'".to_owned(),
        11 => "'\\v'".to_owned(),
        12 => "'\\f'".to_owned(),
        13 => "'\\r'".to_owned(),
        0..0x20 | 0x7f => format!("'\\x{byte:02x}'"),
        0x80..0xa0 => format!("'\\u{byte:04x}'"),
        _ => format!("'{}'", char::from(byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::complaint;

    #[test]
    fn what_stands_in_the_wrong_place_is_told_in_go_s_words() {
        for (json, told) in [
            ("a", "invalid character 'a' looking for beginning of value"),
            ("{a", "invalid character 'a' looking for beginning of object key string"),
            ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
            ("{\"a\"=1}", "invalid character '=' after object key"),
            ("{\"a\":1 2}", "invalid character '2' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("{} x", "invalid character 'x' after top-level value"),
            ("trux", "invalid character 'x' in literal true (expecting 'e')"),
            ("-x", "invalid character 'x' in numeric literal"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("1ex", "invalid character 'x' in exponent of numeric literal"),
            ("01", "invalid character '1' after top-level value"),
            ("\"\\q\"", "invalid character 'q' in string escape code"),
            ("\"\\u00g0\"", "invalid character 'g' in \\u hexadecimal character escape"),
            ("\"a\nb\"", "invalid character '\\n' in string literal"),
            ("{'a': 1}", "invalid character '\\'' looking for beginning of object key string"),
            ("{\"a\":", "unexpected end of JSON input"),
            ("", "unexpected end of JSON input"),
        ] {
            assert_eq!(complaint(json.as_bytes()).as_deref(), Some(told), "{json}");
        }
        assert_eq!(complaint(br#" {"a": [1.5e-3, true, null, "\u00e9\n"], "b": {}} "#), None);
    }
}
