//! A shared view of every object of one kind, kept by one watch, with handlers that hear of each change.
//!
//! What `client-go` calls a SharedInformer. managedFields are dropped on arrival: no controller reads them and they are
//! half of an object's memory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use futures::{StreamExt as _, pin_mut};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::Key;

type Handler<K> = Box<dyn Fn(Option<&Arc<K>>, Option<&Arc<K>>) + Send + Sync>;
type Objects<K> = HashMap<String, BTreeMap<String, Arc<K>>>;

/// The objects of one kind, and who wants to hear of them.
pub struct Informer<K> {
    objects: RwLock<Objects<K>>,
    handlers: Mutex<Vec<Handler<K>>>,
    seen: AtomicU64,
    synced: watch::Sender<bool>,
    selection: watcher::Config,
}

impl<K> Default for Informer<K> {
    fn default() -> Self {
        Self {
            objects: RwLock::default(),
            handlers: Mutex::default(),
            seen: AtomicU64::new(0),
            synced: watch::Sender::new(false),
            selection: watcher::Config::default(),
        }
    }
}

impl<K> Informer<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Default,
{
    /// Only the objects of one name, in all namespaces.
    pub fn named(name: &str) -> Self {
        Self { selection: watcher::Config::default().fields(&format!("metadata.name={name}")), ..Self::default() }
    }

    /// Calls `handler(None, object)` for each object that is known, and `handler(old, new)` for each change from now on: `new` is
    /// `None` for a deletion. Handlers must be quick.
    pub fn on_change(&self, handler: impl Fn(Option<&Arc<K>>, Option<&Arc<K>>) + Send + Sync + 'static) {
        // The lock is held throughout, so that no change falls between the two.
        let mut handlers = self.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        for object in self.all() {
            handler(None, Some(&object));
        }
        handlers.push(Box::new(handler));
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.read().get(&key.namespace)?.get(&key.name).cloned()
    }

    /// Every object of a namespace, by name.
    pub fn list(&self, namespace: &str) -> Vec<Arc<K>> {
        self.read().get(namespace).map(|objects| objects.values().cloned().collect()).unwrap_or_default()
    }

    /// Every object.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.read().values().flat_map(|objects| objects.values().cloned()).collect()
    }

    /// The highest resourceVersion that has arrived. The server's versions are comparable (KEP-5504): a write whose version
    /// is not above this one has been seen.
    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::Acquire)
    }

    /// Waits for the first complete list.
    pub async fn synced(&self) {
        // The sender lives in self, so waiting cannot fail.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Watches until cancelled; errors are retried with back-off.
    pub async fn run(self: Arc<Self>, client: Client, stop: CancellationToken) {
        let events = watcher(Api::<K>::all(client), self.selection.clone()).default_backoff();
        pin_mut!(events);
        let mut listed: Option<HashSet<Key>> = None;
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = events.next() => event,
            };
            match event {
                None => return,
                Some(Err(error)) => {
                    tracing::warn!(kind = %K::kind(&K::DynamicType::default()), %error, "watch failed, trying again");
                }
                Some(Ok(watcher::Event::Init)) => listed = Some(HashSet::new()),
                Some(Ok(watcher::Event::InitApply(object))) => {
                    if let Some(listed) = &mut listed {
                        listed.insert(Key::of(&object));
                    }
                    self.upsert(object);
                }
                Some(Ok(watcher::Event::InitDone)) => {
                    let listed = listed.take().unwrap_or_default();
                    let gone = self.all().into_iter().map(|object| Key::of(object.as_ref()));
                    for key in gone.filter(|key| !listed.contains(key)).collect::<Vec<_>>() {
                        self.remove(&key);
                    }
                    self.synced.send_replace(true);
                }
                Some(Ok(watcher::Event::Apply(object))) => self.upsert(object),
                Some(Ok(watcher::Event::Delete(object))) => {
                    self.note_version(&object);
                    self.remove(&Key::of(&object));
                }
            }
        }
    }

    fn upsert(&self, mut object: K) {
        object.meta_mut().managed_fields = None;
        let key = Key::of(&object);
        let new = Arc::new(object);
        let old = {
            let mut objects = self.objects.write().unwrap_or_else(PoisonError::into_inner);
            objects.entry(key.namespace).or_default().insert(key.name, new.clone())
        };
        self.note_version(new.as_ref());
        if old.as_ref().is_none_or(|old| old.resource_version() != new.resource_version()) {
            self.tell(old.as_ref(), Some(&new));
        }
    }

    fn remove(&self, key: &Key) {
        let old = {
            let mut objects = self.objects.write().unwrap_or_else(PoisonError::into_inner);
            let Some(namespace) = objects.get_mut(&key.namespace) else { return };
            let old = namespace.remove(&key.name);
            if namespace.is_empty() {
                objects.remove(&key.namespace);
            }
            old
        };
        if let Some(old) = old {
            self.tell(Some(&old), None);
        }
    }

    fn note_version(&self, object: &K) {
        if let Some(version) = object.resource_version().and_then(|version| version.parse().ok()) {
            self.seen.fetch_max(version, Ordering::AcqRel);
        }
    }

    fn tell(&self, old: Option<&Arc<K>>, new: Option<&Arc<K>>) {
        for handler in self.handlers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            handler(old, new);
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Objects<K>> {
        self.objects.read().unwrap_or_else(PoisonError::into_inner)
    }
}
