//! Environment variables and the places they come from.
use crate::field::{Errors, Path};
use crate::names::{self, NameRule};
use crate::quantity::Quantity;
use crate::value::{is_empty, items, text};
use serde_json::Value;
use std::collections::HashMap;

const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

pub(super) fn validate(container: &Value, path: &Path<'_>, errors: &mut Errors) {
    let env = path.child("env");
    for (index, variable) in items(&container["env"]).iter().enumerate() {
        let path = env.index(index);
        let name = text(&variable["name"]);
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else {
            errors.invalid_each(&path.child("name"), name, names::env_var_name(name));
        }
        if variable["valueFrom"].is_object() {
            value_from(variable, &path.child("valueFrom"), errors);
        }
    }
    let env_from = path.child("envFrom");
    for (index, source) in items(&container["envFrom"]).iter().enumerate() {
        let path = env_from.index(index);
        let prefix = text(&source["prefix"]);
        if !prefix.is_empty() {
            errors.invalid_each(&path.child("prefix"), prefix, names::env_var_name(prefix));
        }
        let present: Vec<&str> =
            ["configMapRef", "secretRef"].into_iter().filter(|member| source[*member].is_object()).collect();
        for member in &present {
            let path = path.child(member);
            let name = text(&source[*member]["name"]);
            if name.is_empty() {
                errors.required(&path.child("name"), "");
            } else {
                errors.invalid_each(&path.child("name"), name, NameRule::Subdomain.check(name, true));
            }
        }
        match present.len() {
            0 => errors.invalid(&env_from, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => errors.invalid(&env_from, "", "may not have more than one field specified at a time"),
        }
    }
}

fn value_from(variable: &Value, path: &Path<'_>, errors: &mut Errors) {
    let from = &variable["valueFrom"];
    let mut sources = 0;
    for member in ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"] {
        let (source, path) = (&from[member], path.child(member));
        if source.is_null() {
            continue;
        }
        sources += 1;
        match member {
            "fieldRef" => validate_field_ref(source, ENV_FIELDS, &path, errors),
            "resourceFieldRef" => validate_resource_ref(source, false, &path, errors),
            "fileKeyRef" => validate_file_key(source, &path, errors),
            _ => {
                let (name, key) = (text(&source["name"]), text(&source["key"]));
                errors.invalid_each(&path.child("name"), name, names::dns1123_subdomain(name));
                if key.is_empty() {
                    errors.required(&path.child("key"), "");
                } else {
                    errors.invalid_each(&path.child("key"), key, names::config_map_key(key));
                }
            }
        }
    }
    if sources == 0 {
        errors.invalid(
            path,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        );
    } else if !text(&variable["value"]).is_empty() {
        errors.invalid(path, "", "may not be specified when `value` is not empty");
    } else if sources > 1 {
        errors.invalid(path, "", "may not have more than one field specified at a time");
    }
}

fn validate_file_key(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    for member in ["key", "volumeName", "path"] {
        let (value, path) = (text(&source[member]), path.child(member));
        match member {
            _ if value.is_empty() => errors.required(&path, ""),
            "key" => errors.invalid_each(&path, value, names::env_var_name(value)),
            "volumeName" => errors.invalid_each(&path, value, names::dns1123_label(value)),
            _ => super::volumes::validate_no_backsteps(value, &path, errors),
        }
    }
}

/// Files that variables come from lie in volumes of type emptyDir.
pub(super) fn validate_file_volumes(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let volumes: HashMap<&str, &Value> = items(&spec["volumes"]).iter().map(|one| (text(&one["name"]), one)).collect();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        let path = path.child(list);
        for (index, container) in items(&spec[list]).iter().enumerate() {
            let path = path.index(index);
            let path = path.child("env");
            for (index, variable) in items(&container["env"]).iter().enumerate() {
                let Some(name) = variable["valueFrom"]["fileKeyRef"].get("volumeName") else { continue };
                let (path, name) = (path.index(index), text(name));
                let path = path.child("valueFrom.fileKeyRef.volumeName");
                match volumes.get(name) {
                    None => errors.not_found(&path, name),
                    Some(volume) if volume["emptyDir"].is_null() => {
                        errors.invalid(&path, name, "referenced volume must be of type emptyDir");
                    }
                    Some(_) => {}
                }
            }
        }
    }
}

/// A field of the pod: one of `fields`, or a label or annotation by its key.
pub(super) fn validate_field_ref(source: &Value, fields: &[&str], path: &Path<'_>, errors: &mut Errors) {
    for member in ["apiVersion", "fieldPath"] {
        if text(&source[member]).is_empty() {
            return errors.required(&path.child(member), "");
        }
    }
    let field = text(&source["fieldPath"]);
    let version = text(&source["apiVersion"]);
    if version != "v1" {
        let detail = format!("error converting fieldPath: unsupported pod version: {version}");
        return errors.invalid(&path.child("fieldPath"), field, detail);
    }
    if let Some((base, key)) = field.strip_suffix("']").and_then(|field| field.split_once("['")) {
        return match base {
            "metadata.annotations" => {
                errors.invalid_each(path, &key.to_lowercase(), names::qualified_name(&key.to_lowercase()));
            }
            "metadata.labels" => errors.invalid_each(path, key, names::qualified_name(key)),
            _ => {
                let detail = format!("error converting fieldPath: field label does not support subscript: {field}");
                errors.invalid(&path.child("fieldPath"), field, detail);
            }
        };
    }
    const KNOWN: [&str; 11] = [
        "metadata.annotations",
        "metadata.labels",
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.serviceAccountName",
        "spec.schedulerName",
        "status.phase",
        "status.hostIP",
    ];
    if fields.contains(&field) {
        return;
    }
    let path = path.child("fieldPath");
    if KNOWN.contains(&field) || field.starts_with("status.podIP") || field == "status.hostIPs" {
        errors.not_supported(&path, field, fields);
    } else {
        errors.invalid(&path, field, format!("error converting fieldPath: field label not supported: {field}"));
    }
}

/// A container's request or limit.
pub(super) fn validate_resource_ref(source: &Value, volume: bool, path: &Path<'_>, errors: &mut Errors) {
    let resource = text(&source["resource"]);
    let huge = resource.starts_with("limits.hugepages-") || resource.starts_with("requests.hugepages-");
    if volume && text(&source["containerName"]).is_empty() {
        errors.required(&path.child("containerName"), "");
    } else if resource.is_empty() {
        errors.required(&path.child("resource"), "");
    } else if !huge && !RESOURCES.contains(&resource) {
        errors.not_supported(&path.child("resource"), resource, RESOURCES);
    }
    if is_empty(&source["divisor"]) || Quantity::from_value(&source["divisor"]).is_ok_and(|divisor| divisor.is_zero()) {
        return;
    }
    let divisor = text(&source["divisor"]);
    let whole = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    let what = match resource {
        "limits.cpu" | "requests.cpu" if matches!(divisor, "1" | "1m") => return,
        "limits.cpu" | "requests.cpu" => {
            let detail = "only divisor's values 1m and 1 are supported with the cpu resource";
            return errors.invalid(&path.child("divisor"), resource, detail);
        }
        "limits.memory" | "requests.memory" => "memory",
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => "local ephemeral storage",
        _ if huge => "hugepages",
        _ => return,
    };
    if !whole.contains(&divisor) {
        errors.invalid(
            &path.child("divisor"),
            resource,
            format!("only divisor's values {} are supported with the {what} resource", whole.join(", ")),
        );
    }
}
