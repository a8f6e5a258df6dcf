//! `ValidatingAdmissionPolicy` and `MutatingAdmissionPolicy`: rules in CEL that the cluster's owner writes
//! (`apiserver/pkg/admission/plugin/policy`). A policy says what, its bindings say where and with which parameters.

use std::sync::Arc;

use orlop_cel::{EvalError, PER_CALL_LIMIT, Program, RUNTIME_BUDGET_MATCH_CONDITIONS, Value as CelValue};
use serde_json::Value;

use super::attributes::Attributes;
use super::rules::{Seen, namespace};
use crate::cache::Cache;
use crate::rest::Call;
use crate::status::Status;

mod activation;
mod compiled;
mod merge;
mod mutating;
mod params;
mod type_check;
mod validating;

pub use activation::Input;
use compiled::{Binding, Policy, Type};
pub use compiled::{Conditions, Policies};
pub use mutating::Again;
pub use mutating::mutate;
pub use type_check::TypeChecker;
pub use validating::validate;

/// The caches of policies and bindings, if there are any of both.
async fn caches(call: &Call, ty: Type) -> Result<Option<(Arc<Cache>, Arc<Cache>)>, Status> {
    let hub = call.server.registry().hub();
    let (Some(policies), Some(bindings)) = (hub.cache_at(ty.policies()), hub.cache_at(ty.bindings())) else {
        return Ok(None);
    };
    hub.fresh(&policies).await?;
    hub.fresh(&bindings).await?;
    if policies.snapshot().0.is_empty() || bindings.snapshot().0.is_empty() {
        return Ok(None);
    }
    if let Some(namespaces) = hub.cache_at("namespaces") {
        hub.fresh(&namespaces).await?;
    }
    Ok(Some((policies, bindings)))
}

/// A policy and one of its bindings that choose a request, as what they see it.
struct Chosen<'p> {
    policy: &'p Policy,
    /// Missing if the policy itself is at fault.
    binding: Option<&'p Binding>,
    /// What it sees, and with which parameters; or why that cannot be told.
    with: Result<(Seen, Vec<Option<Value>>), String>,
}

/// Every pair that chooses a request, in the order of names.
async fn chosen<'p>(
    policies: &'p [Policy],
    attributes: &Attributes<'_>,
    object: &Value,
) -> Result<Vec<Chosen<'p>>, Status> {
    let mut all = Vec::new();
    for policy in policies {
        let seen = match policy.criteria.seen(attributes, object) {
            Ok(None) => continue,
            Ok(Some(seen)) => seen,
            Err(status) => {
                all.push(Chosen { policy, binding: None, with: Err(status.message) });
                continue;
            }
        };
        if let Err(why) = policy.params_exist(attributes) {
            all.push(Chosen { policy, binding: None, with: Err(why) });
            continue;
        }
        for binding in &policy.bindings {
            let with = match binding.criteria.as_ref().map(|c| c.seen(attributes, object)).transpose() {
                Ok(Some(None)) => continue,
                Ok(_) => params::collect(policy, binding, attributes).await.map(|params| (seen.clone(), params)),
                Err(status) => Err(status.message),
            };
            all.push(Chosen { policy, binding: Some(binding), with });
        }
    }
    Ok(all)
}

/// The values that the expressions of a policy see, besides parameters.
struct Facts {
    object: Value,
    old: Value,
    request: Value,
    namespace: Value,
}

impl Facts {
    async fn new(attributes: &Attributes<'_>, seen: &Seen, object: &Value) -> Result<Self, Status> {
        let object = seen.show(attributes, object).await?;
        let old = match attributes.old {
            Some(old) => seen.show(attributes, old).await?,
            None => Value::Null,
        };
        let (_, mut review) = super::webhook::review::request("v1", seen, attributes, &Value::Null, &Value::Null);
        let mut request = review["request"].take();
        if let Some(request) = request.as_object_mut() {
            request.retain(|_, value| !value.is_null());
        }
        let is_namespace = attributes.resource.group.is_empty() && attributes.resource.plural == "namespaces";
        let namespace = match attributes.namespace.is_empty() || is_namespace {
            true => Value::Null,
            false => namespace(attributes)?,
        };
        Ok(Self { object, old, request, namespace })
    }
}

/// Evaluates within what is left of a budget.
fn spend<'a>(program: &Program, input: &Input<'a>, budget: &mut u64) -> Result<CelValue<'a>, Failure> {
    let (result, cost) = program.evaluate(input, PER_CALL_LIMIT);
    if cost > *budget {
        *budget = 0;
        return Err(Failure::Budget);
    }
    *budget -= cost;
    result.map_err(Failure::Failed)
}

enum Failure {
    Budget,
    Failed(EvalError),
}

impl Failure {
    fn text(&self, source: &str) -> String {
        match self {
            Self::Budget => {
                "validation failed due to running out of cost budget, no further validation rules will be run"
                    .to_owned()
            }
            Self::Failed(error) => format!("expression '{source}' resulted in error: {error}"),
        }
    }
}

impl Conditions {
    /// Whether all hold. One that does not decides, even if others failed; otherwise a failure is told, or with
    /// `ignores_failure` the answer is no.
    pub fn hold(&self, input: &Input<'_>, ignores_failure: bool) -> Result<bool, String> {
        let mut budget = RUNTIME_BUDGET_MATCH_CONDITIONS;
        let mut errors = Vec::new();
        for (source, program) in &self.0 {
            let program = match program {
                Ok(program) => program,
                Err(error) => {
                    errors.push(error.clone());
                    continue;
                }
            };
            match spend(program, input, &mut budget) {
                Ok(CelValue::Bool(false)) => return Ok(false),
                Ok(_) => {}
                Err(failure) => errors.push(failure.text(source)),
            }
        }
        match errors.len() {
            0 => Ok(true),
            _ if ignores_failure => Ok(false),
            1 => Err(errors.remove(0)),
            _ => Err(format!("[{}]", errors.join(", "))),
        }
    }

    /// Whether all hold for a webhook, which sees the request as `seen`.
    pub async fn choose(
        &self,
        attributes: &Attributes<'_>,
        seen: &Seen,
        object: &Value,
        ignores_failure: bool,
    ) -> Result<bool, Status> {
        if self.0.is_empty() {
            return Ok(true);
        }
        let facts = Facts::new(attributes, seen, object).await?;
        let asker = activation::Asker::new(attributes);
        let input = Input::new(&facts.object, &facts, None, &[], &asker);
        self.hold(&input, ignores_failure).map_err(|why| {
            let resource = &attributes.resource;
            Status::forbidden(&resource.group, &resource.plural, &attributes.name, why)
        })
    }
}
