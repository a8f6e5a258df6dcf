//! Named formats: `format.dns1123Label().validate(name)` gives the errors, or none.

use std::collections::HashMap;
use std::sync::LazyLock;

use orlop_schema::structural::Pattern;

use super::operators::texts;
use super::{Answer, time, url};
use crate::value::Value;

/// A format.
#[derive(Debug)]
pub struct NamedFormat {
    /// Its name.
    pub name: &'static str,
    /// The length of its expression, by which it costs.
    pub regex_size: u64,
    check: fn(&str) -> Vec<String>,
}

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const DNS1035: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const QUALIFIED: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const UUID: &str = "(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}";

static FORMATS: &[NamedFormat] = &[
    NamedFormat { name: "dns1123Label", regex_size: 30, check: dns1123_label },
    NamedFormat { name: "dns1123Subdomain", regex_size: 60, check: dns1123_subdomain },
    NamedFormat { name: "dns1035Label", regex_size: 30, check: dns1035_label },
    NamedFormat { name: "qualifiedName", regex_size: 60, check: qualified_name },
    NamedFormat { name: "dns1123LabelPrefix", regex_size: 30, check: |s| dns1123_label(&unmasked(s)) },
    NamedFormat { name: "dns1123SubdomainPrefix", regex_size: 60, check: |s| dns1123_subdomain(&unmasked(s)) },
    NamedFormat { name: "dns1035LabelPrefix", regex_size: 30, check: |s| dns1035_label(&unmasked(s)) },
    NamedFormat { name: "labelValue", regex_size: 40, check: label_value },
    NamedFormat { name: "uri", regex_size: 1112, check: |s| url::Url::parse(s).err().into_iter().collect() },
    NamedFormat { name: "uuid", regex_size: 78, check: |s| unless(is_uuid(s), "does not match the UUID format") },
    NamedFormat { name: "byte", regex_size: 92, check: |s| unless(is_base64(s), "invalid base64") },
    NamedFormat {
        name: "date",
        regex_size: 141,
        check: |s| unless(s.parse::<jiff::civil::Date>().is_ok() && s.len() == 10, "invalid date"),
    },
    NamedFormat {
        name: "datetime",
        regex_size: 141,
        check: |s| unless(time::parse_timestamp(s).is_some(), "invalid datetime"),
    },
];

pub(crate) fn call<'a>(function: &str, args: &[Value<'a>]) -> Answer<'a> {
    let find = |name: &str| FORMATS.iter().find(|f| f.name == name);
    Some(Ok(match (function, args) {
        ("format.named", [Value::String(name)]) => match find(name) {
            Some(format) => Value::some(Value::Format(format)),
            None => Value::Optional(None),
        },
        ("validate", [Value::Format(format), Value::String(s)]) => match (format.check)(s) {
            errors if errors.is_empty() => Value::Optional(None),
            errors => Value::some(texts(errors)),
        },
        (name, []) => Value::Format(find(name.strip_prefix("format.")?)?),
        _ => return None,
    }))
}

fn unless(valid: bool, error: &str) -> Vec<String> {
    if valid { Vec::new() } else { vec![error.to_owned()] }
}

/// A prefix that ends in a dash may be followed by anything.
fn unmasked(s: &str) -> String {
    match s.strip_suffix('-') {
        Some(head) if !head.is_empty() => format!("{head}a"),
        _ => s.to_owned(),
    }
}

/// The expressions, each compiled when it is first asked for.
static PATTERNS: LazyLock<HashMap<String, Pattern>> = LazyLock::new(|| {
    [LABEL.to_owned(), subdomain(), DNS1035.to_owned(), QUALIFIED.to_owned(), value(), UUID.to_owned()]
        .into_iter()
        .map(|source| (source.clone(), Pattern::new(&format!("^(?:{source})$"))))
        .collect()
});

fn subdomain() -> String {
    format!("{LABEL}(\\.{LABEL})*")
}

fn value() -> String {
    format!("({QUALIFIED})?")
}

fn matches(pattern: &str, s: &str) -> bool {
    PATTERNS.get(pattern).is_some_and(|pattern| pattern.matches(s) == Ok(true))
}

fn limited(s: &str, most: usize, pattern: &str, error: String) -> Vec<String> {
    let mut errors = Vec::new();
    if s.len() > most {
        errors.push(format!("must be no more than {most} bytes"));
    }
    if !matches(pattern, s) {
        errors.push(error);
    }
    errors
}

fn dns1123_label(s: &str) -> Vec<String> {
    let text = format!(
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{LABEL}')"
    );
    limited(s, 63, LABEL, text)
}

fn dns1123_subdomain(s: &str) -> Vec<String> {
    let pattern = subdomain();
    let text = format!(
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{pattern}')"
    );
    limited(s, 253, &pattern, text)
}

fn dns1035_label(s: &str) -> Vec<String> {
    let text = format!(
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '{DNS1035}')"
    );
    limited(s, 63, DNS1035, text)
}

fn label_value(s: &str) -> Vec<String> {
    let pattern = value();
    let text = format!(
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '{pattern}')"
    );
    limited(s, 63, &pattern, text)
}

fn qualified_name(s: &str) -> Vec<String> {
    let text = format!(
        "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{QUALIFIED}')"
    );
    let (prefix, name) = match s.split_once('/') {
        None => (None, s),
        Some((_, name)) if name.contains('/') => {
            return vec![
                format!("a qualified {text} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')")
                    .replace("name part", "name"),
            ];
        }
        Some((prefix, name)) => (Some(prefix), name),
    };
    let mut errors = Vec::new();
    match prefix {
        Some("") => errors.push("prefix part must be non-empty".to_owned()),
        Some(prefix) => errors.extend(dns1123_subdomain(prefix).into_iter().map(|e| format!("prefix part {e}"))),
        None => {}
    }
    if name.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    }
    errors.extend(limited(name, 63, QUALIFIED, text));
    errors
}

fn is_uuid(s: &str) -> bool {
    matches(UUID, s)
}

fn is_base64(s: &str) -> bool {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(s).is_ok()
}
