//! `spec` of a definition, with kube-apiserver's paths and messages (`pkg/apis/apiextensions/validation`).
//!
//! What all versions say alike is checked once and told at the path that kube-apiserver's internal form has for it:
//! `spec.validation`, `spec.subresources`, `spec.additionalPrinterColumns`, `spec.selectableFields`.
use std::collections::BTreeSet;

use orlop_schema::structural::Structural;
use serde_json::{Value, json};

use super::{has_condition, schema};
use crate::custom::JsonPath;
use crate::field::{Errors, Path};
use crate::kind::Subresource;
use crate::meta::immutable;
use crate::names::{dns1035_label, dns1123_subdomain};
use crate::value::{flag, items, same, strings, text};

const SPEC: Path<'static> = Path::new("spec");
const MAX_SELECTABLE: usize = 8;

pub(super) fn validate(definition: &Value, errors: &mut Errors) {
    let spec = &definition["spec"];
    let name = text(&definition["metadata"]["name"]);
    if name != format!("{}.{}", text(&spec["names"]["plural"]), text(&spec["group"])) {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        errors.invalid(&Path::new("metadata.name"), name, detail);
    }
    validate_spec(spec, errors);
    stored_versions(definition, errors);
    approval(definition, None, errors);
    if flag(&spec["preserveUnknownFields"]) {
        let detail =
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.invalid(&SPEC.child("preserveUnknownFields"), true, detail);
    }
}

pub(super) fn validate_update(new: &Value, old: &Value, subresource: Subresource, errors: &mut Errors) {
    names(&new["status"]["acceptedNames"], &Path::new("status.acceptedNames"), errors);
    if subresource == Subresource::Status {
        return;
    }
    let (spec, old_spec) = (&new["spec"], &old["spec"]);
    validate_spec(spec, errors);
    if has_condition(old, "Established") {
        immutable(&spec["scope"], &old_spec["scope"], &SPEC.child("scope"), errors);
        immutable(&spec["names"]["kind"], &old_spec["names"]["kind"], &SPEC.child("names.kind"), errors);
    }
    immutable(&spec["group"], &old_spec["group"], &SPEC.child("group"), errors);
    immutable(&spec["names"]["plural"], &old_spec["names"]["plural"], &SPEC.child("names.plural"), errors);
    stored_versions(new, errors);
    approval(new, Some(old), errors);
}

fn stored_versions(definition: &Value, errors: &mut Errors) {
    let path = Path::new("status.storedVersions");
    let list = &definition["status"]["storedVersions"];
    let stored = strings(list);
    if stored.is_empty() {
        return errors.invalid(&path, list.clone(), "must have at least one stored version");
    }
    let versions = items(&definition["spec"]["versions"]);
    for version in versions {
        let name = text(&version["name"]);
        if flag(&version["storage"]) && !stored.contains(&name) {
            errors.invalid(&path, list.clone(), format!("must have the storage version {name}"));
        }
    }
    for (at, name) in stored.iter().enumerate() {
        if !versions.iter().any(|v| text(&v["name"]) == *name) {
            let detail = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            );
            errors.invalid(&path.index(at), *name, detail);
        }
    }
}

/// Groups of the Kubernetes community need a word from it.
fn approval(new: &Value, old: Option<&Value>, errors: &mut Errors) {
    const KEY: &str = "api-approved.kubernetes.io";
    let group = text(&new["spec"]["group"]);
    if !(group == "k8s.io"
        || group.ends_with(".k8s.io")
        || group == "kubernetes.io"
        || group.ends_with(".kubernetes.io"))
    {
        return;
    }
    let state = |definition: &Value| -> (u8, String) {
        match text(&definition["metadata"]["annotations"][KEY]) {
            "" => (
                0,
                format!(
                    "protected groups must have approval annotation \"{KEY}\", see https://github.com/kubernetes/enhancements/pull/1111"
                ),
            ),
            value if value.starts_with("unapproved") => (1, String::new()),
            value if value.split_once("://").is_some_and(|(scheme, host)| !scheme.is_empty() && !host.is_empty()) => {
                (2, String::new())
            }
            _ => (
                3,
                format!(
                    "protected groups must have approval annotation \"{KEY}\" with either a URL or a reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111"
                ),
            ),
        }
    };
    let (now, reason) = state(new);
    if old.is_some_and(|old| state(old).0 == now) {
        return;
    }
    let annotations = Path::new("metadata.annotations");
    match now {
        0 => errors.required(&annotations.key(KEY), reason),
        3 => errors.invalid(&annotations.key(KEY), text(&new["metadata"]["annotations"][KEY]), reason),
        _ => {}
    }
}

fn validate_spec(spec: &Value, errors: &mut Errors) {
    let group = text(&spec["group"]);
    let wrong = dns1123_subdomain(group);
    if group.is_empty() {
        errors.required(&SPEC.child("group"), "");
    } else if !wrong.is_empty() {
        errors.invalid(&SPEC.child("group"), group, wrong.join(","));
    } else if !group.contains('.') {
        errors.invalid(&SPEC.child("group"), group, "should be a domain with at least one dot");
    }
    enumeration(&spec["scope"], &["Cluster", "Namespaced"], &SPEC.child("scope"), errors);
    versions(spec, errors);
    for field in ["plural", "singular", "kind", "listKind"] {
        if text(&spec["names"][field]).is_empty() {
            let names = SPEC.child("names");
            errors.required(&names.child(field), "");
        }
    }
    names(&spec["names"], &SPEC.child("names"), errors);
    conversion(&spec["conversion"], &SPEC.child("conversion"), errors);
}

fn versions(spec: &Value, errors: &mut Errors) {
    let list = items(&spec["versions"]);
    let path = SPEC.child("versions");
    let shared = |pick: fn(&Value) -> &Value| {
        list.first()
            .is_some_and(|first| !pick(first).is_null() && list.iter().all(|version| same(pick(version), pick(first))))
    };
    let schema_of: fn(&Value) -> &Value = |v| &v["schema"]["openAPIV3Schema"];
    let (schemas, subs, columns, selectable) = (
        shared(schema_of),
        shared(|v| &v["subresources"]),
        shared(|v| &v["additionalPrinterColumns"]),
        shared(|v| &v["selectableFields"]),
    );
    let mut seen = BTreeSet::new();
    let mut unique = true;
    for (at, version) in list.iter().enumerate() {
        let path = path.index(at);
        if !version["schema"]["openAPIV3Schema"].is_object() {
            errors.required(&path.child("schema.openAPIV3Schema"), "");
        }
        let name = text(&version["name"]);
        unique &= seen.insert(name);
        let wrong = dns1035_label(name);
        if !wrong.is_empty() {
            errors.invalid(&path.child("name"), name, wrong.join(","));
        }
        deprecation(version, &path.child("deprecationWarning"), errors);
        let status = version["subresources"]["status"].is_object();
        if !schemas {
            schema::validate(schema_of(version), status, &path.child("schema.openAPIV3Schema"), errors);
        }
        if !subs {
            subresources(&version["subresources"], &path.child("subresources"), errors);
        }
        if !columns {
            printer_columns(&version["additionalPrinterColumns"], &path.child("additionalPrinterColumns"), errors);
        }
        if !selectable {
            selectable_fields(version, &path.child("selectableFields"), errors);
        }
    }
    let shown = match &spec["versions"] {
        Value::Array(list) => list.iter().map(|v| go_version(v, schemas)).collect(),
        other => other.clone(),
    };
    if !unique {
        errors.invalid(&path, shown.clone(), "must contain unique version names");
    }
    if list.iter().filter(|v| flag(&v["storage"])).count() != 1 {
        let detail = "must have exactly one version marked as storage version";
        errors.invalid(&path, shown, detail);
    }
    let Some(first) = list.first() else { return };
    errors.invalid_each(&SPEC.child("version"), text(&first["name"]), dns1035_label(text(&first["name"])));
    if schemas {
        let status = list.iter().any(|v| v["subresources"]["status"].is_object());
        schema::validate(schema_of(first), status, &SPEC.child("validation.openAPIV3Schema"), errors);
    }
    if subs {
        subresources(&first["subresources"], &SPEC.child("subresources"), errors);
    }
    if columns {
        printer_columns(&first["additionalPrinterColumns"], &SPEC.child("additionalPrinterColumns"), errors);
    }
    if selectable {
        selectable_fields(first, &SPEC.child("selectableFields"), errors);
    }
}

/// A version as Go prints its struct; what all versions say alike stands elsewhere.
fn go_version(version: &Value, schemas: bool) -> Value {
    json!({
        "Name": version["name"], "Served": flag(&version["served"]), "Storage": flag(&version["storage"]),
        "Deprecated": flag(&version["deprecated"]), "DeprecationWarning": version["deprecationWarning"],
        "Schema": if schemas { &Value::Null } else { &version["schema"] },
        "Subresources": null, "AdditionalPrinterColumns": null, "SelectableFields": null,
    })
}

fn enumeration(value: &Value, accepted: &[&str], path: &Path<'_>, errors: &mut Errors) {
    match text(value) {
        "" => errors.required(path, ""),
        value if accepted.contains(&value) => {}
        value => errors.not_supported(path, value, accepted),
    }
}

fn deprecation(version: &Value, path: &Path<'_>, errors: &mut Errors) {
    let warning = &version["deprecationWarning"];
    let Some(words) = warning.as_str() else { return };
    if !flag(&version["deprecated"]) {
        return errors.invalid(path, words, "can only be set for deprecated versions");
    }
    if words.len() > 256 {
        errors.invalid(path, words, "must be <= 256 characters long");
    }
    if words.is_empty() {
        errors.invalid(path, words, "must not be an empty string");
    }
    if let Some((at, _)) = words.char_indices().find(|(_, c)| c.is_control()) {
        let detail =
            format!("must only contain printable UTF-8 characters; non-printable character found at index {at}");
        errors.invalid(path, words, detail);
    }
}

fn names(names: &Value, path: &Path<'_>, errors: &mut Errors) {
    for field in ["plural", "singular"] {
        let name = text(&names[field]);
        let wrong = dns1035_label(name);
        if !name.is_empty() && !wrong.is_empty() {
            errors.invalid(&path.child(field), name, wrong.join(","));
        }
    }
    for field in ["kind", "listKind"] {
        let name = text(&names[field]);
        let wrong = dns1035_label(&name.to_lowercase());
        if !name.is_empty() && !wrong.is_empty() {
            let detail = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
            errors.invalid(&path.child(field), name, detail);
        }
    }
    let list = |field: &str, errors: &mut Errors| {
        for (at, name) in strings(&names[field]).into_iter().enumerate() {
            let wrong = dns1035_label(name);
            if !wrong.is_empty() {
                let path = path.child(field);
                errors.invalid(&path.index(at), name, wrong.join(","));
            }
        }
    };
    list("shortNames", errors);
    let kind = text(&names["kind"]);
    if !kind.is_empty() && kind == text(&names["listKind"]) {
        errors.invalid(&path.child("listKind"), kind, "kind and listKind may not be the same");
    }
    list("categories", errors);
}

fn subresources(subresources: &Value, path: &Path<'_>, errors: &mut Errors) {
    let scale = &subresources["scale"];
    if !scale.is_object() {
        return;
    }
    let mut check = |field: &str, below: &[&str], required: bool, words: &str| {
        let value = text(&scale[field]);
        let inner = format!("scale.{field}");
        let path = path.child(&inner);
        if value.is_empty() {
            if required {
                errors.required(&path, "");
            }
        } else if !value.starts_with('.') {
            errors.invalid(&path, value, "must be a simple json path starting with .");
        } else if !below.iter().any(|b| value.starts_with(b)) {
            errors.invalid(&path, value, format!("should be a json path under {words}"));
        }
    };
    check("specReplicasPath", &[".spec."], true, ".spec");
    check("statusReplicasPath", &[".status."], true, ".status");
    check("labelSelectorPath", &[".spec.", ".status."], false, "either .spec or .status");
}

fn printer_columns(columns: &Value, path: &Path<'_>, errors: &mut Errors) {
    const TYPES: &[&str] = &["boolean", "date", "integer", "number", "string"];
    const FORMATS: &[&str] = &["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
    for (at, column) in items(columns).iter().enumerate() {
        let path = path.index(at);
        if text(&column["name"]).is_empty() {
            errors.required(&path.child("name"), "");
        }
        let one_of = |list: &[&str]| format!("must be one of {}", list.join(","));
        match text(&column["type"]) {
            "" => errors.required(&path.child("type"), one_of(TYPES)),
            ty if TYPES.contains(&ty) => {}
            ty => errors.invalid(&path.child("type"), ty, one_of(TYPES)),
        }
        let format = text(&column["format"]);
        if !format.is_empty() && !FORMATS.contains(&format) {
            errors.invalid(&path.child("format"), format, one_of(FORMATS));
        }
        match text(&column["jsonPath"]) {
            "" => errors.required(&path.child("JSONPath"), ""),
            value if !value.starts_with('.') => {
                errors.invalid(&path.child("JSONPath"), value, "must be a simple json path starting with .");
            }
            _ => {}
        }
    }
}

fn selectable_fields(version: &Value, path: &Path<'_>, errors: &mut Errors) {
    let fields = items(&version["selectableFields"]);
    let Ok(node) = Structural::parse(&version["schema"]["openAPIV3Schema"]) else { return };
    let mut unique = BTreeSet::new();
    for (at, field) in fields.iter().enumerate() {
        let path = path.index(at);
        let path = path.child("jsonPath");
        let value = text(&field["jsonPath"]);
        if value.is_empty() {
            errors.required(&path, "");
            continue;
        }
        let mut wrong = |why: &str| errors.invalid(&path, value, format!("is an invalid path: {why}"));
        if let Some(start) = value.chars().next().filter(|c| !matches!(c, '.' | '[')) {
            let word = value.split(['.', '[']).next().unwrap_or_default();
            wrong(&format!(
                "expected [ or . but got: {}",
                if word.is_empty() { start.to_string() } else { word.into() }
            ));
            continue;
        }
        if value.contains('[') {
            wrong("array notation is not allowed");
            continue;
        }
        let parsed = JsonPath::parse(value);
        let names = parsed.as_ref().and_then(JsonPath::names).filter(|n| !n.is_empty());
        let Some(names) = names else {
            wrong("expected only field names");
            continue;
        };
        let mut found = Some(&node);
        for name in &names {
            let next = found.and_then(|node| node.properties.get(*name));
            if next.is_none() {
                errors.invalid(&path, value, "is an invalid path: does not refer to a valid field");
            }
            found = next;
            if found.is_none() {
                break;
            }
        }
        let Some(found) = found else { continue };
        if names[0] == "metadata" {
            errors.invalid(&path, value, "must not point to fields in metadata");
        }
        if !matches!(found.ty.as_str(), "string" | "boolean" | "integer") {
            let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.invalid(&path, value, detail);
        }
        if !unique.insert(names.join(".")) {
            errors.duplicate(&path, value);
        }
    }
    if unique.len() > MAX_SELECTABLE {
        errors.too_many(path, unique.len(), MAX_SELECTABLE);
    }
}

fn conversion(conversion: &Value, path: &Path<'_>, errors: &mut Errors) {
    if !conversion.is_object() {
        return;
    }
    enumeration(&conversion["strategy"], &["None", "Webhook"], &path.child("strategy"), errors);
    let (webhook, client) = (&conversion["webhook"], &conversion["webhook"]["clientConfig"]);
    let client_path = path.child("webhookClientConfig");
    let versions_path = path.child("conversionReviewVersions");
    let versions = strings(&webhook["conversionReviewVersions"]);
    if text(&conversion["strategy"]) != "Webhook" {
        if client.is_object() {
            errors.forbidden(&client_path, "should not be set when strategy is not set to Webhook");
        }
        if !versions.is_empty() {
            errors.forbidden(&versions_path, "should not be set when strategy is not set to Webhook");
        }
        return;
    }
    if !client.is_object() {
        errors.required(&client_path, "required when strategy is set to Webhook");
    } else {
        match (&client["url"], &client["service"]) {
            (Value::String(url), Value::Null) => webhook_url(url, &client_path.child("url"), errors),
            (Value::Null, service @ Value::Object(_)) => {
                webhook_service(service, &client_path.child("service"), errors);
            }
            _ => errors.required(&client_path, "exactly one of url or service is required"),
        }
    }
    if versions.is_empty() {
        return errors.required(&versions_path, "");
    }
    let mut seen = BTreeSet::new();
    for (at, version) in versions.iter().enumerate() {
        if !seen.insert(version) {
            errors.invalid(&versions_path.index(at), *version, "duplicate version");
            continue;
        }
        errors.invalid_each(&versions_path.index(at), version, dns1035_label(version));
    }
    if !versions.iter().any(|v| matches!(*v, "v1" | "v1beta1")) {
        let list = webhook["conversionReviewVersions"].clone();
        errors.invalid(&versions_path, list, "must include at least one of v1, v1beta1");
    }
}

fn webhook_url(url: &str, path: &Path<'_>, errors: &mut Errors) {
    const FORM: &str = "; desired format: https://host[/path]";
    let Some((scheme, rest)) = url.split_once("://") else {
        return errors.invalid(path, url, format!("'https' is the only allowed URL scheme{FORM}"));
    };
    if scheme != "https" {
        errors.invalid(path, scheme, format!("'https' is the only allowed URL scheme{FORM}"));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    if host.is_empty() {
        errors.invalid(path, host, format!("host must be specified{FORM}"));
    }
    if authority.contains('@') {
        errors.invalid(path, authority, "user information is not permitted in the URL");
    }
    if let Some((_, fragment)) = rest.split_once('#') {
        errors.invalid(path, fragment, "fragments are not permitted in the URL");
    }
    if rest.split('#').next().is_some_and(|r| r.contains('?')) {
        let query = rest.split_once('?').map_or("", |(_, q)| q);
        errors.invalid(path, query, "query parameters are not permitted in the URL");
    }
}

fn webhook_service(service: &Value, path: &Path<'_>, errors: &mut Errors) {
    if text(&service["name"]).is_empty() {
        errors.required(&path.child("name"), "");
    }
    if text(&service["namespace"]).is_empty() {
        errors.required(&path.child("namespace"), "");
    }
    let port = service["port"].as_i64().unwrap_or(443);
    if !(1..=65535).contains(&port) {
        errors.invalid(
            &path.child("port"),
            port,
            format!("port is not valid: {}", crate::names::port_number(port).join(",")),
        );
    }
    let Some(url_path) = service["path"].as_str() else { return };
    let path = path.child("path");
    if !url_path.starts_with('/') {
        errors.invalid(&path, url_path, "must start with a '/'");
    }
    if matches!(url_path, "" | "/") {
        return;
    }
    // The first character is taken for the slash, whatever it is.
    let mut rest = url_path.chars();
    rest.next();
    let rest = rest.as_str();
    for (at, segment) in rest.strip_suffix('/').unwrap_or(rest).split('/').enumerate() {
        if segment.is_empty() {
            errors.invalid(&path, url_path, format!("segment[{at}] may not be empty"));
            continue;
        }
        for wrong in dns1123_subdomain(segment) {
            errors.invalid(&path, url_path, format!("segment[{at}]: {wrong}"));
        }
    }
}
