//! Objects in the store: optimistic writes under a comparison of the revision, and reads that see one's own writes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use orlop_store::{Compare, KeyRange, KeyValue, LeaseId, Op, OpResponse, RangeRequest, Store, StoreError, Txn};
use serde_json::Value;
use tokio::sync::Mutex;

use crate::cache::{Cache, Hub};
use crate::catalog::Resource;
use crate::metrics::StorageMetrics;
use crate::object::{MAX_DEPTH, Object, nests_within};
use crate::status::Status;

/// How long an Event is kept.
const EVENT_TTL: Duration = Duration::from_secs(3600);
/// Events of one such span share a lease.
const EVENT_LEASE_SPAN: Duration = Duration::from_secs(60);

/// A change is tried again so often when others write in between.
const ATTEMPTS: usize = 32;

/// What a conditional write came to.
#[derive(Debug)]
pub enum Outcome {
    /// It is durable; the object as it is now (for a deletion, as it last was).
    Done(Arc<Object>),
    /// The condition did not hold; the object as it really is, `None` if it does not exist.
    Stale(Option<Arc<Object>>),
}

/// The store behind the caches.
pub struct Registry {
    store: Arc<dyn Store>,
    hub: Arc<Hub>,
    event_lease: Mutex<Option<(LeaseId, Instant)>>,
    metrics: StorageMetrics,
}

impl Registry {
    /// Over a store and the caches that its feed fills.
    pub fn new(store: Arc<dyn Store>, hub: Arc<Hub>) -> Self {
        Self { store, hub, event_lease: Mutex::new(None), metrics: StorageMetrics::default() }
    }

    /// The caches.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// What the store is asked through this.
    pub fn metrics(&self) -> &StorageMetrics {
        &self.metrics
    }

    /// The store itself.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// One object, at least as new as the last write through this server.
    pub async fn get(&self, cache: &Cache, namespace: &str, name: &str) -> Result<Option<Arc<Object>>, Status> {
        self.hub.fresh(cache).await?;
        Ok(cache.get(&cache_key(&cache.resource, namespace, name)))
    }

    /// Writes an object that must be at `expected` now (0: must not exist).
    pub async fn put(&self, cache: &Cache, value: Value, expected: i64) -> Result<Outcome, Status> {
        // The last gate, whatever the format or patch it came by: what cannot be read back must not be written.
        if !nests_within(&value, MAX_DEPTH) {
            return Err(Status::bad_request(format!("the object nests deeper than {MAX_DEPTH} levels")));
        }
        let resource = &cache.resource;
        let metadata = &value["metadata"];
        let key: Bytes = resource
            .key(metadata["namespace"].as_str().unwrap_or_default(), metadata["name"].as_str().unwrap_or_default())
            .into();
        let lease = if resource.storage == "events" { self.lease_of_events().await? } else { 0 };
        let object = Arc::new(Object::from_value(resource, &value, 0));
        let txn = Txn {
            compare: vec![Compare::ModRevision(key.clone(), expected)],
            success: vec![Op::Put { key: key.clone(), value: object.stored().clone(), lease }],
            failure: vec![Op::Range(RangeRequest::now(KeyRange::one(key.clone())))],
        };
        let announced = self.hub.written().announce(resource, &object);
        let begun = Instant::now();
        let answer = self.store.txn(txn).await.map_err(store_failed)?;
        self.metrics.done(if expected == 0 { "create" } else { "update" }, resource, begun);
        if !answer.succeeded {
            return Ok(Outcome::Stale(self.found(resource, answer.responses)?));
        }
        announced.keep();
        cache.wrote(answer.revision);
        Ok(Outcome::Done(Arc::new(object.at(answer.revision))))
    }

    /// Deletes an object that must be as `object` now. The answer carries the deletion's `resourceVersion`.
    pub async fn delete(&self, cache: &Cache, object: &Object) -> Result<Outcome, Status> {
        let resource = &cache.resource;
        let key: Bytes = resource.key(&object.namespace, &object.name).into();
        let txn = Txn {
            compare: vec![Compare::ModRevision(key.clone(), object.revision)],
            success: vec![Op::Delete(KeyRange::one(key.clone()))],
            failure: vec![Op::Range(RangeRequest::now(KeyRange::one(key)))],
        };
        let begun = Instant::now();
        let answer = self.store.txn(txn).await.map_err(store_failed)?;
        self.metrics.done("delete", resource, begun);
        if !answer.succeeded {
            return Ok(Outcome::Stale(self.found(resource, answer.responses)?));
        }
        cache.wrote(answer.revision);
        Ok(Outcome::Done(Arc::new(object.at(answer.revision))))
    }

    /// Changes a stored object, again if somebody else wrote in between.
    pub async fn modify(
        &self,
        cache: &Cache,
        namespace: &str,
        name: &str,
        next: &mut (dyn FnMut(&mut Value) -> Result<(), Status> + Send),
    ) -> Result<Arc<Object>, Status> {
        let mut current = self.get(cache, namespace, name).await?;
        for _ in 0..ATTEMPTS {
            let Some(old) = current else { return Err(Status::not_found(&cache.resource, name)) };
            let mut object = old.value();
            next(&mut object)?;
            match self.put(cache, object, old.revision).await? {
                Outcome::Done(object) => return Ok(object),
                Outcome::Stale(found) => current = found,
            }
        }
        Err(Status::modified(&cache.resource, name))
    }

    fn found(&self, resource: &Resource, responses: Vec<OpResponse>) -> Result<Option<Arc<Object>>, Status> {
        let Some(OpResponse::Range(range)) = responses.into_iter().next() else { return Ok(None) };
        range.kvs.first().map(|kv| decode(resource, kv)).transpose()
    }

    async fn lease_of_events(&self) -> Result<LeaseId, Status> {
        let mut current = self.event_lease.lock().await;
        if let Some((id, since)) = *current
            && since.elapsed() < EVENT_LEASE_SPAN
        {
            return Ok(id);
        }
        let id = self.store.lease_grant((EVENT_TTL + EVENT_LEASE_SPAN).as_secs() as i64).await.map_err(store_failed)?;
        *current = Some((id, Instant::now()));
        Ok(id)
    }
}

/// Decodes a key with its value.
pub fn decode(resource: &Resource, kv: &KeyValue) -> Result<Arc<Object>, Status> {
    Object::decode(resource, &kv.key, &kv.value, kv.mod_revision).map(Arc::new).map_err(Status::internal)
}

/// An object's key within its resource.
pub fn cache_key(resource: &Resource, namespace: &str, name: &str) -> String {
    if resource.namespaced { format!("{namespace}/{name}") } else { name.to_owned() }
}

/// What a client is told when the store fails.
pub fn store_failed(error: StoreError) -> Status {
    match error {
        StoreError::Compacted { .. } => Status::expired("The resourceVersion for the provided list is too old."),
        StoreError::TooLarge { limit, .. } => Status::too_large(limit),
        error => {
            tracing::error!(%error, "the store failed");
            Status::internal(error)
        }
    }
}
