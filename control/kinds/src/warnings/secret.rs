//! TLS Secrets whose certificate or key cannot be read.
use crate::value::{go_quote, text};
use base64::Engine;
use serde_json::Value;

/// What Go's `tls.X509KeyPair` says of data that holds no certificate or no key.
pub(super) fn of(secret: &Value) -> Option<String> {
    if text(&secret["type"]) != "kubernetes.io/tls" {
        return None;
    }
    let certificate = missing(&secret["data"]["tls.crt"], "certificate", |kind| kind == "CERTIFICATE");
    certificate.or_else(|| {
        missing(&secret["data"]["tls.key"], "key", |kind| kind == "PRIVATE KEY" || kind.ends_with(" PRIVATE KEY"))
    })
}

fn missing(data: &Value, what: &str, wanted: impl Fn(&str) -> bool) -> Option<String> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(text(data)).unwrap_or_default();
    let kinds = blocks(&String::from_utf8_lossy(&bytes));
    if kinds.iter().any(|kind| wanted(kind)) {
        return None;
    }
    if kinds.is_empty() {
        return Some(format!("tls: failed to find any PEM data in {what} input"));
    }
    let block = if what == "certificate" {
        "\"CERTIFICATE\" PEM block"
    } else {
        "PEM block with type ending in \"PRIVATE KEY\""
    };
    if kinds.len() == 1 && what == "certificate" && kinds[0].ends_with("PRIVATE KEY") {
        return Some("tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched".to_owned());
    }
    if kinds.len() == 1 && what == "key" && kinds[0] == "CERTIFICATE" {
        return Some("tls: found a certificate rather than a key in the PEM for the private key".to_owned());
    }
    let kinds: Vec<String> = kinds.iter().map(|kind| go_quote(kind)).collect();
    Some(format!(
        "tls: failed to find {block} in {what} input after skipping PEM blocks of the following types: [{}]",
        kinds.join(" ").replace('"', "")
    ))
}

/// The types of the PEM blocks, in order.
fn blocks(pem: &str) -> Vec<String> {
    const END: &str = "-----END ";
    let mut found = Vec::new();
    let (mut rest, mut end) = (pem, None);
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        let Some((kind, body)) = after.split_once("-----") else { break };
        rest = body;
        // How much text there is behind the next end: it is looked for once, however many blocks begin before it.
        if end.is_none_or(|left| left > body.len()) {
            let Some((_, after)) = body.split_once(END) else { break };
            end = Some(after.len());
        }
        let after = end.and_then(|left| body.get(body.len() - left..)).unwrap_or_default();
        if let Some(after) = after.strip_prefix(kind).and_then(|after| after.strip_prefix("-----")) {
            found.push(kind.to_owned());
            rest = after;
        }
    }
    found
}
