//! What the log describes: index and leases. Replay at open goes through [`State::apply`].

use std::time::Instant;

use crate::index::Index;
use crate::lease::Leases;
use crate::record::{Change, Record};

/// Index and leases, up to the last record.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) index: Index,
    pub(crate) leases: Leases,
}

impl State {
    pub(crate) fn new() -> Self {
        Self { index: Index::new(), leases: Leases::default() }
    }

    /// Applies a record read from the disk; the error says what is wrong with it.
    pub(crate) fn apply(&mut self, record: Record, now: Instant) -> Result<(), &'static str> {
        match record {
            Record::Txn { revision, changes } => {
                if revision != self.index.revision() + 1 {
                    return Err("a revision is missing");
                }
                let mut events = Vec::with_capacity(changes.len());
                for change in changes {
                    events.push(match change {
                        Change::Put { key, value, lease } => self.index.put(revision, key, value, lease),
                        Change::Delete { key } => {
                            self.index.delete(revision, &key).ok_or("a deletion of a key that does not exist")?
                        }
                    });
                }
                self.index.seal(revision, events);
            }
            Record::Grant { id, ttl } => self.leases.grant(id, ttl, now),
            Record::Revoke { id } => {
                self.leases.revoke(id).map_err(|_| "the end of a lease that does not exist")?;
            }
            Record::Compact { revision } => {
                // A snapshot may be ahead of the log in this.
                if revision > self.index.compacted() {
                    self.index.compact(revision).map_err(|_| "a compaction of a future revision")?;
                }
            }
            Record::Base { .. } | Record::Key(_) | Record::End { .. } => return Err("a snapshot's record in the log"),
        }
        Ok(())
    }

    /// Ends replay: leases get their whole time to live and the keys that hang on them.
    pub(crate) fn finish(&mut self, now: Instant) {
        self.leases.renew_all(now);
        for kv in self.index.all_at(self.index.revision()) {
            if kv.lease != 0 {
                self.leases.attach(kv.lease, &kv.key);
            }
        }
    }
}
