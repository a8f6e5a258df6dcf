//! `x-kubernetes-validations`: rules in a custom resource's schema. [`check_schema`] is asked when the definition is written,
//! [`Validator`] when an object is. Both take plain JSON; the structural rules of schemas are somebody else's.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::decl::{DeclKind, DeclType, Declared};
use crate::program::{Environment, Program};
use crate::types::Type;

mod check;
mod field_path;
mod validate;

pub use check::check_schema;
pub use validate::{Outcome, Validator};

/// Why a rule or a value is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleErrorKind {
    /// `Invalid value`
    Invalid,
    /// `Forbidden`
    Forbidden,
    /// `Required value`
    Required,
    /// `Duplicate value`
    Duplicate,
    /// `Unsupported value`
    NotSupported,
}

/// A field error.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleError {
    /// Why.
    pub kind: RuleErrorKind,
    /// Where.
    pub path: String,
    /// What was there; objects and lists are not repeated.
    pub value: Option<Json>,
    /// What is told.
    pub detail: String,
}

/// A rule, compiled.
#[derive(Clone, Debug)]
struct Rule {
    text: String,
    message: String,
    message_source: String,
    message_expression: Option<Program>,
    reason: Option<RuleErrorKind>,
    field_path: String,
    optional_old_self: bool,
    uses_old_self: bool,
    program: Result<Program, String>,
    message_error: Option<String>,
    max_cost: u64,
    message_max_cost: u64,
}

fn text<'a>(rule: &'a Json, key: &str) -> &'a str {
    rule[key].as_str().unwrap_or_default()
}

fn compile(rule: &Json, schema: &Json, decl: &DeclType) -> Rule {
    let fields = Declared::of(decl);
    let self_type = decl.to_type();
    let optional_old_self = rule["optionalOldSelf"] == true;
    let old_type = if optional_old_self { Type::optional(self_type.clone()) } else { self_type.clone() };
    let environment = Environment::new(&fields).with("self", self_type).with("oldSelf", old_type);
    let roots = [("self", decl), ("oldSelf", decl)];
    let source = text(rule, "rule");
    let program = match environment.compile(source) {
        Err(issues) => Err(format!("compilation failed: {issues}")),
        Ok(program) if *program.output() != Type::Bool => Err("cel expression must evaluate to a bool".to_owned()),
        Ok(program) => Ok(program),
    };
    let message_source = text(rule, "messageExpression");
    let (mut message_expression, mut message_error) = (None, None);
    if !message_source.is_empty() && program.is_ok() {
        match environment.compile(message_source) {
            Err(issues) => message_error = Some(format!("messageExpression compilation failed: {issues}")),
            Ok(program) if *program.output() != Type::String => {
                message_error = Some("messageExpression must evaluate to a string".to_owned());
            }
            Ok(program) => message_expression = Some(program),
        }
    }
    let field_path = match text(rule, "fieldPath") {
        "" => String::new(),
        path => field_path::normalized(path, schema).unwrap_or_default(),
    };
    Rule {
        text: source.trim().to_owned(),
        message: text(rule, "message").trim().to_owned(),
        message_source: message_source.to_owned(),
        reason: match text(rule, "reason") {
            "FieldValueForbidden" => Some(RuleErrorKind::Forbidden),
            "FieldValueRequired" => Some(RuleErrorKind::Required),
            "FieldValueDuplicate" => Some(RuleErrorKind::Duplicate),
            _ => None,
        },
        field_path,
        optional_old_self,
        uses_old_self: program.as_ref().is_ok_and(|p| p.uses("oldSelf")),
        max_cost: program.as_ref().map_or(0, |p| p.max_cost(&roots)),
        message_max_cost: message_expression.as_ref().map_or(0, |p| p.max_cost(&roots)),
        program,
        message_expression,
        message_error,
    }
}

/// The rules of a schema node.
fn rules(schema: &Json) -> &[Json] {
    schema["x-kubernetes-validations"].as_array().map_or(&[], Vec::as_slice)
}

/// The declared type of a child; made anew where the parent has none for it.
fn child_decl(parent: Option<&DeclType>, step: Step<'_>, schema: &Json) -> Option<Arc<DeclType>> {
    let found = match (parent.map(|p| &p.kind), step) {
        (Some(DeclKind::Object { fields, .. }), Step::Property(name)) => {
            crate::decl::escape(name).and_then(|n| fields.get(&n)).map(|f| f.decl.clone())
        }
        (Some(DeclKind::List { item, .. } | DeclKind::Map(item)), Step::Item) => Some(item.clone()),
        _ => None,
    };
    let embedded = schema["x-kubernetes-embedded-resource"] == true;
    found.or_else(|| DeclType::from_schema(schema, embedded).map(Arc::new))
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Property(&'a str),
    Item,
}

/// A rule as Go prints its struct.
fn go_rule(rule: &Json) -> Json {
    json!({
        "Rule": text(rule, "rule"),
        "Message": text(rule, "message"),
        "MessageExpression": text(rule, "messageExpression"),
        "Reason": rule["reason"],
        "FieldPath": text(rule, "fieldPath"),
        "OptionalOldSelf": rule["optionalOldSelf"],
    })
}

fn has_rules(schema: &Json) -> bool {
    !rules(schema).is_empty()
        || has_rules_at(schema, "items")
        || has_rules_at(schema, "additionalProperties")
        || schema["properties"].as_object().is_some_and(|p| p.values().any(has_rules))
        || schema["allOf"].as_array().is_some_and(|a| a.iter().any(has_rules))
}

fn has_rules_at(schema: &Json, key: &str) -> bool {
    schema.get(key).is_some_and(|s| s.is_object() && has_rules(s))
}

#[cfg(test)]
mod tests;
