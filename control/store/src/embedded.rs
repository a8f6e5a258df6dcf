//! The embedded store: an index in memory, a log and snapshots in a directory of its own.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use async_trait::async_trait;
use futures::StreamExt;
use tokio::sync::{Semaphore, oneshot};

use crate::commit::{Committer, Gauges, Queued, Request};
use crate::disk::{Directory, Disk};
use crate::watch::Watchers;
use crate::{
    KeyRange, LeaseId, Options, RangeRequest, RangeResponse, Revision, Stats, Store, StoreError, Txn, TxnResponse,
    WatchStream, log, txn,
};

/// Requests that may wait for the committer; more wait for a place.
const PLACES: usize = 4096;

/// etcd's semantics on a directory of this machine.
///
/// Reads are answered from the newest durable state and wait for nothing. Dropping it closes it: what was acknowledged is on the
/// disk already.
pub struct Embedded {
    watchers: Arc<Watchers>,
    gauges: Arc<Gauges>,
    requests: mpsc::Sender<Queued>,
    places: Arc<Semaphore>,
    max_request_bytes: usize,
    committer: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Embedded {
    /// Opens the store in a directory, or creates it there. No other process may have it open.
    pub fn open(directory: impl Into<PathBuf>, options: Options) -> Result<Self, StoreError> {
        Self::open_on(Arc::new(Directory::open(directory)?), options)
    }

    /// Opens the store on a [`Disk`].
    pub fn open_on(disk: Arc<dyn Disk>, options: Options) -> Result<Self, StoreError> {
        let opened = log::open(disk.clone())?;
        let watchers = Arc::new(Watchers::new(opened.state.index.clone(), &options));
        let gauges = Arc::new(Gauges::default());
        let (requests, inbox) = mpsc::channel();
        let max_request_bytes = options.max_request_bytes;
        let committer =
            Committer::new(disk, opened, options, watchers.clone(), gauges.clone(), (requests.clone(), inbox));
        let committer = std::thread::Builder::new()
            .name("store-commit".to_owned())
            .spawn(move || committer.run())
            .map_err(log::failed("starting the committer"))?;
        let places = Arc::new(Semaphore::new(PLACES));
        Ok(Self { watchers, gauges, requests, places, max_request_bytes, committer: Some(committer) })
    }

    /// What the store holds.
    pub fn stats(&self) -> Stats {
        let index = self.watchers.index();
        Stats {
            revision: index.revision(),
            compacted: index.compacted(),
            keys: index.live_keys(),
            bytes: index.live_bytes(),
            history_revisions: index.history().len(),
            history_bytes: index.history_bytes(),
            log_bytes: self.gauges.log_bytes.load(Ordering::Relaxed),
            snapshot_bytes: self.gauges.snapshot_bytes.load(Ordering::Relaxed),
            leases: self.gauges.leases.load(Ordering::Relaxed),
            watchers: self.watchers.len(),
        }
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Request,
    ) -> Result<T, StoreError> {
        let closed = || StoreError::Storage { doing: "writing", reason: "the store is closed".to_owned() };
        let place = self.places.clone().acquire_owned().await.map_err(|_| closed())?;
        let (reply, answer) = oneshot::channel();
        self.requests.send(Queued { request: request(reply), _place: Some(place) }).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        // Both fail only if the committer is gone already.
        let _ = self.requests.send(Queued { request: Request::Close, _place: None });
        if let Some(committer) = self.committer.take() {
            let _ = committer.join();
        }
    }
}

#[async_trait]
impl Store for Embedded {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, StoreError> {
        self.watchers.index().range(&request)
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, StoreError> {
        if !txn::writes(&txn) {
            return txn::read(&self.watchers.index(), &txn);
        }
        txn::check(&txn, self.max_request_bytes)?;
        self.ask(|reply| Request::Txn(txn, reply)).await
    }

    async fn watch(&self, range: KeyRange, start: Revision) -> Result<WatchStream, StoreError> {
        Ok(self.watchers.watch(range, start)?.boxed())
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.ask(|reply| Request::Compact(revision, reply)).await
    }

    async fn lease_grant(&self, ttl_seconds: i64) -> Result<LeaseId, StoreError> {
        self.ask(|reply| Request::Grant(ttl_seconds, reply)).await
    }

    async fn lease_keep_alive(&self, id: LeaseId) -> Result<i64, StoreError> {
        self.ask(|reply| Request::KeepAlive(id, reply)).await
    }

    async fn lease_revoke(&self, id: LeaseId) -> Result<(), StoreError> {
        self.ask(|reply| Request::Revoke(id, reply)).await
    }

    async fn request_progress(&self) -> Result<(), StoreError> {
        self.watchers.progress();
        Ok(())
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        Ok(self.watchers.index().revision())
    }
}
