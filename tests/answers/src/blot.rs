//! Blots out what no two servers have in common: times, UIDs, versions, addresses, generated names and tokens. It is blotted out where
//! it stands, so that it must still be there.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

/// What is replaced in every text, in this order.
const PATTERNS: [(&str, &str); 18] = [
    (r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{6})?Z", "TIME$1"),
    (r"TIME\.[0-9]{6}", "MICROTIME"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UID"),
    (r"\b10\.[0-9]+\.[0-9]+\.[0-9]+\b", "IP"),
    (r"\bfd00:10:96:[0-9a-f:]*[0-9a-f]\b", "IP6"),
    (r"\b127\.0\.0\.1:[0-9]+", "SERVER"),
    (r"kube-api-access-[a-z0-9]{5}\b", "kube-api-access-RANDOM"),
    (r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", "TOKEN"),
    (r"eyJ[A-Za-z0-9_-]{20,}", "CONTINUE"),
    (r#"(\\*"resourceVersion\\*":\\*")[0-9]+"#, "${1}VERSION"),
    (r#"(?m)^( *resourceVersion: ")[0-9]+"#, "${1}VERSION"),
    (r"(ResourceVersion in record \()[0-9]+", "${1}VERSION"),
    (r"(resource version: )[0-9]+ \([0-9]+\)", "${1}VERSION (VERSION)"),
    (r"(current: )[0-9]+", "${1}VERSION"),
    (r"^[0-9]+(s|ms|m[0-9]+s)$", "AGE"),
    (r"(?m)^( *- )[0-9]+(s|ms|m[0-9]+s)$", "${1}AGE"),
    (r"/(work|tmp|root|home)/[^ :]+/", "/DIRECTORY/"),
    (r"audit-id: [^ ]+", "AUDIT"),
];

static REGEXES: LazyLock<Vec<(Regex, &'static str)>> =
    LazyLock::new(|| PATTERNS.iter().filter_map(|(pattern, with)| Some((Regex::new(pattern).ok()?, *with))).collect());

/// In a text.
pub fn text(text: &str) -> String {
    let mut text = text.to_owned();
    for (regex, with) in REGEXES.iter() {
        if regex.is_match(&text) {
            text = regex.replace_all(&text, *with).into_owned();
        }
    }
    text
}

/// In a document.
pub fn value(value: Value) -> Value {
    match value {
        Value::String(own) => text(&own).into(),
        Value::Array(items) => items.into_iter().map(self::value).collect(),
        Value::Object(mut fields) => {
            generated_name(&mut fields);
            // Sorted by time first, in which neighbours may or may not share a second.
            if let Some(Value::Array(managers)) = fields.get_mut("managedFields") {
                let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
                managers.sort_by_key(|entry| {
                    ["operation", "manager", "apiVersion", "subresource"].map(|key| text(entry, key))
                });
            }
            let blotted = fields.into_iter().map(|(name, field)| {
                let field = match (name.as_str(), field) {
                    ("resourceVersion", Value::String(own)) if is_version(&own) => "VERSION".into(),
                    ("nodePort" | "healthCheckNodePort", Value::Number(_)) => "PORT".into(),
                    (_, field) => self::value(field),
                };
                // The element of a list that a UID is the key of.
                let name = if name.starts_with("k:{\"uid\"") { self::text(&name) } else { name };
                (name, field)
            });
            Value::Object(blotted.collect())
        }
        other => other,
    }
}

fn is_version(text: &str) -> bool {
    !text.is_empty() && text != "0" && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A name that the server made of a prefix.
fn generated_name(metadata: &mut serde_json::Map<String, Value>) {
    let Some(prefix) = metadata.get("generateName").and_then(Value::as_str).map(ToOwned::to_owned) else { return };
    let name = metadata.get("name").and_then(Value::as_str).unwrap_or_default();
    if name.strip_prefix(&prefix).is_some_and(|suffix| suffix.len() == 5) {
        metadata.insert("name".into(), format!("{prefix}RANDOM").into());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_pattern_is_one() {
        assert_eq!(REGEXES.len(), PATTERNS.len());
    }

    #[test]
    fn yaml_is_blotted_out_as_json_is() {
        let own = "metadata:\n  resourceVersion: \"12\"\nrows:\n- cells:\n  - 12\n  - 3m4s\n";
        assert_eq!(text(own), "metadata:\n  resourceVersion: \"VERSION\"\nrows:\n- cells:\n  - 12\n  - AGE\n");
        assert_eq!(text(&text(own)), text(own));
    }

    #[test]
    fn what_is_of_one_server_is_blotted_out_and_the_rest_stays() {
        let own = json!({
            "metadata": {"generateName": "a-", "name": "a-x2b4c", "uid": "4a3c1f0e-1111-2222-3333-444455556666",
                "resourceVersion": "12", "creationTimestamp": "2026-11-22T08:00:00Z"},
            "spec": {"clusterIP": "10.96.3.4", "nodePort": 30123, "port": 80, "age": "12s"},
            "times": ["2026-11-22T08:00:00.123456Z"], "resourceVersion": "0",
            "quoted": "{\\\"resourceVersion\\\":\\\"207\\\"}",
        });
        assert_eq!(
            value(own),
            json!({
                "metadata": {"generateName": "a-", "name": "a-RANDOM", "uid": "UID", "resourceVersion": "VERSION",
                    "creationTimestamp": "TIME"},
                "spec": {"clusterIP": "IP", "nodePort": "PORT", "port": 80, "age": "AGE"},
                "times": ["MICROTIME"], "resourceVersion": "0",
                "quoted": "{\\\"resourceVersion\\\":\\\"VERSION\\\"}",
            })
        );
    }
}
