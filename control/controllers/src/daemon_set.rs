//! The DaemonSet controller: one pod on every Node that suits.

mod plan;
mod pods;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::PostParams;
use kube::core::{Selector, SelectorExt as _};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use tokio_util::sync::CancellationToken;

use crate::controller::{self, Next};
use crate::history::{self, HASH_LABEL};
use crate::owner::controller_of;
use crate::pod_control::PodControl;
use crate::{Informer, Key, Queue};

use plan::plan;

pub(crate) const NAME: &str = "daemon-set-controller";
const KIND: &str = "DaemonSet";
const WORKERS: usize = 2;
const HISTORY: usize = 10;

/// The views that the controller reads.
pub(crate) struct Views {
    pub(crate) daemon_sets: Arc<Informer<DaemonSet>>,
    pub(crate) revisions: Arc<Informer<ControllerRevision>>,
    pub(crate) pods: Arc<Informer<Pod>>,
    pub(crate) nodes: Arc<Informer<Node>>,
}

struct DaemonSets {
    control: PodControl,
    views: Views,
}

/// Runs the controller until cancelled.
pub(crate) async fn run(client: Client, views: Views, stop: CancellationToken) {
    let queue = Queue::<Key>::default();
    controller::enqueue(&views.daemon_sets, &queue);
    let changed = queue.clone();
    views.pods.on_change(move |old, new| {
        for pod in old.into_iter().chain(new) {
            if let Some(owner) = controller_of(&pod.metadata).filter(|owner| owner.kind == KIND) {
                changed.add(Key::new(pod.namespace().unwrap_or_default(), owner.name.clone()));
            }
        }
    });
    let (changed, sets) = (queue.clone(), views.daemon_sets.clone());
    views.nodes.on_change(move |old, new| {
        if old.map(|node| matters(node)) != new.map(|node| matters(node)) {
            sets.all().iter().for_each(|set| changed.add(Key::of(set.as_ref())));
        }
    });
    views.daemon_sets.synced().await;
    views.revisions.synced().await;
    views.pods.synced().await;
    views.nodes.synced().await;
    let this = Arc::new(DaemonSets { control: PodControl::new(client, "daemonset-controller"), views });
    let reconcile = move |key: Key| {
        let this = this.clone();
        async move { this.reconcile(&key).await }
    };
    controller::work(NAME, queue, WORKERS, stop, reconcile).await;
}

/// What about a Node decides whether it suits.
fn matters(node: &Node) -> impl PartialEq {
    (node.metadata.labels.clone(), node.spec.as_ref().and_then(|spec| spec.taints.clone()))
}

impl DaemonSets {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(set) = self.views.daemon_sets.get(key) else {
            self.control.in_flight.forget(key);
            return Ok(Next::Settled);
        };
        let leaving = set.metadata.deletion_timestamp.is_some();
        if leaving || !self.control.in_flight.settled(key, &self.views.pods) {
            return Ok(Next::Settled);
        }
        let Some(spec) = &set.spec else { return Ok(Next::Settled) };
        let client = &self.control.client;
        let collisions = set.status.as_ref().and_then(|status| status.collision_count);
        let history = history::sync(client, &self.views.revisions, set.as_ref(), &spec.template, collisions).await?;
        let all = self.views.pods.list(&key.namespace);
        let selector = Selector::try_from(spec.selector.clone()).ok();
        let selects = |pod: &Pod| selector.as_ref().is_some_and(|s| !s.selects_all() && s.matches(pod.labels()));
        let pods = self.control.claim(set.as_ref(), all, selects).await?;
        let plan = plan(&set, &self.views.nodes.all(), &pods, history.hash(), Timestamp::now());
        let about = set.object_ref(&());
        for pod in &plan.failed {
            let node = pods::node_of(pod).unwrap_or_default();
            let note = format!("Found failed daemon pod {} on node {node}, will try to kill it", Key::of(pod.as_ref()));
            self.control.recorder.warning(about.clone(), "FailedDaemonPod", note);
        }
        let new: Vec<Pod> = plan.create.iter().map(|node| pods::new(&set, node, history.hash())).collect();
        let deleted = self.control.delete(key, &about, &plan.delete).await;
        let created = self.control.create(key, &about, &new).await;
        if set.status.as_ref() != Some(&plan.status) {
            let updated = DaemonSet { status: Some(plan.status), ..set.as_ref().clone() };
            let api = Api::<DaemonSet>::namespaced(client.clone(), &key.namespace);
            let result = api.replace_status(&key.name, &PostParams::default(), &updated).await;
            controller::gone_is_fine(result)?;
        }
        deleted.and(created)?;
        let in_use = |revision: &ControllerRevision| {
            let hash = history::hash_of(revision);
            pods.iter().any(|pod| pod.labels().get(HASH_LABEL).is_some_and(|label| label == hash))
        };
        let limit = spec.revision_history_limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(HISTORY);
        history::truncate(client, &history, in_use, limit).await?;
        Ok(match plan.again {
            Some(left) => Next::After(Duration::try_from(left).unwrap_or_default()),
            None => Next::Settled,
        })
    }
}
