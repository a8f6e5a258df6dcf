//! Rules when an object is written: each is evaluated where its schema node has a value, within one budget for the object.

use std::collections::HashMap;
use std::sync::Arc;

use orlop_schema::structural::Correlation;
use serde_json::Value as Json;

use super::{Rule, RuleError, RuleErrorKind, Step, child_decl, compile, has_rules, rules};
use crate::decl::DeclType;
use crate::evaluate::Variables;
use crate::program::{PER_CALL_LIMIT, RUNTIME_BUDGET};
use crate::value::{EvalError, Value};

/// An evaluated message may be so long.
const MAX_MESSAGE: usize = 5 * 1024;

/// The compiled rules of a schema.
#[derive(Clone, Debug)]
pub struct Validator {
    root: Node,
}

/// What the rules say of an object.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Why it is not accepted.
    pub errors: Vec<RuleError>,
    /// What an update did not make worse, and is only warned of.
    pub warnings: Vec<RuleError>,
}

#[derive(Clone, Debug)]
struct Node {
    rules: Vec<Rule>,
    decl: Arc<DeclType>,
    schema_type: String,
    properties: HashMap<String, Node>,
    items: Option<Box<Node>>,
    additional: Option<Box<Node>>,
    all_of: Vec<Node>,
    /// The keys by which items are told apart, of a list of type `map`.
    list_keys: Option<Vec<String>>,
}

impl Validator {
    /// Compiles the rules of a resource's schema; `None` if it has none.
    pub fn new(schema: &Json) -> Option<Self> {
        if !has_rules(schema) {
            return None;
        }
        let decl = Arc::new(DeclType::from_schema(schema, true)?);
        Some(Self { root: node(schema, schema, decl, 0)? })
    }

    /// Compiles the rules of a part of a schema; `None` if it has none.
    pub fn of_part(schema: &Json) -> Option<Self> {
        if !has_rules(schema) {
            return None;
        }
        let embedded = schema["x-kubernetes-embedded-resource"] == true;
        let decl = Arc::new(DeclType::from_schema(schema, embedded)?);
        Some(Self { root: node(schema, schema, decl, 0)? })
    }

    /// Evaluates the rules for a default, which is what it was before.
    pub fn validate_default(&self, default: &Json) -> Vec<RuleError> {
        let mut run = Run { outcome: Outcome::default(), budget: RUNTIME_BUDGET };
        let _ =
            run.visit(&self.root, "", default, Some(default), Ratchet { current: None, parent: None, is_root: false });
        run.outcome.errors
    }

    /// Evaluates the rules. `old` is what an update replaces.
    pub fn validate(&self, object: &Json, old: Option<&Json>) -> Outcome {
        let mut run = Run { outcome: Outcome::default(), budget: RUNTIME_BUDGET };
        let ratchet = Ratchet { current: old.map(|old| (object, old)), parent: None, is_root: true };
        // An exhausted budget has been told.
        let _ = run.visit(&self.root, "", object, old, ratchet);
        run.outcome
    }
}

fn node(validation: &Json, schema: &Json, decl: Arc<DeclType>, depth: usize) -> Option<Node> {
    if depth > 128 || !has_rules(validation) {
        return None;
    }
    let child = |validation: &Json, schema: &Json, step: Step<'_>| {
        let decl = child_decl(Some(&decl), step, schema)?;
        node(validation, schema, decl, depth + 1)
    };
    let at = |key: &str| {
        let (validation, schema) = (validation.get(key)?, schema.get(key)?);
        (validation.is_object() && schema.is_object())
            .then(|| child(validation, schema, Step::Item).map(Box::new))
            .flatten()
    };
    let properties = validation["properties"].as_object().into_iter().flatten().filter_map(|(name, property)| {
        let schema = schema["properties"].get(name)?;
        Some((name.clone(), child(property, schema, Step::Property(name))?))
    });
    let keys = schema["x-kubernetes-list-map-keys"].as_array();
    Some(Node {
        rules: rules(validation).iter().map(|rule| compile(rule, schema, &decl)).collect(),
        schema_type: schema["type"].as_str().unwrap_or_default().to_owned(),
        properties: properties.collect(),
        items: at("items"),
        additional: at("additionalProperties"),
        all_of: validation["allOf"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|part| node(part, schema, decl.clone(), depth + 1))
            .collect(),
        list_keys: (schema["x-kubernetes-list-type"] == "map")
            .then(|| keys.into_iter().flatten().filter_map(|k| k.as_str().map(Into::into)).collect()),
        decl,
    })
}

/// What an update left as it was is only warned of.
#[derive(Clone, Copy)]
struct Ratchet<'a> {
    current: Option<(&'a Json, &'a Json)>,
    parent: Option<(&'a Json, &'a Json)>,
    is_root: bool,
}

impl<'a> Ratchet<'a> {
    fn unchanged(self) -> bool {
        self.current.or(self.parent).is_some_and(|(new, old)| new == old)
    }

    fn child(self, next: Option<(&'a Json, &'a Json)>) -> Self {
        match self.current {
            None => Self { is_root: false, ..self },
            current => Self { current: next, parent: current, is_root: false },
        }
    }
}

/// The budget is used up: no further rule is run.
struct Exhausted;

struct Run {
    outcome: Outcome,
    budget: u64,
}

struct Activation<'a> {
    object: Value<'a>,
    old: Option<Value<'a>>,
}

impl<'a> Variables<'a> for Activation<'a> {
    fn get(&self, name: &str) -> Option<Value<'a>> {
        match name {
            "self" => Some(self.object.clone()),
            "oldSelf" => self.old.clone(),
            _ => None,
        }
    }
}

impl Run {
    fn visit<'a>(
        &mut self,
        node: &'a Node,
        path: &str,
        object: &'a Json,
        old: Option<&'a Json>,
        ratchet: Ratchet<'a>,
    ) -> Result<(), Exhausted> {
        let old = old.filter(|o| !o.is_null());
        if object.is_null() {
            return Ok(());
        }
        self.rules(node, path, object, old, ratchet)?;
        for part in &node.all_of {
            self.visit(part, path, object, old, Ratchet { current: None, ..ratchet })?;
        }
        match object {
            Json::Array(items) => {
                let Some(child) = &node.items else { return Ok(()) };
                let olds = node.list_keys.as_ref().zip(old.and_then(Json::as_array));
                let olds = olds.map(|(keys, olds)| Correlation::new(keys, olds));
                for (at, item) in items.iter().enumerate() {
                    let before = olds.as_ref().and_then(|olds| olds.find(item));
                    let ratchet = ratchet.child(before.map(|old| (item, old)));
                    self.visit(child, &format!("{path}[{at}]"), item, before, ratchet)?;
                }
            }
            Json::Object(map) => {
                for (name, value) in map {
                    let before = old.and_then(|o| o.get(name));
                    let mut inner = ratchet.child(before.map(|old| (value, old)));
                    if ratchet.is_root && matches!(name.as_str(), "apiVersion" | "kind") {
                        inner = Ratchet { current: None, parent: None, is_root: false };
                    }
                    if let Some(child) = &node.additional {
                        self.visit(child, &format!("{path}[{name}]"), value, before, inner)?;
                    }
                    if let Some(child) = node.properties.get(name) {
                        let dot = if path.is_empty() { "" } else { "." };
                        self.visit(child, &format!("{path}{dot}{name}"), value, before, inner)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn error(&mut self, path: &str, node: &Node, detail: String) {
        let value = Some(Json::from(node.schema_type.as_str()));
        self.outcome.errors.push(RuleError { kind: RuleErrorKind::Invalid, path: root_path(path), value, detail });
    }

    fn rules<'a>(
        &mut self,
        node: &'a Node,
        path: &str,
        object: &'a Json,
        old: Option<&'a Json>,
        ratchet: Ratchet<'a>,
    ) -> Result<(), Exhausted> {
        const OUT: &str =
            "validation failed due to running out of cost budget, no further validation rules will be run";
        if node.rules.is_empty() {
            return Ok(());
        }
        if self.budget == 0 {
            self.error(path, node, OUT.to_owned());
            return Err(Exhausted);
        }
        let made = Value::of(object, &node.decl)
            .and_then(|object| Ok((object, old.map(|o| Value::of(o, &node.decl)).transpose()?)));
        let (value, old_value) = match made {
            Ok(made) => made,
            Err(error) => {
                self.error(path, node, error.to_string());
                return Ok(());
            }
        };
        let plain = Activation { object: value.clone(), old: old_value.clone() };
        let optional = old_value.map_or(Value::Optional(None), Value::some);
        let optional = Activation { object: value, old: Some(optional) };
        for rule in &node.rules {
            let program = match &rule.program {
                Ok(program) => program,
                Err(_) if rule.text.is_empty() => continue,
                Err(error) => {
                    self.error(path, node, format!("rule compile error: {error}"));
                    continue;
                }
            };
            if rule.uses_old_self && old.is_none() && !rule.optional_old_self {
                continue;
            }
            let activation = if rule.optional_old_self { &optional } else { &plain };
            let (result, cost) = program.evaluate(activation, PER_CALL_LIMIT);
            let result = result.map(|value| matches!(value, Value::Bool(true)));
            let shown = if rule.message.is_empty() { &rule.text } else { &rule.message };
            if result == Err(EvalError::CostLimit) {
                let error = EvalError::CostLimit;
                self.error(path, node, format!("'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {shown}"));
                return Err(Exhausted);
            }
            if cost > self.budget {
                self.error(path, node, OUT.to_owned());
                return Err(Exhausted);
            }
            self.budget -= cost;
            match result {
                Ok(true) => continue,
                Ok(false) => {}
                Err(EvalError::Failed(error)) if error.starts_with("no such overload") => {
                    self.error(path, node, format!("'{error}': call arguments did not match a supported operator, function or macro signature for rule: {shown}"));
                    continue;
                }
                Err(error) => {
                    self.error(path, node, format!("{error} evaluating rule: {shown}"));
                    continue;
                }
            }
            let detail = match self.message(rule, activation) {
                Ok(Some(message)) => message,
                Ok(None) if rule.message.is_empty() => format!("failed rule: {}", rule.text),
                Ok(None) => rule.message.clone(),
                Err(detail) => {
                    self.error(path, node, detail);
                    return Err(Exhausted);
                }
            };
            self.failed(node, rule, path, object, detail, ratchet);
        }
        Ok(())
    }

    fn failed(&mut self, node: &Node, rule: &Rule, path: &str, object: &Json, detail: String, ratchet: Ratchet<'_>) {
        let path = match (path, rule.field_path.as_str()) {
            (path, "") => root_path(path),
            ("", own) => own.to_owned(),
            (path, own) if own.starts_with('[') => format!("{path}{own}"),
            (path, own) => format!("{path}.{own}"),
        };
        let value = (!matches!(node.schema_type.as_str(), "object" | "array")).then(|| object.clone());
        let kind = rule.reason.unwrap_or(RuleErrorKind::Invalid);
        let detail = if kind == RuleErrorKind::Duplicate { String::new() } else { detail };
        let error = RuleError { kind, path, value, detail };
        if !rule.uses_old_self && ratchet.unchanged() {
            self.outcome.warnings.push(error);
        } else {
            self.outcome.errors.push(error);
        }
    }

    /// The evaluated message; none if it is no good.
    fn message(&mut self, rule: &Rule, activation: &Activation<'_>) -> Result<Option<String>, String> {
        let Some(program) = &rule.message_expression else { return Ok(None) };
        let (result, cost) = program.evaluate(activation, PER_CALL_LIMIT);
        if result.as_ref().err() == Some(&EvalError::CostLimit) {
            return Err(format!(
                "no further validation rules will be run due to call cost exceeds limit for messageExpression: {:?}",
                rule.message_source
            ));
        }
        if cost > self.budget {
            return Err("messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run".into());
        }
        self.budget -= cost;
        Ok(match result {
            Ok(Value::String(s)) => {
                let text = s.trim();
                (!text.is_empty() && text.len() <= MAX_MESSAGE && !text.contains('\n')).then(|| text.to_owned())
            }
            _ => None,
        })
    }
}

/// Go prints the path of the whole object as `<nil>`.
fn root_path(path: &str) -> String {
    if path.is_empty() { "<nil>".to_owned() } else { path.to_owned() }
}
