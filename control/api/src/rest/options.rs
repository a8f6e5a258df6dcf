//! The options of a request as they stand in its query, checked before anything else is done with it
//! (`k8s.io/apimachinery/pkg/apis/meta/v1/validation`).

use serde_json::json;

use super::Call;
use super::delete::DeleteOptions;
use crate::status::{Cause, Status};

/// Longest name of a field manager, in bytes.
const MANAGER: usize = 128;

fn unsupported(field: &str, value: &str, supported: &[&str]) -> Cause {
    let list: Vec<String> = supported.iter().map(|value| format!("{value:?}")).collect();
    let message = format!("Unsupported value: {value}: supported values: {}", list.join(", "));
    Cause { reason: "FieldValueNotSupported".into(), message, field: field.into() }
}

fn forbidden(field: &str, why: &str) -> Cause {
    Cause { reason: "FieldValueForbidden".into(), message: format!("Forbidden: {why}"), field: field.into() }
}

fn refuse(kind: &str, causes: Vec<Cause>) -> Result<(), Status> {
    if causes.is_empty() { Ok(()) } else { Err(Status::invalid_as("meta.k8s.io", kind, "", causes)) }
}

impl Call {
    /// Checks what a write may be asked with.
    pub(super) fn check_options(&self) -> Result<(), Status> {
        let kind = match self.info.verb {
            "create" => "CreateOptions",
            "update" => "UpdateOptions",
            "patch" => "PatchOptions",
            _ => return Ok(()),
        };
        let mut causes = Vec::new();
        if kind == "PatchOptions" && !self.applies() && self.query.get("force").is_some() {
            causes.push(forbidden("force", "may not be specified for non-apply patch"));
        }
        causes.extend(manager(self.query.text("fieldManager")));
        causes.extend(dry_run(self.query.all("dryRun")));
        let validation = self.query.text("fieldValidation");
        if !matches!(validation, "" | "Ignore" | "Strict" | "Warn") {
            let supported = ["", "Ignore", "Strict", "Warn"];
            causes.push(unsupported("fieldValidation", &format!("{validation:?}"), &supported));
        }
        refuse(kind, causes)
    }

    /// Checks what a deletion may be asked with.
    pub(super) fn check_delete_options(&self, options: &DeleteOptions) -> Result<(), Status> {
        let mut causes = Vec::new();
        let policy = options.propagation_policy.as_deref();
        if let (Some(policy), Some(_)) = (policy, options.orphan_dependents) {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            causes.push(Cause::invalid("propagationPolicy", &json!(policy), why));
        } else if let Some(policy) = policy.filter(|p| !matches!(*p, "Foreground" | "Background" | "Orphan")) {
            let supported = ["Foreground", "Background", "Orphan", "nil"];
            causes.push(unsupported("propagationPolicy", &format!("{policy:?}"), &supported));
        }
        causes.extend(dry_run(options.dry_run.iter().map(String::as_str)));
        refuse("DeleteOptions", causes)
    }

    /// Checks how a list or a watch names a `resourceVersion`.
    pub(super) fn check_list_options(&self) -> Result<(), Status> {
        let (version, matching) = (self.query.text("resourceVersion"), self.query.text("resourceVersionMatch"));
        let initial = self.query.get("sendInitialEvents");
        let mut causes = Vec::new();
        let mut forbid = |field, why: &str| causes.push(forbidden(field, why));
        let (field, initial_field) = ("resourceVersionMatch", "sendInitialEvents");
        if self.info.verb == "watch" {
            if initial.is_some() && matching != "NotOlderThan" {
                forbid(field, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
            }
            if initial.is_none() && !matching.is_empty() {
                forbid(field, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
            }
            if !matches!(matching, "" | "NotOlderThan") {
                causes.push(unsupported(field, &format!("{matching:?}"), &["NotOlderThan"]));
            }
            return refuse("ListOptions", causes);
        }
        if initial.is_some() {
            forbid(initial_field, "sendInitialEvents is forbidden for list");
        }
        if !matching.is_empty() {
            if version.is_empty() {
                forbid(field, "resourceVersionMatch is forbidden unless resourceVersion is provided");
            }
            if !self.query.text("continue").is_empty() {
                forbid(field, "resourceVersionMatch is forbidden when continue is provided");
            }
            if !matches!(matching, "Exact" | "NotOlderThan") {
                causes.push(unsupported(field, &format!("{matching:?}"), &["Exact", "NotOlderThan", ""]));
            } else if matching == "Exact" && version == "0" {
                forbid(field, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
            }
        }
        refuse("ListOptions", causes)
    }
}

fn dry_run<'a>(values: impl Iterator<Item = &'a str>) -> Option<Cause> {
    let values: Vec<&str> = values.filter(|value| !value.is_empty()).collect();
    let wrong = values.iter().any(|value| *value != "All");
    wrong.then(|| {
        let shown: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
        unsupported("dryRun", &format!("[{}]", shown.join(",")), &["All"])
    })
}

fn manager(name: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    if name.len() > MANAGER {
        let message = format!("Too long: may not be more than {MANAGER} bytes");
        causes.push(Cause { reason: "FieldValueTooLong".into(), message, field: "fieldManager".into() });
    }
    if let Some((at, c)) = name.char_indices().find(|(_, c)| c.is_control()) {
        let shown: String =
            name.chars().map(|c| if c.is_control() { format!("\\x{:02x}", u32::from(c)) } else { c.into() }).collect();
        let message =
            format!("Invalid value: \"{shown}\": invalid character U+{:04X} (at position {at})", u32::from(c));
        causes.push(Cause { reason: "FieldValueInvalid".into(), message, field: "fieldManager".into() });
    }
    causes
}
