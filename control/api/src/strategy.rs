//! The seam to what is truly per kind (`orlop-kinds`): defaulting, validation, and what create and update may change.

use orlop_kinds::{Errors, Kind, Subresource};
use serde_json::Value;

use crate::catalog::Resource;
use crate::convert;
use crate::object::meta;
use crate::status::{Cause, Status};

static NAMESPACED: Kind = Kind::custom(true, true);
static CLUSTER: Kind = Kind::custom(false, true);

/// The rules of a resource's kind; the general ones if it has none of its own.
pub fn rules(resource: &Resource) -> &'static Kind {
    let kind = orlop_kinds::kind(&resource.group, &resource.kind);
    match kind.is_known() {
        true => kind,
        false if resource.namespaced => &NAMESPACED,
        false => &CLUSTER,
    }
}

/// Fills in defaults, as decoding does in kube-apiserver.
pub fn default(resource: &Resource, object: &mut Value) {
    rules(resource).default(&resource.version, object);
    // What a conversion fills in is a default, too.
    convert::with_rules_form(resource, object, |_| ());
}

/// Makes a decoded object ready to be created: no status, first generation.
pub fn prepare_create(resource: &Resource, object: &mut Value) {
    convert::with_rules_form(resource, object, |object| rules(resource).prepare_create(object));
}

/// Makes an updated object ready: what this endpoint must not change comes from `old`.
pub fn prepare_update(resource: &Resource, subresource: &str, object: &mut Value, old: &Value) {
    let old = convert::in_rules_form(resource, old);
    convert::with_rules_form(resource, object, |object| {
        rules(resource).prepare_update(object, &old, kind_of(subresource));
    });
}

/// 422 with everything that is wrong with a new object.
pub fn validate_create(resource: &Resource, object: &Value) -> Result<(), Status> {
    let object = convert::in_rules_form(resource, object);
    check(resource, &object, &rules(resource).validate_create(&object))
}

/// 422 with everything that is wrong with an update.
pub fn validate_update(resource: &Resource, subresource: &str, object: &Value, old: &Value) -> Result<(), Status> {
    let (object, old) = (convert::in_rules_form(resource, object), convert::in_rules_form(resource, old));
    check(resource, &object, &rules(resource).validate_update(&object, &old, kind_of(subresource)))
}

/// `Ok`, or 422 with the causes.
pub fn check(resource: &Resource, object: &Value, errors: &Errors) -> Result<(), Status> {
    if errors.is_empty() {
        return Ok(());
    }
    let causes =
        errors.0.iter().map(|e| Cause { reason: e.kind.reason().into(), message: e.body(), field: e.field.clone() });
    Err(Status::invalid(resource, meta(object, "name"), causes.collect()))
}

fn kind_of(subresource: &str) -> Subresource {
    match subresource {
        "status" => Subresource::Status,
        "ephemeralcontainers" => Subresource::EphemeralContainers,
        "resize" => Subresource::Resize,
        "finalize" => Subresource::Finalize,
        "approval" => Subresource::Approval,
        _ => Subresource::None,
    }
}

/// Applies a strategic merge patch.
pub fn strategic_merge(resource: &Resource, object: &Value, patch: &Value) -> Result<Value, Status> {
    let Some(ty) = crate::rest::type_of(&resource.api_version(), &resource.kind) else {
        return Err(Status::unsupported_media_type(&["application/json-patch+json", "application/merge-patch+json"]));
    };
    ty.strategic_merge(object, patch).map_err(|error| Status::bad_request(error.to_string()))
}
