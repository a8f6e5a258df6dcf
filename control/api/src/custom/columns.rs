//! `additionalPrinterColumns`: what `kubectl get` prints of custom objects.

use jiff::Timestamp;
use orlop_kinds::custom::JsonPath;
use orlop_kinds::table::{AGE, NAME, human_duration, name, parse_time};
use serde_json::{Value, json};

use super::Custom;

const AGE_TEXT: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// One column.
#[derive(Debug)]
pub(super) struct Column {
    definition: Value,
    data_type: String,
    path: Option<JsonPath>,
}

/// The columns of a version; without any, the age.
pub(super) fn of(version: &Value) -> Vec<Column> {
    let columns = version["additionalPrinterColumns"].as_array().filter(|c| !c.is_empty());
    let Some(columns) = columns else {
        let definition = json!({
            "name": AGE.name, "type": "date", "format": "", "description": AGE_TEXT, "priority": 0,
        });
        let path = JsonPath::parse(".metadata.creationTimestamp");
        return vec![Column { definition, data_type: "date".into(), path }];
    };
    let column = |column: &Value| {
        let path = column["jsonPath"].as_str().unwrap_or_default();
        let described = column["description"].as_str().filter(|text| !text.is_empty());
        let description = described
            .map_or_else(|| format!("Custom resource definition column (in JSONPath format): {path}"), Into::into);
        let text = |key: &str| column[key].as_str().unwrap_or_default().to_owned();
        Column {
            definition: json!({
                "name": text("name"), "type": text("type"), "format": text("format"), "description": description,
                "priority": column["priority"].as_i64().unwrap_or(0),
            }),
            data_type: text("type"),
            path: JsonPath::parse(path),
        }
    };
    columns.iter().map(column).collect()
}

impl Custom {
    /// The table's columns.
    pub fn columns(&self) -> Value {
        std::iter::once(NAME.to_value()).chain(self.columns.iter().map(|c| c.definition.clone())).collect()
    }

    /// An object's cells.
    pub fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let custom = self.columns.iter().map(|column| {
            let found = column.path.as_ref().and_then(|path| path.find(object));
            found.map_or(Value::Null, |value| cell(&column.data_type, value, now))
        });
        std::iter::once(name(object)).chain(custom).collect()
    }
}

/// A value as a column of a type shows it; null if it is of another.
fn cell(data_type: &str, value: &Value, now: Timestamp) -> Value {
    match (data_type, value) {
        ("string", Value::Null) => "<nil>".into(),
        ("string", Value::String(_)) => value.clone(),
        ("string", other) => other.to_string().into(),
        ("integer", Value::Number(n)) => n.as_i64().or_else(|| n.as_f64().map(|f| f as i64)).into(),
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
        ("date", Value::String(_)) => match parse_time(value) {
            Some(then) => human_duration(now.as_second() - then.as_second()).into(),
            None => "<invalid>".into(),
        },
        _ => Value::Null,
    }
}
