//! `ValidatingAdmissionPolicy`: every decision of every binding, and the answer that they make together.

use std::collections::BTreeMap;

use orlop_cel::{RUNTIME_BUDGET, Value as CelValue};
use serde_json::{Value, json};

use super::activation::{Asker, Input};
use super::compiled::{Type, Validation};
use super::{Binding, Facts, Policy, caches, chosen, spend};
use crate::admission::attributes::Attributes;
use crate::status::Status;

const MAX_MESSAGE: usize = 5 * 1024;
const MAX_ANNOTATION: usize = 10 * 1024;

/// What policies say of a request in the audit log, by their keys.
type Annotations = BTreeMap<String, Vec<String>>;

/// Why a request is not to pass.
struct Denial {
    message: String,
    reason: String,
}

/// Holds a request to the policies. `object` is null for a deletion.
pub async fn validate(attributes: &Attributes<'_>, object: &Value) -> Result<(), Status> {
    let Some((policies, bindings)) = caches(attributes.call, Type::Validating).await? else { return Ok(()) };
    if attributes.is_exempt() {
        return Ok(());
    }
    let policies = attributes.call.server.policies().of(Type::Validating, &policies, &bindings);
    let mut first: Option<(Denial, &Policy, Option<&Binding>)> = None;
    let mut annotations = Annotations::new();
    for pair in chosen(&policies, attributes, object).await? {
        let (policy, binding) = (pair.policy, pair.binding);
        let mut deny = |denial: Denial| {
            first.get_or_insert((denial, policy, binding));
        };
        let ((seen, params), binding) = match (pair.with, binding) {
            (Ok(with), Some(binding)) => (with, binding),
            (Err(why), binding) => {
                let what = if binding.is_some() { "binding" } else { "policy" };
                if !policy.ignores_failure {
                    deny(Denial { message: format!("failed to configure {what}: {why}"), reason: String::new() });
                }
                continue;
            }
            (Ok(_), None) => continue,
        };
        let facts = Facts::new(attributes, &seen, object).await?;
        let asker = Asker::new(attributes);
        for params in &params {
            let input = Input::new(&facts.object, &facts, params.as_ref(), &policy.variables, &asker);
            for (index, denial) in decide(policy, &input) {
                for action in &binding.actions {
                    match action.as_str() {
                        "Warn" => attributes.call.warn(format!(
                            "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                            policy.name, binding.name, denial.message
                        )),
                        "Audit" => audit_failure(attributes, policy, binding, index, &denial),
                        _ => {}
                    }
                }
                if binding.actions.iter().any(|a| a == "Deny") {
                    deny(denial);
                }
            }
            if let Some(denial) = annotate(policy, &input, &mut annotations) {
                deny(denial);
            }
        }
    }
    for (key, values) in annotations {
        // Several bindings may say several things.
        attributes.annotate(&key, || values.join(", "));
    }
    match first {
        None => Ok(()),
        Some((denial, policy, binding)) => Err(refusal(attributes, &denial, policy, binding)),
    }
}

/// The validations that do not hold.
fn decide(policy: &Policy, input: &Input<'_>) -> Vec<(usize, Denial)> {
    let failed = |message: String| match policy.ignores_failure {
        true => None,
        false => Some(Denial { message, reason: String::new() }),
    };
    match policy.conditions.hold(input, policy.ignores_failure) {
        Ok(true) => {}
        Ok(false) => return Vec::new(),
        Err(why) => return failed(why).into_iter().map(|denial| (0, denial)).collect(),
    }
    let mut budget = RUNTIME_BUDGET;
    let mut denials = Vec::new();
    for (index, validation) in policy.validations.iter().enumerate() {
        let denial = match &validation.program {
            Err(error) => failed(format!("compilation error: {error}")),
            Ok(program) => match spend(program, input, &mut budget) {
                Ok(CelValue::Bool(true)) => None,
                Ok(_) => {
                    Some(Denial { message: message(validation, input, &mut budget), reason: validation.reason.clone() })
                }
                Err(failure) => failed(failure.text(&validation.source)),
            },
        };
        denials.extend(denial.map(|denial| (index, denial)));
    }
    denials
}

fn message(validation: &Validation, input: &Input<'_>, budget: &mut u64) -> String {
    if let Some(program) = &validation.message_program
        && let Ok(CelValue::String(text)) = spend(program, input, budget)
    {
        let text = text.trim();
        if !text.is_empty() && text.len() <= MAX_MESSAGE && !text.contains('\n') {
            return text.to_owned();
        }
    }
    match validation.message.as_str() {
        "" => format!("failed expression: {}", validation.source),
        message => message.to_owned(),
    }
}

/// Collects audit annotations; a failure is a denial if the policy says so.
fn annotate(policy: &Policy, input: &Input<'_>, annotations: &mut Annotations) -> Option<Denial> {
    let mut budget = RUNTIME_BUDGET;
    let mut denial = None;
    if policy.annotations.is_empty() || !policy.conditions.hold(input, true).unwrap_or(false) {
        return None;
    }
    for annotation in &policy.annotations {
        let value = match &annotation.program {
            Err(error) => Err(error.clone()),
            Ok(program) => spend(program, input, &mut budget).map_err(|failure| failure.text(&annotation.source)),
        };
        match value {
            Ok(CelValue::String(text)) if !text.trim().is_empty() => {
                let value: String = text.trim().chars().take(MAX_ANNOTATION).collect();
                let values = annotations.entry(format!("{}/{}", policy.name, annotation.key)).or_default();
                if !values.contains(&value) {
                    values.push(value);
                }
            }
            Ok(_) => {}
            Err(_) if policy.ignores_failure => {}
            Err(message) => denial = denial.or(Some(Denial { message, reason: String::new() })),
        }
    }
    denial
}

fn audit_failure(attributes: &Attributes<'_>, policy: &Policy, binding: &Binding, index: usize, denial: &Denial) {
    attributes.annotate("validation.policy.admission.k8s.io/validation_failure", || {
        let value = json!([{
            "message": denial.message, "policy": policy.name, "binding": binding.name,
            "expressionIndex": index, "validationActions": binding.actions,
        }]);
        value.to_string()
    });
}

fn refusal(attributes: &Attributes<'_>, denial: &Denial, policy: &Policy, binding: Option<&Binding>) -> Status {
    let by = match binding {
        Some(binding) => {
            format!("ValidatingAdmissionPolicy '{}' with binding '{}' denied request", policy.name, binding.name)
        }
        None => format!("ValidatingAdmissionPolicy '{}' denied request", policy.name),
    };
    let message = format!("{by}: {}", denial.message);
    super::mutating::refuse(attributes, &message, &denial.reason)
}
