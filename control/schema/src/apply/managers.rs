//! `metadata.managedFields`: who owns which fields, and since when.

use serde_json::{Value, json};

use super::FieldSet;

/// Entries of updates beyond so many are merged into one.
const MAX_UPDATERS: usize = 10;
const ANCIENT: &str = "ancient-changes";
const BEFORE: &str = "before-first-apply";

/// How fields came to be owned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// By server-side apply.
    Apply,
    /// By any other write.
    Update,
}

/// Who writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// The field manager's name.
    pub name: String,
    /// How.
    pub operation: Operation,
    /// In which version the fields are written.
    pub api_version: String,
    /// Through which subresource, empty for the object itself.
    pub subresource: String,
    /// When, RFC 3339.
    pub time: String,
}

impl Who {
    /// As error messages name it.
    pub fn describe(&self) -> String {
        let part = match self.subresource.as_str() {
            "" => String::new(),
            name => format!(" with subresource {name:?}"),
        };
        match self.operation {
            Operation::Apply => format!("{:?}{part}", self.name),
            Operation::Update => format!("{:?}{part} using {}", self.name, self.api_version),
        }
    }
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    /// Who wrote last, and when.
    pub who: Who,
    /// What is theirs.
    pub fields: FieldSet,
}

impl Manager {
    /// Reads `metadata.managedFields`.
    pub fn read(managed: &Value) -> Vec<Self> {
        let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        let entries = managed.as_array().into_iter().flatten();
        let mut managers: Vec<Self> = Vec::new();
        for entry in entries.filter(|entry| entry["fieldsType"] == "FieldsV1") {
            let who = Who {
                name: text(entry, "manager"),
                operation: if entry["operation"] == "Apply" { Operation::Apply } else { Operation::Update },
                api_version: text(entry, "apiVersion"),
                subresource: text(entry, "subresource"),
                time: text(entry, "time"),
            };
            let fields = FieldSet::from_value(&entry["fieldsV1"]);
            // Of two entries of one writer the last counts.
            match managers.iter_mut().find(|m| m.is(&who)) {
                Some(own) => *own = Self { who, fields },
                None => managers.push(Self { who, fields }),
            }
        }
        managers
    }

    /// Whether somebody may have meant this as `metadata.managedFields`: entries, all of them whole.
    pub fn are_readable(managed: &Value) -> bool {
        let whole = |entry: &Value| {
            matches!(entry["operation"].as_str(), Some("Apply" | "Update"))
                && entry["fieldsType"] == "FieldsV1"
                && entry["apiVersion"].as_str().is_some_and(|version| !version.is_empty())
                && entry["fieldsV1"].is_object()
        };
        managed.as_array().is_some_and(|entries| !entries.is_empty() && entries.iter().all(whole))
    }

    /// Writes `metadata.managedFields`.
    pub fn write(managers: &[Self]) -> Value {
        let entry = |manager: &Self| {
            let who = &manager.who;
            let mut entry = json!({
                "manager": who.name,
                "operation": if who.operation == Operation::Apply { "Apply" } else { "Update" },
                "apiVersion": who.api_version,
            });
            if !who.time.is_empty() {
                entry["time"] = who.time.as_str().into();
            }
            entry["fieldsType"] = "FieldsV1".into();
            entry["fieldsV1"] = manager.fields.to_value();
            if !who.subresource.is_empty() {
                entry["subresource"] = who.subresource.as_str().into();
            }
            entry
        };
        managers.iter().map(entry).collect()
    }

    /// Whether the entry is that writer's. Who applies is one writer in all versions.
    pub fn is(&self, who: &Who) -> bool {
        let own = &self.who;
        let versions = own.operation == Operation::Apply || own.api_version == who.api_version;
        versions && (&own.name, own.operation, &own.subresource) == (&who.name, who.operation, &who.subresource)
    }

    /// The owner of what was there before anybody applied.
    pub(super) fn before(fields: FieldSet, who: &Who) -> Option<Self> {
        let who = Who { name: BEFORE.into(), operation: Operation::Update, ..who.clone() };
        (!fields.is_empty()).then_some(Self { who, fields })
    }

    /// Makes `fields` the writer's, drops who owns nothing any more, and sorts.
    pub(super) fn set(managers: &mut Vec<Self>, who: &Who, fields: FieldSet) {
        match managers.iter_mut().find(|m| m.is(who)) {
            // Who changes nothing keeps their time.
            Some(own) if own.fields == fields => {}
            Some(own) => *own = Self { who: who.clone(), fields },
            None => managers.push(Self { who: who.clone(), fields }),
        }
        managers.retain(|m| !m.fields.is_empty());
        Self::sort(managers);
        if who.operation == Operation::Update {
            cap(managers);
        }
    }

    /// Appliers first, then by time.
    pub(super) fn sort(managers: &mut [Self]) {
        managers.sort_by(|a, b| {
            let key = |m: &Self| m.who.operation == Operation::Update;
            let rest = |m: &Self| [&m.who.time, &m.who.name, &m.who.api_version, &m.who.subresource].map(String::clone);
            key(a).cmp(&key(b)).then_with(|| rest(a).cmp(&rest(b)))
        });
    }
}

/// Of too many updates the oldest of each version are merged into one.
fn cap(managers: &mut Vec<Manager>) {
    let updates: Vec<Who> =
        managers.iter().filter(|m| m.who.operation == Operation::Update).map(|m| m.who.clone()).collect();
    let mut count = updates.len();
    let mut firsts: Vec<Who> = Vec::new();
    for who in updates {
        if count <= MAX_UPDATERS {
            break;
        }
        let bucket = Who { name: ANCIENT.into(), subresource: String::new(), ..who.clone() };
        let Some(first) = firsts.iter().find(|first| first.api_version == who.api_version) else {
            firsts.push(who);
            continue;
        };
        let Some(at) = managers.iter().position(|m| m.is(&who)) else { continue };
        let merged = managers.remove(at);
        let into = managers.iter().position(|m| m.is(&bucket)).or_else(|| managers.iter().position(|m| m.is(first)));
        let Some(into) = into.and_then(|at| managers.get_mut(at)) else { continue };
        *into = Manager { fields: into.fields.union(&merged.fields), who: bucket };
        count -= 1;
    }
    Manager::sort(managers);
}
