//! `format`: the ones that kube-apiserver checks. An unknown one means nothing, as there.
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use orlop_schema::structural::{Pattern, Structural};
use serde_json::Value;

use crate::names;

/// Names with the dashes left out, except Kubernetes' own.
const KNOWN: &[&str] = &[
    "bsonobjectid",
    "uri",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "cidr",
    "mac",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
    "isbn",
    "isbn10",
    "isbn13",
    "creditcard",
    "ssn",
    "hexcolor",
    "rgbcolor",
    "byte",
    "password",
    "date",
    "duration",
    "datetime",
    "k8sshortname",
    "k8slongname",
];

/// The format that a schema is held to, empty for none.
pub(super) fn effective(node: &Structural) -> &str {
    let format = node.validation.format.as_str();
    let known = match node.type_names() {
        [] | ["string"] => KNOWN.contains(&format.replace('-', "").as_str()),
        ["integer"] => matches!(format, "int32" | "int64"),
        ["number"] => matches!(format, "float" | "double"),
        _ => false,
    };
    if known { format } else { "" }
}

/// The formats of a schema that mean nothing, each once: kube-apiserver warns of them.
pub fn unrecognized_formats(schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    gather(schema, &mut found);
    found.sort();
    found.dedup();
    found
}

fn gather(schema: &Value, found: &mut Vec<String>) {
    let Some(map) = schema.as_object() else { return };
    if let Some(format) = map.get("format").and_then(Value::as_str).filter(|f| !f.is_empty()) {
        let ty = map.get("type").cloned().unwrap_or_default();
        let alone = serde_json::json!({"type": ty, "format": format});
        if Structural::parse(&alone).is_ok_and(|node| effective(&node).is_empty()) {
            found.push(format.to_owned());
        }
    }
    for (key, value) in map {
        match (key.as_str(), value) {
            ("properties", Value::Object(properties)) => properties.values().for_each(|p| gather(p, found)),
            ("items" | "additionalProperties" | "not", value) => gather(value, found),
            ("allOf" | "anyOf" | "oneOf", Value::Array(parts)) => parts.iter().for_each(|p| gather(p, found)),
            _ => {}
        }
    }
}

macro_rules! patterns {
    ($($name:ident: $pattern:expr),* $(,)?) => {
        $(static $name: LazyLock<Pattern> = LazyLock::new(|| Pattern::new($pattern));)*
    };
}

patterns! {
    UUID: r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$",
    UUID3: r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$",
    UUID4: r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$",
    UUID5: r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$",
    CREDIT_CARD: r"^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35\d{3})\d{11})$",
    SSN: r"^\d{3}[- ]?\d{2}[- ]?\d{4}$",
    HEX_COLOR: r"^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$",
    RGB_COLOR: r"^rgb\(\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*\)$",
    MAC: r"^([0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}|[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){7}|[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){19}|[0-9a-fA-F]{4}(\.[0-9a-fA-F]{4}){2}|[0-9a-fA-F]{4}(\.[0-9a-fA-F]{4}){3})$",
    DURATION: r"^(?:0|[-+]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+|\d+ ?(?:ns|nano|nanosecond|nanoseconds|nanos|us|micro|microsecond|microseconds|micros|µs|ms|milli|millisecond|milliseconds|millis|s|sec|second|seconds|secs|m|min|minute|minutes|mins|h|hr|hour|hours|hrs|d|day|days|w|week|weeks|wk)(?: \d+ ?(?:h|m|s|ms|us|ns))*)$",
    DATE: r"^\d{4}-\d{2}-\d{2}$",
    DATE_TIME: r"^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:[Zz]|[+-]\d{2}:?\d{2})?$",
    EMAIL: r#"^[^\s<>()\[\]\\,;:@"]+@[^\s<>()\[\]\\,;:@"]+$"#,
    HEX_24: r"^[0-9a-fA-F]{24}$",
    URI: r"^(?:[A-Za-z][A-Za-z0-9+.-]*:[^\s\x00-\x1f]*|/[^\s\x00-\x1f]*|\*)$",
}

/// Whether a text is of a format.
pub(super) fn is_valid(format: &str, text: &str) -> bool {
    let is = |pattern: &Pattern| pattern.matches(text).unwrap_or(false);
    match format.replace('-', "").as_str() {
        "bsonobjectid" => is(&HEX_24),
        "uri" => is(&URI),
        "email" => is(&EMAIL),
        "hostname" => hostname(text),
        "ipv4" => text.parse::<std::net::Ipv4Addr>().is_ok(),
        "ipv6" => text.contains(':') && text.parse::<std::net::Ipv6Addr>().is_ok(),
        "cidr" => text.contains('/') && text.parse::<ipnet::IpNet>().is_ok(),
        "mac" => is(&MAC),
        "uuid" => is(&UUID),
        "uuid3" => is(&UUID3),
        "uuid4" => is(&UUID4),
        "uuid5" => is(&UUID5),
        "isbn" => isbn10(text) || isbn13(text),
        "isbn10" => isbn10(text),
        "isbn13" => isbn13(text),
        "creditcard" => credit_card(text),
        "ssn" => is(&SSN),
        "hexcolor" => is(&HEX_COLOR),
        "rgbcolor" => is(&RGB_COLOR),
        "byte" => STANDARD.decode(text).is_ok(),
        "date" => is(&DATE) && text.parse::<jiff::civil::Date>().is_ok(),
        "datetime" => is(&DATE_TIME) && text[..10].parse::<jiff::civil::Date>().is_ok() && is_time(text),
        "duration" => is(&DURATION),
        "k8sshortname" => names::dns1123_label(text).is_empty(),
        "k8slongname" => names::dns1123_subdomain(text).is_empty(),
        _ => true,
    }
}

fn is_time(text: &str) -> bool {
    let part = |at: usize| text.get(at..at + 2).and_then(|t| t.parse::<u8>().ok()).unwrap_or(99);
    part(11) < 24 && part(14) < 60 && part(17) < 60
}

fn digits(text: &str) -> Vec<u32> {
    text.chars().filter(|c| !matches!(c, '-' | ' ')).map(|c| c.to_digit(10).unwrap_or(99)).collect()
}

/// Labels of letters, digits and dashes, at least two characters in the last of several.
fn hostname(text: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || "$+<=>^`|~".contains(c);
    if text.len() > 255 || text.split('.').any(|label| label.len() > 63) {
        return false;
    }
    let Some((labels, last)) = text.rsplit_once('.') else {
        let mut rest = text.chars();
        let starts = rest.next().is_some_and(plain);
        let rest = rest.as_str();
        return starts && rest.strip_prefix('-').unwrap_or(rest).chars().all(plain);
    };
    let ends = |label: &str| label.starts_with(plain) && label.ends_with(plain);
    labels.split('.').all(|label| ends(label) && label.chars().all(|c| c == '-' || plain(c)))
        && last.chars().all(char::is_alphabetic)
        && last.chars().count() >= 2
}

fn isbn10(text: &str) -> bool {
    let clean: String = text.chars().filter(|c| !matches!(c, '-' | ' ')).collect();
    let value = |(at, c): (usize, char)| match c {
        'X' if at == 9 => Some(10),
        c => c.to_digit(10),
    };
    let values: Option<Vec<u32>> = clean.chars().enumerate().map(value).collect();
    values.is_some_and(|v| v.len() == 10 && v.iter().zip((1..=10).rev()).map(|(d, w)| d * w).sum::<u32>() % 11 == 0)
}

fn isbn13(text: &str) -> bool {
    let digits = digits(text);
    digits.len() == 13
        && digits.iter().all(|d| *d < 10)
        && digits.iter().enumerate().map(|(at, d)| d * if at % 2 == 0 { 1 } else { 3 }).sum::<u32>() % 10 == 0
}

fn credit_card(text: &str) -> bool {
    let clean: String = text.chars().filter(char::is_ascii_digit).collect();
    let sum: u32 = clean
        .bytes()
        .rev()
        .enumerate()
        .map(|(at, b)| match (u32::from(b - b'0'), at % 2) {
            (d, 0) => d,
            (d, _) if d > 4 => d * 2 - 9,
            (d, _) => d * 2,
        })
        .sum();
    CREDIT_CARD.matches(&clean).unwrap_or(false) && sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_knows_good_from_bad() {
        for (format, good, bad) in [
            ("bsonobjectid", "507f1f77bcf86cd799439011", "507f"),
            ("uri", "http://example.com/x", "example"),
            ("email", "a@b.c", "a.b"),
            ("hostname", "a.example.com", "-a"),
            ("hostname", "a", "a_b"),
            ("ipv4", "10.0.0.1", "10.0.0.256"),
            ("ipv6", "::1", "10.0.0.1"),
            ("cidr", "10.0.0.0/8", "10.0.0.0"),
            ("mac", "01:02:03:04:05:06", "01:02"),
            ("uuid4", "6ba7b810-9dad-41d1-80b4-00c04fd430c8", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
            ("isbn10", "0321751043", "0321751044"),
            ("isbn13", "978-0321751041", "978-0321751042"),
            ("creditcard", "4111-1111-1111-1111", "4111-1111-1111-1112"),
            ("ssn", "111-11-1111", "111-1-1111"),
            ("hexcolor", "#FFFFFF", "#GG"),
            ("rgbcolor", "rgb(100,100,100)", "rgb(300,0,0)"),
            ("byte", "aGVsbG8=", "hello!"),
            ("date", "2026-02-28", "2026-02-30"),
            ("date-time", "2026-01-02T03:04:05.006Z", "2026-01-02T25:00:00Z"),
            ("duration", "1h30m", "soon"),
            ("k8s-short-name", "a-b", "a.b"),
        ] {
            assert!(is_valid(format, good), "{format} {good}");
            assert!(!is_valid(format, bad), "{format} {bad}");
        }
    }
}
