//! ControllerRevision: an immutable snapshot of a template.
use crate::field::{Errors, Path};
use crate::kind::{GENERAL, Kind, Subresource};
use crate::meta::{immutable, non_negative};
use crate::table::{AGE, Column, NAME, age, name};
use crate::value::{flag, items, text};
use jiff::Timestamp;
use serde_json::Value;

pub(super) const KIND: Kind = Kind {
    group: "apps",
    kind: "ControllerRevision",
    validate,
    validate_update: |new, old, _: Subresource, errors| {
        non_negative(&new["revision"], &Path::new("revision"), errors);
        immutable(&new["data"], &old["data"], &Path::new("data"), errors);
    },
    columns: &[
        NAME,
        Column::text("Controller", "Controller of the object"),
        Column::text("Revision", "Revision indicates the revision of the state represented by Data."),
        AGE,
    ],
    cells,
    ..GENERAL
};

fn validate(revision: &Value, errors: &mut Errors) {
    non_negative(&revision["revision"], &Path::new("revision"), errors);
    match &revision["data"] {
        Value::Object(_) => {}
        Value::Null => errors.required(&Path::new("data"), "data is mandatory"),
        _ => errors.required(&Path::new("data"), "data must be a valid JSON object"),
    }
}

fn cells(revision: &Value, now: Timestamp) -> Vec<Value> {
    let owner = items(&revision["metadata"]["ownerReferences"]).iter().find(|owner| flag(&owner["controller"]));
    let controller = owner.map_or("<none>".to_owned(), |owner| {
        let group = text(&owner["apiVersion"]).split_once('/').map_or("", |(group, _)| group);
        let dot = if group.is_empty() { "" } else { "." };
        format!("{}{dot}{group}/{}", text(&owner["kind"]).to_lowercase(), text(&owner["name"]))
    });
    vec![name(revision), controller.into(), revision["revision"].clone(), age(revision, now)]
}
