//! Custom resources: what a CustomResourceDefinition says, made ready for the generic path. A [`Custom`] is one served version of
//! one definition; it hangs at its [`Resource`] in the catalog, and wherever a built-in kind asks its table, a custom one asks here.
//!
//! The controller in this room watches definitions, accepts their names, publishes their resources and cleans up behind them.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use orlop_kinds::Errors;
use orlop_kinds::custom::{CustomRules, JsonPath, Rules, Scale, check_finalizers, set_condition, unrecognized_formats};
use orlop_schema::apply::Replicas;
use orlop_schema::decode::DecodeError;
use orlop_schema::structural::Structural;
use orlop_schema::{GroupVersionKind, Schema, TypeRef};
use serde_json::Value;

use crate::catalog::Resource;
use crate::object::{meta, metadata_mut};
use crate::rest::{Call, now};
use crate::status::{Cause, Status};

mod build;
mod cleanup;
mod columns;
mod controller;
mod conversion;
pub mod scale;

pub use controller::start;

/// Where definitions lie in the store.
pub const DEFINITIONS: &str = "apiextensions.k8s.io/customresourcedefinitions";
/// Keeps a definition until its objects are gone.
const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";
/// The patches that custom objects take.
pub const PATCHES: &[&str] =
    &["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];

/// One served version of a definition.
#[derive(Debug)]
pub struct Custom {
    /// Kind of a list.
    pub list_kind: String,
    /// Whether there is a status subresource.
    pub status: bool,
    /// The scale subresource, if there is one.
    pub scale: Option<Scale>,
    /// What a request for a deprecated version is told.
    pub warning: Option<String>,
    kind: GroupVersionKind,
    structural: Structural,
    schema: Schema,
    /// The rules of `x-kubernetes-validations`.
    expressions: Option<Rules>,
    columns: Vec<columns::Column>,
    selectable: Vec<(String, JsonPath)>,
    /// What any version can be selected by: the cache holds objects for all of them.
    indexed: Arc<[(String, JsonPath)]>,
    terminating: Arc<AtomicBool>,
    /// Where each version keeps its replicas.
    pub replicas: Replicas,
    conversion: Option<Arc<conversion::Conversion>>,
}

/// Versions of one name are the same to whoever compares resources.
impl PartialEq for Custom {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

impl Custom {
    /// What the schema asks of objects.
    pub fn rules(&self) -> CustomRules<'_> {
        CustomRules { schema: &self.structural, scale: self.scale.as_ref() }
    }

    /// Adds what the schema's expressions say of an object.
    pub fn judge(&self, object: &Value, old: Option<&Value>, errors: &mut Errors) {
        if let Some(expressions) = &self.expressions {
            expressions.validate(object, old, errors);
        }
    }

    /// The schema as the engine knows it.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The type of its objects.
    pub fn ty(&self) -> Option<TypeRef<'_>> {
        self.schema.type_by_kind(&self.kind)
    }

    /// Whether the definition is being deleted: then nothing is created any more.
    pub fn is_terminating(&self) -> bool {
        self.terminating.load(Ordering::Acquire)
    }

    /// Drops what the schema does not know; returns what was dropped. Malformed metadata is an error.
    pub fn prune(&self, object: &mut Value) -> Result<Vec<String>, DecodeError> {
        whole_numbers(object);
        let mut unknown = prune_metadata(object)?;
        unknown.extend(self.structural.prune(object));
        self.structural.visit_embedded(object, &mut |path, inner| {
            let shown = inner["metadata"].clone();
            let found = prune_metadata(inner).map_err(|error| {
                let text = error.to_string().replacen("ObjectMeta.metadata.", "ObjectMeta.", 1);
                DecodeError::Form(format!("{path}.metadata: Invalid value: {shown}: {text}"))
            })?;
            let nulls = inner.get_mut("metadata").and_then(Value::as_object_mut);
            if let Some(metadata) = nulls {
                metadata.retain(|_, value| !value.is_null());
            }
            unknown.extend(found.into_iter().map(|text| text.replacen("field \"", &format!("field \"{path}."), 1)));
            Ok(())
        })?;
        Ok(unknown)
    }

    /// Fills in defaults.
    pub fn default(&self, object: &mut Value) {
        self.structural.fill_defaults(object);
    }

    /// Brings a stored object into this version: its name, what the schema knows, and defaults.
    pub fn read(&self, object: &mut Value) {
        object["apiVersion"] = self.kind.api_version().into();
        self.structural.prune(object);
        self.structural.fill_defaults(object);
    }

    /// Brings an object out of the store into the version that is stored now, unless that takes a webhook.
    pub fn load(&self, object: &mut Value) {
        if self.conversion.is_none() || object["apiVersion"] == self.kind.api_version() {
            self.read(object);
        }
    }

    /// Whether a field selector may name a path.
    pub fn selects_by(&self, path: &str) -> bool {
        self.selectable.iter().any(|(name, _)| name == path)
    }

    /// The values of an object that selectors ask for.
    pub fn fields(&self, object: &Value) -> Box<[(Cow<'static, str>, Box<str>)]> {
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let values = self.indexed.iter().filter_map(|(name, path)| {
            let value = path.find(object).filter(|v| !v.is_null())?;
            Some((Cow::Owned(name.clone()), text(value).into_boxed_str()))
        });
        values.collect()
    }
}

/// A number without a fraction is written without one, as Go writes it.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            if let Some(float) = number.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 9.0e18) {
                *number = (float as i64).into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(map) => map.values_mut().for_each(whole_numbers),
        _ => {}
    }
}

/// Metadata has one type for all objects, whatever their schema.
fn prune_metadata(object: &mut Value) -> Result<Vec<String>, DecodeError> {
    const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
    let Some(metadata) = object.get_mut("metadata").filter(|m| !m.is_null()) else { return Ok(Vec::new()) };
    let Some(ty) = Schema::builtin().type_named(OBJECT_META) else { return Ok(Vec::new()) };
    let unknown = ty.prune(metadata).map_err(|error| match error {
        DecodeError::Type { value, target, go_type } => {
            let target = target.replacen("ObjectMeta.", "ObjectMeta.metadata.", 1);
            DecodeError::Type { value, target, go_type }
        }
        other => other,
    })?;
    Ok(unknown.into_iter().map(|text| text.replacen("field \"", "field \"metadata.", 1)).collect())
}

/// Warns of what is allowed and yet unwise: finalizers that look like others', formats that mean nothing.
pub fn warn(call: &Call, object: &Value, old: &Value) {
    if call.resource.custom.is_some() {
        check_finalizers(object, old).into_iter().for_each(|text| call.warn(text));
    }
    if call.resource.storage == DEFINITIONS && old.is_null() {
        let versions = object["spec"]["versions"].as_array().into_iter().flatten();
        for format in versions.flat_map(|v| unrecognized_formats(&v["schema"]["openAPIV3Schema"])) {
            call.warn(format!("unrecognized format {format:?}"));
        }
    }
}

/// An update of the status changes nothing in metadata.
pub fn keep_metadata(object: &mut Value, old: &Value) {
    let kept = ["resourceVersion", "managedFields"].map(|key| (key, object["metadata"].get(key).cloned()));
    object["metadata"] = old["metadata"].clone();
    let Some(metadata) = metadata_mut(object) else { return };
    for (key, value) in kept {
        match value {
            Some(value) => metadata.insert(key.into(), value),
            None => metadata.shift_remove(key),
        };
    }
}

/// 422 for an update that does not say on which version it builds.
pub fn must_name_version(resource: &Resource, name: &str) -> Status {
    let cause = Cause {
        reason: "FieldValueInvalid".into(),
        message: "Invalid value: 0: must be specified for an update".into(),
        field: "metadata.resourceVersion".into(),
    };
    // The store says this, which knows resources and no kinds.
    Status::invalid_as(&resource.group, &resource.plural, name, vec![cause])
}

/// A definition whose deletion begins waits for its objects; of how long they may take nothing is said, and the generation is what
/// it was.
pub fn mark_deleted(definition: &mut Value, generation: Option<Value>) {
    if let Some(metadata) = metadata_mut(definition) {
        metadata.shift_remove("deletionGracePeriodSeconds");
        if let Some(generation) = generation {
            metadata.insert("generation".into(), generation);
        }
        match metadata.get_mut("finalizers").and_then(Value::as_array_mut) {
            Some(finalizers) if finalizers.iter().any(|f| f == FINALIZER) => {}
            Some(finalizers) => finalizers.push(FINALIZER.into()),
            None => {
                metadata.insert("finalizers".into(), serde_json::json!([FINALIZER]));
            }
        }
    }
    let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    set_condition(definition, "Terminating", "True", "InstanceDeletionPending", message, &now());
}

/// Whether a definition waits for its objects to go.
fn is_leaving(definition: &Value) -> bool {
    let finalizers = definition["metadata"]["finalizers"].as_array();
    !meta(definition, "deletionTimestamp").is_empty() && finalizers.is_some_and(|f| f.iter().any(|f| f == FINALIZER))
}
