//! `MutatingAdmissionWebhook` and `ValidatingAdmissionWebhook`: servers of the cluster's owner that change requests or refuse
//! them (`apiserver/pkg/admission/plugin/webhook`). Mutating webhooks are asked one after the other, in the order of their
//! configurations' names; validating ones all at once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use super::attributes::Attributes;
use super::rules::Seen;
use crate::cache::Cache;
use crate::rest::Call;
use crate::status::Status;

mod call;
mod hooks;
mod metrics;
pub(super) mod review;

pub use hooks::Hooks;
use hooks::{Hook, Type};
pub use metrics::WebhookMetrics;

/// Why a webhook did not let a request pass.
enum Refused {
    /// It was not asked, or its answer is none.
    Failed {
        /// What is told.
        why: String,
        /// What metrics say.
        code: u16,
    },
    /// It said no.
    Denied(Status),
    /// The server's own fault, or the webhook's patch's.
    Error(Status),
}

/// What the first round of mutating webhooks leaves for a second one (`webhookReinvokeContext`).
#[derive(Default)]
pub struct Reinvocation {
    /// Whether anything was changed, so that whoever came before may want to see it again.
    pub needed: bool,
    round: usize,
    last: Option<Value>,
    invoked: BTreeSet<String>,
    again: BTreeSet<String>,
}

impl Reinvocation {
    /// Before the second round.
    pub fn begin(&mut self, object: &Value) {
        self.round = 1;
        if self.last.as_ref().is_some_and(|last| last != object) {
            self.require();
        }
    }

    fn require(&mut self) {
        self.again.append(&mut self.invoked);
    }
}

/// The configurations' cache, if any exist.
async fn configurations(call: &Call, ty: Type) -> Result<Option<Arc<Cache>>, Status> {
    let hub = call.server.registry().hub();
    let Some(cache) = hub.cache_at(ty.storage()) else { return Ok(None) };
    hub.fresh(&cache).await?;
    if cache.snapshot().0.is_empty() {
        return Ok(None);
    }
    if let Some(namespaces) = hub.cache_at("namespaces") {
        hub.fresh(&namespaces).await?;
    }
    Ok(Some(cache))
}

/// Asks the mutating webhooks. `object` is null for a deletion.
pub async fn mutate(
    attributes: &Attributes<'_>,
    object: &mut Value,
    reinvocation: &mut Reinvocation,
) -> Result<(), Status> {
    let server = &attributes.call.server;
    let Some(cache) = configurations(attributes.call, Type::Mutating).await? else { return Ok(()) };
    if attributes.is_exempt() {
        return Ok(());
    }
    for (index, hook) in server.hooks().of(&cache, Type::Mutating).iter().enumerate() {
        let Some(seen) = should_call(hook, attributes, object).await? else { continue };
        if reinvocation.round > 0 && !reinvocation.again.contains(&hook.uid) {
            continue;
        }
        let started = Instant::now();
        let place = format!("round_{}_index_{index}", reinvocation.round);
        let result = call::mutate(hook, &seen, attributes, object, &place).await;
        if matches!(result, Ok(true)) {
            reinvocation.require();
            reinvocation.needed = true;
        }
        if hook.reinvoke {
            reinvocation.invoked.insert(hook.uid.clone());
        }
        attributes.annotate(&format!("mutation.webhook.admission.k8s.io/{place}"), || {
            let mutated = matches!(result, Ok(true));
            json!({"configuration": hook.configuration, "webhook": hook.name, "mutated": mutated}).to_string()
        });
        conclude(hook, attributes, started, result.map(drop), &place)?;
    }
    reinvocation.last = Some(object.clone());
    Ok(())
}

/// Asks the validating webhooks, all at once. `object` is null for a deletion.
pub async fn validate(attributes: &Attributes<'_>, object: &Value) -> Result<(), Status> {
    let server = &attributes.call.server;
    let Some(cache) = configurations(attributes.call, Type::Validating).await? else { return Ok(()) };
    if attributes.is_exempt() {
        return Ok(());
    }
    let hooks = server.hooks().of(&cache, Type::Validating);
    let mut asked = Vec::new();
    for hook in hooks.iter() {
        if let Some(seen) = should_call(hook, attributes, object).await? {
            let place = format!("round_0_index_{}", asked.len());
            asked.push(async move {
                let started = Instant::now();
                let result = call::validate(hook, &seen, attributes, object).await;
                conclude(hook, attributes, started, result, &place)
            });
        }
    }
    futures::future::join_all(asked).await.into_iter().collect()
}

/// Whether a webhook is to be asked, and as what it sees the request.
async fn should_call(hook: &Hook, attributes: &Attributes<'_>, object: &Value) -> Result<Option<Seen>, Status> {
    let Some(seen) = hook.criteria.seen(attributes, object)? else { return Ok(None) };
    let chosen = hook.conditions.choose(attributes, &seen, object, hook.ignores_failure).await?;
    Ok(chosen.then_some(seen))
}

/// What a webhook's answer means for the request. `place` is its place among those that are asked.
fn conclude(
    hook: &Hook,
    attributes: &Attributes<'_>,
    started: Instant,
    result: Result<(), Refused>,
    place: &str,
) -> Result<(), Status> {
    let metrics = &attributes.call.server.metrics().webhooks;
    let observation = metrics::Observation::new(hook, attributes.operation, started);
    match result {
        Ok(()) => {
            metrics.observe(&observation, 200, false);
            Ok(())
        }
        Err(Refused::Failed { why, code }) => {
            let why = format!("failed calling webhook \"{}\": {why}", hook.name);
            metrics.observe(&observation, code, !hook.ignores_failure);
            if hook.ignores_failure {
                metrics.failed_open(&observation);
                let kind = if hook.ty == Type::Mutating { "mutation" } else { "validating" };
                let key = format!("failed-open.{kind}.webhook.admission.k8s.io/{place}");
                attributes.annotate(&key, || hook.name.clone());
                tracing::warn!(webhook = hook.name, why, "a webhook failed and is passed over");
                return Ok(());
            }
            metrics.rejected(&observation, "calling_webhook_error", code);
            tracing::warn!(webhook = hook.name, why, "a webhook failed, and so does the request");
            Err(Status::internal(why))
        }
        Err(Refused::Denied(status)) => {
            metrics.observe(&observation, status.code, true);
            metrics.rejected(&observation, "no_error", status.code);
            Err(status)
        }
        Err(Refused::Error(status)) => {
            metrics.observe(&observation, 0, true);
            metrics.rejected(&observation, "apiserver_internal_error", 0);
            Err(status)
        }
    }
}
