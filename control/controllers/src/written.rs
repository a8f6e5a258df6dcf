//! What was written for a key and may not be in the view yet.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use kube::ResourceExt;

use crate::Key;

/// The highest resourceVersion written for each key. A key is settled when its view has seen that version: acting before on the
/// older view would do the same things again. The event that brings the version also brings the key back.
#[derive(Default)]
pub(crate) struct Written(Mutex<HashMap<Key, u64>>);

impl Written {
    /// Notes a write's answer.
    pub(crate) fn note<K: ResourceExt>(&self, key: &Key, object: &K) {
        let version = object.resource_version().and_then(|version| version.parse().ok()).unwrap_or(0);
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let highest = written.entry(key.clone()).or_default();
        *highest = version.max(*highest);
    }

    /// Whether a view that has `seen` so much shows everything that was written.
    pub(crate) fn settled(&self, key: &Key, seen: u64) -> bool {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match written.get(key) {
            Some(version) if *version > seen => false,
            Some(_) => {
                written.remove(key);
                true
            }
            None => true,
        }
    }

    /// The key's object is gone.
    pub(crate) fn forget(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}
