//! The table of kinds: one entry per kind that has rules of its own, found by group and kind. A kind that is not in the table
//! (a custom resource) gets [`Kind::custom`], which keeps Kubernetes' general rules and adds none.
use crate::field::Errors;
use crate::fields::{FieldSelector, FieldSelectorError};
use crate::meta;
use crate::names::NameRule;
use crate::table::{CREATED_AT, Column, DEFAULT_COLUMNS, default_cells};
use crate::value::{copy, int, remove, same, set, text};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::LazyLock;

/// What part of an object a request writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subresource {
    /// The object itself.
    None,
    /// `/status`
    Status,
    /// `/ephemeralcontainers` of a Pod.
    EphemeralContainers,
    /// `/resize` of a Pod.
    Resize,
    /// `/finalize` of a Namespace.
    Finalize,
    /// `/approval` of a CertificateSigningRequest.
    Approval,
}

/// The rules of one kind. All functions are pure; time is passed in.
#[derive(Clone, Copy)]
pub struct Kind {
    /// The API group, "" for core.
    pub group: &'static str,
    /// The kind's name.
    pub kind: &'static str,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Whether `/status` is written apart from the rest.
    pub status: bool,
    /// Whether a client may set the status when it creates the object (a kubelet registers its Node whole).
    pub status_on_create: bool,
    /// Whether metadata.generation counts changes of the spec.
    pub generation: bool,
    /// Whether an update must say on which resourceVersion it builds.
    pub names_version: bool,
    /// Whether an update of the status leaves labels, annotations, finalizers and owners as they are.
    pub status_keeps_metadata: bool,
    /// What names may look like.
    pub name: NameRule,
    pub(crate) defaults: fn(&str, &mut Value),
    pub(crate) prepare_create: fn(&mut Value),
    pub(crate) prepare_update: fn(&mut Value, &Value, Subresource),
    pub(crate) validate: fn(&Value, &mut Errors),
    pub(crate) validate_update: fn(&Value, &Value, Subresource, &mut Errors),
    pub(crate) columns: &'static [Column],
    pub(crate) cells: fn(&Value, Timestamp) -> Vec<Value>,
    pub(crate) fields: &'static [FieldLabel],
    pub(crate) field_error: fn(&Kind, &str) -> String,
}

/// A field label beyond metadata.name and metadata.namespace, and how to read it.
pub(crate) type FieldLabel = (&'static str, fn(&Value) -> String);

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kind({}/{})", self.group, self.kind)
    }
}

/// The general rules, namespaced, without status.
pub(crate) const GENERAL: Kind = Kind {
    group: "",
    kind: "",
    namespaced: true,
    status: false,
    status_on_create: false,
    generation: false,
    names_version: false,
    status_keeps_metadata: false,
    name: NameRule::Subdomain,
    defaults: no_defaults,
    prepare_create: no_prepare_create,
    prepare_update: no_prepare_update,
    validate: no_validate,
    validate_update: no_validate_update,
    columns: DEFAULT_COLUMNS,
    cells: default_cells,
    fields: &[],
    field_error: |_, label| {
        format!(
            "{} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
            crate::value::go_quote(label)
        )
    },
};

// Functions with one address each, so that a kind can tell whether it has rules of its own.
#[inline(never)]
fn no_defaults(_: &str, _: &mut Value) {}
#[inline(never)]
fn no_prepare_create(_: &mut Value) {}
#[inline(never)]
fn no_prepare_update(_: &mut Value, _: &Value, _: Subresource) {}
#[inline(never)]
fn no_validate(_: &Value, _: &mut Errors) {}
#[inline(never)]
fn no_validate_update(_: &Value, _: &Value, _: Subresource, _: &mut Errors) {}

/// Which rules a kind has beyond those of all kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    /// It fills in what the user left out.
    pub defaults: bool,
    /// It checks more than metadata.
    pub validation: bool,
    /// It decides what a creation or an update may set, or counts generations, or keeps its status apart.
    pub strategy: bool,
    /// It has more columns than name and age.
    pub columns: bool,
}

/// The text of kinds that list their field labels.
pub(crate) fn not_supported(_: &Kind, label: &str) -> String {
    format!("field label not supported: {label}")
}

impl Kind {
    /// The rules for a custom resource: only the general ones.
    pub const fn custom(namespaced: bool, status: bool) -> Self {
        Self { namespaced, status, generation: true, names_version: true, ..GENERAL }
    }

    /// Whether this kind has an entry of its own (so the answer is no for custom resources).
    pub fn is_known(&self) -> bool {
        !self.kind.is_empty()
    }

    /// Whether tables of this kind have columns of its own.
    pub fn has_printer(&self) -> bool {
        self.columns != CREATED_AT
    }

    /// Which rules are this kind's own.
    pub fn own(&self) -> Own {
        use std::ptr::fn_addr_eq;
        let prepares = !fn_addr_eq(self.prepare_create, GENERAL.prepare_create)
            || !fn_addr_eq(self.prepare_update, GENERAL.prepare_update);
        Own {
            defaults: !fn_addr_eq(self.defaults, GENERAL.defaults),
            validation: !fn_addr_eq(self.validate, GENERAL.validate)
                || !fn_addr_eq(self.validate_update, GENERAL.validate_update),
            strategy: prepares || self.status || self.generation,
            columns: self.columns.len() != GENERAL.columns.len()
                || self.columns.iter().zip(GENERAL.columns).any(|(own, general)| own.name != general.name),
        }
    }

    /// Fills in what the user left out, as the group's `version` defaults it. Idempotent.
    pub fn default(&self, version: &str, object: &mut Value) {
        (self.defaults)(version, object);
    }

    /// Clears what a client may not set on creation and fills in what the server sets (generation, initial status).
    /// Runs after admission and before validation.
    pub fn prepare_create(&self, object: &mut Value) {
        if self.status && !self.status_on_create {
            remove(object, "status");
        }
        if let Some(meta) = object.get_mut("metadata") {
            if self.generation {
                set(meta, "generation", 1);
            } else {
                remove(meta, "generation");
            }
        }
        crate::pod::disabled::drop_fields(self.group, self.kind, object, &serde_json::Value::Null);
        (self.prepare_create)(object);
    }

    /// Restores from the stored object what this request may not change, and moves metadata.generation on.
    pub fn prepare_update(&self, new: &mut Value, old: &Value, subresource: Subresource) {
        if let Some(meta) = new.get_mut("metadata") {
            copy(meta, &old["metadata"], "generation");
        }
        match subresource {
            Subresource::Status => {
                keep_all_but_status(new, old);
                if self.status_keeps_metadata {
                    keep_metadata(new, old);
                }
            }
            // An approval writes a part of the status, which its kind knows.
            Subresource::Approval => {}
            _ if self.status => copy(new, old, "status"),
            _ => {}
        }
        crate::pod::disabled::drop_fields(self.group, self.kind, new, old);
        (self.prepare_update)(new, old, subresource);
        if self.generation && subresource != Subresource::Status && desired_changed(new, old, self.status) {
            let generation = int(&old["metadata"]["generation"]) + 1;
            if let Some(meta) = new.get_mut("metadata") {
                set(meta, "generation", generation);
            }
        }
    }

    /// What is wrong with an object that is to be created.
    pub fn validate_create(&self, object: &Value) -> Errors {
        let mut errors = Errors::default();
        meta::validate(&object["metadata"], self.namespaced, self.name, &mut errors);
        let is_staged = matches!(self.group, "apiextensions.k8s.io" | "apiregistration.k8s.io");
        if self.is_known() && !is_staged {
            meta::validate_own_finalizers(&object["metadata"], &mut errors);
        }
        (self.validate)(object, &mut errors);
        errors
    }

    /// What is wrong with an update; both objects have been prepared.
    pub fn validate_update(&self, new: &Value, old: &Value, subresource: Subresource) -> Errors {
        let mut errors = Errors::keeping(crate::pod::validation::kept(self.group, self.kind, old));
        meta::validate_update(&new["metadata"], &old["metadata"], &mut errors);
        (self.validate_update)(new, old, subresource, &mut errors);
        errors
    }

    /// What a writer should hear about an object that is valid; `old` is null when it is being created.
    pub fn warnings(&self, new: &Value, old: &Value, subresource: Subresource) -> Vec<String> {
        crate::warnings::of(self.group, self.kind, new, old, subresource)
    }

    /// The columns of `kubectl get`, wide ones included.
    pub fn columns(&self) -> &'static [Column] {
        self.columns
    }

    /// One object's cells, as many as there are columns.
    pub fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        (self.cells)(object, now)
    }

    /// The conditions of a Table row: a Pod that has ended is `Completed`.
    pub fn row_conditions(&self, object: &Value) -> Vec<Value> {
        let message = match (self.group, self.kind, text(&object["status"]["phase"])) {
            ("", "Pod", "Succeeded") => "The pod has completed successfully.",
            ("", "Pod", "Failed") => "The pod failed.",
            _ => return Vec::new(),
        };
        let reason = &object["status"]["phase"];
        vec![serde_json::json!({"type": "Completed", "status": "True", "reason": reason, "message": message})]
    }

    /// The value that a field selector sees, "" for labels that the kind does not have.
    pub fn field_value(&self, label: &str, object: &Value) -> String {
        match label {
            "metadata.name" | "metadata.namespace" => text(&object["metadata"][&label[9..]]).to_owned(),
            _ => self.fields.iter().find(|field| field.0 == label).map(|field| (field.1)(object)).unwrap_or_default(),
        }
    }

    /// All field labels of this kind with an object's values.
    pub fn field_labels(&self, object: &Value) -> Vec<(&'static str, String)> {
        let meta = ["metadata.name", "metadata.namespace"].into_iter().filter(|label| self.supports_field(label));
        meta.chain(self.fields.iter().map(|field| field.0))
            .map(|label| (label, self.field_value(label, object)))
            .collect()
    }

    /// Checks that a field selector uses only labels that this kind supports.
    pub fn check_fields(&self, selector: &FieldSelector) -> Result<(), FieldSelectorError> {
        match selector.terms.iter().find(|term| !self.supports_field(&term.field)) {
            Some(term) => Err(FieldSelectorError((self.field_error)(self, &term.field))),
            None => Ok(()),
        }
    }

    /// Whether objects can be selected by fields of their own, beside name and namespace.
    pub fn has_fields(&self) -> bool {
        !self.fields.is_empty()
    }

    /// Whether a field selector may name this label.
    pub fn supports_field(&self, label: &str) -> bool {
        match label {
            "metadata.name" => true,
            "metadata.namespace" => self.namespaced || self.fields.is_empty(),
            _ => self.fields.iter().any(|field| field.0 == label),
        }
    }

    /// Whether a selector chooses this object.
    pub fn matches_fields(&self, selector: &FieldSelector, object: &Value) -> bool {
        selector.matches(|label| self.field_value(label, object))
    }
}

/// A status update changes status and nothing else but metadata (managedFields, annotations, ...).
fn keep_all_but_status(new: &mut Value, old: &Value) {
    let Some(map) = new.as_object_mut() else { return };
    map.retain(|key, _| matches!(key.as_str(), "apiVersion" | "kind" | "metadata" | "status"));
    for (key, value) in crate::value::entries(old) {
        if !matches!(key, "apiVersion" | "kind" | "metadata" | "status") {
            map.insert(key.to_owned(), value.clone());
        }
    }
}

/// What `metav1.ResetObjectMetaForStatus` takes from the stored object.
fn keep_metadata(new: &mut Value, old: &Value) {
    let Some(meta) = new.get_mut("metadata") else { return };
    for member in ["labels", "annotations", "finalizers", "ownerReferences"] {
        copy(meta, &old["metadata"], member);
    }
}

/// Whether anything but metadata (and a status that is written apart) differs.
fn desired_changed(new: &Value, old: &Value, status_apart: bool) -> bool {
    let desired = |key: &str| !matches!(key, "apiVersion" | "kind" | "metadata") && (key != "status" || !status_apart);
    let keys = crate::value::entries(new).chain(crate::value::entries(old)).map(|(key, _)| key);
    keys.filter(|key| desired(key)).any(|key| !same(&new[key], &old[key]))
}

/// The rules for a group and kind; the general, namespaced ones when the kind is not built in.
pub fn kind(group: &str, kind: &str) -> &'static Kind {
    static CUSTOM: Kind = Kind::custom(true, true);
    static KNOWN: LazyLock<HashMap<(&str, &str), &Kind>> =
        LazyLock::new(|| all().map(|entry| ((entry.group, entry.kind), entry)).collect());
    KNOWN.get(&(group, kind)).copied().unwrap_or(&CUSTOM)
}

/// Every kind that has an entry.
pub fn all() -> impl Iterator<Item = &'static Kind> {
    crate::FAMILIES.iter().flat_map(|family| family.iter())
}
