//! What Ingresses and IngressClasses must satisfy (`pkg/apis/networking/validation`).
use crate::field::{Errors, Path};
use crate::meta::immutable_text;
use crate::names::{dns1123_label, dns1123_subdomain, path_segment, port_name, port_number, wildcard_subdomain};
use crate::value::{int, items, strings, text};
use serde_json::Value;
use std::net::IpAddr;

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const INVALID_SEQUENCES: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
const INVALID_SUFFIXES: [&str; 2] = ["/..", "/."];
const NOT_AN_ADDRESS: &str = "must be a DNS name, not an IP address";

pub(super) fn create(ingress: &Value, errors: &mut Errors) {
    spec(&ingress["spec"], None, errors);
    let annotation = &ingress["metadata"]["annotations"][CLASS_ANNOTATION];
    let class = &ingress["spec"]["ingressClassName"];
    if !annotation.is_null() && !class.is_null() && annotation != class {
        let path = Path::new("annotations").child(CLASS_ANNOTATION).to_string();
        errors.invalid(&Path::new(&path), text(annotation), "must match `ingressClassName` when both are specified");
    }
}

pub(super) fn spec(spec: &Value, old: Option<&Value>, errors: &mut Errors) {
    let path = Path::new("spec");
    let (rules, default) = (items(&spec["rules"]), &spec["defaultBackend"]);
    if rules.is_empty() && default.is_null() {
        errors.invalid(&path, spec["rules"].clone(), "either `defaultBackend` or `rules` must be specified");
    }
    if !default.is_null() {
        backend(default, &path.child("defaultBackend"), errors);
    }
    let list = path.child("rules");
    for (index, rule) in rules.iter().enumerate() {
        let path = list.index(index);
        let host = text(&rule["host"]);
        if !host.is_empty() {
            if host.parse::<IpAddr>().is_ok() {
                errors.invalid(&path.child("host"), host, NOT_AN_ADDRESS);
            }
            host_name(host, &path.child("host"), errors);
        }
        if rule["http"].is_object() {
            paths(&rule["http"], &path.child("http.paths"), errors);
        }
    }
    let secret_was_bad =
        |old: &Value| items(&old["tls"]).iter().any(|tls| !secret(text(&tls["secretName"])).is_empty());
    let list = path.child("tls");
    for (index, tls) in items(&spec["tls"]).iter().enumerate() {
        let path = list.index(index);
        let hosts = path.child("hosts");
        for (index, host) in strings(&tls["hosts"]).into_iter().enumerate() {
            host_name(host, &hosts.index(index), errors);
        }
        let name = text(&tls["secretName"]);
        if !old.is_some_and(secret_was_bad) {
            errors.invalid_each(&path.child("secretName"), name, secret(name));
        }
    }
    if let Some(class) = spec["ingressClassName"].as_str() {
        errors.invalid_each(&path.child("ingressClassName"), class, dns1123_subdomain(class));
    }
}

fn secret(name: &str) -> Vec<String> {
    if name.is_empty() { Vec::new() } else { dns1123_subdomain(name) }
}

fn host_name(host: &str, path: &Path<'_>, errors: &mut Errors) {
    let wrong = if host.contains('*') { wildcard_subdomain(host) } else { dns1123_subdomain(host) };
    errors.invalid_each(path, host, wrong);
}

fn paths(http: &Value, list: &Path<'_>, errors: &mut Errors) {
    if items(&http["paths"]).is_empty() {
        errors.required(list, "");
    }
    for (index, one) in items(&http["paths"]).iter().enumerate() {
        let at = list.index(index);
        let (path, url) = (at.child("path"), text(&one["path"]));
        match one["pathType"].as_str() {
            None => {
                errors.required(&at.child("pathType"), "pathType must be specified");
                continue;
            }
            Some("Exact" | "Prefix") => {
                if !url.starts_with('/') {
                    errors.invalid(&path, url, "must be an absolute path");
                }
                for sequence in INVALID_SEQUENCES.iter().filter(|sequence| url.contains(**sequence)) {
                    errors.invalid(&path, url, format!("must not contain '{sequence}'"));
                }
                for suffix in INVALID_SUFFIXES.iter().filter(|suffix| url.ends_with(**suffix)) {
                    errors.invalid(&path, url, format!("cannot end with '{suffix}'"));
                }
            }
            Some("ImplementationSpecific") => {
                if !url.is_empty() && !url.starts_with('/') {
                    errors.invalid(&path, url, "must be an absolute path");
                }
            }
            Some(other) => {
                let known = ["Exact", "ImplementationSpecific", "Prefix"];
                errors.not_supported(&at.child("pathType"), other, &known);
            }
        }
        backend(&one["backend"], &at.child("backend"), errors);
    }
}

fn backend(backend: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (resource, service) = (&backend["resource"], &backend["service"]);
    match (resource.is_object(), service.is_object()) {
        (true, true) => errors.invalid(path, "", "cannot set both resource and service backends"),
        (false, false) => errors.invalid(path, "", "resource or service backend is required"),
        (true, false) => reference(resource, &path.child("resource"), errors),
        (false, true) => {
            match text(&service["name"]) {
                "" => errors.required(&path.child("service.name"), ""),
                name => errors.invalid_each(&path.child("service.name"), name, dns1123_label(name)),
            }
            let (name, number) = (text(&service["port"]["name"]), int(&service["port"]["number"]));
            match (name.is_empty(), number == 0) {
                (false, false) => errors.invalid(path, "", "cannot set both port name & port number"),
                (false, true) => errors.invalid_each(&path.child("service.port.name"), name, port_name(name)),
                (true, false) => {
                    for message in port_number(number) {
                        errors.invalid(&path.child("service.port.number"), number, message);
                    }
                }
                (true, true) => errors.required(path, "port name or number is required"),
            }
        }
    }
}

fn reference(reference: &Value, path: &Path<'_>, errors: &mut Errors) {
    if let Some(group) = reference["apiGroup"].as_str() {
        errors.invalid_each(&path.child("apiGroup"), group, dns1123_subdomain(group));
    }
    for member in ["kind", "name"] {
        match text(&reference[member]) {
            "" => errors.required(&path.child(member), ""),
            value => errors.invalid_each(&path.child(member), value, path_segment(value)),
        }
    }
}

pub(super) fn status(ingress: &Value, errors: &mut Errors) {
    let list = Path::new("status.loadBalancer.ingress");
    for (index, point) in items(&ingress["status"]["loadBalancer"]["ingress"]).iter().enumerate() {
        let path = list.index(index);
        if let Some(ip) = point["ip"].as_str().filter(|ip| !ip.is_empty()) {
            crate::net::validate_ip(ip, &path.child("ip"), errors);
        }
        if let Some(name) = point["hostname"].as_str().filter(|name| !name.is_empty()) {
            errors.invalid_each(&path.child("hostname"), name, dns1123_subdomain(name));
            if name.parse::<IpAddr>().is_ok() {
                errors.invalid(&path.child("hostname"), name, NOT_AN_ADDRESS);
            }
        }
    }
}

pub(super) fn class(class: &Value, errors: &mut Errors) {
    let (spec, path) = (&class["spec"], Path::new("spec"));
    let (controller, at) = (text(&spec["controller"]), path.child("controller"));
    if controller.len() > 250 {
        errors.too_long(&at, 250);
    }
    domain_prefixed_path(controller, &at, errors);
    let (parameters, path) = (&spec["parameters"], path.child("parameters"));
    if !parameters.is_object() {
        return;
    }
    reference(parameters, &path, errors);
    let namespace = &parameters["namespace"];
    match parameters["scope"].as_str() {
        None => errors.required(&path.child("scope"), ""),
        Some("Namespace") => match namespace.as_str() {
            None => errors.required(&path.child("namespace"), "`parameters.scope` is set to 'Namespace'"),
            Some(name) => errors.invalid_each(&path.child("namespace"), name, dns1123_label(name)),
        },
        Some("Cluster") => {
            if !namespace.is_null() {
                errors.forbidden(&path.child("namespace"), "`parameters.scope` is set to 'Cluster'");
            }
        }
        Some(other) => errors.not_supported(&path.child("scope"), other, &["Cluster", "Namespace"]),
    }
}

/// `example.com/some/path` (`validation.IsDomainPrefixedPath`).
pub(crate) fn domain_prefixed_path(value: &str, path: &Path<'_>, errors: &mut Errors) {
    if value.is_empty() {
        return errors.required(path, "");
    }
    match value.split_once('/') {
        Some((domain, rest)) if !domain.is_empty() && !rest.is_empty() => {
            errors.invalid_each(path, domain, dns1123_subdomain(domain));
            let fine = |c: u8| c.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:/".contains(&c);
            if !rest.bytes().all(fine) {
                let regex = "[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+";
                let message = crate::names::regex_error("Invalid path", regex, &[]);
                errors.invalid(path, rest, message);
            }
        }
        _ => errors.invalid(path, value, "must be a domain-prefixed path (such as \"acme.io/foo\")"),
    }
}

pub(super) fn class_update(new: &Value, old: &Value, errors: &mut Errors) {
    let path = Path::new("spec.controller");
    immutable_text(&new["spec"]["controller"], &old["spec"]["controller"], &path, errors);
    class(new, errors);
}

#[cfg(test)]
mod tests {
    use crate::kind;
    use serde_json::{Value, json};

    const GROUP: &str = "networking.k8s.io";

    fn ingress() -> Value {
        json!({
            "metadata": {"name": "foo", "namespace": "default"},
            "spec": {
                "defaultBackend": {"service": {"name": "default-backend", "port": {"number": 80}}},
                "rules": [{"host": "foo.bar.com", "http": {"paths": [{
                    "path": "/foo", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"name": "http"}}},
                }]}}],
            },
            "status": {"loadBalancer": {"ingress": [{"ip": "127.0.0.1"}]}},
        })
    }

    fn refused(pointer: &str, value: Value) -> String {
        let mut object = ingress();
        *object.pointer_mut(pointer).unwrap() = value;
        kind(GROUP, "Ingress").validate_create(&object).message()
    }

    // TestValidateIngress, TestValidateIngressRuleValue
    #[test]
    fn ingresses_are_judged_as_kubernetes_judges_them() {
        assert_eq!(refused("/metadata/name", "foo".into()), "[]");
        let path = "/spec/rules/0/http/paths/0";
        let at = "spec.rules[0].http.paths[0]";
        for (pointer, value, message) in [
            (
                "/spec".to_owned(),
                json!({}),
                "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified".to_owned(),
            ),
            (
                "/spec/defaultBackend/service/name".to_owned(),
                json!("TEST"),
                "spec.defaultBackend.service.name: Invalid value: \"TEST\": a lowercase RFC 1123 label must".to_owned(),
            ),
            (
                "/spec/defaultBackend/service/port".to_owned(),
                json!({}),
                "spec.defaultBackend: Required value: port name or number is required".to_owned(),
            ),
            (
                format!("{path}/path"),
                json!("foo"),
                format!("{at}.path: Invalid value: \"foo\": must be an absolute path"),
            ),
            (
                format!("{path}/path"),
                json!("/foo/../bar"),
                format!("{at}.path: Invalid value: \"/foo/../bar\": must not contain '/../'"),
            ),
            (
                format!("{path}/path"),
                json!("/foo/.."),
                format!("{at}.path: Invalid value: \"/foo/..\": cannot end with '/..'"),
            ),
            (
                format!("{path}/pathType"),
                json!("Regex"),
                format!(
                    "{at}.pathType: Unsupported value: \"Regex\": supported values: \"Exact\", \"ImplementationSpecific\", \"Prefix\""
                ),
            ),
            (
                format!("{path}/backend"),
                json!({}),
                format!("{at}.backend: Invalid value: \"\": resource or service backend is required"),
            ),
            (
                "/spec/rules/0/host".to_owned(),
                json!("127.0.0.1"),
                "spec.rules[0].host: Invalid value: \"127.0.0.1\": must be a DNS name, not an IP address".to_owned(),
            ),
            (
                "/spec/rules/0/host".to_owned(),
                json!("foobar:80"),
                "spec.rules[0].host: Invalid value: \"foobar:80\": a lowercase RFC 1123 subdomain".to_owned(),
            ),
            ("/spec/rules/0/http/paths".to_owned(), json!([]), "spec.rules[0].http.paths: Required value".to_owned()),
        ] {
            let said = refused(&pointer, value);
            assert!(said.starts_with(&message), "{said}");
        }
    }

    // TestValidateIngressClass
    #[test]
    fn classes_name_their_controller_by_domain_and_path() {
        let class = |spec: Value| {
            kind(GROUP, "IngressClass").validate_create(&json!({"metadata": {"name": "c"}, "spec": spec})).message()
        };
        assert_eq!(class(json!({"controller": "foo.co/bar"})), "[]");
        assert_eq!(class(json!({})), "spec.controller: Required value");
        assert_eq!(
            class(json!({"controller": "foo.co"})),
            "spec.controller: Invalid value: \"foo.co\": must be a domain-prefixed path (such as \"acme.io/foo\")"
        );
        let parameters = json!({"kind": "bar", "name": "foo", "scope": "Namespace"});
        assert_eq!(
            class(json!({"controller": "foo.co/bar", "parameters": parameters})),
            "spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"
        );
    }
}
