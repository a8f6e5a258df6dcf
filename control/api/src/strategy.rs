//! The seam to what is truly per kind (`orlop-kinds`): defaulting, validation, and what create and update may change.

use orlop_kinds::{Errors, FieldError, Kind, Subresource};
use orlop_schema::strategic::StrategicError;
use serde_json::Value;

use crate::catalog::Resource;
use crate::convert;
use crate::object::meta;
use crate::status::{Cause, Status};

/// By whether objects live in namespaces, then by whether they have a status of their own.
static CUSTOM: [[Kind; 2]; 2] =
    [[Kind::custom(false, false), Kind::custom(false, true)], [Kind::custom(true, false), Kind::custom(true, true)]];

/// The rules of a resource's kind; the general ones if it has none of its own.
pub fn rules(resource: &Resource) -> &'static Kind {
    let status = match &resource.custom {
        Some(custom) => custom.status,
        None => {
            let kind = orlop_kinds::kind(&resource.group, &resource.kind);
            if kind.is_known() {
                return kind;
            }
            true
        }
    };
    &CUSTOM[usize::from(resource.namespaced)][usize::from(status)]
}

/// Fills in defaults, as decoding does in kube-apiserver.
pub fn default(resource: &Resource, object: &mut Value) {
    if let Some(custom) = &resource.custom {
        return custom.default(object);
    }
    rules(resource).default(&resource.version, object);
    date_taints(resource, object);
    // What a conversion fills in is a default, too.
    convert::with_rules_form(resource, object, |_| ());
}

/// A device's taint says since when it is there.
fn date_taints(resource: &Resource, object: &mut Value) {
    if (&*resource.group, &*resource.kind) != ("resource.k8s.io", "ResourceSlice") {
        return;
    }
    let devices = object.pointer_mut("/spec/devices").and_then(Value::as_array_mut).into_iter().flatten();
    let taints = devices.filter_map(|device| device.get_mut("taints")?.as_array_mut()).flatten();
    for taint in taints.filter(|taint| taint["timeAdded"].is_null()) {
        taint["timeAdded"] = crate::rest::now().into();
    }
}

/// Makes a decoded object ready to be created: no status, first generation.
pub fn prepare_create(resource: &Resource, object: &mut Value) {
    convert::with_rules_form(resource, object, |object| rules(resource).prepare_create(object));
    if (&*resource.group, &*resource.kind) == ("", "PersistentVolume") {
        object["status"]["lastPhaseTransitionTime"] = crate::rest::now().into();
    }
}

/// Makes an updated object ready: what this endpoint must not change comes from `old`.
pub fn prepare_update(resource: &Resource, subresource: &str, object: &mut Value, old: &Value) {
    let old = convert::in_rules_form(resource, old);
    convert::with_rules_form(resource, object, |object| {
        rules(resource).prepare_update(object, &old, kind_of(subresource));
    });
    if resource.custom.is_some() && subresource == "status" {
        crate::custom::keep_metadata(object, &old);
    }
}

/// 422 with everything that is wrong with a new object.
pub fn validate_create(resource: &Resource, object: &Value) -> Result<(), Status> {
    let object = convert::in_rules_form(resource, object);
    let mut errors = rules(resource).validate_create(&object);
    if let Some(custom) = &resource.custom {
        errors.0.extend(custom.rules().validate_create(&object).0);
        custom.judge(&object, None, &mut errors);
    }
    check(resource, &object, &errors)
}

/// 422 with everything that is wrong with an update.
pub fn validate_update(resource: &Resource, subresource: &str, object: &Value, old: &Value) -> Result<(), Status> {
    let (object, old) = (convert::in_rules_form(resource, object), convert::in_rules_form(resource, old));
    let mut errors = rules(resource).validate_update(&object, &old, kind_of(subresource));
    if let Some(custom) = &resource.custom {
        errors.0.extend(match subresource {
            "status" => custom.rules().validate_status_update(&object, &old).0,
            _ => custom.rules().validate_update(&object, &old).0,
        });
        custom.judge(&object, Some(&old), &mut errors);
    }
    check(resource, &object, &errors)
}

/// What the writer should hear about an object that passed; `old` is null on creation.
pub fn warnings(resource: &Resource, subresource: &str, object: &Value, old: &Value) -> Vec<String> {
    if resource.custom.is_some() {
        return Vec::new();
    }
    let (object, old) = (convert::in_rules_form(resource, object), convert::in_rules_form(resource, old));
    rules(resource).warnings(&object, &old, kind_of(subresource))
}

/// `Ok`, or 422 with the causes.
pub fn check(resource: &Resource, object: &Value, errors: &Errors) -> Result<(), Status> {
    if errors.is_empty() {
        return Ok(());
    }
    // Kubernetes has one type for both spellings of events, and names it as the core group does.
    let group = if resource.storage == "events" { "" } else { &*resource.group };
    Err(Status::invalid_as(group, &resource.kind, meta(object, "name"), causes(errors)))
}

/// Errors as a `Status` lists them.
pub fn causes(errors: &Errors) -> Vec<Cause> {
    let cause = |e: &FieldError| Cause { reason: e.kind.reason().into(), message: e.body(), field: e.field.clone() };
    errors.0.iter().map(cause).collect()
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

/// As kube-apiserver sorts what its merge complains of (`handlers/patch.go`).
pub fn refused_patch(error: &StrategicError) -> Status {
    let text = error.to_string();
    match error {
        StrategicError::BadJsonDoc | StrategicError::BadRetainKeys | StrategicError::BadSetElementOrder => {
            Status::bad_request(text)
        }
        StrategicError::ListOfLists | StrategicError::RetainKeysMismatch => Status::rejected(),
        _ => Status::unknown(text),
    }
}
