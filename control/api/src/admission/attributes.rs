//! What an admission plugin is told of a request besides the object itself (`admission.Attributes`).

use std::sync::Arc;

use serde_json::{Value, json};

use crate::catalog::Resource;
use crate::object::meta;
use crate::rest::Call;
use crate::status::Status;

/// What is done to the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A new object, also a `Binding` or `Eviction` sent to a pod.
    Create,
    /// A change.
    Update,
    /// A deletion.
    Delete,
    /// A stream or a proxied request.
    Connect,
}

impl Operation {
    /// As rules and reviews write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// Group, version and kind of the object that a request speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupVersionKind {
    /// Group, empty for core.
    pub group: String,
    /// Version.
    pub version: String,
    /// Kind.
    pub kind: String,
}

impl GroupVersionKind {
    /// What a resource, or one of its subresources, speaks.
    pub fn of(resource: &Resource, subresource: &str) -> Self {
        match resource.subresource(subresource) {
            Some(sub) => Self { group: sub.group.clone(), version: sub.version.clone(), kind: sub.kind.clone() },
            None => {
                Self { group: resource.group.clone(), version: resource.version.clone(), kind: resource.kind.clone() }
            }
        }
    }
}

/// A request under admission.
pub struct Attributes<'a> {
    /// The request.
    pub call: &'a Call,
    /// What is done.
    pub operation: Operation,
    /// To an object of this resource.
    pub resource: Arc<Resource>,
    /// Or to this part of it, empty for none.
    pub subresource: String,
    /// What kind of object is sent.
    pub kind: GroupVersionKind,
    /// Namespace, empty for cluster scope; of a Namespace its own name.
    pub namespace: String,
    /// Name, empty if it is yet to be generated.
    pub name: String,
    /// CreateOptions, UpdateOptions or DeleteOptions; null for a connection.
    pub options: Value,
    /// Whether nothing is stored.
    pub dry_run: bool,
    /// The object before the request.
    pub old: Option<&'a Value>,
}

impl<'a> Attributes<'a> {
    /// Of a call that brings `object` (null for a deletion) and finds `old`.
    pub fn new(
        call: &'a Call,
        operation: Operation,
        object: &Value,
        old: Option<&'a Value>,
        options: Value,
        dry_run: bool,
    ) -> Self {
        let (resource, info) = (call.resource.clone(), &call.info);
        let any = old.filter(|old| !old.is_null()).unwrap_or(object);
        let name = match (operation, info.name.as_str()) {
            (Operation::Delete, _) | (_, "") => meta(any, "name").to_owned(),
            (_, name) => name.to_owned(),
        };
        let is_namespace = resource.group.is_empty() && resource.plural == "namespaces";
        let namespace = match (is_namespace, resource.namespaced) {
            (true, _) => name.clone(),
            (_, true) if info.namespace.is_empty() => meta(any, "namespace").to_owned(),
            (_, true) => info.namespace.clone(),
            _ => String::new(),
        };
        Self {
            call,
            operation,
            kind: GroupVersionKind::of(&resource, &info.subresource),
            subresource: info.subresource.clone(),
            resource,
            namespace,
            name,
            options,
            dry_run,
            old,
        }
    }

    /// Of a creation or an update of an object.
    pub fn of_write(call: &'a Call, object: &Value, old: Option<&'a Value>) -> Result<Self, Status> {
        let operation = if old.is_some() { Operation::Update } else { Operation::Create };
        Ok(Self::new(call, operation, object, old, write_options(call, operation), call.dry_run()?))
    }

    /// Says something of the request in the audit log, under a key that names who says it: `policy.example.com/reason`.
    pub fn annotate(&self, key: &str, value: impl FnOnce() -> String) {
        if !self.call.trail.is_on() {
            return;
        }
        if key.split('/').count() == 2 && orlop_kinds::names::qualified_name(key).is_empty() {
            self.call.trail.annotate(key, value);
        } else {
            tracing::warn!(key, "an audit annotation has no qualified name and is left out");
        }
    }

    /// Whether it is a configuration of admission itself, which no webhook and no policy may guard.
    pub fn is_exempt(&self) -> bool {
        self.kind.group == "admissionregistration.k8s.io"
            && matches!(
                self.kind.kind.as_str(),
                "ValidatingWebhookConfiguration"
                    | "MutatingWebhookConfiguration"
                    | "ValidatingAdmissionPolicy"
                    | "ValidatingAdmissionPolicyBinding"
                    | "MutatingAdmissionPolicy"
                    | "MutatingAdmissionPolicyBinding"
            )
    }
}

/// The query's options as the object that kube-apiserver makes of them; those of a patch too.
fn write_options(call: &Call, operation: Operation) -> Value {
    let kind = if operation == Operation::Create { "CreateOptions" } else { "UpdateOptions" };
    let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
    let dry_run: Vec<&str> = call.query.all("dryRun").filter(|value| !value.is_empty()).collect();
    if !dry_run.is_empty() {
        options["dryRun"] = json!(dry_run);
    }
    for field in ["fieldManager", "fieldValidation"] {
        if let Some(value) = call.query.get(field) {
            options[field] = value.into();
        }
    }
    options
}
