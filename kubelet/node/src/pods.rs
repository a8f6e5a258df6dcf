//! The node's pods: a worker for each one that the API server gives this node or that the runtime still has. Watches the API
//! server, and lists the runtime's containers when `changes` says so; everything else is the workers'.

mod changes;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::Api;
use kube::runtime::watcher;
use orlop_cri::CriError;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::kubelet::Kubelet;
use crate::pod;
use crate::spec::labels;
use crate::watches;
use crate::worker::{Handle, Update, Worker};
use changes::Changes;

/// The pods that the API server has given this node, by UID; for the HTTP API.
pub type Known = Arc<RwLock<HashMap<String, Arc<Pod>>>>;

/// The end of a worker.
struct Ended {
    uid: String,
    /// It did not come to its own end: a fault in this program, which must not cost more than a moment of one pod.
    failed: bool,
}

/// Until a worker that failed is replaced.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Runs the node's pods, for ever.
pub struct Pods {
    kubelet: Arc<Kubelet>,
    known: Known,
    workers: HashMap<String, Handle>,
    running: JoinSet<Ended>,
    /// What the runtime had at the last look, by pod UID: ids and states.
    seen: HashMap<String, BTreeSet<(String, i32)>>,
    /// The API server has been heard completely: what it did not name does not belong here.
    listed: bool,
}

impl Pods {
    pub fn new(kubelet: Arc<Kubelet>, known: Known) -> Self {
        Self { kubelet, known, workers: HashMap::new(), running: JoinSet::new(), seen: HashMap::new(), listed: false }
    }

    pub async fn run(mut self) {
        let api: Api<Pod> = Api::all(self.kubelet.config.client.clone());
        let config = watcher::Config::default().fields(&format!("spec.nodeName={}", self.kubelet.config.node_name));
        let mut events = std::pin::pin!(watches::watch(api, config, self.kubelet.reconnected.subscribe()));
        let mut changes = Changes::follow(self.kubelet.cri.clone());
        let mut listing = HashSet::new();
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => self.hear(event, &mut listing),
                    Some(Err(error)) => tracing::warn!(%error, "watching pods"),
                    None => return,
                },
                () = changes.next() => {
                    if let Err(error) = self.relist().await {
                        tracing::warn!(%error, "listing containers");
                    }
                    changes.looked();
                }
                Some(ended) = self.running.join_next() => match ended {
                    Ok(ended) => self.ended(&ended),
                    // Only at the kubelet's own end: nobody else cancels these tasks, and they cannot panic.
                    Err(error) => tracing::error!(%error, "a pod's worker is lost"),
                },
            }
        }
    }

    fn hear(&mut self, event: watcher::Event<Pod>, listing: &mut HashSet<String>) {
        match event {
            watcher::Event::Init => listing.clear(),
            watcher::Event::InitApply(pod) => {
                listing.insert(pod::uid(&pod).to_owned());
                self.apply(pod);
            }
            watcher::Event::InitDone => {
                self.listed = true;
                let gone: Vec<Arc<Pod>> = {
                    let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
                    known.iter().filter(|(uid, _)| !listing.contains(*uid)).map(|(_, pod)| pod.clone()).collect()
                };
                gone.into_iter().for_each(|pod| self.remove(pod));
            }
            watcher::Event::Apply(pod) => self.apply(pod),
            watcher::Event::Delete(pod) => self.remove(Arc::new(pod)),
        }
    }

    fn apply(&mut self, pod: Pod) {
        let pod = Arc::new(pod);
        let uid = pod::uid(&pod).to_owned();
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(uid.clone(), pod.clone());
        self.update(uid, Update { pod, removed: false });
    }

    fn remove(&mut self, pod: Arc<Pod>) {
        let uid = pod::uid(&pod).to_owned();
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(&uid);
        if self.workers.contains_key(&uid) {
            self.update(uid, Update { pod, removed: true });
        }
    }

    fn update(&mut self, uid: String, update: Update) {
        if let Some(handle) = self.workers.get(&uid) {
            // Fails only when the worker has just ended: then the pod is gone and this news is old.
            let _ = handle.updates.send(update);
            return;
        }
        let (worker, handle) = Worker::new(self.kubelet.clone(), update);
        self.workers.insert(uid.clone(), handle);
        self.running.spawn(async move {
            let result = AbortOnDropHandle::new(tokio::spawn(worker.run())).await;
            if let Err(error) = &result {
                tracing::error!(uid, %error, "a pod's worker has failed");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
            Ended { uid, failed: result.is_err() }
        });
    }

    fn ended(&mut self, ended: &Ended) {
        self.workers.remove(&ended.uid);
        let pod = self.known.read().unwrap_or_else(PoisonError::into_inner).get(&ended.uid).cloned();
        if let Some(pod) = pod.filter(|_| ended.failed) {
            self.update(ended.uid.clone(), Update { pod, removed: false });
        }
    }

    /// Lists what the runtime has, wakes the workers of pods in which something changed, and takes over what nobody wants.
    async fn relist(&mut self) -> Result<(), CriError> {
        let cri = &self.kubelet.cri;
        let (sandboxes, containers) =
            futures::future::try_join(cri.list_pod_sandboxes(None), cri.list_containers(None)).await?;
        let mut seen: HashMap<String, BTreeSet<(String, i32)>> = HashMap::new();
        let mut orphans: HashMap<String, Pod> = HashMap::new();
        let of_sandboxes =
            sandboxes.into_iter().map(|sandbox| (sandbox.id, sandbox.state, sandbox.labels, HashMap::new()));
        let of_containers = containers
            .into_iter()
            .map(|container| (container.id, container.state, container.labels, container.annotations));
        for (id, state, labels, annotations) in of_sandboxes.chain(of_containers) {
            // What carries no pod's label was not started by a kubelet.
            let Some(uid) = labels.get(labels::POD_UID).cloned() else { continue };
            if self.listed && !self.workers.contains_key(&uid) {
                orphan(orphans.entry(uid.clone()).or_default(), &labels, &annotations);
            }
            seen.entry(uid).or_default().insert((id, state));
        }
        for (uid, handle) in &self.workers {
            if seen.get(uid) != self.seen.get(uid) {
                handle.poke.notify_one();
            }
        }
        self.seen = seen;
        for (uid, pod) in orphans {
            tracing::info!(pod = pod::display(&pod), "ending a pod that the API server does not have");
            self.update(uid, Update { pod: Arc::new(pod), removed: true });
        }
        Ok(())
    }
}

/// Rebuilds from labels what is needed to stop a pod whose object is gone.
fn orphan(pod: &mut Pod, labels: &HashMap<String, String>, annotations: &HashMap<String, String>) {
    let label = |key: &str| labels.get(key).cloned();
    pod.metadata = ObjectMeta {
        name: label(labels::POD_NAME),
        namespace: label(labels::POD_NAMESPACE),
        uid: label(labels::POD_UID),
        ..ObjectMeta::default()
    };
    let spec = pod.spec.get_or_insert_with(PodSpec::default);
    if let Some(name) = label(labels::CONTAINER_NAME) {
        spec.containers.push(Container { name, ..Container::default() });
    }
    if let Some(seconds) = annotations.get(labels::GRACE_PERIOD).and_then(|seconds| seconds.parse().ok()) {
        spec.termination_grace_period_seconds = Some(seconds);
    }
}
