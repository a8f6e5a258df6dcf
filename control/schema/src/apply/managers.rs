//! `metadata.managedFields`: who owns which fields, and since when.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

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
    /// What tells one writer from another: who applies is one in all versions.
    fn writer(&self) -> (String, bool, String, Option<String>) {
        let applies = self.operation == Operation::Apply;
        (self.name.clone(), applies, self.subresource.clone(), (!applies).then(|| self.api_version.clone()))
    }

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
        let mut known: HashMap<_, usize> = HashMap::new();
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
            match known.entry(who.writer()) {
                Entry::Occupied(at) => {
                    if let Some(own) = managers.get_mut(*at.get()) {
                        *own = Self { who, fields };
                    }
                }
                Entry::Vacant(place) => {
                    place.insert(managers.len());
                    managers.push(Self { who, fields });
                }
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
    let is_update = |manager: &Manager| manager.who.operation == Operation::Update;
    let mut count = managers.iter().filter(|manager| is_update(manager)).count();
    // By version: the oldest entry, and the one that others were merged into.
    let (mut firsts, mut ancient) = (HashMap::<String, usize>::new(), HashMap::<String, usize>::new());
    for (at, manager) in managers.iter().enumerate().filter(|(_, manager)| is_update(manager)) {
        if manager.who.name == ANCIENT && manager.who.subresource.is_empty() {
            ancient.entry(manager.who.api_version.clone()).or_insert(at);
        }
    }
    let mut merged = HashSet::new();
    for at in 0..managers.len() {
        if count <= MAX_UPDATERS {
            break;
        }
        if !managers.get(at).is_some_and(is_update) {
            continue;
        }
        let version = managers[at].who.api_version.clone();
        let Some(&first) = firsts.get(&version) else {
            firsts.insert(version, at);
            continue;
        };
        let place = ancient.get(&version).copied().filter(|place| *place != at).unwrap_or(first);
        ancient.insert(version, place);
        let who = Who { name: ANCIENT.into(), subresource: String::new(), ..managers[at].who.clone() };
        let fields = std::mem::take(&mut managers[at].fields);
        if let Some(own) = managers.get_mut(place) {
            own.fields.add(fields);
            own.who = who;
        }
        merged.insert(at);
        count -= 1;
    }
    let mut at = 0;
    managers.retain(|_| {
        at += 1;
        !merged.contains(&(at - 1))
    });
    Manager::sort(managers);
}
