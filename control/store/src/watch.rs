//! Watches. The registry publishes each group commit and hands its events to the watchers concerned, under one lock: so a watch that
//! begins sees every revision exactly once, either in its past or as it happens. Nobody waits for a watcher; a slow one is cut off.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::Stream;
use imbl::Vector;

use crate::index::{Index, Revised};
use crate::{Event, KeyRange, Options, Revision, StoreError, WatchBatch};

/// Revisions of the past that are looked through for one batch.
const BACKLOG_CHUNK: usize = 1024;

/// The published index and everyone who watches it.
pub(crate) struct Watchers {
    inner: Mutex<Inner>,
    buffer_events: usize,
    buffer_bytes: usize,
}

struct Inner {
    published: Arc<Index>,
    live: HashMap<u64, Arc<Watcher>>,
    next: u64,
    ended: Option<StoreError>,
}

struct Watcher {
    range: KeyRange,
    /// Events of earlier revisions are not its business.
    from: Revision,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    events: Vec<Event>,
    bytes: usize,
    progress: Option<Revision>,
    /// What to say last, once everything else was taken.
    end: Option<Option<StoreError>>,
    waker: Option<Waker>,
}

/// A panic while a lock was held leaves plain values behind that are whole at every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wake(mut queue: MutexGuard<'_, Queue>) {
    let waker = queue.waker.take();
    drop(queue);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Watcher {
    fn end(&self, error: Option<StoreError>) {
        let mut queue = lock(&self.queue);
        queue.end = Some(error);
        wake(queue);
    }

    /// Queues what concerns it; false if it is too far behind.
    fn offer(&self, revisions: &[Arc<Revised>], options: (usize, usize)) -> bool {
        let wanted = |event: &&Event| event.kv.mod_revision >= self.from && self.range.contains(&event.kv.key);
        let mut events = revisions.iter().flat_map(|revised| &revised.events).filter(wanted).peekable();
        if events.peek().is_none() {
            return true;
        }
        let mut queue = lock(&self.queue);
        if queue.progress.is_some() {
            queue.progress = revisions.last().map(|revised| revised.revision);
        }
        for event in events {
            queue.bytes += event.kv.key.len() + event.kv.value.len();
            queue.events.push(event.clone());
        }
        let kept = queue.events.len() <= options.0 && queue.bytes <= options.1;
        if !kept {
            queue.events = Vec::new();
            queue.progress = None;
            queue.end = Some(Some(StoreError::Slow));
        }
        wake(queue);
        kept
    }
}

impl Watchers {
    pub(crate) fn new(index: Index, options: &Options) -> Self {
        let inner = Inner { published: Arc::new(index), live: HashMap::new(), next: 0, ended: None };
        Self {
            inner: Mutex::new(inner),
            buffer_events: options.watch_buffer_events,
            buffer_bytes: options.watch_buffer_bytes,
        }
    }

    /// The newest durable state.
    pub(crate) fn index(&self) -> Arc<Index> {
        lock(&self.inner).published.clone()
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.inner).live.len()
    }

    /// Makes a durable state visible and hands out what is new in it.
    pub(crate) fn publish(&self, index: Index, revisions: &[Arc<Revised>]) {
        let index = Arc::new(index);
        let mut inner = lock(&self.inner);
        let before = std::mem::replace(&mut inner.published, index);
        inner.live.retain(|_, watcher| watcher.offer(revisions, (self.buffer_events, self.buffer_bytes)));
        drop(inner);
        // It may be the last reference to many versions.
        drop(before);
    }

    /// Tells every watch how far it is.
    pub(crate) fn progress(&self) {
        let inner = lock(&self.inner);
        let revision = inner.published.revision();
        for watcher in inner.live.values() {
            let mut queue = lock(&watcher.queue);
            queue.progress = Some(revision);
            wake(queue);
        }
    }

    /// Ends every watch, and those to come.
    pub(crate) fn end(&self, error: Option<StoreError>) {
        let mut inner = lock(&self.inner);
        inner.live.drain().for_each(|(_, watcher)| watcher.end(error.clone()));
        if inner.ended.is_none() {
            inner.ended = error;
        }
    }

    /// Begins a watch.
    pub(crate) fn watch(self: &Arc<Self>, range: KeyRange, start: Revision) -> Result<Watching, StoreError> {
        let mut inner = lock(&self.inner);
        if let Some(error) = &inner.ended {
            return Err(error.clone());
        }
        let index = &inner.published;
        let now = index.revision();
        if start != 0 && start < index.compacted() {
            return Err(StoreError::Compacted { compacted: index.compacted(), current: now });
        }
        let first = if start == 0 { now + 1 } else { start };
        let position = index.history_position(first);
        let past = index.history().skip(position);
        let watcher = Arc::new(Watcher { range, from: first.max(now + 1), queue: Mutex::default() });
        let id = inner.next;
        inner.next += 1;
        inner.live.insert(id, watcher.clone());
        Ok(Watching { id, watchers: self.clone(), watcher, past, progress: Some(now) })
    }
}

/// The stream of one watch.
pub(crate) struct Watching {
    id: u64,
    watchers: Arc<Watchers>,
    watcher: Arc<Watcher>,
    /// What had happened when the watch began and is still to be delivered.
    past: Vector<Arc<Revised>>,
    /// Progress to tell before anything from the queue.
    progress: Option<Revision>,
}

impl Watching {
    fn next_past(&mut self) -> Option<Vec<Event>> {
        while !self.past.is_empty() {
            let rest = self.past.split_off(self.past.len().min(BACKLOG_CHUNK));
            let chunk = std::mem::replace(&mut self.past, rest);
            let events = chunk.iter().flat_map(|revised| &revised.events);
            let events: Vec<_> = events.filter(|event| self.watcher.range.contains(&event.kv.key)).cloned().collect();
            if !events.is_empty() {
                return Some(events);
            }
        }
        None
    }
}

impl Stream for Watching {
    type Item = Result<WatchBatch, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(events) = self.next_past() {
            return Poll::Ready(Some(Ok(WatchBatch::Events(events))));
        }
        if let Some(revision) = self.progress.take() {
            return Poll::Ready(Some(Ok(WatchBatch::Progress(revision))));
        }
        let watcher = self.watcher.clone();
        let mut queue = lock(&watcher.queue);
        if !queue.events.is_empty() {
            queue.bytes = 0;
            self.progress = queue.progress.take();
            return Poll::Ready(Some(Ok(WatchBatch::Events(std::mem::take(&mut queue.events)))));
        }
        if let Some(revision) = queue.progress.take() {
            return Poll::Ready(Some(Ok(WatchBatch::Progress(revision))));
        }
        if let Some(end) = &mut queue.end {
            return Poll::Ready(end.take().map(Err));
        }
        queue.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        lock(&self.watchers.inner).live.remove(&self.id);
    }
}
