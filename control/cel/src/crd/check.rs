//! Rules when a definition is written: they must compile, and must not be able to cost too much.

use std::sync::Arc;

use serde_json::Value as Json;

use super::{Rule, RuleError, RuleErrorKind, Step, child_decl, compile, field_path, go_rule, has_rules, rules, text};
use crate::decl::{DeclType, MAX_REQUEST_SIZE};

/// What one rule may be estimated to cost (`StaticEstimatedCostLimit`).
const RULE_LIMIT: u64 = 10_000_000;
/// What all rules of a schema may be estimated to cost (`StaticEstimatedCRDCostLimit`).
const SCHEMA_LIMIT: u64 = 100_000_000;
const REASONS: &[&str] = &["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
/// Schemas may not nest deeper here, so that none can exhaust the stack.
const MAX_DEPTH: usize = 128;

/// Checks every rule of a schema; `path` is the schema's own, such as `spec.validation.openAPIV3Schema`.
pub fn check_schema(schema: &Json, path: &str) -> Vec<RuleError> {
    let mut check = Check { errors: Vec::new(), expressions: Vec::new(), total: 0, expensive: Vec::new() };
    if !has_rules(schema) {
        return Vec::new();
    }
    let decl = DeclType::from_schema(schema, true).map(Arc::new);
    check.visit(schema, decl, &Context { path: path.to_owned(), cardinality: Some(1), forbids_old: None, depth: 0 });
    let Check { mut errors, expressions, total, expensive } = check;
    // What is wrong with the schema comes first: expressions are told of once it is right.
    if errors.is_empty() {
        errors = expressions;
    }
    if total > SCHEMA_LIMIT {
        let forbidden =
            |path: String, detail: String| RuleError { kind: RuleErrorKind::Forbidden, path, value: None, detail };
        for (_, path) in expensive {
            let detail = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            errors.push(forbidden(path, detail.to_owned()));
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.push(forbidden(path.to_owned(), over_budget(what, total, SCHEMA_LIMIT)));
    }
    errors
}

struct Check {
    errors: Vec<RuleError>,
    expressions: Vec<RuleError>,
    total: u64,
    expensive: Vec<(u64, String)>,
}

struct Context {
    path: String,
    /// How often the value may occur; `None` if nothing bounds it.
    cardinality: Option<u64>,
    /// Below this path old values cannot be told apart.
    forbids_old: Option<String>,
    depth: usize,
}

impl Context {
    fn child(&self, part: &str, cardinality: Option<u64>) -> Self {
        Self {
            path: format!("{}{part}", self.path),
            cardinality,
            forbids_old: self.forbids_old.clone(),
            depth: self.depth + 1,
        }
    }
}

impl Check {
    fn visit(&mut self, schema: &Json, decl: Option<Arc<DeclType>>, context: &Context) {
        if context.depth > MAX_DEPTH {
            return;
        }
        let inner = most_elements(schema).zip(context.cardinality).map(|(a, b)| a.saturating_mul(b));
        if let Some(items) = schema.get("items").filter(|s| s.is_object()) {
            let mut child = context.child(".items", inner);
            if schema["x-kubernetes-list-type"] != "map" && child.forbids_old.is_none() {
                child.forbids_old = Some(context.path.clone());
            }
            self.visit(items, child_decl(decl.as_deref(), Step::Item, items), &child);
        }
        if let Some(values) = schema.get("additionalProperties").filter(|s| s.is_object()) {
            let child = context.child(".additionalProperties", inner);
            self.visit(values, child_decl(decl.as_deref(), Step::Item, values), &child);
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let child = context.child(&format!(".properties[{name}]"), inner);
            self.visit(property, child_decl(decl.as_deref(), Step::Property(name), property), &child);
        }
        for (at, part) in schema["allOf"].as_array().into_iter().flatten().enumerate() {
            let child = context.child(&format!(".allOf[{at}]"), context.cardinality);
            self.visit(part, decl.clone(), &child);
        }
        for (at, rule) in rules(schema).iter().enumerate() {
            let path = format!("{}.x-kubernetes-validations[{at}]", context.path);
            self.form(rule, schema, &path);
            if self.errors.is_empty() {
                self.rule(rule, schema, decl.as_deref(), context, &path);
            }
        }
    }

    /// The texts of a rule.
    fn form(&mut self, rule: &Json, schema: &Json, path: &str) {
        let mut add = |kind, part: &str, value: Option<Json>, detail: &str| {
            let path = format!("{path}.{part}");
            self.errors.push(RuleError { kind, path, value, detail: detail.to_owned() });
        };
        let breaks = |s: &str| s.contains(['\n', '\r']);
        let value = |key: &str| Some(Json::from(text(rule, key)));
        let (source, message) = (text(rule, "rule").trim(), text(rule, "message"));
        if source.is_empty() {
            add(RuleErrorKind::Required, "rule", None, "rule is not specified");
        } else if !message.is_empty() && message.trim().is_empty() {
            add(RuleErrorKind::Invalid, "message", value("message"), "must be non-empty if specified");
        } else if breaks(message.trim()) {
            add(RuleErrorKind::Invalid, "message", value("message"), "must not contain line breaks");
        } else if breaks(source) && message.trim().is_empty() {
            add(RuleErrorKind::Required, "message", None, "message must be specified if rule contains line breaks");
        }
        let expression = text(rule, "messageExpression");
        if !expression.is_empty() && expression.trim().is_empty() {
            add(RuleErrorKind::Required, "messageExpression", None, "messageExpression must be non-empty if specified");
        }
        if let Some(reason) = rule["reason"].as_str().filter(|r| !REASONS.contains(r)) {
            let supported: Vec<String> = REASONS.iter().map(|r| format!("{r:?}")).collect();
            let detail = format!("supported values: {}", supported.join(", "));
            add(RuleErrorKind::NotSupported, "reason", Some(reason.into()), &detail);
        }
        let field_path = text(rule, "fieldPath");
        if !field_path.is_empty() {
            if field_path.trim().is_empty() {
                add(RuleErrorKind::Invalid, "fieldPath", value("fieldPath"), "must be non-empty if specified");
            }
            if breaks(field_path) {
                add(RuleErrorKind::Invalid, "fieldPath", value("fieldPath"), "must not contain line breaks");
            }
            if field_path::normalized(field_path, schema).is_err() {
                add(RuleErrorKind::Invalid, "fieldPath", value("fieldPath"), "must be a valid path");
            }
        }
    }

    fn rule(&mut self, rule: &Json, schema: &Json, decl: Option<&DeclType>, context: &Context, path: &str) {
        let (rule_path, message_path) = (format!("{path}.rule"), format!("{path}.messageExpression"));
        let Some(decl) = decl else {
            return self.tell(
                RuleErrorKind::Invalid,
                rule_path,
                Some(go_rule(rule)),
                "failed to convert to declType for CEL validation rules".into(),
            );
        };
        let Rule { program, max_cost, message_error, message_max_cost, uses_old_self, .. } =
            compile(rule, schema, decl);
        let often = context.cardinality.unwrap_or((MAX_REQUEST_SIZE / (decl.min_size + 1)) as u64);
        let cost = max_cost.saturating_mul(often);
        if cost > RULE_LIMIT {
            let detail = over_budget("estimated rule cost", cost, RULE_LIMIT);
            self.tell(RuleErrorKind::Forbidden, rule_path.clone(), None, detail);
        }
        self.observe(cost, &rule_path);
        if let Err(detail) = program {
            self.tell(RuleErrorKind::Invalid, rule_path.clone(), Some(go_rule(rule)), detail);
        }
        if let Some(detail) = message_error {
            self.tell(RuleErrorKind::Invalid, message_path.clone(), Some(go_rule(rule)), detail);
        }
        if message_max_cost > RULE_LIMIT {
            let detail = over_budget("estimated messageExpression cost", message_max_cost, RULE_LIMIT);
            self.tell(RuleErrorKind::Forbidden, message_path.clone(), None, detail);
        }
        self.observe(message_max_cost, &message_path);
        if uses_old_self {
            if let Some(within) = &context.forbids_old {
                let detail =
                    format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {within}");
                self.tell(RuleErrorKind::Invalid, rule_path, Some(text(rule, "rule").into()), detail);
            }
        } else if rule["optionalOldSelf"].is_boolean() {
            let detail = "may not be set if oldSelf is not used in rule".to_owned();
            let path = format!("{path}.optionalOldSelf");
            self.tell(RuleErrorKind::Invalid, path, Some(rule["optionalOldSelf"].clone()), detail);
        }
    }

    fn tell(&mut self, kind: RuleErrorKind, path: String, value: Option<Json>, detail: String) {
        self.expressions.push(RuleError { kind, path, value, detail });
    }

    fn observe(&mut self, cost: u64, path: &str) {
        self.total = self.total.saturating_add(cost);
        if cost >= SCHEMA_LIMIT / 100 {
            self.expensive.push((cost, path.to_owned()));
            self.expensive.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
            self.expensive.truncate(4);
        }
    }
}

/// How many children a value may have at most; `None` if nothing bounds them.
fn most_elements(schema: &Json) -> Option<u64> {
    let bound = |key: &str| schema[key].as_i64().map(|n| n.max(0) as u64);
    match schema["type"].as_str() {
        Some("object") if schema.get("additionalProperties").is_some_and(|v| !v.is_null()) => bound("maxProperties"),
        Some("array") => bound("maxItems"),
        _ => Some(1),
    }
}

fn over_budget(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = match factor {
        f if f > 100.0 => "more than 100x".to_owned(),
        f if f < 1.5 => format!("{f:.6}x"),
        f => format!("{f:.1}x"),
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}
