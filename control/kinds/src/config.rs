//! ConfigMap, Secret and ServiceAccount.
use crate::field::{Errors, Path};
use crate::kind::{FieldLabel, GENERAL, Kind, not_supported};
use crate::meta::immutable;
use crate::names::config_map_key;
use crate::table::{AGE, Column, NAME, age, name};
use crate::value::{default_zero, entries, flag, same, text};
use serde_json::Value;

const SIZE_MAX: usize = 1024 * 1024;

pub(crate) static KINDS: &[Kind] = &[
    Kind {
        kind: "ConfigMap",
        validate: validate_config_map,
        validate_update: |new, old, _, errors| {
            validate_immutable(new, old, &["data", "binaryData"], errors);
            validate_config_map(new, errors);
        },
        columns: &[
            NAME,
            Column::text(
                "Data",
                "Data contains the configuration data. Each key must consist of alphanumeric characters, '-', '_' or '.'. Values with non-UTF-8 byte sequences must use the BinaryData field. The keys stored in Data must not overlap with the keys in the BinaryData field, this is enforced during validation process.",
            ),
            AGE,
        ],
        cells: |map, now| {
            let keys = entries(&map["data"]).count() + entries(&map["binaryData"]).count();
            vec![name(map), keys.into(), age(map, now)]
        },
        ..GENERAL
    },
    Kind {
        kind: "Secret",
        defaults: |_, secret| {
            merge_string_data(secret);
            default_zero(secret, "type", "Opaque");
        },
        validate: validate_secret,
        validate_update: |new, old, _, errors| {
            immutable(&new["type"], &old["type"], &Path::new("type"), errors);
            validate_immutable(new, old, &["data"], errors);
            validate_secret(new, errors);
        },
        columns: &[
            NAME,
            Column::text(
                "Type",
                "Used to facilitate programmatic handling of secret data. More info: https://kubernetes.io/docs/concepts/configuration/secret/#secret-types",
            ),
            Column::text(
                "Data",
                "Data contains the secret data. Each key must consist of alphanumeric characters, '-', '_' or '.'. The serialized form of the secret data is a base64 encoded string, representing the arbitrary (possibly non-string) data value here. Described in https://tools.ietf.org/html/rfc4648#section-4",
            ),
            AGE,
        ],
        cells: |secret, now| {
            vec![name(secret), text(&secret["type"]).into(), entries(&secret["data"]).count().into(), age(secret, now)]
        },
        fields: SECRET_FIELDS,
        field_error: not_supported,
        ..GENERAL
    },
    Kind { kind: "ServiceAccount", columns: &[NAME, AGE], cells: crate::table::default_cells, ..GENERAL },
];

const SECRET_FIELDS: &[FieldLabel] = &[("type", |secret| text(&secret["type"]).to_owned())];

/// stringData is written, never read: it becomes data.
fn merge_string_data(secret: &mut Value) {
    let Some(plain) = crate::value::remove(secret, "stringData") else { return };
    if let Some(data) = crate::value::object_at(secret, "data") {
        for (key, value) in entries(&plain) {
            data.insert(key.to_owned(), base64(text(value).as_bytes()).into());
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for position in 0..4 {
            let digit = ALPHABET[(word >> (18 - 6 * position)) as usize & 63];
            out.push(if position <= chunk.len() { digit as char } else { '=' });
        }
    }
    out
}

/// The bytes that a base64 text stands for.
fn decoded_length(encoded: &str) -> usize {
    encoded.trim_end_matches('=').len() * 3 / 4
}

fn validate_immutable(new: &Value, old: &Value, members: &[&str], errors: &mut Errors) {
    if !flag(&old["immutable"]) {
        return;
    }
    const DETAIL: &str = "field is immutable when `immutable` is set";
    if !flag(&new["immutable"]) {
        errors.forbidden(&Path::new("immutable"), DETAIL);
    }
    for member in members.iter().filter(|member| !same(&new[**member], &old[**member])) {
        errors.forbidden(&Path::new(member), DETAIL);
    }
}

fn validate_config_map(map: &Value, errors: &mut Errors) {
    let mut size = 0;
    for list in ["data", "binaryData"] {
        let path = Path::new(list);
        for (key, value) in entries(&map[list]) {
            errors.invalid_each(&path.key(key), key, config_map_key(key));
            if list == "data" && map["binaryData"].get(key).is_some() {
                errors.invalid(&path.key(key), key, "duplicate of key present in binaryData");
            }
            size += if list == "data" { text(value).len() } else { decoded_length(text(value)) };
        }
    }
    if size > SIZE_MAX {
        // The whole of it, as Go writes a path without a name.
        errors.too_long(&Path::new("[]"), SIZE_MAX);
    }
}

fn validate_secret(secret: &Value, errors: &mut Errors) {
    let (data, path) = (&secret["data"], Path::new("data"));
    let mut size = 0;
    for (key, value) in entries(data) {
        errors.invalid_each(&path.key(key), key, config_map_key(key));
        size += decoded_length(text(value));
    }
    if size > SIZE_MAX {
        errors.too_long(&path, SIZE_MAX);
    }
    let required: &[&str] = match text(&secret["type"]) {
        "kubernetes.io/service-account-token" => {
            const ACCOUNT: &str = "kubernetes.io/service-account.name";
            if text(&secret["metadata"]["annotations"][ACCOUNT]).is_empty() {
                errors.required(&Path::new("metadata.annotations").key(ACCOUNT), "");
            }
            &[]
        }
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/basic-auth" if data.get("username").is_none() && data.get("password").is_none() => {
            &["username", "password"]
        }
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        _ => &[],
    };
    for key in required.iter().filter(|key| data.get(**key).is_none()) {
        errors.required(&path.key(key), "");
    }
}

#[cfg(test)]
mod tests {
    use crate::{Subresource, kind};
    use serde_json::json;

    #[test]
    fn keys_types_and_immutability_are_kept() {
        let meta = json!({"name": "c", "namespace": "n", "resourceVersion": "1"});
        let map = json!({"metadata": meta, "data": {"a": "1", "b": "2"}, "binaryData": {"b": "AA=="}});
        let message = kind("", "ConfigMap").validate_create(&map).message();
        assert_eq!(message, "data[b]: Invalid value: \"b\": duplicate of key present in binaryData");
        let old = json!({"metadata": meta, "data": {"a": "1"}, "immutable": true});
        let new = json!({"metadata": meta, "data": {"a": "2"}});
        assert_eq!(
            kind("", "ConfigMap").validate_update(&new, &old, Subresource::None).message(),
            "[immutable: Forbidden: field is immutable when `immutable` is set, data: Forbidden: field is immutable when `immutable` is set]"
        );
        let tls = json!({"metadata": meta, "type": "kubernetes.io/tls", "data": {"tls.crt": ""}});
        assert_eq!(kind("", "Secret").validate_create(&tls).message(), "data[tls.key]: Required value");
        let mut typed = tls.clone();
        typed["type"] = "Opaque".into();
        assert!(
            kind("", "Secret")
                .validate_update(&typed, &tls, Subresource::None)
                .message()
                .starts_with("type: Invalid value: \"Opaque\": field is immutable")
        );
    }

    #[test]
    fn string_data_becomes_data() {
        let mut secret = json!({"stringData": {"a": "hello", "b": "", "c": "hi", "d": "abc"}, "data": {"a": "x"}});
        kind("", "Secret").default("v1", &mut secret);
        let data = json!({"a": "aGVsbG8=", "b": "", "c": "aGk=", "d": "YWJj"});
        assert_eq!(secret, json!({"data": data, "type": "Opaque"}));
    }
}
