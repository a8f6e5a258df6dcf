//! `meta.k8s.io/v1` Table: what `kubectl get` prints.

use jiff::{Timestamp, Unit};
use serde_json::{Value, json};

use crate::catalog::Resource;
use crate::object::meta;
use crate::status::Status;

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
            other => Err(Status::bad_request(format!("unrecognized includeObject value: \"{other}\""))),
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
        Include::Metadata => json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": value["metadata"]}),
        Include::Object => value.clone(),
    };
    json!({"cells": cells(resource, value), "object": object})
}

fn definitions(_resource: &Resource) -> Value {
    json!([
        {"name": "Name", "type": "string", "format": "name", "description": "Name must be unique within a namespace.", "priority": 0},
        {"name": "Age", "type": "string", "format": "", "description": "Time since the object was created.", "priority": 0},
    ])
}

fn cells(_resource: &Resource, value: &Value) -> Value {
    json!([meta(value, "name"), age(meta(value, "creationTimestamp"))])
}

/// Time since `timestamp` as kubectl prints it (`k8s.io/apimachinery/pkg/util/duration`).
fn age(timestamp: &str) -> String {
    let Ok(then) = timestamp.parse::<Timestamp>() else { return "<unknown>".into() };
    let seconds = Timestamp::now().since((Unit::Second, then)).map(|s| s.get_seconds()).unwrap_or(0).max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 if seconds % 60 != 0 => format!("{minutes}m{}s", seconds % 60),
        120..10_800 => format!("{minutes}m"),
        10_800..28_800 if minutes % 60 != 0 => format!("{hours}h{}m", minutes % 60),
        10_800..172_800 => format!("{hours}h"),
        172_800..691_200 if hours % 24 != 0 => format!("{days}d{}h", hours % 24),
        172_800..63_072_000 => format!("{days}d"),
        _ => format!("{}y{}d", days / 365, days % 365),
    }
}
