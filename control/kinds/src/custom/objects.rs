//! What a definition's version asks of its objects.
use orlop_schema::structural::Structural;
use serde_json::Value;

use super::{JsonPath, lists, metadata, value};
use crate::field::{Errors, Path};
use crate::names;

/// Where the replicas of an object stand.
#[derive(Clone, Debug)]
pub struct Scale {
    /// `specReplicasPath`
    pub spec: String,
    /// `statusReplicasPath`
    pub status: String,
    /// `labelSelectorPath`, if there is one.
    pub selector: Option<String>,
}

/// The rules of one version.
#[derive(Clone, Copy, Debug)]
pub struct CustomRules<'a> {
    /// The schema.
    pub schema: &'a Structural,
    /// The scale subresource, if there is one.
    pub scale: Option<&'a Scale>,
}

impl CustomRules<'_> {
    /// What is wrong with an object that is to be created, besides its metadata.
    pub fn validate_create(&self, object: &Value) -> Errors {
        let mut errors = value::validate(self.schema, object, None, "");
        self.scales(object, true, &mut errors);
        self.structure(object, &mut errors);
        errors
    }

    /// What is wrong with an update, besides its metadata.
    pub fn validate_update(&self, object: &Value, old: &Value) -> Errors {
        let mut errors = value::validate(self.schema, object, Some(old), "");
        self.scales(object, true, &mut errors);
        self.embedded(object, &mut errors);
        let mut before = Errors::default();
        lists::validate(self.schema, old, &Path::new(""), &mut before);
        if before.is_empty() {
            lists::validate(self.schema, object, &Path::new(""), &mut errors);
        }
        errors
    }

    /// What is wrong with an update of the status.
    pub fn validate_status_update(&self, object: &Value, old: &Value) -> Errors {
        let mut errors = Errors::default();
        if let (Some(status), Some(node)) = (object.get("status"), self.schema.properties.get("status")) {
            errors.extend(value::validate(node, status, old.get("status"), "status").0);
        }
        self.scales(object, false, &mut errors);
        self.embedded(object, &mut errors);
        let mut before = Errors::default();
        lists::validate(self.schema, old, &Path::new(""), &mut before);
        if before.is_empty() {
            lists::validate(self.schema, object, &Path::new(""), &mut errors);
        }
        errors
    }

    fn structure(&self, object: &Value, errors: &mut Errors) {
        self.embedded(object, errors);
        lists::validate(self.schema, object, &Path::new(""), errors);
    }

    fn embedded(&self, object: &Value, errors: &mut Errors) {
        metadata::validate(self.schema, object, &Path::new(""), errors);
    }

    fn scales(&self, object: &Value, spec: bool, errors: &mut Errors) {
        let Some(scale) = self.scale else { return };
        let mut replicas = |path: &str| {
            let Some(parsed) = JsonPath::parse(path) else { return };
            let at = Path::new(path);
            let mut refuse = |found: &Value, expected: &str| {
                let accessor = path.trim_start_matches('.');
                let (found, ty) = (go_text(found), go_type(found));
                let detail = format!(".{accessor} accessor error: {found} is of the type {ty}, expected {expected}");
                errors.invalid(&at, 0, detail);
            };
            let mut above = object;
            for name in parsed.names().iter().flatten().take(parsed.names().map_or(0, |names| names.len() - 1)) {
                match above.get(name) {
                    None => return,
                    Some(inner) if inner.is_object() => above = inner,
                    Some(other) => return refuse(other, "map[string]interface{}"),
                }
            }
            let Some(found) = parsed.find(object).cloned() else { return };
            match found.as_i64() {
                None if found.is_null() => {}
                None => refuse(&found, "int64"),
                Some(n) if n < 0 => errors.invalid(&at, n, "should be a non-negative integer"),
                Some(n) if n > i64::from(i32::MAX) => {
                    errors.invalid(&at, n, format!("should be less than or equal to {}", i32::MAX));
                }
                Some(_) => {}
            }
        };
        if spec {
            replicas(&scale.spec);
        }
        replicas(&scale.status);
    }
}

/// A value as Go's `%v` prints it.
fn go_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(go_text).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let parts: Vec<String> = map.iter().map(|(key, value)| format!("{key}:{}", go_text(value))).collect();
            format!("map[{}]", parts.join(" "))
        }
        other => other.to_string(),
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// Warnings about finalizers that are new and that nobody can tell apart from others'.
pub fn check_finalizers(object: &Value, old: &Value) -> Vec<String> {
    let had = crate::value::strings(&old["metadata"]["finalizers"]);
    let mut warnings = Vec::new();
    for finalizer in crate::value::strings(&object["metadata"]["finalizers"]) {
        if had.contains(&finalizer) {
            continue;
        }
        let quoted = crate::value::go_quote(finalizer);
        for message in names::qualified_name(finalizer) {
            warnings.push(format!("metadata.finalizers: {quoted}: {message}"));
        }
        if !finalizer.contains('/') && !matches!(finalizer, "orphan" | "foregroundDeletion" | "kubernetes") {
            let how = if finalizer.contains('.') { " including a path (/)" } else { "" };
            warnings.push(format!(
                "metadata.finalizers: {quoted}: prefer a domain-qualified finalizer name{how} to avoid accidental conflicts with other finalizer writers"
            ));
        }
    }
    warnings
}
