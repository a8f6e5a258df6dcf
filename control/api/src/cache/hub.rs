//! All caches, and the revision at which they stand.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use orlop_store::StoreError;
use tokio::sync::watch;

use super::{Cache, Change};
use crate::catalog::{Catalog, Resource};
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
}

impl Hub {
    /// Empty caches for every stored resource; [`Hub::run`] fills them.
    pub fn new(catalog: &Catalog, observers: Vec<Box<dyn Observer>>) -> Self {
        let mut caches = HashMap::new();
        for resource in catalog.iter().filter(|r| !r.storage.is_empty() && r.is_storage_version()) {
            caches.insert(resource.storage.clone(), Arc::new(Cache::new(resource.clone())));
        }
        Self { caches: RwLock::new(caches), observers, revision: watch::Sender::new(0), failure: OnceLock::new() }
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
