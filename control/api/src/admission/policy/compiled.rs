//! Policies with their bindings, compiled once for each change of them and not once for each request.

use std::sync::{Arc, Mutex, PoisonError};

use orlop_cel::admission::Compiler;
use orlop_cel::{Program, Type as CelType};
use serde_json::{Value, json};

use crate::admission::rules::Criteria;
use crate::cache::Cache;
use crate::object::meta;

/// Which of the two plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Those that change objects.
    Mutating,
    /// Those that only say yes or no.
    Validating,
}

impl Type {
    pub(super) fn policies(self) -> &'static str {
        match self {
            Self::Mutating => "mutatingadmissionpolicies",
            Self::Validating => "validatingadmissionpolicies",
        }
    }

    pub(super) fn bindings(self) -> &'static str {
        match self {
            Self::Mutating => "mutatingadmissionpolicybindings",
            Self::Validating => "validatingadmissionpolicybindings",
        }
    }
}

/// A compiled expression, or why it is none.
pub(super) type Compiled = Result<Program, String>;

/// Match conditions: their texts, compiled.
#[derive(Debug, Default)]
pub struct Conditions(pub(super) Vec<(String, Compiled)>);

impl Conditions {
    /// Those of a webhook.
    pub fn of_webhook(webhook: &Value) -> Self {
        Self::read(&webhook["matchConditions"], &Compiler::new(false))
    }

    fn read(conditions: &Value, compiler: &Compiler) -> Self {
        let one = |condition: &Value| {
            let source = text(condition, "expression");
            (source.to_owned(), compiler.compile(source, &[CelType::Bool], true))
        };
        Self(list(conditions).iter().map(one).collect())
    }
}

pub(super) struct Validation {
    pub source: String,
    pub program: Compiled,
    pub message: String,
    pub message_program: Option<Program>,
    pub reason: String,
}

pub(super) struct Annotation {
    pub key: String,
    pub source: String,
    pub program: Compiled,
}

pub(super) struct Mutation {
    pub source: String,
    pub program: Compiled,
    pub applies: bool,
}

/// A policy.
pub struct Policy {
    pub(super) name: String,
    pub(super) criteria: Criteria,
    pub(super) ignores_failure: bool,
    /// `apiVersion` and kind of its parameters.
    pub(super) param_kind: Option<(String, String)>,
    pub(super) conditions: Conditions,
    pub(super) variables: Vec<(String, Compiled)>,
    pub(super) validations: Vec<Validation>,
    pub(super) annotations: Vec<Annotation>,
    pub(super) mutations: Vec<Mutation>,
    pub(super) reinvoke: bool,
    pub(super) bindings: Vec<Binding>,
}

/// Where a policy holds.
pub struct Binding {
    pub(super) name: String,
    pub(super) criteria: Option<Criteria>,
    pub(super) param_ref: Value,
    pub(super) actions: Vec<String>,
}

/// What was compiled of two caches at their revisions.
type Known = Option<((i64, i64), Arc<Vec<Policy>>)>;

/// The policies of both types as of some revision of them and their bindings.
#[derive(Default)]
pub struct Policies {
    known: Mutex<[Known; 2]>,
}

impl Policies {
    /// All of a type that have bindings, in the order of their names.
    pub(super) fn of(&self, ty: Type, policies: &Cache, bindings: &Cache) -> Arc<Vec<Policy>> {
        let ((policies, first), (bindings, second)) = (policies.snapshot(), bindings.snapshot());
        let slot = usize::from(ty == Type::Validating);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, compiled)) = &known[slot]
            && *at == (first, second)
        {
            return compiled.clone();
        }
        let bindings: Vec<Value> = bindings.values().map(|object| object.value()).collect();
        let compiled = policies.values().map(|object| compile(&object.value(), &bindings, ty));
        let compiled: Arc<Vec<Policy>> = Arc::new(compiled.filter(|policy| !policy.bindings.is_empty()).collect());
        known[slot] = Some(((first, second), compiled.clone()));
        compiled
    }
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn compile(policy: &Value, bindings: &[Value], ty: Type) -> Policy {
    let (name, spec) = (meta(policy, "name"), &policy["spec"]);
    let kind = &spec["paramKind"];
    let mut compiler = Compiler::new(!kind.is_null());
    if ty == Type::Mutating {
        compiler = compiler.with_patch_types();
    }
    let variables = list(&spec["variables"]).iter().map(|variable| {
        let name = text(variable, "name");
        (name.to_owned(), compiler.variable(name, text(variable, "expression")))
    });
    let variables = variables.collect();
    // Conditions are looked at before there are any variables.
    let conditions = Conditions::read(&spec["matchConditions"], &Compiler::new(!kind.is_null()));
    Policy {
        name: name.to_owned(),
        criteria: Criteria::of_policy(&spec["matchConstraints"]),
        ignores_failure: spec["failurePolicy"] == "Ignore",
        param_kind: (!kind.is_null()).then(|| (text(kind, "apiVersion").to_owned(), text(kind, "kind").to_owned())),
        conditions,
        variables,
        validations: list(&spec["validations"]).iter().map(|v| validation(v, &compiler)).collect(),
        annotations: list(&spec["auditAnnotations"]).iter().map(|a| annotation(a, &compiler)).collect(),
        mutations: list(&spec["mutations"]).iter().map(|m| mutation(m, &compiler)).collect(),
        reinvoke: spec["reinvocationPolicy"] == "IfNeeded",
        bindings: bindings.iter().filter(|b| text(&b["spec"], "policyName") == name).map(binding).collect(),
    }
}

fn validation(validation: &Value, compiler: &Compiler) -> Validation {
    let (source, message) = (text(validation, "expression"), text(validation, "messageExpression"));
    Validation {
        source: source.trim().to_owned(),
        program: compiler.compile(source, &[CelType::Bool], true),
        message: text(validation, "message").trim().to_owned(),
        message_program: (!message.is_empty())
            .then(|| compiler.compile(message, &[CelType::String], false).ok())
            .flatten(),
        reason: text(validation, "reason").to_owned(),
    }
}

fn annotation(annotation: &Value, compiler: &Compiler) -> Annotation {
    let source = text(annotation, "valueExpression").trim();
    Annotation {
        key: text(annotation, "key").to_owned(),
        source: source.to_owned(),
        program: compiler.compile(source, &[CelType::String, CelType::Null], true),
    }
}

fn mutation(mutation: &Value, compiler: &Compiler) -> Mutation {
    let applies = mutation["patchType"] == "ApplyConfiguration";
    let (field, output) = match applies {
        true => ("applyConfiguration", CelType::object("Object")),
        false => ("jsonPatch", CelType::list(CelType::object("JSONPatch"))),
    };
    let source = text(&mutation[field], "expression");
    Mutation { source: source.to_owned(), program: compiler.compile(source, &[output], true), applies }
}

fn binding(binding: &Value) -> Binding {
    let spec = &binding["spec"];
    let criteria = (!spec["matchResources"].is_null()).then(|| {
        let mut resources = spec["matchResources"].clone();
        if list(&resources["resourceRules"]).is_empty() {
            resources["resourceRules"] =
                json!([{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}]);
        }
        Criteria::of_policy(&resources)
    });
    Binding {
        name: meta(binding, "name").to_owned(),
        criteria,
        param_ref: spec["paramRef"].clone(),
        actions: list(&spec["validationActions"]).iter().filter_map(|a| a.as_str().map(Into::into)).collect(),
    }
}
