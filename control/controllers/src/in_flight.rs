//! What an owner did that its view of pods does not show yet.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use crate::{Informer, Key};

/// After so long the view is believed whatever was done (client-go's ExpectationsTimeout).
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Default)]
struct Owner {
    /// Highest resourceVersion of a pod that was created.
    created: u64,
    /// Pods that were asked to go, by UID, with their names.
    deleting: HashMap<String, String>,
    since: Option<Instant>,
}

/// Creations and deletions on their way, by owner.
#[derive(Default)]
pub(crate) struct InFlight {
    owners: Mutex<HashMap<Key, Owner>>,
}

impl InFlight {
    pub(crate) fn created(&self, key: &Key, pod: &Pod) {
        let version = pod.resource_version().and_then(|version| version.parse().ok()).unwrap_or(0);
        let mut owners = self.lock();
        let owner = owners.entry(key.clone()).or_default();
        owner.created = owner.created.max(version);
        owner.since = Some(Instant::now());
    }

    pub(crate) fn deleting(&self, key: &Key, pod: &Pod) {
        let mut owners = self.lock();
        let owner = owners.entry(key.clone()).or_default();
        owner.deleting.insert(pod.uid().unwrap_or_default(), pod.name_any());
        owner.since = Some(Instant::now());
    }

    pub(crate) fn not_deleted(&self, key: &Key, pod: &Pod) {
        if let Some(owner) = self.lock().get_mut(key) {
            owner.deleting.remove(&pod.uid().unwrap_or_default());
        }
    }

    pub(crate) fn forget(&self, key: &Key) {
        self.lock().remove(key);
    }

    /// Whether the view shows everything that was done. A pod event brings the owner back when it does not yet.
    pub(crate) fn settled(&self, key: &Key, pods: &Informer<Pod>) -> bool {
        let mut owners = self.lock();
        let Some(owner) = owners.get_mut(key) else { return true };
        if owner.since.is_some_and(|since| since.elapsed() > PATIENCE) {
            owners.remove(key);
            return true;
        }
        let alive: HashSet<String> = owner
            .deleting
            .iter()
            .filter(|(uid, name)| {
                let pod = pods.get(&Key::new(key.namespace.clone(), name.as_str()));
                pod.is_some_and(|pod| pod.uid().as_ref() == Some(uid) && pod.metadata.deletion_timestamp.is_none())
            })
            .map(|(uid, _)| uid.clone())
            .collect();
        owner.deleting.retain(|uid, _| alive.contains(uid));
        let settled = owner.deleting.is_empty() && pods.seen() >= owner.created;
        if settled {
            owners.remove(key);
        }
        settled
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Owner>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
