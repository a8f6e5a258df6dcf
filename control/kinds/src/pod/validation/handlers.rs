//! Probes and lifecycle hooks.
use crate::field::{Errors, Path};
use crate::meta::non_negative;
use crate::names;
use crate::value::{int, is_empty, items, text};
use serde_json::Value;

pub(super) fn validate(container: &Value, spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    // What is below zero counts as one second.
    let grace = spec["terminationGracePeriodSeconds"].as_i64().map(|grace| if grace < 0 { 1 } else { grace });
    for hook in ["postStart", "preStop"] {
        let (handler, path) = (&container["lifecycle"][hook], path.child("lifecycle"));
        if handler.is_object() {
            validate_handler(handler, &["exec", "httpGet", "tcpSocket", "sleep"], grace, &path.child(hook), errors);
        }
    }
    stop_signal(container, spec, &path.child("lifecycle.stopSignal"), errors);
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let (probe, path) = (&container[name], path.child(name));
        if probe.is_null() {
            continue;
        }
        validate_probe(probe, grace, &path, errors);
        if name == "readinessProbe" {
            let grace = &probe["terminationGracePeriodSeconds"];
            if !grace.is_null() {
                let detail = "must not be set for readinessProbes";
                errors.invalid(&path.child("terminationGracePeriodSeconds"), grace.clone(), detail);
            }
        } else if int(&probe["successThreshold"]) != 1 {
            errors.invalid(&path.child("successThreshold"), int(&probe["successThreshold"]), "must be 1");
        }
    }
}

fn stop_signal(container: &Value, spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(signal) = container["lifecycle"]["stopSignal"].as_str() else { return };
    match text(&spec["os"]["name"]) {
        "" => errors.forbidden(path, "may not be set for containers with empty `spec.os.name`"),
        "windows" if !matches!(signal, "SIGKILL" | "SIGTERM") => {
            errors.not_supported(path, signal, &["SIGKILL", "SIGTERM"]);
        }
        "linux" if !signal.starts_with("SIG") => errors.not_supported(path, signal, &[]),
        _ => {}
    }
}

fn validate_probe(probe: &Value, grace: Option<i64>, path: &Path<'_>, errors: &mut Errors) {
    validate_handler(probe, &["exec", "httpGet", "tcpSocket", "grpc"], grace, path, errors);
    for member in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        non_negative(&probe[member], &path.child(member), errors);
    }
    let grace = &probe["terminationGracePeriodSeconds"];
    if !grace.is_null() && int(grace) <= 0 {
        errors.invalid(&path.child("terminationGracePeriodSeconds"), int(grace), "must be greater than 0");
    }
}

/// Exactly one of the handler types, well-formed.
fn validate_handler(handler: &Value, types: &[&str], grace: Option<i64>, path: &Path<'_>, errors: &mut Errors) {
    let mut found = false;
    for member in types.iter().filter(|member| !handler[**member].is_null()) {
        let (action, path) = (&handler[*member], path.child(member));
        if found {
            errors.forbidden(&path, "may not specify more than 1 handler type");
            continue;
        }
        found = true;
        match *member {
            "exec" if is_empty(&action["command"]) => errors.required(&path.child("command"), ""),
            "httpGet" => validate_http_get(action, &path, errors),
            "tcpSocket" | "grpc" => validate_port(&action["port"], &path.child("port"), errors),
            "sleep" => {
                let seconds = int(&action["seconds"]);
                if let Some(grace) = grace
                    && !(0..=grace).contains(&seconds)
                {
                    let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                    errors.invalid(&path, seconds, detail);
                }
            }
            _ => {}
        }
    }
    if !found {
        errors.required(path, "must specify a handler type");
    }
}

fn validate_http_get(get: &Value, path: &Path<'_>, errors: &mut Errors) {
    if text(&get["path"]).is_empty() {
        errors.required(&path.child("path"), "");
    }
    validate_port(&get["port"], &path.child("port"), errors);
    let scheme = text(&get["scheme"]);
    if !matches!(scheme, "HTTP" | "HTTPS") {
        errors.not_supported(&path.child("scheme"), scheme, &["HTTP", "HTTPS"]);
    }
    for header in items(&get["httpHeaders"]) {
        let name = text(&header["name"]);
        errors.invalid_each(&path.child("httpHeaders"), name, names::http_header_name(name));
    }
}

/// A port by number or by name.
fn validate_port(port: &Value, path: &Path<'_>, errors: &mut Errors) {
    match port.as_str() {
        Some(name) => errors.invalid_each(path, name, names::port_name(name)),
        None => {
            for wrong in names::port_number(int(port)) {
                errors.invalid(path, int(port), wrong);
            }
        }
    }
}
