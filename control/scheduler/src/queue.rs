//! The pods that wait for a Node: active ones by priority, failed ones after a while, and those that fit nowhere until something
//! changes. Pure: the clock is an argument. Delays are kube-scheduler's: 1 s doubling to 10 s, five minutes at most without a look.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use orlop_runtime::Key;
use tokio::time::Instant;

const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);
const LONGEST_REST: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Active,
    BackingOff(Instant),
    /// Fits nowhere, since then.
    Unschedulable(Instant),
    /// Being decided or bound.
    InFlight,
}

#[derive(Debug)]
struct Entry {
    priority: i32,
    order: u64,
    attempts: u32,
    backoff_until: Option<Instant>,
    place: Place,
    /// Whether another pod's placement could help (affinity, spreading).
    awaits_pods: bool,
}

/// What happened that may make pods fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A Node came or changed, or a pod left one.
    Room,
    /// A pod was placed.
    Placement,
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    entries: HashMap<Key, Entry>,
    active: BTreeSet<(Reverse<i32>, u64, Key)>,
    backing_off: BTreeSet<(Instant, Key)>,
    order: u64,
    /// Counts causes, so that one that comes while a pod is in flight is not lost for it.
    moves: u64,
    moves_at_pop: HashMap<Key, u64>,
}

impl Queue {
    /// A pod that has no Node came, or changed in what it asks for.
    pub(crate) fn add(&mut self, key: Key, priority: i32, awaits_pods: bool, now: Instant) {
        self.order += 1;
        let order = self.order;
        let entry = self.entries.entry(key.clone()).or_insert(Entry {
            priority,
            order,
            attempts: 0,
            backoff_until: None,
            place: Place::InFlight,
            awaits_pods,
        });
        let is_new = entry.order == order;
        entry.awaits_pods = awaits_pods;
        match entry.place {
            Place::InFlight if !is_new => {
                self.moves_at_pop.remove(&key);
            }
            Place::Active | Place::BackingOff(_) => {}
            Place::InFlight | Place::Unschedulable(_) => self.wake(&key, now),
        }
    }

    /// A pod is gone, or has a Node.
    pub(crate) fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.active.remove(&(Reverse(entry.priority), entry.order, key.clone()));
            if let Place::BackingOff(until) = entry.place {
                self.backing_off.remove(&(until, key.clone()));
            }
        }
        self.moves_at_pop.remove(key);
    }

    /// The next pod to decide on.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Key> {
        while let Some((until, key)) = self.backing_off.first().cloned() {
            if until > now {
                break;
            }
            self.backing_off.remove(&(until, key.clone()));
            self.activate(&key);
        }
        let rested = |entry: &Entry| matches!(entry.place, Place::Unschedulable(since) if since + LONGEST_REST <= now);
        if self.active.is_empty() {
            let rested: Vec<Key> = self.entries.iter().filter(|(_, e)| rested(e)).map(|(key, _)| key.clone()).collect();
            for key in rested {
                self.activate(&key);
            }
        }
        let (_, _, key) = self.active.pop_first()?;
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.place = Place::InFlight;
        }
        self.moves_at_pop.insert(key.clone(), self.moves);
        Some(key)
    }

    /// When [`Self::pop`] should be asked again if nothing happens.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        let rests = self.entries.values().filter_map(|entry| match entry.place {
            Place::Unschedulable(since) => Some(since + LONGEST_REST),
            _ => None,
        });
        rests.chain(self.backing_off.first().map(|(until, _)| *until)).min()
    }

    /// The pod fits nowhere: it waits for a cause, unless one came since it was popped.
    pub(crate) fn unfit(&mut self, key: &Key, now: Instant) {
        let moved = self.moves_at_pop.remove(key) != Some(self.moves);
        self.back_off(key, now);
        if moved {
            self.wake(key, now);
        } else if let Some(entry) = self.entries.get_mut(key) {
            entry.place = Place::Unschedulable(now);
        }
    }

    /// Something failed that has nothing to do with the pod: try again after a while.
    pub(crate) fn failed(&mut self, key: &Key, now: Instant) {
        self.moves_at_pop.remove(key);
        self.back_off(key, now);
        self.wake(key, now);
    }

    /// Something happened that may make pods fit.
    pub(crate) fn happened(&mut self, cause: Cause, now: Instant) {
        self.moves += 1;
        let concerned = |entry: &Entry| {
            matches!(entry.place, Place::Unschedulable(_)) && (cause == Cause::Room || entry.awaits_pods)
        };
        let keys: Vec<Key> = self.entries.iter().filter(|(_, e)| concerned(e)).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.wake(&key, now);
        }
    }

    fn back_off(&mut self, key: &Key, now: Instant) {
        if let Some(entry) = self.entries.get_mut(key) {
            let delay = FIRST_BACKOFF.saturating_mul(2_u32.saturating_pow(entry.attempts)).min(LONGEST_BACKOFF);
            entry.attempts += 1;
            entry.backoff_until = Some(now + delay);
        }
    }

    /// To the active ones, or first to the end of its back-off.
    fn wake(&mut self, key: &Key, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        match entry.backoff_until.filter(|until| *until > now) {
            Some(until) => {
                entry.place = Place::BackingOff(until);
                self.backing_off.insert((until, key.clone()));
            }
            None => self.activate(key),
        }
    }

    fn activate(&mut self, key: &Key) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.place = Place::Active;
            self.active.insert((Reverse(entry.priority), entry.order, key.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new("default", name)
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_more_important_comes_first_and_then_the_older() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(key("a"), 0, false, now);
        queue.add(key("b"), 0, false, now);
        queue.add(key("important"), 10, false, now);
        let order: Vec<_> = std::iter::from_fn(|| queue.pop(now)).map(|key| key.name).collect();
        assert_eq!(order, ["important", "a", "b"]);
    }

    #[test]
    fn what_fits_nowhere_waits_for_a_cause_and_for_its_back_off() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(key("a"), 0, false, now);
        queue.pop(now);
        queue.unfit(&key("a"), now);
        assert_eq!(queue.pop(now + seconds(20)), None, "nothing happened");
        queue.happened(Cause::Placement, now);
        assert_eq!(queue.pop(now + seconds(20)), None, "a placement does not help it");
        queue.happened(Cause::Room, now);
        assert_eq!(queue.pop(now), None);
        assert_eq!(queue.next_at(), Some(now + seconds(1)));
        assert_eq!(queue.pop(now + seconds(1)), Some(key("a")));
        queue.unfit(&key("a"), now + seconds(1));
        assert_eq!(queue.pop(now + seconds(301)), Some(key("a")), "five minutes are enough");
    }

    #[test]
    fn a_cause_that_comes_while_a_pod_is_decided_is_not_lost() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(key("a"), 0, false, now);
        queue.pop(now);
        queue.happened(Cause::Room, now);
        queue.unfit(&key("a"), now);
        assert_eq!(queue.pop(now + seconds(1)), Some(key("a")));
    }

    #[test]
    fn back_off_doubles_to_ten_seconds() {
        let (mut queue, mut now) = (Queue::default(), Instant::now());
        queue.add(key("a"), 0, false, now);
        let waits: Vec<u64> = (0..6)
            .map(|_| {
                queue.pop(now);
                queue.failed(&key("a"), now);
                let wait = queue.next_at().unwrap() - now;
                now += wait;
                wait.as_secs()
            })
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn a_removed_pod_is_never_popped() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(key("a"), 0, false, now);
        queue.add(key("b"), 0, false, now);
        queue.remove(&key("a"));
        assert_eq!(queue.pop(now), Some(key("b")));
        queue.failed(&key("b"), now);
        queue.remove(&key("b"));
        assert_eq!((queue.pop(now + seconds(60)), queue.next_at()), (None, None));
    }
}
