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
type IndexBy<K> = fn(&K) -> Option<Key>;

/// The objects by namespace and name, and by whatever else they are asked for.
struct Objects<K> {
    by_namespace: HashMap<String, BTreeMap<String, Arc<K>>>,
    index_by: Option<IndexBy<K>>,
    by_index: HashMap<Key, BTreeMap<Key, Arc<K>>>,
}

impl<K> Objects<K> {
    fn insert(&mut self, key: Key, object: Arc<K>) -> Option<Arc<K>> {
        let place = self.index_by.and_then(|index_by| index_by(&object));
        let namespace = self.by_namespace.entry(key.namespace.clone()).or_default();
        let old = namespace.insert(key.name.clone(), object.clone());
        if let Some(old) = &old {
            self.unindex(&key, old);
        }
        if let Some(place) = place {
            self.by_index.entry(place).or_default().insert(key, object);
        }
        old
    }

    fn remove(&mut self, key: &Key) -> Option<Arc<K>> {
        let namespace = self.by_namespace.get_mut(&key.namespace)?;
        let old = namespace.remove(&key.name)?;
        if namespace.is_empty() {
            self.by_namespace.remove(&key.namespace);
        }
        self.unindex(key, &old);
        Some(old)
    }

    fn unindex(&mut self, key: &Key, object: &K) {
        let Some(place) = self.index_by.and_then(|index_by| index_by(object)) else { return };
        if let Some(objects) = self.by_index.get_mut(&place) {
            objects.remove(key);
            if objects.is_empty() {
                self.by_index.remove(&place);
            }
        }
    }
}

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
            objects: RwLock::new(Objects { by_namespace: HashMap::new(), index_by: None, by_index: HashMap::new() }),
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
        Self::selected(&format!("metadata.name={name}"))
    }

    /// Only the objects that a field selector finds.
    pub fn selected(fields: &str) -> Self {
        Self { selection: watcher::Config::default().fields(fields), ..Self::default() }
    }

    /// Objects that can also be found by what `index_by` says of them.
    pub fn indexed(index_by: fn(&K) -> Option<Key>) -> Self {
        let objects = Objects { by_namespace: HashMap::new(), index_by: Some(index_by), by_index: HashMap::new() };
        Self { objects: RwLock::new(objects), ..Self::default() }
    }

    /// The objects of which the index says this, by key.
    pub fn by_index(&self, place: &Key) -> Vec<Arc<K>> {
        self.read().by_index.get(place).map(|objects| objects.values().cloned().collect()).unwrap_or_default()
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
        self.read().by_namespace.get(&key.namespace)?.get(&key.name).cloned()
    }

    /// Every object of a namespace, by name.
    pub fn list(&self, namespace: &str) -> Vec<Arc<K>> {
        self.read().by_namespace.get(namespace).map(|objects| objects.values().cloned().collect()).unwrap_or_default()
    }

    /// Every object.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.read().by_namespace.values().flat_map(|objects| objects.values().cloned()).collect()
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
        let old = self.objects.write().unwrap_or_else(PoisonError::into_inner).insert(key, new.clone());
        self.note_version(new.as_ref());
        if old.as_ref().is_none_or(|old| old.resource_version() != new.resource_version()) {
            self.tell(old.as_ref(), Some(&new));
        }
    }

    fn remove(&self, key: &Key) {
        let old = self.objects.write().unwrap_or_else(PoisonError::into_inner).remove(key);
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

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::core::ObjectMeta;

    fn map(name: &str, version: &str, colour: &str) -> ConfigMap {
        let labels = [("colour".to_owned(), colour.to_owned())].into();
        let (name, version) = (Some(name.to_owned()), Some(version.to_owned()));
        let metadata = ObjectMeta { name, resource_version: version, labels: Some(labels), ..ObjectMeta::default() };
        ConfigMap { metadata, ..ConfigMap::default() }
    }

    fn colour(map: &ConfigMap) -> Option<Key> {
        Some(Key::new("", map.labels().get("colour")?))
    }

    #[test]
    fn an_index_follows_what_it_is_told() {
        let maps = Informer::indexed(colour);
        let names =
            |colour: &str| maps.by_index(&Key::new("", colour)).iter().map(|m| m.name_any()).collect::<Vec<_>>();
        maps.upsert(map("a", "1", "red"));
        maps.upsert(map("b", "2", "red"));
        assert_eq!(names("red"), ["a", "b"]);
        maps.upsert(map("a", "3", "blue"));
        assert_eq!((names("red"), names("blue")), (vec!["b".to_owned()], vec!["a".to_owned()]));
        maps.remove(&Key::new("", "b"));
        assert_eq!(names("red"), [""; 0]);
        assert_eq!(maps.seen(), 3);
    }

    #[test]
    fn a_handler_that_comes_late_hears_of_what_is_there() {
        let maps = Informer::<ConfigMap>::default();
        maps.upsert(map("a", "1", "red"));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let telling = heard.clone();
        maps.on_change(move |old, new| {
            let name = |map: Option<&Arc<ConfigMap>>| map.map(|map| map.name_any());
            telling.lock().unwrap().push((name(old), name(new)));
        });
        maps.upsert(map("a", "2", "red"));
        maps.upsert(map("a", "2", "red"));
        maps.remove(&Key::new("", "a"));
        let a = || Some("a".to_owned());
        assert_eq!(*heard.lock().unwrap(), [(None, a()), (a(), a()), (a(), None)], "and of each change once");
    }
}
