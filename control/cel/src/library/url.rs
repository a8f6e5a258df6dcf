//! URLs, split as Go's net/url splits them.

use std::sync::Arc;

use indexmap::IndexMap;

use super::Answer;
use super::operators::texts;
use crate::value::{Key, Value, failed};

/// An absolute URL or an absolute path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Url {
    scheme: String,
    host: String,
    path: String,
    query: String,
}

impl Url {
    /// Parses what Go's `url.ParseRequestURI` takes.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = |why: &str| Err(format!("parse {text:?}: {why}"));
        if text.is_empty() {
            return bad("empty url");
        }
        if text.chars().any(char::is_control) {
            return bad("net/url: invalid control character in URL");
        }
        let (scheme, rest) = match text.split_once(':') {
            Some((scheme, rest)) if is_scheme(scheme) => (scheme.to_ascii_lowercase(), rest),
            _ if text.starts_with('/') => (String::new(), text),
            Some(("", _)) => return bad("missing protocol scheme"),
            _ => return bad("invalid URI for request"),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        if !rest.starts_with('/') && scheme.is_empty() {
            return bad("invalid URI for request");
        }
        let (host, path) = match rest.strip_prefix("//") {
            Some(rest) if !scheme.is_empty() => {
                let end = rest.find('/').unwrap_or(rest.len());
                let (authority, path) = rest.split_at(end);
                let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
                (host.to_owned(), path.to_owned())
            }
            _ => (String::new(), rest.to_owned()),
        };
        if host.contains([' ', '<', '>', '"', '^', '`', '{', '}', '|', '\\']) {
            return bad("invalid character in host name");
        }
        if let Some(port) = split_host(&host).1
            && !port.bytes().all(|b| b.is_ascii_digit())
        {
            return bad(&format!("invalid port {:?} after host", format!(":{port}")));
        }
        if !escapes_are_valid(&path) {
            return bad("invalid URL escape");
        }
        Ok(Self { scheme, host, path, query: query.to_owned() })
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

fn escapes_are_valid(text: &str) -> bool {
    text.split('%').skip(1).all(|part| part.len() >= 2 && part.bytes().take(2).all(|b| b.is_ascii_hexdigit()))
}

/// Host and port; an IPv6 address stands in brackets.
fn split_host(host: &str) -> (&str, Option<&str>) {
    if let Some(inner) = host.strip_prefix('[') {
        let (name, rest) = inner.split_once(']').unwrap_or((inner, ""));
        return (name, rest.strip_prefix(':'));
    }
    match host.rsplit_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    }
}

fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|h| std::str::from_utf8(h).ok());
        match (bytes[at], hex.and_then(|h| u8::from_str_radix(h, 16).ok())) {
            (b'%', Some(byte)) => {
                plain.push(byte);
                at += 3;
            }
            (b'+', _) => {
                plain.push(b' ');
                at += 1;
            }
            (byte, _) => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

pub(crate) fn call<'a>(function: &str, args: &[Value<'a>]) -> Answer<'a> {
    match (function, args) {
        ("isURL", [Value::String(s)]) => return Some(Ok(Value::Bool(Url::parse(s).is_ok()))),
        ("url", [Value::String(s)]) => {
            return Some(match Url::parse(s) {
                Ok(url) => Ok(Value::Url(Arc::new(url))),
                Err(e) => failed(format!("URL parse error during conversion from string: {e}")),
            });
        }
        _ => {}
    }
    let [Value::Url(url)] = args else { return None };
    Some(Ok(match function {
        "getScheme" => Value::string(url.scheme.as_str()),
        "getHost" => Value::string(url.host.as_str()),
        "getHostname" => Value::string(split_host(&url.host).0),
        "getPort" => Value::string(split_host(&url.host).1.unwrap_or_default()),
        "getEscapedPath" => Value::string(url.path.replace(' ', "%20")),
        "getQuery" => {
            let mut query: IndexMap<String, Vec<String>> = IndexMap::new();
            for pair in url.query.split('&').filter(|p| !p.is_empty()) {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                query.entry(unescape(key)).or_default().push(unescape(value));
            }
            Value::Map(Arc::new(query.into_iter().map(|(k, v)| (Key::String(k.into()), texts(v))).collect()))
        }
        _ => return None,
    }))
}
