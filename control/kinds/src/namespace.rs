//! Namespaces: the `kubernetes.io/metadata.name` label, the `kubernetes` finalizer and the two phases.
use crate::field::{Errors, Path};
use crate::kind::{FieldLabel, GENERAL, Kind, Subresource, not_supported};
use crate::names::NameRule;
use crate::table::{AGE, Column, NAME, age, name};
use crate::value::{at, copy, default_to, default_zero, object_at, set, strings, text};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) static KINDS: &[Kind] = &[Kind {
    kind: "Namespace",
    namespaced: false,
    status: true,
    name: NameRule::Label,
    defaults: |_, namespace| defaults(namespace),
    prepare_create,
    prepare_update,
    validate: |namespace, errors| {
        for finalizer in strings(&namespace["spec"]["finalizers"]) {
            validate_finalizer(finalizer, &Path::new("spec.finalizers"), errors);
        }
    },
    validate_update,
    columns: &[NAME, Column::text("Status", "The status of the namespace"), AGE],
    cells,
    fields: FIELDS,
    field_error: not_supported,
    ..GENERAL
}];

const FIELDS: &[FieldLabel] = &[("status.phase", |namespace| text(&namespace["status"]["phase"]).to_owned())];

fn defaults(namespace: &mut Value) {
    let name = text(&namespace["metadata"]["name"]).to_owned();
    if !name.is_empty()
        && let Some(meta) = at(namespace, &["metadata"])
        && let Some(labels) = object_at(meta, "labels")
    {
        labels.insert("kubernetes.io/metadata.name".to_owned(), name.into());
    }
    object_at(namespace, "spec");
    object_at(namespace, "status");
    if let Some(status) = at(namespace, &["status"]) {
        default_zero(status, "phase", "Active");
    }
}

fn prepare_create(namespace: &mut Value) {
    defaults(namespace);
    set(namespace, "status", json!({"phase": "Active"}));
    if let Some(spec) = at(namespace, &["spec"]) {
        default_to(spec, "finalizers", json!([]));
        if let Some(finalizers) = spec["finalizers"].as_array_mut()
            && !finalizers.iter().any(|finalizer| finalizer == "kubernetes")
        {
            finalizers.push("kubernetes".into());
        }
    }
}

/// Only /finalize changes spec.finalizers.
fn prepare_update(new: &mut Value, old: &Value, subresource: Subresource) {
    if subresource != Subresource::Finalize {
        copy(new, old, "spec");
    }
}

fn validate_finalizer(finalizer: &str, path: &Path<'_>, errors: &mut Errors) {
    errors.invalid_each(path, finalizer, crate::names::qualified_name(finalizer));
    if !finalizer.contains('/') && finalizer != "kubernetes" {
        errors.invalid(path, finalizer, "name is neither a standard finalizer name nor is it fully qualified");
    }
}

fn validate_update(new: &Value, _: &Value, subresource: Subresource, errors: &mut Errors) {
    let spec = Path::new("spec.finalizers");
    match subresource {
        Subresource::Finalize => {
            for (index, finalizer) in strings(&new["spec"]["finalizers"]).into_iter().enumerate() {
                validate_finalizer(finalizer, &spec.index(index), errors);
            }
        }
        Subresource::Status => {
            let deleting = !new["metadata"]["deletionTimestamp"].is_null();
            let (phase, path) = (text(&new["status"]["phase"]), Path::new("status.phase"));
            if !deleting && phase != "Active" {
                errors.invalid(&path, phase, "may only be 'Active' if `deletionTimestamp` is empty");
            } else if deleting && phase != "Terminating" {
                errors.invalid(&path, phase, "may only be 'Terminating' if `deletionTimestamp` is not empty");
            }
        }
        _ => {}
    }
}

fn cells(namespace: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(namespace), text(&namespace["status"]["phase"]).into(), age(namespace, now)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind;

    #[test]
    fn a_new_namespace_is_active_labelled_and_finalized() {
        let mut namespace = json!({"metadata": {"name": "a"}});
        let rules = kind("", "Namespace");
        rules.default("v1", &mut namespace);
        rules.prepare_create(&mut namespace);
        assert_eq!(namespace["metadata"]["labels"]["kubernetes.io/metadata.name"], "a");
        assert_eq!(namespace["spec"]["finalizers"], json!(["kubernetes"]));
        assert_eq!(namespace["status"], json!({"phase": "Active"}));
        assert!(rules.validate_create(&namespace).is_empty());
        assert_eq!(cells(&namespace, Timestamp::UNIX_EPOCH)[1], "Active");
    }

    #[test]
    fn a_plain_update_cannot_drop_the_finalizer() {
        let old =
            json!({"metadata": {"name": "a"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        let mut new = json!({"metadata": {"name": "a"}, "spec": {}});
        kind("", "Namespace").prepare_update(&mut new, &old, Subresource::None);
        assert_eq!(new["spec"]["finalizers"], json!(["kubernetes"]));
        let mut new = json!({"metadata": {"name": "a"}, "spec": {"finalizers": []}});
        kind("", "Namespace").prepare_update(&mut new, &old, Subresource::Finalize);
        assert_eq!(new["spec"]["finalizers"], json!([]));
        assert_eq!(new["status"]["phase"], "Active");
    }

    #[test]
    fn the_phase_follows_the_deletion() {
        let old = json!({"metadata": {"name": "a", "resourceVersion": "1"}, "status": {"phase": "Active"}});
        let mut new = old.clone();
        new["status"]["phase"] = "Terminating".into();
        let errors = kind("", "Namespace").validate_update(&new, &old, Subresource::Status);
        assert_eq!(
            errors.message(),
            "status.phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"
        );
    }
}
