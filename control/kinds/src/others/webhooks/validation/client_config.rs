//! Where a webhook is: a URL or a Service, never both.
use crate::field::{Errors, Path};
use crate::names;
use crate::value::{go_quote, int, text};
use serde_json::Value;

const FORM: &str = "; desired format: https://host[/path]";

pub(super) fn validate(config: &Value, path: &Path<'_>, errors: &mut Errors) {
    match (&config["url"], &config["service"]) {
        (Value::Null, Value::Null) => errors.required(path, "exactly one of url or service is required"),
        (url, Value::Null) => validate_url(text(url), &path.child("url"), errors),
        (Value::Null, service) => validate_service(service, &path.child("service"), errors),
        _ => errors.required(path, "exactly one of url or service is required"),
    }
}

/// `ValidateWebhookURL`.
fn validate_url(url: &str, path: &Path<'_>, errors: &mut Errors) {
    if url.chars().any(|c| c.is_ascii_control()) {
        let why = format!("parse {}: net/url: invalid control character in URL", go_quote(url));
        return errors.required(path, format!("url must be a valid URL: {why}{FORM}"));
    }
    let (rest, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    if rest.starts_with(':') {
        let why = format!("parse {}: missing protocol scheme", go_quote(url));
        return errors.required(path, format!("url must be a valid URL: {why}{FORM}"));
    }
    let is_scheme = |s: &str| {
        s.starts_with(|c: char| c.is_ascii_alphabetic())
            && s.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    };
    let (scheme, rest) = match rest.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (scheme.to_ascii_lowercase(), rest),
        _ => (String::new(), rest),
    };
    let authority = rest.strip_prefix("//").map(|rest| rest.split('/').next().unwrap_or_default()).unwrap_or_default();
    let (user, host) = authority.rsplit_once('@').map_or(("", authority), |(user, host)| (user, host));
    if scheme != "https" {
        errors.invalid(path, scheme, format!("'https' is the only allowed URL scheme{FORM}"));
    }
    if host.is_empty() {
        errors.invalid(path, host, format!("host must be specified{FORM}"));
    }
    if authority.contains('@') {
        errors.invalid(path, user, "user information is not permitted in the URL");
    }
    if !fragment.is_empty() {
        errors.invalid(path, fragment, "fragments are not permitted in the URL");
    }
    if !query.is_empty() {
        errors.invalid(path, query, "query parameters are not permitted in the URL");
    }
}

/// `ValidateWebhookService`; its caller there swaps name and namespace, and so a missing one is told as the other.
fn validate_service(service: &Value, path: &Path<'_>, errors: &mut Errors) {
    for (field, told) in [("namespace", "name"), ("name", "namespace")] {
        if text(&service[field]).is_empty() {
            errors.required(&path.child(told), "");
        }
    }
    let port = int(&service["port"]);
    let wrong = names::port_number(port);
    if !wrong.is_empty() {
        errors.invalid(&path.child("port"), port, format!("port is not valid: {}", wrong.join(", ")));
    }
    let url_path = text(&service["path"]);
    let path = path.child("path");
    let mut invalid = |detail: String| errors.invalid(&path, url_path, detail);
    match url_path {
        "" | "/" => return,
        "//" => return invalid("segment[0] may not be empty".into()),
        _ if !url_path.starts_with('/') => invalid("must start with a '/'".into()),
        _ => {}
    }
    let mut characters = url_path.chars();
    characters.next();
    let steps = characters.as_str();
    for (index, step) in steps.strip_suffix('/').unwrap_or(steps).split('/').enumerate() {
        if step.is_empty() {
            invalid(format!("segment[{index}] may not be empty"));
            continue;
        }
        names::dns1123_subdomain(step).into_iter().for_each(|why| invalid(format!("segment[{index}]: {why}")));
    }
}
