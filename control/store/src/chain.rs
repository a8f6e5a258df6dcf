//! One key's versions: the newest, and those before it which history still needs.

use std::sync::Arc;

use imbl::Vector;

use crate::{KeyValue, Revision};

/// What a key was from some revision on.
#[derive(Debug, Clone)]
pub(crate) enum Version {
    /// It had this value.
    Put(Arc<KeyValue>),
    /// It was deleted at this revision.
    Tombstone(Revision),
}

impl Version {
    fn revision(&self) -> Revision {
        match self {
            Self::Put(kv) => kv.mod_revision,
            Self::Tombstone(revision) => *revision,
        }
    }

    fn live(&self) -> Option<&Arc<KeyValue>> {
        match self {
            Self::Put(kv) => Some(kv),
            Self::Tombstone(_) => None,
        }
    }
}

/// The versions of one key, each of another revision.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    last: Version,
    older: Vector<Version>,
}

impl Chain {
    pub(crate) fn new(first: Version) -> Self {
        Self { last: first, older: Vector::new() }
    }

    /// Adds a newer version.
    pub(crate) fn push(&mut self, version: Version) {
        let before = std::mem::replace(&mut self.last, version);
        self.older.push_back(before);
    }

    /// The key as it is now.
    pub(crate) fn live(&self) -> Option<&Arc<KeyValue>> {
        self.last.live()
    }

    /// The key as it was at `revision`.
    pub(crate) fn at(&self, revision: Revision) -> Option<&Arc<KeyValue>> {
        if self.last.revision() <= revision {
            return self.last.live();
        }
        let after = match self.older.binary_search_by_key(&revision, Version::revision) {
            Ok(found) => found + 1,
            Err(after) => after,
        };
        self.older.get(after.checked_sub(1)?)?.live()
    }

    /// Forgets every version that nobody can see at `floor` or later. Returns whether anything is left.
    pub(crate) fn trim(&mut self, floor: Revision) -> bool {
        if self.last.revision() <= floor {
            self.older = Vector::new();
            return self.last.live().is_some();
        }
        // The newest version at or before `floor` is the one that is seen at `floor`; a tombstone there is as good as nothing.
        while let Some(first) = self.older.front() {
            let next = self.older.get(1).map_or(self.last.revision(), Version::revision);
            if next <= floor || (first.revision() <= floor && first.live().is_none()) {
                self.older.pop_front();
            } else {
                break;
            }
        }
        true
    }

    /// How many versions are kept.
    #[cfg(test)]
    pub(crate) fn versions(&self) -> usize {
        1 + self.older.len()
    }
}
