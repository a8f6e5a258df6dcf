//! What pods refer to in the cluster: ConfigMaps and Secrets, fetched when needed and kept for a while, and all Services, watched.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use kube::api::Api;
use kube::runtime::watcher;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::env::ServiceView;
use crate::error::PodError;
use crate::watches::{self, Reconnected};
use crate::within::{CALL, within};

/// How long a fetched object serves containers and volumes of running pods. A pod that starts fetches anew.
const FRESH: Duration = Duration::from_secs(60);

/// The data of a ConfigMap or Secret.
pub type Data = Arc<BTreeMap<String, Vec<u8>>>;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    secret: bool,
    namespace: String,
    name: String,
}

/// ConfigMaps and Secrets.
pub struct Objects {
    client: kube::Client,
    fetched: Mutex<HashMap<Key, (Instant, Data)>>,
}

impl Objects {
    pub fn new(client: kube::Client) -> Self {
        Self { client, fetched: Mutex::default() }
    }

    /// A ConfigMap's data; `None` when there is no such ConfigMap.
    pub async fn config_map(&self, namespace: &str, name: &str, anew: bool) -> Result<Option<Data>, PodError> {
        let key = Key { secret: false, namespace: namespace.to_owned(), name: name.to_owned() };
        if let Some(data) = self.remembered(&key, anew) {
            return Ok(Some(data));
        }
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let found = within(CALL, api.get_opt(name))
            .await
            .map_err(|error| PodError::Api(format!("configmap {name:?}: {error}")))?;
        Ok(found.map(|map| {
            let text = map.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes()));
            let binary = map.binary_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
            self.remember(key, text.chain(binary).collect())
        }))
    }

    /// A Secret's data; `None` when there is no such Secret.
    pub async fn secret(&self, namespace: &str, name: &str, anew: bool) -> Result<Option<Data>, PodError> {
        let key = Key { secret: true, namespace: namespace.to_owned(), name: name.to_owned() };
        if let Some(data) = self.remembered(&key, anew) {
            return Ok(Some(data));
        }
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let found = within(CALL, api.get_opt(name))
            .await
            .map_err(|error| PodError::Api(format!("secret {name:?}: {error}")))?;
        Ok(found.map(|secret| {
            let data = secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
            self.remember(key, data.collect())
        }))
    }

    fn remembered(&self, key: &Key, anew: bool) -> Option<Data> {
        let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        // Even a starting pod takes what a sibling has fetched in this second: ten replicas are not ten requests.
        let limit = if anew { Duration::from_secs(1) } else { FRESH };
        fetched.retain(|_, (since, _)| since.elapsed() < FRESH);
        fetched.get(key).filter(|(since, _)| since.elapsed() < limit).map(|(_, data)| data.clone())
    }

    fn remember(&self, key: Key, data: BTreeMap<String, Vec<u8>>) -> Data {
        let data = Arc::new(data);
        let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        fetched.insert(key, (Instant::now(), data.clone()));
        data
    }
}

/// All Services of the cluster, as far as environment variables need them.
pub struct Services {
    all: RwLock<HashMap<(String, String), ServiceView>>,
    listed: watch::Sender<bool>,
}

/// Keeps [`Services`] up to date until it is dropped.
pub type ServicesWatch = AbortOnDropHandle<()>;

impl Services {
    /// Starts to watch.
    pub fn start(client: kube::Client, reconnected: Reconnected) -> (Arc<Self>, ServicesWatch) {
        let services = Arc::new(Self { all: RwLock::default(), listed: watch::channel(false).0 });
        let watched = services.clone();
        let task = tokio::spawn(async move {
            let api: Api<Service> = Api::all(client);
            let config = watcher::Config::default().any_semantic();
            let mut events = std::pin::pin!(watches::watch(api, config, reconnected));
            let mut listed = HashMap::new();
            loop {
                match events.next().await {
                    Some(Ok(watcher::Event::Init)) => listed.clear(),
                    Some(Ok(watcher::Event::InitApply(service))) => {
                        let view = view(service);
                        listed.insert((view.namespace.clone(), view.name.clone()), view);
                    }
                    Some(Ok(watcher::Event::InitDone)) => {
                        *watched.write() = std::mem::take(&mut listed);
                        watched.listed.send_replace(true);
                    }
                    Some(Ok(watcher::Event::Apply(service))) => {
                        let view = view(service);
                        watched.write().insert((view.namespace.clone(), view.name.clone()), view);
                    }
                    Some(Ok(watcher::Event::Delete(service))) => {
                        let view = view(service);
                        watched.write().remove(&(view.namespace, view.name));
                    }
                    Some(Err(error)) => tracing::warn!(%error, "watching Services"),
                    None => return,
                }
            }
        });
        (services, AbortOnDropHandle::new(task))
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<(String, String), ServiceView>> {
        self.all.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the Services have been listed once: no container starts with half of its variables.
    pub async fn listed(&self) {
        // The sender lives in `self`: it cannot be gone.
        let _ = self.listed.subscribe().wait_for(|&listed| listed).await;
    }

    /// The service variables for a pod of this namespace.
    pub fn variables(&self, namespace: &str, enable_service_links: bool) -> Vec<(String, String)> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        crate::env::service_variables(all.values(), namespace, enable_service_links)
    }
}

fn view(service: Service) -> ServiceView {
    let spec = service.spec.unwrap_or_default();
    ServiceView {
        namespace: service.metadata.namespace.unwrap_or_default(),
        name: service.metadata.name.unwrap_or_default(),
        cluster_ip: spec.cluster_ip.unwrap_or_default(),
        ports: spec
            .ports
            .into_iter()
            .flatten()
            .map(|port| (port.name.unwrap_or_default(), port.protocol.unwrap_or_else(|| "TCP".to_owned()), port.port))
            .collect(),
    }
}
