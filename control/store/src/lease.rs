//! Leases: keys put under one vanish when it expires. Time to live is counted in memory only; at open every lease starts anew
//! with its whole time to live, as in etcd after a change of leader.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::{Event, LeaseId, StoreError};

#[derive(Debug)]
struct Lease {
    ttl: i64,
    deadline: Instant,
    keys: BTreeSet<Bytes>,
}

/// All leases that live.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    live: HashMap<LeaseId, Lease>,
    deadlines: BTreeSet<(Instant, LeaseId)>,
    last: LeaseId,
}

/// etcd's largest time to live.
const MAX_TTL: i64 = 9_000_000_000;

fn after(now: Instant, ttl: i64) -> Instant {
    let ttl = Duration::from_secs(ttl.clamp(1, MAX_TTL) as u64);
    now.checked_add(ttl).unwrap_or(now + Duration::from_secs(1 << 30))
}

impl Leases {
    pub(crate) fn len(&self) -> usize {
        self.live.len()
    }

    /// Identity of the newest lease ever granted.
    pub(crate) fn last(&self) -> LeaseId {
        self.last
    }

    pub(crate) fn set_last(&mut self, last: LeaseId) {
        self.last = self.last.max(last);
    }

    pub(crate) fn exists(&self, id: LeaseId) -> bool {
        self.live.contains_key(&id)
    }

    /// Identity and time to live of each.
    pub(crate) fn grants(&self) -> Vec<(LeaseId, i64)> {
        self.live.iter().map(|(id, lease)| (*id, lease.ttl)).collect()
    }

    /// Grants a lease of a new identity; the time to live is at least a second.
    pub(crate) fn grant_next(&mut self, ttl: i64, now: Instant) -> (LeaseId, i64) {
        let (id, ttl) = (self.last + 1, ttl.clamp(1, MAX_TTL));
        self.grant(id, ttl, now);
        (id, ttl)
    }

    pub(crate) fn grant(&mut self, id: LeaseId, ttl: i64, now: Instant) {
        self.set_last(id);
        let deadline = after(now, ttl);
        self.live.insert(id, Lease { ttl, deadline, keys: BTreeSet::new() });
        self.deadlines.insert((deadline, id));
    }

    pub(crate) fn renew(&mut self, id: LeaseId, now: Instant) -> Result<i64, StoreError> {
        let lease = self.live.get_mut(&id).ok_or(StoreError::LeaseNotFound(id))?;
        self.deadlines.remove(&(lease.deadline, id));
        lease.deadline = after(now, lease.ttl);
        self.deadlines.insert((lease.deadline, id));
        Ok(lease.ttl)
    }

    /// Renews all, after a restart.
    pub(crate) fn renew_all(&mut self, now: Instant) {
        self.deadlines.clear();
        for (id, lease) in &mut self.live {
            lease.deadline = after(now, lease.ttl);
            self.deadlines.insert((lease.deadline, *id));
        }
    }

    /// Ends a lease and gives the keys that hung on it.
    pub(crate) fn revoke(&mut self, id: LeaseId) -> Result<BTreeSet<Bytes>, StoreError> {
        let lease = self.live.remove(&id).ok_or(StoreError::LeaseNotFound(id))?;
        self.deadlines.remove(&(lease.deadline, id));
        Ok(lease.keys)
    }

    /// Hangs a key on a lease.
    pub(crate) fn attach(&mut self, id: LeaseId, key: &Bytes) {
        if let Some(lease) = self.live.get_mut(&id) {
            lease.keys.insert(key.clone());
        }
    }

    /// Follows a change of a key from one lease to another.
    pub(crate) fn follow(&mut self, event: &Event) {
        let before = event.prev.as_ref().map_or(0, |prev| prev.lease);
        if before != event.kv.lease
            && let Some(lease) = self.live.get_mut(&before)
        {
            lease.keys.remove(&event.kv.key);
        }
        if event.kv.lease != 0 {
            self.attach(event.kv.lease, &event.kv.key);
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    pub(crate) fn expired(&self, now: Instant) -> Vec<LeaseId> {
        self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now).map(|(_, id)| *id).collect()
    }
}
