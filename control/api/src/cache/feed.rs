//! Reads the store's one watch and applies it to the caches; lists anew when the watch breaks off.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use orlop_store::{Event, KeyRange, RangeRequest, Store, StoreError, WatchBatch, WatchStream};
use tokio_util::sync::CancellationToken;

use super::hub::Command;
use super::{Cache, Change, ChangeKind, Hub, Objects, Written};
use crate::catalog::Resource;
use crate::object::Object;

const REGISTRY: &str = "/registry/";

impl Hub {
    /// Fills the caches once and then keeps them up to date in a task of its own until `stop`. A store whose disk failed stays
    /// read-only until it is opened again: then [`Hub::failure`] says so and `stop` is cancelled.
    pub async fn run(self: &Arc<Self>, store: Arc<dyn Store>, stop: CancellationToken) -> Result<(), StoreError> {
        let mut watch = self.fill(&*store).await?;
        let hub = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    why = hub.follow(&mut watch, &*store) => tracing::warn!(error = ?why, "the store's watch ended; listing again"),
                }
                watch = loop {
                    match hub.fill(&*store).await {
                        Ok(watch) => break watch,
                        Err(error @ StoreError::Storage { .. }) => {
                            tracing::error!(%error, "the store's disk failed: it takes no more writes");
                            let _ = hub.failure.set(error);
                            stop.cancel();
                            return;
                        }
                        Err(error) => tracing::error!(%error, "the store cannot be read"),
                    }
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(Duration::from_secs(1)) => {}
                    }
                };
            }
        });
        Ok(())
    }

    /// Reads everything, opens a watch from there on and resets every cache; without a watch the caches stay as they are.
    async fn fill(&self, store: &dyn Store) -> Result<WatchStream, StoreError> {
        let everything = KeyRange::prefix(REGISTRY);
        let read = store.range(RangeRequest::now(everything.clone())).await?;
        let watch = store.watch(everything, read.revision + 1).await?;
        self.written().clear();
        let mut found: HashMap<String, Objects> = HashMap::new();
        for kv in &read.kvs {
            let Some(cache) = self.cache_of(&kv.key) else { continue };
            match Object::decode(&cache.resource, &kv.key, &kv.value, kv.mod_revision) {
                Ok(object) => {
                    let objects = found.entry(cache.resource.storage.clone()).or_default();
                    objects.insert(object.key().into(), Arc::new(object));
                }
                Err(error) => tracing::error!(%error, "left out"),
            }
        }
        for cache in self.all() {
            cache.reset(found.remove(&cache.resource.storage).unwrap_or_default(), read.revision);
        }
        for observer in &self.observers {
            observer.reset(&self.all());
        }
        self.revision.send_replace(read.revision);
        Ok(watch)
    }

    async fn follow(&self, watch: &mut WatchStream, store: &dyn Store) -> Option<StoreError> {
        let mut orders = self.orders.lock().await;
        loop {
            tokio::select! {
                batch = watch.next() => match batch? {
                    Ok(WatchBatch::Events(events)) => self.apply(&events),
                    Ok(WatchBatch::Progress(revision)) => self.advance(revision),
                    Err(error) => return Some(error),
                },
                Some(Command { resource, done }) = orders.recv() => {
                    let filled = self.fill_one(resource, store).await;
                    // Whoever asked may have gone; the cache is there all the same.
                    let _ = done.send(filled);
                }
            }
        }
    }

    /// Reads one resource as of now. The watch is still to tell of changes up to then: the cache passes over those.
    async fn fill_one(&self, resource: Arc<Resource>, store: &dyn Store) -> Result<(), StoreError> {
        let range = KeyRange::prefix(format!("{REGISTRY}{}/", resource.storage));
        let read = store.range(RangeRequest::now(range)).await?;
        let cache = Cache::new(resource);
        let mut objects = Objects::new();
        for kv in &read.kvs {
            match Object::decode(&cache.resource, &kv.key, &kv.value, kv.mod_revision) {
                Ok(object) => {
                    objects.insert(object.key().into(), Arc::new(object));
                }
                Err(error) => tracing::error!(%error, "left out"),
            }
        }
        cache.reset(objects, read.revision);
        self.insert(cache);
        Ok(())
    }

    fn apply(&self, events: &[Event]) {
        let mut changes: Vec<(Arc<Cache>, Vec<Change>)> = Vec::new();
        for event in events {
            let Some(cache) = self.cache_of(&event.kv.key) else { continue };
            if event.kv.mod_revision <= cache.since.load(Ordering::Acquire) {
                continue;
            }
            let pending = changes.iter().position(|(c, _)| Arc::ptr_eq(c, &cache));
            let position = pending.unwrap_or_else(|| {
                changes.push((cache.clone(), Vec::new()));
                changes.len() - 1
            });
            let earlier = &changes[position].1;
            match change(&cache, self.written(), earlier, event) {
                Some(change) => changes[position].1.push(change),
                None => tracing::error!(key = %String::from_utf8_lossy(&event.kv.key), "a change cannot be decoded"),
            }
        }
        for (cache, changes) in changes {
            let changes = cache.apply(changes);
            for (observer, change) in self.observers.iter().flat_map(|o| changes.iter().map(move |c| (o, c))) {
                observer.changed(&cache, change);
            }
        }
        if let Some(last) = events.last() {
            self.advance(last.kv.mod_revision);
        }
    }

    fn advance(&self, revision: i64) {
        self.revision.send_if_modified(|now| {
            let grows = revision > *now;
            *now = revision.max(*now);
            grows
        });
    }

    /// The cache that a key belongs to. Storage paths have one segment (`pods`) or two (`services/specs`).
    fn cache_of(&self, key: &[u8]) -> Option<Arc<Cache>> {
        let path = std::str::from_utf8(key).ok()?.strip_prefix(REGISTRY)?;
        let (first, rest) = path.split_once('/')?;
        if let Some(cache) = self.cache_at(first) {
            return Some(cache);
        }
        let (second, _) = rest.split_once('/')?;
        self.cache_at(&path[..first.len() + 1 + second.len()])
    }
}

/// Turns a store event into a change, with what the cache (or an earlier change of the same batch) knew before.
fn change(cache: &Cache, written: &Written, earlier: &[Change], event: &Event) -> Option<Change> {
    let revision = event.kv.mod_revision;
    let decode = |value: &Bytes| Object::decode(&cache.resource, &event.kv.key, value, revision).ok();
    if event.deleted {
        let previous = event.prev.as_ref()?;
        let object = decode(&previous.value)?;
        return Some(Change::new(revision, ChangeKind::Deleted(Arc::new(object))));
    }
    let object = match written.take(&event.kv.value) {
        Some(object) => object.at(revision),
        None => decode(&event.kv.value)?,
    };
    let object = Arc::new(object);
    if event.prev.is_none() {
        return Some(Change::new(revision, ChangeKind::Created(object)));
    }
    let key = object.key();
    let before = earlier.iter().rev().find_map(|change| match &change.kind {
        ChangeKind::Created(o) | ChangeKind::Updated { object: o, .. }
            if o.name == object.name && o.namespace == object.namespace =>
        {
            Some(o.clone())
        }
        _ => None,
    });
    let previous = before.or_else(|| cache.get(&key));
    Some(Change::new(
        revision,
        match previous {
            Some(previous) => ChangeKind::Updated { object, previous },
            None => ChangeKind::Created(object),
        },
    ))
}
