//! `meta.k8s.io/v1` Table: what `kubectl get` prints.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::catalog::Resource;
use crate::convert;
use crate::status::Status;
use crate::strategy;

/// How much of the object travels in each row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Include {
    /// Nothing.
    None,
    /// Its metadata.
    Metadata,
    /// All of it.
    Object,
}

impl Include {
    /// From `includeObject`.
    pub fn parse(text: &str) -> Result<Self, Status> {
        match text {
            "" | "Metadata" => Ok(Self::Metadata),
            "None" => Ok(Self::None),
            "Object" => Ok(Self::Object),
            other => Err(Status::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: \"{other}\": must be 'Metadata', 'Object', 'None', or empty"
            ))),
        }
    }
}

/// A table without rows.
pub fn head(resource: &Resource, metadata: Value, columns: bool) -> Value {
    let columns = if columns { definitions(resource) } else { Value::Null };
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": columns, "rows": []})
}

/// An object's row.
pub fn row(resource: &Resource, value: &Value, include: Include) -> Value {
    let object = match include {
        Include::None => Value::Null,
        Include::Metadata => {
            json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": value["metadata"]})
        }
        Include::Object => value.clone(),
    };
    let rules = strategy::rules(resource);
    let cells = match &resource.custom {
        Some(custom) => custom.cells(value, Timestamp::now()),
        None => rules.cells(&convert::in_rules_form(resource, value), Timestamp::now()),
    };
    let mut row = json!({"cells": cells, "object": object});
    let conditions = rules.row_conditions(value);
    if !conditions.is_empty() {
        row["conditions"] = conditions.into();
    }
    row
}

fn definitions(resource: &Resource) -> Value {
    if let Some(custom) = &resource.custom {
        return custom.columns();
    }
    strategy::rules(resource).columns().iter().map(orlop_kinds::Column::to_value).collect()
}
