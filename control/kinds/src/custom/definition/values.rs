//! Defaults in a schema must be values of it (`apiserver/schema/defaulting/validation.go`).
use orlop_schema::structural::Structural;
use serde_json::Value;

use crate::custom::{lists, metadata, rules, value};
use crate::field::{Errors, Path};

/// `schema` is the node as it is written.
pub(super) fn validate(node: &Structural, schema: &Value, path: &Path<'_>, errors: &mut Errors) {
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
            errors.extend(value::validate(node, default, None, &path.to_string()).0);
        }
        if errors.0.len() == before {
            lists::validate(node, default, &path, errors);
        }
        if errors.0.len() == before {
            rules::check_default(schema, default, &path, errors);
        }
    }
    if let Some(items) = &node.items {
        validate(items, &schema["items"], &path.child("items"), errors);
    }
    for (name, property) in &node.properties {
        let path = path.child("properties");
        validate(property, &schema["properties"][name], &path.key(name), errors);
    }
}
