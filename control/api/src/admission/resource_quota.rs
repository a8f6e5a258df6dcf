//! `ResourceQuota`: what is created is charged to the quotas of its namespace before it is stored, so that no number of clients
//! at once gets more than there is. A quota's `status.used` is the account; it is written under a comparison of its revision.
//! What is deleted, and what was charged but never stored, the quota controller gives back.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use orlop_kinds::quota::{self, Counted};
use serde_json::Value;

use super::attributes::{Attributes, Operation};
use crate::object::meta;
use crate::registry::Outcome;
use crate::status::Status;

/// A charge is tried again so often when the controller writes in between.
const ATTEMPTS: usize = 16;

/// Requests of one namespace are charged one after the other: they would only make each other's comparison fail.
#[derive(Default)]
pub struct Turns(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    fn of(&self, namespace: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        turns.entry(namespace.to_owned()).or_default().clone()
    }
}

/// Charges a creation or an update; refuses what there is no room for.
pub(super) async fn charge(attributes: &Attributes<'_>, object: &Value) -> Result<(), Status> {
    let (resource, call) = (&attributes.resource, attributes.call);
    let counted = Counted::new(&resource.group, &resource.plural);
    let writes = matches!(attributes.operation, Operation::Create | Operation::Update);
    if !writes
        || !resource.namespaced
        || counted.is_ignored()
        || !counted.is_counted(&attributes.subresource, object, attributes.old)
    {
        return Ok(());
    }
    let registry = call.server.registry();
    let Some(cache) = registry.hub().cache_at("resourcequotas") else { return Ok(()) };
    registry.hub().fresh(&cache).await?;
    if cache.of_namespace(&attributes.namespace).is_empty() {
        return Ok(());
    }
    let turn = call.server.quota_turns().of(&attributes.namespace);
    let _mine = turn.lock().await;
    let mut left: Option<BTreeSet<String>> = None;
    for _ in 0..ATTEMPTS {
        registry.hub().fresh(&cache).await?;
        let mut quotas = cache.of_namespace(&attributes.namespace);
        // Those that were charged already are not charged again; one that is gone needs no charge.
        quotas.retain(|quota| left.as_ref().is_none_or(|left| left.contains(&*quota.name)));
        let values: Vec<Value> = quotas.iter().map(|quota| quota.value()).collect();
        let charged =
            quota::charge(&values, counted, object, attributes.old, &attributes.subresource, Timestamp::now());
        let charged = charged.map_err(|why| {
            let (name, prefix) = (meta(object, "name"), meta(object, "generateName"));
            Status::forbidden(&resource.group, &resource.plural, if name.is_empty() { prefix } else { name }, why)
        })?;
        if attributes.dry_run {
            return Ok(());
        }
        let mut failed = BTreeSet::new();
        for (index, used) in charged {
            let mut value = values[index].clone();
            value["status"]["used"] = used;
            if let Outcome::Stale(_) = registry.put(&cache, value, quotas[index].revision).await? {
                failed.insert(quotas[index].name.to_string());
            }
        }
        if failed.is_empty() {
            return Ok(());
        }
        left = Some(failed);
    }
    let name = left.and_then(|left| left.first().cloned()).unwrap_or_default();
    Err(Status::modified(&cache.resource, &name))
}
