//! Names within a group are given to who asks first (`controller/status/naming_controller.go`).
use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::set_condition;
use crate::value::{go_quote, items, object_at, set, strings, text};

/// Decides about the names of a definition, given all definitions of its group: `status` with `acceptedNames` and the conditions
/// NamesAccepted and Established (not yet true). None if nothing changes.
pub fn accepted_names<'a>(definition: &Value, others: impl Iterator<Item = &'a Value>, now: &str) -> Option<Value> {
    let wanted = &definition["spec"]["names"];
    let had = &definition["status"]["acceptedNames"];
    let (mut resources, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    let group = &definition["spec"]["group"];
    for other in
        others.filter(|o| o["spec"]["group"] == *group && o["metadata"]["name"] != definition["metadata"]["name"])
    {
        let names = &other["status"]["acceptedNames"];
        resources.extend([text(&names["plural"]), text(&names["singular"])]);
        resources.extend(strings(&names["shortNames"]));
        kinds.extend([text(&names["kind"]), text(&names["listKind"])]);
    }
    let mut accepted = if had.is_object() { had.clone() } else { json!({}) };
    let mut refusal: Option<(&str, String)> = None;
    let mut give = |field: &str, reason: &'static str, taken: &BTreeSet<&str>| {
        let name = text(&wanted[field]);
        if name != text(&had[field]) && taken.contains(name) {
            refusal = Some((reason, format!("{} is already in use", go_quote(name))));
        } else {
            set(&mut accepted, field, name);
        }
    };
    give("plural", "PluralConflict", &resources);
    give("singular", "SingularConflict", &resources);
    let existing = strings(&had["shortNames"]);
    let conflicts: Vec<String> = strings(&wanted["shortNames"])
        .into_iter()
        .filter(|name| !existing.contains(name) && resources.contains(name))
        .map(|name| format!("{} is already in use", go_quote(name)))
        .collect();
    give("kind", "KindConflict", &kinds);
    give("listKind", "ListKindConflict", &kinds);
    if conflicts.is_empty() {
        copy_list(&mut accepted, wanted, "shortNames");
    } else {
        let message = if conflicts.len() == 1 { conflicts[0].clone() } else { format!("[{}]", conflicts.join(", ")) };
        refusal = refusal.or(Some(("ShortNamesConflict", message)));
    }
    copy_list(&mut accepted, wanted, "categories");
    let mut new = definition.clone();
    object_at(&mut new, "status");
    set(&mut new["status"], "acceptedNames", accepted);
    match &refusal {
        Some((reason, message)) => set_condition(&mut new, "NamesAccepted", "False", reason, message, now),
        None => set_condition(&mut new, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now),
    }
    let established = super::condition(&new, "Established").cloned();
    if established.as_ref().is_none_or(|c| c["status"] != "True") {
        if refusal.is_none() {
            let message = "the initial names have been accepted";
            set_condition(&mut new, "Established", "False", "Installing", message, now);
        } else if established.is_none() {
            set_condition(&mut new, "Established", "False", "NotAccepted", "not all names are accepted", now);
        }
    }
    (new["status"] != definition["status"]).then(|| new["status"].take())
}

fn copy_list(to: &mut Value, from: &Value, field: &str) {
    if items(&from[field]).is_empty() {
        crate::value::remove(to, field);
    } else {
        set(to, field, from[field].clone());
    }
}
