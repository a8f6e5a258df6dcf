//! Defaults in a schema must be values of it (`apiserver/schema/defaulting/validation.go`).
use orlop_schema::structural::Structural;

use crate::custom::{metadata, value};
use crate::field::{Errors, Path};

pub(super) fn validate(node: &Structural, path: &Path<'_>, errors: &mut Errors) {
    if let Some(default) = &node.default {
        let path = path.child("default");
        let mut pruned = default.clone();
        node.prune_part(&mut pruned);
        if pruned != *default {
            errors.invalid(&path, default.clone(), "must not have unknown fields");
        }
        let before = errors.0.len();
        metadata::validate(node, default, &path, errors);
        if errors.0.len() == before {
            errors.0.extend(value::validate(node, default, None, &path.to_string()).0);
        }
    }
    if let Some(items) = &node.items {
        validate(items, &path.child("items"), errors);
    }
    for (name, property) in &node.properties {
        let path = path.child("properties");
        validate(property, &path.key(name), errors);
    }
}
