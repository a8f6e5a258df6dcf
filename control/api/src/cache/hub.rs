//! All caches, and the revision at which they stand.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use orlop_store::StoreError;
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use super::{Cache, Change, Written};
use crate::catalog::{Catalog, Resource};
use crate::registry::store_failed;
use crate::status::Status;

/// How long a read waits for the caches to catch up.
const PATIENCE: Duration = Duration::from_secs(3);

/// Follows the caches: told of each change after it was applied and before any reader is told that it was.
pub trait Observer: Send + Sync {
    /// The caches were filled anew.
    fn reset(&self, caches: &[Arc<Cache>]);
    /// One object changed.
    fn changed(&self, cache: &Cache, change: &Change);
}

/// All caches by their path in the store.
pub struct Hub {
    caches: RwLock<HashMap<String, Arc<Cache>>>,
    pub(super) observers: Vec<Box<dyn Observer>>,
    pub(super) revision: watch::Sender<i64>,
    pub(super) failure: OnceLock<StoreError>,
    written: Written,
    commands: mpsc::UnboundedSender<Command>,
    pub(super) orders: Mutex<mpsc::UnboundedReceiver<Command>>,
}

/// A cache that is to be filled, and whom to tell.
pub(super) struct Command {
    pub(super) resource: Arc<Resource>,
    pub(super) done: oneshot::Sender<Result<(), StoreError>>,
}

impl Hub {
    /// Empty caches for every stored resource; [`Hub::run`] fills them.
    pub fn new(catalog: &Catalog, observers: Vec<Box<dyn Observer>>) -> Self {
        let mut caches = HashMap::new();
        for resource in catalog.iter().filter(|r| !r.storage.is_empty() && r.is_storage_version()) {
            caches.insert(resource.storage.clone(), Arc::new(Cache::new(resource.clone())));
        }
        let (commands, orders) = mpsc::unbounded_channel();
        Self {
            caches: RwLock::new(caches),
            observers,
            revision: watch::Sender::new(0),
            failure: OnceLock::new(),
            written: Written::default(),
            commands,
            orders: Mutex::new(orders),
        }
    }

    /// Adds a cache for a resource while the feed runs, filled from the store when this returns; it takes the place of a former
    /// one, whose watches end.
    pub async fn add(&self, resource: Arc<Resource>) -> Result<(), Status> {
        let (done, answer) = oneshot::channel();
        let stopped = || Status::unavailable("the server is shutting down");
        self.commands.send(Command { resource, done }).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?.map_err(store_failed)
    }

    /// Drops the cache of a resource that is served no more; its watches end.
    pub fn remove(&self, storage: &str) {
        let removed = self.caches.write().unwrap_or_else(PoisonError::into_inner).remove(storage);
        if let Some(cache) = removed {
            cache.gone.cancel();
        }
    }

    pub(super) fn insert(&self, cache: Cache) {
        let storage = cache.resource.storage.clone();
        let former = self.caches.write().unwrap_or_else(PoisonError::into_inner).insert(storage, Arc::new(cache));
        if let Some(former) = former {
            former.gone.cancel();
        }
    }

    /// The cache of a resource, in whichever version.
    pub fn cache(&self, resource: &Resource) -> Result<Arc<Cache>, Status> {
        self.cache_at(&resource.storage).ok_or_else(|| Status::internal(format!("no storage for {}", resource.plural)))
    }

    /// The cache of a path below `/registry/`.
    pub fn cache_at(&self, storage: &str) -> Option<Arc<Cache>> {
        self.caches.read().unwrap_or_else(PoisonError::into_inner).get(storage).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Cache>> {
        self.caches.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// What this server is writing.
    pub(crate) fn written(&self) -> &Written {
        &self.written
    }

    /// Why the store takes no more writes and the caches are not followed any more, if that is so.
    pub fn failure(&self) -> Option<&StoreError> {
        self.failure.get()
    }

    /// The revision up to which every cache is complete.
    pub fn revision(&self) -> i64 {
        *self.revision.borrow()
    }

    /// Waits until the caches have reached a revision.
    pub async fn reach(&self, revision: i64) -> Result<(), Status> {
        if self.revision() >= revision {
            return Ok(());
        }
        let mut receiver = self.revision.subscribe();
        match tokio::time::timeout(PATIENCE, receiver.wait_for(|now| *now >= revision)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Status::unavailable("the server is shutting down")),
            Err(_) => {
                let message = format!("Too large resource version: {revision}, current: {}", self.revision());
                Err(Status::timeout(message).caused_by("ResourceVersionTooLarge", "Too large resource version", ""))
            }
        }
    }

    /// Waits until a cache has seen everything that this server wrote to it.
    pub async fn fresh(&self, cache: &Cache) -> Result<(), Status> {
        self.reach(cache.written()).await
    }
}
