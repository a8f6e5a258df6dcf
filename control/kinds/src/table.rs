//! `kubectl get`: column definitions and the helpers that printers share (ages, containers, lists that are cut short).
use crate::value::{items, text};
use jiff::Timestamp;
use serde_json::{Value, json};

/// One column of a Table; priority 1 is shown with `-o wide` only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// The heading as the API serves it (kubectl upper-cases it).
    pub name: &'static str,
    /// `string`, `integer`, `boolean`.
    pub data_type: &'static str,
    /// `name` for the column that names the object.
    pub format: &'static str,
    /// What it shows.
    pub description: &'static str,
    /// 0, or 1 for wide output.
    pub priority: i32,
}

impl Column {
    /// A column of strings.
    pub const fn text(name: &'static str, description: &'static str) -> Self {
        Self { name, data_type: "string", format: "", description, priority: 0 }
    }

    /// A column of integers.
    pub const fn integer(name: &'static str, description: &'static str) -> Self {
        Self { data_type: "integer", ..Self::text(name, description) }
    }

    /// A column of booleans.
    pub const fn boolean(name: &'static str, description: &'static str) -> Self {
        Self { data_type: "boolean", ..Self::text(name, description) }
    }

    /// The same column in wide output only.
    pub const fn wide(self) -> Self {
        Self { priority: 1, ..self }
    }

    /// The `TableColumnDefinition` object.
    pub fn to_value(&self) -> Value {
        json!({
            "name": self.name, "type": self.data_type, "format": self.format,
            "description": self.description, "priority": self.priority,
        })
    }
}

/// The column every Table starts with.
pub const NAME: Column = Column {
    format: "name",
    ..Column::text(
        "Name",
        "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names",
    )
};

/// What kube-apiserver says of every column that shows when an object was made.
pub const CREATED: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
/// The age of the object.
pub const AGE: Column = Column::text("Age", CREATED);
/// The containers of a pod template.
pub const CONTAINERS: Column = Column::text("Containers", "Names of each container in the template.").wide();
/// The images of a pod template.
pub const IMAGES: Column = Column::text("Images", "Images referenced by each container in the template.").wide();
/// A selector.
pub const SELECTOR: Column = Column::text("Selector", "Label query over the pods that belong to the object.").wide();

/// The columns that kube-apiserver serves of a kind without a printer.
pub const CREATED_AT: &[Column] = &[NAME, Column { data_type: "date", ..Column::text("Created At", CREATED) }];

/// The cells for [`CREATED_AT`].
pub fn created_at(object: &Value, _: Timestamp) -> Vec<Value> {
    vec![name(object), object["metadata"]["creationTimestamp"].clone()]
}

/// The columns of a kind without a printer: name and age. (Kubernetes serves `Created At`; kubectl shows AGE for both.)
pub const DEFAULT_COLUMNS: &[Column] = &[NAME, AGE];

/// The cells for [`DEFAULT_COLUMNS`].
pub fn default_cells(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), age(object, now)]
}

/// The object's name.
pub fn name(object: &Value) -> Value {
    text(&object["metadata"]["name"]).into()
}

/// The object's age.
pub fn age(object: &Value, now: Timestamp) -> Value {
    since(&object["metadata"]["creationTimestamp"], now).into()
}

/// The time since a timestamp, `<unknown>` when there is none.
pub fn since(timestamp: &Value, now: Timestamp) -> String {
    match parse_time(timestamp) {
        Some(then) => human_duration(now.as_second() - then.as_second()),
        None => "<unknown>".to_owned(),
    }
}

/// A Time or MicroTime.
pub fn parse_time(timestamp: &Value) -> Option<Timestamp> {
    text(timestamp).parse().ok()
}

/// Seconds as `duration.HumanDuration` prints them: two or three significant figures.
pub fn human_duration(seconds: i64) -> String {
    let pair = |big: i64, unit: &str, small: i64, sub: &str| {
        if small == 0 { format!("{big}{unit}") } else { format!("{big}{unit}{small}{sub}") }
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match seconds {
        ..=-2 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        _ if minutes < 10 => pair(minutes, "m", seconds % 60, "s"),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => pair(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 192 => pair(hours / 24, "d", hours % 24, "h"),
        _ if hours < 24 * 365 * 2 => format!("{}d", hours / 24),
        _ if hours < 24 * 365 * 8 => pair(hours / 24 / 365, "y", hours / 24 % 365, "d"),
        _ => format!("{}y", hours / 24 / 365),
    }
}

/// The names and the images of a pod spec's containers, joined by commas.
pub fn containers(pod_spec: &Value) -> [Value; 2] {
    ["name", "image"].map(|key| {
        let parts: Vec<&str> = items(&pod_spec["containers"]).iter().map(|container| text(&container[key])).collect();
        parts.join(",").into()
    })
}

/// The first `max` of a list, and how many more there are.
pub fn with_more(list: &[String], max: usize) -> String {
    let shown = list.iter().take(max).cloned().collect::<Vec<_>>().join(",");
    if list.len() > max { format!("{shown} + {} more...", list.len() - max) } else { shown }
}

/// The string, or `<none>`.
pub fn or_none(value: &str) -> Value {
    if value.is_empty() { "<none>".into() } else { value.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_or_three_figures() {
        const HOUR: i64 = 3600;
        const DAY: i64 = 24 * HOUR;
        for (seconds, printed) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (70, "70s"),
            (119, "119s"),
            (120, "2m"),
            (190, "3m10s"),
            (1870, "31m"),
            (179 * 60, "179m"),
            (3 * HOUR, "3h"),
            (3 * HOUR + 30 * 60, "3h30m"),
            (47 * HOUR, "47h"),
            (2 * DAY, "2d"),
            (2 * DAY + 5 * HOUR, "2d5h"),
            (8 * DAY, "8d"),
            (729 * DAY, "729d"),
            (730 * DAY, "2y"),
            (2 * 365 * DAY + 25 * DAY, "2y25d"),
            (9 * 365 * DAY, "9y"),
        ] {
            assert_eq!(human_duration(seconds), printed);
        }
    }

    #[test]
    fn a_missing_timestamp_is_unknown() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        assert_eq!(since(&Value::Null, now), "<unknown>");
        assert_eq!(since(&"2026-01-01T00:00:00Z".into(), now), "60s");
        assert_eq!(since(&"2026-01-01T00:00:00.123456Z".into(), now), "60s");
    }
}
