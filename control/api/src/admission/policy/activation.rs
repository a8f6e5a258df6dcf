//! The variables of a policy's expressions, bound to a request.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use orlop_auth::{Attributes as Question, Decision, UserInfo};
use orlop_cel::authorizer::{self, Authorizer, Handle};
use orlop_cel::{Evaluated, Program, Value as CelValue, Variables};
use serde_json::Value;

use super::Facts;
use crate::admission::attributes::Attributes;
use crate::server::ApiServer;

/// Answers `authorizer.…check(…)` for the user of the request.
pub struct Asker<'r> {
    server: &'r ApiServer,
    user: &'r UserInfo,
    own: authorizer::Question,
}

impl<'r> Asker<'r> {
    /// For a request.
    pub fn new(attributes: &'r Attributes<'_>) -> Self {
        let own = authorizer::Question {
            group: attributes.resource.group.clone(),
            resource: attributes.resource.plural.clone(),
            subresource: attributes.subresource.clone(),
            namespace: attributes.namespace.clone(),
            name: attributes.name.clone(),
            ..authorizer::Question::default()
        };
        Self { server: &attributes.call.server, user: &attributes.call.user, own }
    }
}

impl Authorizer for Asker<'_> {
    fn check(&self, question: &authorizer::Question) -> authorizer::Decision {
        let account = question.service_account.as_ref().map(|(ns, name)| UserInfo::service_account(ns, name));
        let asked = Question {
            user: Some(account.as_ref().unwrap_or(self.user)),
            verb: &question.verb,
            group: &question.group,
            version: "*",
            resource: &question.resource,
            subresource: &question.subresource,
            namespace: &question.namespace,
            name: &question.name,
            path: question.path.as_deref().unwrap_or_default(),
            ..Question::default()
        };
        let (allowed, reason) = match self.server.authorizer().decide(&asked) {
            Decision::Allow(reason) => (true, reason),
            Decision::Deny(reason) | Decision::NoOpinion(reason) => (false, reason),
        };
        authorizer::Decision { allowed, reason, error: String::new() }
    }
}

/// What one round of expressions sees. `variables` are evaluated once, when first asked for.
pub struct Input<'a> {
    object: &'a Value,
    facts: &'a Facts,
    params: Option<&'a Value>,
    variables: &'a [(String, Result<Program, String>)],
    asker: &'a Asker<'a>,
    known: Mutex<HashMap<String, Evaluated<CelValue<'a>>>>,
}

impl<'a> Input<'a> {
    /// Of an object, which mutations may have changed since the facts were gathered.
    pub(super) fn new(
        object: &'a Value,
        facts: &'a Facts,
        params: Option<&'a Value>,
        variables: &'a [(String, Result<Program, String>)],
        asker: &'a Asker<'a>,
    ) -> Self {
        Self { object, facts, params, variables, asker, known: Mutex::default() }
    }
}

impl<'a> Variables<'a> for Input<'a> {
    fn get(&self, name: &str) -> Option<CelValue<'a>> {
        Some(match name {
            "object" => CelValue::from_json(self.object),
            "oldObject" => CelValue::from_json(&self.facts.old),
            "request" => CelValue::from_json(&self.facts.request),
            "namespaceObject" => CelValue::from_json(&self.facts.namespace),
            "params" => self.params.map_or(CelValue::Null, CelValue::from_json),
            "variables" => CelValue::Variables,
            "authorizer" => CelValue::Authorizer(Handle::new(self.asker)),
            "authorizer.requestResource" => CelValue::Authorizer(Handle::resource(self.asker, self.asker.own.clone())),
            _ => return None,
        })
    }

    fn composed(&self, name: &str, limit: u64) -> (Evaluated<CelValue<'a>>, u64) {
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
            return (known.clone(), 0);
        }
        let failed = |text: String| Err(orlop_cel::EvalError::Failed(text));
        let (result, cost) = match self.variables.iter().find(|(n, _)| n == name) {
            None => (failed(format!("no such key: {name}")), 0),
            Some((_, Err(error))) => (failed(format!("composited variable \"{name}\" fails to compile: {error}")), 0),
            Some((_, Ok(program))) => {
                let (result, cost) = program.evaluate(self, limit);
                let told = |error: orlop_cel::EvalError| match error {
                    orlop_cel::EvalError::Failed(text) => orlop_cel::EvalError::Failed(format!(
                        "composited variable \"{name}\" fails to evaluate: {text}"
                    )),
                    limit => limit,
                };
                (result.map_err(told), cost)
            }
        };
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), result.clone());
        (result, cost)
    }
}
