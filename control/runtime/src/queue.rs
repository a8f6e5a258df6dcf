//! A work queue of keys: each waits at most once, none is worked on twice at the same time, failures come back later.
//!
//! Semantics of client-go's rate-limiting workqueue: back-off 5 ms doubling to 1000 s for each key.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

const FIRST_DELAY: Duration = Duration::from_millis(5);
const LONGEST_DELAY: Duration = Duration::from_secs(1000);
/// No wait is longer: whoever wants to wait longer is asked again.
const FOREVER: Duration = Duration::from_secs(86_400);

struct State<T> {
    waiting: VecDeque<T>,
    /// Waiting, or to be queued again when the present work on it is done.
    dirty: HashSet<T>,
    working: HashSet<T>,
    failures: HashMap<T, u32>,
    /// When each that comes later comes first.
    later: HashMap<T, Instant>,
}

/// A shared handle to one queue.
pub struct Queue<T> {
    state: Arc<Mutex<State<T>>>,
    ready: Arc<Notify>,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), ready: self.ready.clone() }
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        let state = State {
            waiting: VecDeque::new(),
            dirty: HashSet::new(),
            working: HashSet::new(),
            failures: HashMap::new(),
            later: HashMap::new(),
        };
        Self { state: Arc::new(Mutex::new(state)), ready: Arc::new(Notify::new()) }
    }
}

impl<T: Clone + Eq + Hash + Send + 'static> Queue<T> {
    /// Puts a key in; one that waits already stays where it is.
    pub fn add(&self, key: T) {
        let mut state = self.lock();
        if state.dirty.insert(key.clone()) && !state.working.contains(&key) {
            state.waiting.push_back(key);
            drop(state);
            self.ready.notify_one();
        }
    }

    /// Puts a key in after a while; nothing is added to one that comes sooner anyway.
    pub fn add_after(&self, key: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        let delay = delay.min(FOREVER);
        let due = Instant::now() + delay;
        {
            let mut state = self.lock();
            if state.later.get(&key).is_some_and(|sooner| *sooner <= due) {
                return;
            }
            state.later.insert(key.clone(), due);
        }
        let queue = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(due).await;
            {
                let mut state = queue.lock();
                if state.later.get(&key) == Some(&due) {
                    state.later.remove(&key);
                }
            }
            queue.add(key);
        });
    }

    /// Puts a failed key in again, later with each failure in a row.
    pub fn retry(&self, key: T) {
        let failures = {
            let mut state = self.lock();
            let failures = state.failures.entry(key.clone()).or_default();
            *failures += 1;
            *failures
        };
        let delay = FIRST_DELAY.saturating_mul(2_u32.saturating_pow(failures - 1)).min(LONGEST_DELAY);
        self.add_after(key, delay);
    }

    /// Forgets a key's failures.
    pub fn forget(&self, key: &T) {
        self.lock().failures.remove(key);
    }

    /// Takes the next key, waiting for one; [`Self::done`] must follow.
    pub async fn next(&self) -> T {
        loop {
            let ready = self.ready.notified();
            {
                let mut state = self.lock();
                if let Some(key) = state.waiting.pop_front() {
                    state.dirty.remove(&key);
                    state.working.insert(key.clone());
                    if !state.waiting.is_empty() {
                        self.ready.notify_one();
                    }
                    return key;
                }
            }
            ready.await;
        }
    }

    /// The work on a key is over; if it was added meanwhile it waits again.
    pub fn done(&self, key: &T) {
        let mut state = self.lock();
        state.working.remove(key);
        if state.dirty.contains(key) {
            state.waiting.push_back(key.clone());
            drop(state);
            self.ready.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_waits_once_and_comes_back_if_it_changed_under_work() {
        let queue = Queue::default();
        queue.add("a");
        queue.add("a");
        queue.add("b");
        assert_eq!(queue.next().await, "a");
        queue.add("a");
        assert_eq!(queue.next().await, "b", "a is being worked on");
        queue.done(&"a");
        assert_eq!(queue.next().await, "a");
        queue.done(&"a");
        let empty = tokio::time::timeout(Duration::from_millis(20), queue.next()).await;
        assert!(empty.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_comes_later_comes_once_and_at_the_soonest() {
        let queue = Queue::default();
        let start = tokio::time::Instant::now();
        for seconds in [60, 100, 20, 30, 20] {
            queue.add_after("a", Duration::from_secs(seconds));
        }
        assert_eq!(queue.lock().later.len(), 1);
        queue.next().await;
        queue.done(&"a");
        assert_eq!(start.elapsed().as_secs(), 20);
        assert!(queue.lock().later.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_come_back_later_each_time() {
        let queue = Queue::default();
        let mut waits = Vec::new();
        for _ in 0..4 {
            let start = tokio::time::Instant::now();
            queue.retry("a");
            queue.next().await;
            queue.done(&"a");
            waits.push(start.elapsed().as_millis());
        }
        assert!(waits.windows(2).all(|pair| pair[1] >= pair[0] * 2 - 2), "{waits:?}");
        queue.forget(&"a");
        let start = tokio::time::Instant::now();
        queue.retry("a");
        queue.next().await;
        assert!(start.elapsed() < Duration::from_millis(10));
    }
}
