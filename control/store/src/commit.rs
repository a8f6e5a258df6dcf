//! The committer: one thread through which every change goes, in order. It runs all requests that are waiting against the state in
//! memory, writes them as one frame, syncs once, and only then publishes the state and answers. Requests that come meanwhile are
//! the next frame. A lone client pays for one sync and nothing else; where several were just answered together, it waits a moment
//! (a fraction of a sync) for them to come back, or they would split into camps that take turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::disk::Disk;
use crate::frame::Frame;
use crate::index::Revised;
use crate::log::{Log, Opened};
use crate::retention::Retention;
use crate::snapshot::{self, Source};
use crate::state::State;
use crate::watch::Watchers;
use crate::{LeaseId, Options, Revision, StoreError, Txn, TxnResponse, record, txn};

/// A frame is closed at this size, however many requests are waiting.
const FRAME_BYTES: usize = 4 << 20;

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the committer is asked for.
pub(crate) enum Request {
    Txn(Txn, Reply<TxnResponse>),
    Compact(Revision, Reply<()>),
    Grant(i64, Reply<LeaseId>),
    KeepAlive(LeaseId, Reply<i64>),
    Revoke(LeaseId, Reply<()>),
    /// A snapshot of the first so many bytes of log was written, and is so large.
    Snapshotted(u64, Result<u64, StoreError>),
    Close,
}

/// A request and its share of the places in the queue.
pub(crate) struct Queued {
    pub(crate) request: Request,
    pub(crate) _place: Option<OwnedSemaphorePermit>,
}

/// What the committer tells about itself.
#[derive(Default)]
pub(crate) struct Gauges {
    pub(crate) log_bytes: AtomicU64,
    pub(crate) snapshot_bytes: AtomicU64,
    pub(crate) leases: AtomicUsize,
}

/// Answers one request once its frame is durable, or has failed.
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// The committer's state.
pub(crate) struct Committer {
    disk: Arc<dyn Disk>,
    log: Log,
    state: State,
    watchers: Arc<Watchers>,
    gauges: Arc<Gauges>,
    requests: Receiver<Queued>,
    to_self: Sender<Queued>,
    options: Options,
    retention: Retention,
    frame: Frame,
    revisions: Vec<Arc<Revised>>,
    answers: Vec<Answer>,
    /// The history was shortened, which the published state does not show yet.
    compacted: bool,
    /// Automatic compactions that go into the next frame; losing them costs nothing.
    unlogged: Option<Revision>,
    /// The first failure of the disk. After it nothing is ever acknowledged again.
    failed: Option<StoreError>,
    snapshot: Option<JoinHandle<()>>,
    snapshot_at: u64,
    progress_at: Instant,
    /// How long the last frame took to become durable.
    sync_time: Duration,
    /// How many were answered together last: they may be about to ask again.
    returning: usize,
    places: Vec<OwnedSemaphorePermit>,
}

impl Committer {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        opened: Opened,
        options: Options,
        watchers: Arc<Watchers>,
        gauges: Arc<Gauges>,
        (to_self, requests): (Sender<Queued>, Receiver<Queued>),
    ) -> Self {
        let now = Instant::now();
        gauges.snapshot_bytes.store(opened.snapshot_bytes, Ordering::Relaxed);
        let committer = Self {
            retention: Retention::new(&options, opened.state.index.revision(), now),
            snapshot_at: options.segment_bytes.max(opened.snapshot_bytes),
            progress_at: now + options.progress_interval,
            disk,
            log: opened.log,
            state: opened.state,
            watchers,
            gauges,
            requests,
            to_self,
            options,
            frame: Frame::new(),
            revisions: Vec::new(),
            answers: Vec::new(),
            compacted: false,
            unlogged: None,
            failed: None,
            snapshot: None,
            sync_time: Duration::ZERO,
            returning: 0,
            places: Vec::new(),
        };
        committer.show();
        committer
    }

    /// Works until it is told to close or everyone who could ask is gone.
    pub(crate) fn run(mut self) {
        self.prepare();
        while self.turn() {}
    }

    /// One frame; false at the end.
    fn turn(&mut self) -> bool {
        let first = match self.requests.recv_timeout(self.patience()) {
            Ok(queued) => Some(queued),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return false,
        };
        let gather_until = Instant::now() + self.sync_time / 8;
        let mut open = true;
        let mut expected = None;
        let mut next = first;
        while let Some(queued) = next {
            if matches!(queued.request, Request::Close) {
                open = false;
                break;
            }
            self.places.extend(queued._place);
            self.handle(queued.request);
            next = if self.frame.len() < FRAME_BYTES { self.next(&mut expected, gather_until) } else { None };
        }
        self.returning = self.answers.len();
        self.keep_time();
        self.flush();
        self.places.clear();
        self.maintain();
        open
    }

    /// The next request for this frame: one that is waiting, or one that is likely to come in a moment.
    fn next(&self, expected: &mut Option<usize>, until: Instant) -> Option<Queued> {
        if let Ok(queued) = self.requests.try_recv() {
            return Some(queued);
        }
        let expected = *expected.get_or_insert(self.answers.len() + self.returning);
        if self.returning < 2 || self.answers.len() >= expected {
            return None;
        }
        self.requests.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
    }

    /// How long there is nothing to do unless somebody asks.
    fn patience(&self) -> Duration {
        let now = Instant::now();
        let mut until = self.progress_at;
        if self.failed.is_none() {
            let due = [self.state.leases.next_deadline(), self.retention.next_due(now)];
            until = due.into_iter().flatten().fold(until, Instant::min);
        }
        until.saturating_duration_since(now)
    }

    fn handle(&mut self, request: Request) {
        match request {
            Request::Txn(txn, reply) => self.answer(reply, |this| this.txn(&txn)),
            Request::Compact(revision, reply) => self.answer(reply, |this| this.compact(revision)),
            Request::Grant(ttl, reply) => self.answer(reply, |this| Ok(this.grant(ttl))),
            Request::KeepAlive(id, reply) => self.answer(reply, |this| this.state.leases.renew(id, Instant::now())),
            Request::Revoke(id, reply) => self.answer(reply, |this| this.revoke(id)),
            Request::Snapshotted(covered, outcome) => self.snapshotted(covered, outcome),
            Request::Close => {}
        }
    }

    /// Runs a request and answers once the frame is durable. Even a refusal waits: it may rest on a write that is not durable yet.
    fn answer<T: Send + 'static>(&mut self, reply: Reply<T>, run: impl FnOnce(&mut Self) -> Result<T, StoreError>) {
        let done = match &self.failed {
            Some(error) => Err(error.clone()),
            None => run(self),
        };
        self.answers.push(Box::new(move |durable| {
            // Whoever asked may have gone.
            let _ = reply.send(durable.and(done));
        }));
    }

    fn grant(&mut self, ttl: i64) -> LeaseId {
        let (id, ttl) = self.state.leases.grant_next(ttl, Instant::now());
        record::encode_grant(self.frame.body(), id, ttl);
        id
    }

    fn txn(&mut self, txn: &Txn) -> Result<TxnResponse, StoreError> {
        let (response, revised) = txn::execute(&mut self.state.index, &mut self.state.leases, txn)?;
        self.revisions.extend(revised.inspect(|revised| {
            record::encode_txn(self.frame.body(), revised.revision, &revised.events);
        }));
        Ok(response)
    }

    fn compact(&mut self, revision: Revision) -> Result<(), StoreError> {
        self.state.index.compact(revision)?;
        record::encode_compact(self.frame.body(), revision);
        self.compacted = true;
        Ok(())
    }

    fn revoke(&mut self, id: LeaseId) -> Result<(), StoreError> {
        let keys = self.state.leases.revoke(id)?;
        let revision = self.state.index.revision() + 1;
        let events: Vec<_> = keys.iter().filter_map(|key| self.state.index.delete(revision, key)).collect();
        if !events.is_empty() {
            let revised = self.state.index.seal(revision, events);
            record::encode_txn(self.frame.body(), revised.revision, &revised.events);
            self.revisions.push(revised);
        }
        record::encode_revoke(self.frame.body(), id);
        Ok(())
    }

    /// Does what is due by the clock: leases, history, progress.
    fn keep_time(&mut self) {
        let now = Instant::now();
        if self.failed.is_none() {
            for id in self.state.leases.expired(now) {
                // It is there: it was just found.
                let _ = self.revoke(id);
            }
            self.retention.mark(self.state.index.revision(), now);
            if let Some(target) = self.retention.target(&self.state.index, now)
                && self.state.index.compact(target).is_ok()
            {
                self.compacted = true;
                self.unlogged = Some(target);
            }
        }
        if now >= self.progress_at {
            self.watchers.progress();
            self.progress_at = now + self.options.progress_interval;
        }
    }

    /// Makes the frame durable, then visible, then answers.
    fn flush(&mut self) {
        let outcome = self.write();
        if outcome.is_ok() && (self.compacted || !self.revisions.is_empty()) {
            self.watchers.publish(self.state.index.clone(), &self.revisions);
            self.compacted = false;
        }
        self.revisions.clear();
        self.answers.drain(..).for_each(|answer| answer(outcome.clone()));
    }

    fn write(&mut self) -> Result<(), StoreError> {
        if let Some(error) = &self.failed {
            self.frame.reset();
            return Err(error.clone());
        }
        if self.frame.is_empty() {
            return Ok(());
        }
        if let Some(revision) = self.unlogged.take() {
            record::encode_compact(self.frame.body(), revision);
        }
        let begun = Instant::now();
        let outcome = self.log.append(&mut self.frame);
        self.sync_time = begun.elapsed().min(Duration::from_millis(8));
        self.frame.reset();
        outcome.inspect_err(|error| self.fail(error.clone()))
    }

    fn fail(&mut self, error: StoreError) {
        tracing::error!(%error, "the store takes no more writes until it is reopened");
        self.watchers.end(Some(error.clone()));
        self.failed = Some(error);
    }

    /// Begins the next segment and a snapshot when they are due.
    fn maintain(&mut self) {
        if self.failed.is_none() {
            let snapshot = self.snapshot.is_none() && self.log.bytes() >= self.snapshot_at;
            if snapshot || self.log.segment_bytes() >= self.options.segment_bytes {
                let covered = self.log.bytes();
                match self.log.rotate() {
                    Ok(()) if snapshot => self.begin_snapshot(covered),
                    Ok(()) => {}
                    Err(error) => self.fail(error),
                }
            }
        }
        self.prepare();
        self.show();
    }

    /// Has the log written ahead, now that nobody waits for it.
    fn prepare(&mut self) {
        if self.failed.is_none()
            && let Err(error) = self.log.prepare(self.options.segment_bytes)
        {
            self.fail(error);
        }
    }

    fn begin_snapshot(&mut self, covered: u64) {
        let source = Source {
            index: self.state.index.clone(),
            grants: self.state.leases.grants(),
            last_lease: self.state.leases.last(),
            next_frame: self.log.next_frame(),
        };
        let (disk, done) = (self.disk.clone(), self.to_self.clone());
        let write = move || {
            let outcome = snapshot::write(&*disk, &source);
            drop(disk);
            // The committer may have closed meanwhile.
            let _ = done.send(Queued { request: Request::Snapshotted(covered, outcome), _place: None });
        };
        match std::thread::Builder::new().name("store-snapshot".to_owned()).spawn(write) {
            Ok(thread) => self.snapshot = Some(thread),
            Err(error) => {
                let reason = error.to_string();
                self.snapshotted(covered, Err(StoreError::Storage { doing: "starting a thread", reason }));
            }
        }
    }

    /// A snapshot that failed loses nothing: the log is still there, and the next try comes when it has grown again.
    fn snapshotted(&mut self, covered: u64, outcome: Result<u64, StoreError>) {
        self.snapshot = None;
        match outcome {
            Ok(bytes) => {
                self.log.forget(covered);
                self.gauges.snapshot_bytes.store(bytes, Ordering::Relaxed);
                self.snapshot_at = self.options.segment_bytes.max(bytes);
            }
            Err(error) => {
                tracing::warn!(%error, "could not write a snapshot of the store; the log goes on growing");
                self.snapshot_at = self.log.bytes() + self.options.segment_bytes;
            }
        }
    }

    fn show(&self) {
        self.gauges.log_bytes.store(self.log.bytes(), Ordering::Relaxed);
        self.gauges.leases.store(self.state.leases.len(), Ordering::Relaxed);
    }
}

impl Drop for Committer {
    /// However it ended, nobody goes on waiting for it, and nobody writes to the directory any more.
    fn drop(&mut self) {
        if let Some(snapshot) = self.snapshot.take()
            && snapshot.join().is_err()
        {
            tracing::error!("the snapshot's thread panicked");
        }
        let reason = "the committer panicked; this is a bug".to_owned();
        self.watchers.end(std::thread::panicking().then_some(StoreError::Storage { doing: "writing", reason }));
    }
}
