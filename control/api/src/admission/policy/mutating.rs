//! `MutatingAdmissionPolicy`: apply configurations and JSON patches that expressions make.

use std::collections::BTreeSet;

use orlop_cel::{PER_CALL_LIMIT, RUNTIME_BUDGET, Value as CelValue};
use orlop_schema::TypeRef;
use orlop_schema::decode::strict_decoding_error;
use serde_json::{Value, json};

use super::activation::{Asker, Input};
use super::compiled::{Mutation, Type};
use super::{Facts, Policy, caches, chosen};
use crate::admission::attributes::Attributes;
use crate::admission::rules::Seen;
use crate::admission::versions::Unfit;
use crate::rest::{Patch, type_of};
use crate::status::Status;

/// What the first round of policies leaves for a second one.
#[derive(Default)]
pub struct Again {
    /// Whether anything was changed.
    pub needed: bool,
    round: usize,
    last: Option<Value>,
    invoked: BTreeSet<String>,
    wanted: BTreeSet<String>,
}

impl Again {
    /// Before the second round.
    pub fn begin(&mut self, object: &Value) {
        self.round = 1;
        if self.last.as_ref().is_some_and(|last| last != object) {
            self.require();
        }
    }

    fn require(&mut self) {
        self.wanted.append(&mut self.invoked);
    }
}

/// Lets the policies change an object; null, which is a deletion, is left alone.
pub async fn mutate(attributes: &Attributes<'_>, object: &mut Value, again: &mut Again) -> Result<(), Status> {
    let Some((policies, bindings)) = caches(attributes.call, Type::Mutating).await? else { return Ok(()) };
    if attributes.is_exempt() || object.is_null() {
        return Ok(());
    }
    let policies = attributes.call.server.policies().of(Type::Mutating, &policies, &bindings);
    for pair in chosen(&policies, attributes, object).await? {
        let (policy, name) = (pair.policy, pair.binding.map_or("", |b| b.name.as_str()));
        let (seen, params) = match pair.with {
            Ok(with) => with,
            Err(_) if policy.ignores_failure => continue,
            Err(why) => {
                let what = if pair.binding.is_some() { "binding" } else { "policy" };
                return Err(denied(attributes, policy, name, &format!("failed to configure {what}: {why}")));
            }
        };
        for (index, params) in params.iter().enumerate() {
            let key = format!("{}/{name}/{index}", policy.name);
            if again.round > 0 && !again.wanted.contains(&key) {
                continue;
            }
            let before = object.clone();
            match run(policy, &seen, params.as_ref(), attributes, object).await {
                Ok(()) => {}
                Err(Fault::Status(status)) => return Err(status),
                Err(Fault::Failed(_)) if policy.ignores_failure => {}
                Err(Fault::Failed(why)) => return Err(denied(attributes, policy, name, &why)),
            }
            if *object != before {
                again.require();
                again.needed = true;
            }
            if policy.reinvoke {
                again.invoked.insert(key);
            }
        }
    }
    again.last = Some(object.clone());
    Ok(())
}

enum Fault {
    /// As the policy's failurePolicy says.
    Failed(String),
    /// Whatever the policy says.
    Status(Status),
}

async fn run(
    policy: &Policy,
    seen: &Seen,
    params: Option<&Value>,
    attributes: &Attributes<'_>,
    object: &mut Value,
) -> Result<(), Fault> {
    let facts = Facts::new(attributes, seen, object).await.map_err(Fault::Status)?;
    let asker = Asker::new(attributes);
    let mut spoken = facts.object.clone();
    {
        let input = Input::new(&facts.object, &facts, params, &policy.variables, &asker);
        if !policy.conditions.hold(&input, policy.ignores_failure).map_err(Fault::Failed)? {
            return Ok(());
        }
    }
    let mut budget = RUNTIME_BUDGET;
    for mutation in &policy.mutations {
        let next = {
            let input = Input::new(&spoken, &facts, params, &policy.variables, &asker);
            changed(mutation, &input, &spoken, seen, attributes, &mut budget)
        };
        match next {
            Ok(next) => spoken = next,
            Err(Fault::Failed(_)) if policy.ignores_failure => continue,
            Err(fault) => return Err(fault),
        }
        seen.default(attributes, &mut spoken);
    }
    if spoken == facts.object {
        return Ok(());
    }
    seen.take_back(attributes, &mut spoken).await.map_err(Fault::Status)?;
    *object = spoken;
    Ok(())
}

fn changed(
    mutation: &Mutation,
    input: &Input<'_>,
    object: &Value,
    seen: &Seen,
    attributes: &Attributes<'_>,
    budget: &mut u64,
) -> Result<Value, Fault> {
    let failed = |why: String| Fault::Failed(why);
    let program = mutation.program.as_ref().map_err(|error| failed(error.clone()))?;
    let (result, cost) = program.evaluate(input, PER_CALL_LIMIT.min(*budget));
    *budget = budget.saturating_sub(cost);
    let value =
        result.map_err(|error| failed(format!("expression '{}' resulted in error: {error}", mutation.source)))?;
    let mut next = object.clone();
    let custom = seen.resource.custom.as_deref().filter(|_| seen.kind.kind == seen.resource.kind);
    if mutation.applies {
        let ty = match custom {
            Some(custom) => custom.ty(),
            None => type_of(&seen.api_version(), &seen.kind.kind),
        };
        apply(&value, &mut next, ty).map_err(failed)?;
    } else {
        let patch = json_patch(&value).map_err(failed)?;
        let patch: json_patch::Patch =
            serde_json::from_value(patch).map_err(|error| failed(format!("failed to create JSON patch: {error}")))?;
        let fits = Patch::apply_json(&mut next, &patch);
        // A test that fails says that the patch is not for this object.
        if !fits.map_err(|status| failed(format!("JSON Patch: {}", status.message)))? {
            return Ok(object.clone());
        }
    }
    let unfit = |why: Unfit| match (mutation.applies, why) {
        (false, Unfit::Type(why)) => Fault::Status(Status::internal(why)),
        (_, why) => failed(why.to_string()),
    };
    let unknown = seen.accept(attributes, object, &mut next).map_err(unfit)?;
    if !unknown.is_empty() && !mutation.applies {
        return Err(Fault::Status(Status::internal(strict_decoding_error(&unknown))));
    }
    Ok(next)
}

/// `[JSONPatch{op: "add", path: "/a", value: 1}]` as RFC 6902 writes it.
fn json_patch(value: &CelValue<'_>) -> Result<Value, String> {
    let items = value.items().ok_or("type mismatch: JSONPatchType.expression should evaluate to array")?;
    let mut operations = Vec::with_capacity(items.len());
    for item in items.all().map_err(|e| e.to_string())? {
        let CelValue::Struct(name, fields) = &item else {
            let got = item.type_name();
            return Err(format!(
                "type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch, got element of {got}"
            ));
        };
        debug_assert_eq!(&**name, "JSONPatch");
        let mut operation = json!({});
        for (field, value) in fields.iter() {
            let json = value.to_json().map_err(|error| {
                format!("JSONPath valueExpression evaluated to a type that could not marshal to JSON: {error}")
            })?;
            operation[field.as_str()] = json;
        }
        operations.push(operation);
    }
    Ok(Value::Array(operations))
}

/// `Object{spec: Object.spec{replicas: 3}}`: a structured merge, with lists by their keys. Lists, maps and objects that merge as
/// a whole may not be set this way.
fn apply(value: &CelValue<'_>, object: &mut Value, ty: Option<TypeRef<'_>>) -> Result<(), String> {
    let CelValue::Struct(name, _) = value else {
        return Err(format!("unsupported return type from ApplyConfiguration expression: {}", value.type_name()));
    };
    if &**name != "Object" {
        return Err(format!("unsupported return type from ApplyConfiguration expression: {name}"));
    }
    paths_agree(value, "Object")?;
    let patch = value.to_json().map_err(|error| format!("type mismatch: {error}"))?;
    let mut atomics = Vec::new();
    super::merge::merge(object, &patch, ty, &mut atomics).map_err(|error| format!("error applying patch: {error}"))?;
    match atomics.is_empty() {
        true => Ok(()),
        false => {
            atomics.sort();
            Err(format!(
                "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {}",
                atomics.join(", ")
            ))
        }
    }
}

/// Each object is named by its place: `Object.spec` at `.spec`, `Object.spec.containers` for its items.
fn paths_agree(value: &CelValue<'_>, path: &str) -> Result<(), String> {
    match value {
        CelValue::Struct(name, fields) => {
            if &**name != path {
                return Err(format!(
                    "type mismatch: unexpected type name \"{name}\", expected \"{path}\", which matches field name path from root Object type"
                ));
            }
            fields.iter().try_for_each(|(field, value)| paths_agree(value, &format!("{path}.{field}")))
        }
        CelValue::List(items) => items.iter().try_for_each(|item| paths_agree(item, path)),
        CelValue::Joined(lists) => {
            let all = lists.all().map_err(|error| error.to_string())?;
            all.iter().try_for_each(|item| paths_agree(item, path))
        }
        CelValue::Map(entries) => entries.values().try_for_each(|value| match value {
            CelValue::Struct(..) => paths_agree(value, path),
            _ => Ok(()),
        }),
        _ => Ok(()),
    }
}

fn denied(attributes: &Attributes<'_>, policy: &Policy, binding: &str, why: &str) -> Status {
    let (message, reason) = match binding {
        "" => (format!("policy \"{}\" denied request: {why}", policy.name), "Forbidden"),
        _ => (format!("policy '{}' with binding '{binding}' denied request: {why}", policy.name), "Invalid"),
    };
    let mut status = refuse(attributes, &message, reason);
    // Its own words, and one code for all of them.
    (status.code, status.message) = (403, message);
    status
}

/// Forbidden, with the code of the reason that the policy gives.
pub(super) fn refuse(attributes: &Attributes<'_>, message: &str, reason: &str) -> Status {
    let resource = &attributes.resource;
    let mut status = Status::forbidden(&resource.group, &resource.plural, &attributes.name, message);
    (status.code, status.reason) = match reason {
        "Forbidden" => (403, "Forbidden".into()),
        "Unauthorized" => (401, "Unauthorized".into()),
        "RequestEntityTooLarge" => (413, "RequestEntityTooLarge".into()),
        _ => (422, "Invalid".into()),
    };
    let details = status.details.get_or_insert_with(Default::default);
    details.insert("causes".into(), json!([{"message": message}]));
    status
}
