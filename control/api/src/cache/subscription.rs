//! A watcher's place in the history of a cache. It holds no queue of its own: a slow reader costs nothing, until what it has
//! not read yet is forgotten; then it is cut and must list again.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Cache, Change};

/// At most so many changes are handed out at once.
const BATCH: usize = 128;

/// A watcher's place.
#[derive(Debug)]
pub struct Subscription {
    cache: Arc<Cache>,
    next: u64,
    epoch: u64,
    grown: watch::Receiver<u64>,
}

/// The watcher fell behind what is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the watcher fell behind the history of the cache")]
pub struct Lagged;

impl Subscription {
    pub(super) fn new(cache: Arc<Cache>, next: u64, epoch: u64, grown: watch::Receiver<u64>) -> Self {
        Self { cache, next, epoch, grown }
    }

    /// What has happened since the last call, without waiting.
    pub fn pending(&mut self) -> Result<Vec<Arc<Change>>, Lagged> {
        let state = self.cache.read();
        if state.epoch != self.epoch || self.next < state.first {
            return Err(Lagged);
        }
        let from = (self.next - state.first) as usize;
        let changes: Vec<Arc<Change>> = state.history.iter().skip(from).take(BATCH).cloned().collect();
        self.next += changes.len() as u64;
        Ok(changes)
    }

    /// Waits until something has happened since the last call.
    pub async fn next(&mut self) -> Result<Vec<Arc<Change>>, Lagged> {
        loop {
            self.grown.mark_unchanged();
            let changes = self.pending()?;
            if !changes.is_empty() {
                return Ok(changes);
            }
            self.grown.changed().await.map_err(|_| Lagged)?;
        }
    }
}
