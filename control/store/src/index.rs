//! The keys in memory: every version that is not compacted, and the events in order. It is a persistent (structurally shared)
//! value: a clone costs a few reference counts and stays as it is for ever, so a reader needs no lock and sees one revision.

use std::sync::Arc;

use bytes::Bytes;
use imbl::{OrdMap, Vector};

use crate::chain::{Chain, Version};
use crate::{Event, KeyRange, KeyValue, LeaseId, RangeRequest, RangeResponse, Revision, StoreError};

/// The events of one transaction.
#[derive(Debug)]
pub(crate) struct Revised {
    pub(crate) revision: Revision,
    pub(crate) events: Vec<Event>,
}

impl Revised {
    pub(crate) fn bytes(&self) -> u64 {
        self.events.iter().map(|event| size(&event.kv)).sum()
    }
}

fn size(kv: &KeyValue) -> u64 {
    (kv.key.len() + kv.value.len()) as u64
}

/// All keys at all revisions from the floor on.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    keys: OrdMap<Bytes, Arc<Chain>>,
    history: Vector<Arc<Revised>>,
    revision: Revision,
    compacted: Revision,
    live_keys: usize,
    live_bytes: u64,
    history_bytes: u64,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self {
            keys: OrdMap::new(),
            history: Vector::new(),
            revision: 1,
            compacted: 0,
            live_keys: 0,
            live_bytes: 0,
            history_bytes: 0,
        }
    }

    /// An index without history, to be filled by [`Index::restore`] with the keys as they were at its floor.
    pub(crate) fn at_floor(floor: Revision, compacted: Revision) -> Self {
        Self { revision: floor, compacted, ..Self::new() }
    }

    /// Adds a key of a snapshot.
    pub(crate) fn restore(&mut self, kv: KeyValue) {
        self.live_keys += 1;
        self.live_bytes += size(&kv);
        self.keys.insert(kv.key.clone(), Arc::new(Chain::new(Version::Put(Arc::new(kv)))));
    }

    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    pub(crate) fn compacted(&self) -> Revision {
        self.compacted
    }

    /// The revision before the first event of history. As in etcd, the compacted revision itself can still be read and watched.
    pub(crate) fn floor(&self) -> Revision {
        (self.compacted - 1).max(1)
    }

    pub(crate) fn live_keys(&self) -> usize {
        self.live_keys
    }

    pub(crate) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    pub(crate) fn history_bytes(&self) -> u64 {
        self.history_bytes
    }

    /// Events of every revision after the floor.
    pub(crate) fn history(&self) -> &Vector<Arc<Revised>> {
        &self.history
    }

    /// Where in the history `revision` is, or would be.
    pub(crate) fn history_position(&self, revision: Revision) -> usize {
        self.history.binary_search_by_key(&revision, |revised| revised.revision).unwrap_or_else(|position| position)
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Arc<KeyValue>> {
        self.keys.get(key)?.live()
    }

    /// The keys of a range that exist now.
    pub(crate) fn live_in(&self, range: &KeyRange) -> Vec<Bytes> {
        if range.is_empty() {
            return Vec::new();
        }
        self.keys
            .range::<_, Bytes>(range.bounds())
            .filter(|(_, chain)| chain.live().is_some())
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// Every key as it was at `revision`.
    pub(crate) fn all_at(&self, revision: Revision) -> impl Iterator<Item = &Arc<KeyValue>> {
        self.keys.values().filter_map(move |chain| chain.at(revision))
    }

    /// Whether a read at `revision` (0: now) can be answered.
    pub(crate) fn readable(&self, revision: Revision) -> Result<(), StoreError> {
        if revision > self.revision {
            return Err(StoreError::Future { asked: revision, current: self.revision });
        }
        if revision != 0 && revision < self.compacted {
            return Err(StoreError::Compacted { compacted: self.compacted, current: self.revision });
        }
        Ok(())
    }

    pub(crate) fn range(&self, request: &RangeRequest) -> Result<RangeResponse, StoreError> {
        self.readable(request.revision)?;
        // A transaction's reads see the steps before them, whose revision the index does not have yet.
        let at = if request.revision == 0 { Revision::MAX } else { request.revision };
        let mut response = RangeResponse { revision: self.revision, ..RangeResponse::default() };
        if request.range.is_empty() {
            return Ok(response);
        }
        let limit = if request.limit == 0 { usize::MAX } else { request.limit };
        let found = self.keys.range::<_, Bytes>(request.range.bounds()).filter_map(|(_, chain)| chain.at(at));
        for kv in found {
            response.count += 1;
            if !request.count_only && response.kvs.len() < limit {
                response.kvs.push(KeyValue::clone(kv));
            }
        }
        response.more = !request.count_only && response.count > response.kvs.len();
        Ok(response)
    }

    /// Writes a key as part of `revision`, which [`Index::seal`] ends.
    pub(crate) fn put(&mut self, revision: Revision, key: Bytes, value: Bytes, lease: LeaseId) -> Event {
        let prev = self.get(&key).cloned();
        let kv = Arc::new(KeyValue {
            key: key.clone(),
            value,
            create_revision: prev.as_ref().map_or(revision, |prev| prev.create_revision),
            mod_revision: revision,
            version: prev.as_ref().map_or(1, |prev| prev.version + 1),
            lease,
        });
        match &prev {
            Some(prev) => self.live_bytes -= size(prev),
            None => self.live_keys += 1,
        }
        self.live_bytes += size(&kv);
        let version = Version::Put(kv.clone());
        match self.keys.get_mut(&key) {
            Some(chain) => Arc::make_mut(chain).push(version),
            None => {
                self.keys.insert(key, Arc::new(Chain::new(version)));
            }
        }
        Event { kv: KeyValue::clone(&kv), prev: prev.as_deref().cloned(), deleted: false }
    }

    /// Deletes a key as part of `revision`; `None` if it does not exist.
    pub(crate) fn delete(&mut self, revision: Revision, key: &Bytes) -> Option<Event> {
        let prev = self.get(key)?.clone();
        self.live_keys -= 1;
        self.live_bytes -= size(&prev);
        Arc::make_mut(self.keys.get_mut(key)?).push(Version::Tombstone(revision));
        let kv = KeyValue {
            key: prev.key.clone(),
            value: Bytes::new(),
            create_revision: 0,
            mod_revision: revision,
            version: 0,
            lease: 0,
        };
        Some(Event { kv, prev: Some(KeyValue::clone(&prev)), deleted: true })
    }

    /// Ends a revision: its events are history from now on.
    pub(crate) fn seal(&mut self, revision: Revision, events: Vec<Event>) -> Arc<Revised> {
        let revised = Arc::new(Revised { revision, events });
        self.revision = revision;
        self.history_bytes += revised.bytes();
        self.history.push_back(revised.clone());
        revised
    }

    /// Forgets what only revisions before `revision` need.
    pub(crate) fn compact(&mut self, revision: Revision) -> Result<(), StoreError> {
        if revision <= self.compacted {
            return Err(StoreError::Compacted { compacted: self.compacted, current: self.revision });
        }
        self.readable(revision)?;
        self.compacted = revision;
        let floor = self.floor();
        while let Some(first) = self.history.front() {
            if first.revision > floor {
                break;
            }
            let first = first.clone();
            self.history.pop_front();
            self.history_bytes -= first.bytes();
            for event in &first.events {
                let Some(chain) = self.keys.get_mut(&event.kv.key) else { continue };
                if !Arc::make_mut(chain).trim(floor) {
                    self.keys.remove(&event.kv.key);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(index: &mut Index, key: &'static str) {
        let revision = index.revision() + 1;
        let event = index.put(revision, Bytes::from_static(key.as_bytes()), Bytes::from_static(b"value"), 0);
        index.seal(revision, vec![event]);
    }

    #[test]
    fn compaction_frees_old_versions_and_deleted_keys() {
        let mut index = Index::new();
        for _ in 0..100 {
            write(&mut index, "/often");
        }
        write(&mut index, "/gone");
        let revision = index.revision() + 1;
        let event = index.delete(revision, &Bytes::from_static(b"/gone")).unwrap();
        index.seal(revision, vec![event]);
        write(&mut index, "/last");
        assert_eq!(index.keys.values().map(|chain| chain.versions()).sum::<usize>(), 103);
        index.compact(index.revision()).unwrap();
        assert_eq!(index.keys.len(), 2, "the deleted key leaves nothing behind");
        assert_eq!(index.keys.values().map(|chain| chain.versions()).sum::<usize>(), 2);
        assert_eq!(index.history.len(), 1, "the compacted revision itself can still be watched");
        assert_eq!(index.history_bytes(), 10);
    }

    #[test]
    fn a_clone_stays_as_it_was() {
        let mut index = Index::new();
        write(&mut index, "/a");
        let before = index.clone();
        write(&mut index, "/a");
        write(&mut index, "/b");
        index.compact(index.revision()).unwrap();
        assert_eq!(before.range(&RangeRequest::now(KeyRange::prefix("/"))).unwrap().kvs[0].version, 1);
        assert_eq!((before.revision(), before.live_keys(), before.compacted()), (2, 1, 0));
    }
}
