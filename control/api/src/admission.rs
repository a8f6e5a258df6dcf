//! Admission: what may be in this cluster at this moment, after authorization and before storage. Each plugin is a function of
//! the request, the object and what the caches know; they run in kube-apiserver's order.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use crate::rest::Call;
use crate::status::Status;
use crate::subresource::scale;

mod attributes;
mod certificates;
mod escalation;
mod limit_ranger;
mod namespace_lifecycle;
mod node_restriction;
mod policy;
mod priority;
mod resource_quota;
mod rules;
mod service_account;
mod tolerations;
mod versions;
mod webhook;

pub use attributes::{Attributes, Operation};
pub use policy::{Policies, TypeChecker};
pub use resource_quota::Turns;
use webhook::Reinvocation;
pub use webhook::{Hooks, WebhookMetrics};

/// What a first round of mutating plugins leaves for a second one.
#[derive(Default)]
struct Rounds {
    policies: policy::Again,
    webhooks: Reinvocation,
}

impl Rounds {
    fn needed(&self) -> bool {
        self.policies.needed || self.webhooks.needed
    }

    fn begin(&mut self, object: &Value) {
        self.policies.begin(object);
        self.webhooks.begin(object);
    }
}

/// Plugins that change the object, first Kubernetes' own and then the cluster's. Whether any of the latter changed it.
pub async fn mutate(call: &Arc<Call>, object: &mut Value, old: Option<&Value>) -> Result<bool, Status> {
    let begun = Instant::now();
    let result = admit(call, object, old).await;
    step(call, old, "admit", result.is_err(), begun);
    result
}

/// Counts a step.
fn step(call: &Call, old: Option<&Value>, step: &'static str, rejected: bool, begun: Instant) {
    let operation = if old.is_some() { "UPDATE" } else { "CREATE" };
    call.server.metrics().access.admitted(operation, step, rejected, begun);
}

async fn admit(call: &Arc<Call>, object: &mut Value, old: Option<&Value>) -> Result<bool, Status> {
    builtin(call, object, old).await?;
    let is_scale = call.info.subresource == "scale";
    // The workload carries out what the Scale, which is what was sent, says.
    let mut spoken = if is_scale { scale::spoken(call, object) } else { object.clone() };
    let before = old.filter(|_| is_scale).map(|old| scale::spoken(call, old));
    let attributes = Attributes::of_write(call, &spoken, before.as_ref().or(old))?;
    let mut rounds = Rounds::default();
    dynamic(&attributes, &mut spoken, &mut rounds).await?;
    if !rounds.needed() {
        return Ok(false);
    }
    if !is_scale {
        builtin(call, &mut spoken, old).await?;
    }
    rounds.begin(&spoken);
    dynamic(&attributes, &mut spoken, &mut rounds).await?;
    if is_scale {
        // The version that it was shown under is no precondition.
        if let Some(metadata) = spoken["metadata"].as_object_mut() {
            metadata.shift_remove("resourceVersion");
        }
        scale::write(call, object, &spoken);
    } else {
        *object = spoken;
    }
    Ok(true)
}

/// Mutating plugins for what is not stored: a deletion (`object` is null), a connection, a `Binding`.
pub async fn mutate_other(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    let mut rounds = Rounds::default();
    dynamic(attributes, object, &mut rounds).await?;
    if rounds.needed() {
        rounds.begin(object);
        dynamic(attributes, object, &mut rounds).await?;
    }
    Ok(())
}

/// Plugins that the cluster's owner configures.
async fn dynamic(attributes: &Attributes<'_>, object: &mut Value, rounds: &mut Rounds) -> Result<(), Status> {
    policy::mutate(attributes, object, &mut rounds.policies).await?;
    webhook::mutate(attributes, object, &mut rounds.webhooks).await
}

/// Kubernetes' own plugins that change the object.
async fn builtin(call: &Arc<Call>, object: &mut Value, old: Option<&Value>) -> Result<(), Status> {
    certificates::mutate(call, object, old);
    if call.resource.storage != "pods" || !call.info.subresource.is_empty() {
        return Ok(());
    }
    if let Some(old) = old {
        tolerations::mutate(object);
        priority::keep(object, old);
        return Ok(());
    }
    // As in kube-apiserver, a missing namespace is what is told first, and not that it has no service account.
    namespace_lifecycle::validate(call, Some(object), old).await?;
    limit_ranger::mutate(call, object).await?;
    service_account::mutate(call, object).await?;
    tolerations::mutate(object);
    priority::mutate(call, object).await
}

/// Plugins that only say yes or no to a creation (without `old`) or an update.
pub async fn validate(call: &Arc<Call>, object: &Value, old: Option<&Value>) -> Result<(), Status> {
    let begun = Instant::now();
    let result = judge(call, object, old).await;
    step(call, old, "validate", result.is_err(), begun);
    result
}

async fn judge(call: &Arc<Call>, object: &Value, old: Option<&Value>) -> Result<(), Status> {
    namespace_lifecycle::validate(call, Some(object), old).await?;
    node_restriction::validate(call, Some(object), old)?;
    certificates::validate(call, object, old)?;
    escalation::validate(call, Some(object), old)?;
    limit_ranger::validate(call, object, old).await?;
    if call.info.subresource == "scale" {
        let before = old.map(|old| scale::spoken(call, old));
        let spoken = scale::spoken(call, object);
        return validate_other(&Attributes::of_write(call, &spoken, before.as_ref())?, &spoken).await;
    }
    let attributes = Attributes::of_write(call, object, old)?;
    validate_other(&attributes, object).await?;
    // Last, for nothing that is refused is charged.
    resource_quota::charge(&attributes, object).await
}

/// All plugins for a deletion.
pub async fn delete(call: &Arc<Call>, old: &Value, options: Value, dry_run: bool) -> Result<(), Status> {
    let attributes = Attributes::new(call, Operation::Delete, &Value::Null, Some(old), options, dry_run);
    mutate_other(&attributes, &mut Value::Null).await?;
    namespace_lifecycle::validate(call, None, Some(old)).await?;
    node_restriction::validate(call, None, Some(old))?;
    validate_other(&attributes, &Value::Null).await
}

/// All plugins for something that is sent to an object and not stored itself (`Binding`, `Eviction`, `TokenRequest`).
pub async fn create_other(call: &Arc<Call>, object: &mut Value) -> Result<(), Status> {
    let attributes = Attributes::of_write(call, object, None)?;
    mutate_other(&attributes, object).await?;
    validate_other(&attributes, object).await
}

/// All plugins for a stream or a proxied request with its options.
pub async fn connect(call: &Arc<Call>, mut options: Value) -> Result<(), Status> {
    let attributes = Attributes::new(call, Operation::Connect, &options, None, Value::Null, false);
    mutate_other(&attributes, &mut options).await?;
    validate_other(&attributes, &options).await
}

/// Validating plugins that the cluster's owner configures.
async fn validate_other(attributes: &Attributes<'_>, object: &Value) -> Result<(), Status> {
    policy::validate(attributes, object).await?;
    webhook::validate(attributes, object).await
}
