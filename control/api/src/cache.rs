//! The watch cache: every object of a resource held once, and the recent changes in order. Lists, gets and watches are served
//! from here; the store is only written to, and read for pages of an older revision.
//!
//! One feed reads one watch of the whole store and applies it to every cache, so that all caches stand at one revision: the
//! `resourceVersion` of a list is the store's, as with kube-apiserver.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use imbl::OrdMap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::catalog::Resource;
use crate::object::Object;

mod change;
mod feed;
mod hub;
mod subscription;
mod written;

pub use change::{Change, ChangeKind, EventType, frame, metadata_frame, object_frame};
pub use hub::{Hub, Observer};
pub use subscription::Subscription;
pub(crate) use written::Written;

/// At most so many changes of one resource are remembered for watches that start in the past.
const HISTORY: usize = 4096;
/// And at most so many bytes of them.
const HISTORY_BYTES: usize = 16 << 20;

/// A snapshot of one resource: key within the resource to object, in key order. Cloning it is cheap.
pub type Objects = OrdMap<Arc<str>, Arc<Object>>;

/// All objects of one resource (in the stored version).
#[derive(Debug)]
pub struct Cache {
    /// The resource in the version that is stored.
    pub resource: Arc<Resource>,
    state: RwLock<State>,
    /// Number of the next change; watchers wait for it to grow.
    sequence: watch::Sender<u64>,
    /// The newest revision that this server wrote to this resource.
    written: AtomicI64,
    /// Everything up to this revision was read from the store when the cache was filled.
    since: AtomicI64,
    /// Cancelled when this cache is not fed any more.
    gone: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    objects: Objects,
    /// Bytes of all objects.
    bytes: usize,
    history: VecDeque<Arc<Change>>,
    history_bytes: usize,
    /// Sequence number of `history[0]`.
    first: u64,
    /// Watches can start at this revision or later.
    floor: i64,
    /// Revision of the last change.
    latest: i64,
    /// Grows when the cache was rebuilt and its history broke off.
    epoch: u64,
}

impl Cache {
    fn new(resource: Arc<Resource>) -> Self {
        Self {
            resource,
            state: RwLock::default(),
            sequence: watch::Sender::new(0),
            written: AtomicI64::new(0),
            since: AtomicI64::new(0),
            gone: CancellationToken::new(),
        }
    }

    /// Cancelled when the resource is served no more, or from another cache.
    pub fn gone(&self) -> CancellationToken {
        self.gone.clone()
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every object as of now, and the revision of the last change among them.
    pub fn snapshot(&self) -> (Objects, i64) {
        let state = self.read();
        (state.objects.clone(), state.latest)
    }

    /// How many objects there are, and how many bytes they have together.
    pub fn weight(&self) -> (usize, usize) {
        let state = self.read();
        (state.objects.len(), state.bytes)
    }

    /// One object by its key within the resource.
    pub fn get(&self, key: &str) -> Option<Arc<Object>> {
        self.read().objects.get(key).cloned()
    }

    /// The objects of one namespace, by name.
    pub fn of_namespace(&self, namespace: &str) -> Vec<Arc<Object>> {
        let prefix = format!("{namespace}/");
        let state = self.read();
        let of_it = state.objects.range(Arc::from(prefix.as_str())..).take_while(|(key, _)| key.starts_with(&prefix));
        of_it.map(|(_, object)| object.clone()).collect()
    }

    /// Remembers that this server wrote `revision`: later reads wait for it.
    pub fn wrote(&self, revision: i64) {
        self.written.fetch_max(revision, Ordering::AcqRel);
    }

    /// The newest revision that this server wrote to this resource.
    pub fn written(&self) -> i64 {
        self.written.load(Ordering::Acquire)
    }

    /// The objects now, the revision of the last change among them, and everything that changes from here on.
    pub fn watch_from_now(self: &Arc<Self>) -> (Objects, i64, Subscription) {
        let state = self.read();
        let next = state.first + state.history.len() as u64;
        let subscription = Subscription::new(self.clone(), next, state.epoch, self.sequence.subscribe());
        (state.objects.clone(), state.latest, subscription)
    }

    /// Everything that changed after `revision`, or the oldest revision that is still known.
    pub fn watch_after(self: &Arc<Self>, revision: i64) -> Result<Subscription, i64> {
        let state = self.read();
        if revision < state.floor {
            return Err(state.floor);
        }
        let skip = state.history.partition_point(|change| change.revision <= revision);
        Ok(Subscription::new(self.clone(), state.first + skip as u64, state.epoch, self.sequence.subscribe()))
    }

    /// Replaces everything with a fresh read of the store; watches that run are cut.
    fn reset(&self, objects: Objects, revision: i64) {
        self.since.store(revision, Ordering::Release);
        let mut state = self.write();
        let next = state.first + state.history.len() as u64 + 1;
        *state = State {
            bytes: objects.values().map(|object| object.size()).sum(),
            objects,
            floor: revision,
            latest: revision,
            first: next,
            epoch: state.epoch + 1,
            ..State::default()
        };
        drop(state);
        self.sequence.send_replace(next);
    }

    /// Applies changes in order.
    fn apply(&self, changes: Vec<Change>) -> Vec<Arc<Change>> {
        let changes: Vec<Arc<Change>> = changes.into_iter().map(Arc::new).collect();
        let mut state = self.write();
        for change in &changes {
            let (before, after) = match &change.kind {
                ChangeKind::Deleted(object) => (state.objects.remove(object.key().as_str()), 0),
                ChangeKind::Created(object) | ChangeKind::Updated { object, .. } => {
                    (state.objects.insert(object.key().into(), object.clone()), object.size())
                }
            };
            state.bytes = (state.bytes + after).saturating_sub(before.map_or(0, |object| object.size()));
            state.latest = change.revision;
            state.history_bytes += change.size();
            state.history.push_back(change.clone());
            while state.history.len() > HISTORY || (state.history_bytes > HISTORY_BYTES && state.history.len() > 64) {
                if let Some(oldest) = state.history.pop_front() {
                    state.history_bytes -= oldest.size();
                    state.floor = oldest.revision;
                    state.first += 1;
                }
            }
        }
        let next = state.first + state.history.len() as u64;
        drop(state);
        self.sequence.send_replace(next);
        changes
    }
}
