//! The disruption controller: keeps in each PodDisruptionBudget's status how many evictions the API server may grant.
//!
//! Workloads of kinds that are not built in are not looked up (`SyncFailed`).

mod budget;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::PostParams;
use kube::core::{Selector, SelectorExt as _};
use kube::{Api, Client, ResourceExt as _};
use tokio_util::sync::CancellationToken;

use crate::controller::{self, Next};
use crate::owner::controller_of;
use crate::{Informer, Key, Queue};

pub(crate) const NAME: &str = "disruption-controller";
const WORKERS: usize = 2;
/// How soon a pod that was evicted and does not go is looked at again.
const AGAIN: Duration = Duration::from_secs(30);

/// The views that the controller reads.
pub(crate) struct Views {
    pub(crate) budgets: Arc<Informer<PodDisruptionBudget>>,
    pub(crate) pods: Arc<Informer<Pod>>,
    pub(crate) replication_controllers: Arc<Informer<ReplicationController>>,
    pub(crate) replica_sets: Arc<Informer<ReplicaSet>>,
    pub(crate) deployments: Arc<Informer<Deployment>>,
    pub(crate) stateful_sets: Arc<Informer<StatefulSet>>,
}

/// Runs the controller until cancelled.
pub(crate) async fn run(client: Client, views: Views, stop: CancellationToken) {
    let queue = Queue::<Key>::default();
    let changed = queue.clone();
    views.budgets.on_change(move |_, new| {
        if let Some(budget) = new {
            changed.add(Key::of(budget.as_ref()));
        }
    });
    let (changed, budgets) = (queue.clone(), views.budgets.clone());
    views.pods.on_change(move |old, new| {
        let namespace = new.or(old).and_then(|pod| pod.namespace()).unwrap_or_default();
        for budget in budgets.list(&namespace) {
            if [old, new].into_iter().flatten().any(|pod| selects(&budget, pod)) {
                changed.add(Key::of(budget.as_ref()));
            }
        }
    });
    // A workload that is scaled changes its pods too, and with them the budget.
    views.budgets.synced().await;
    views.pods.synced().await;
    views.replication_controllers.synced().await;
    views.replica_sets.synced().await;
    views.deployments.synced().await;
    views.stateful_sets.synced().await;
    let views = Arc::new(views);
    let reconcile = move |key: Key| {
        let (client, views) = (client.clone(), views.clone());
        async move { reconcile(&client, &views, &key).await }
    };
    controller::work(NAME, queue, WORKERS, stop, reconcile).await;
}

/// An empty selector selects every pod of the namespace; none selects no pod.
fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.clone());
    let selector = selector.and_then(|selector| Selector::try_from(selector).ok());
    selector.is_some_and(|selector| selector.matches(pod.labels()))
}

async fn reconcile(client: &Client, views: &Views, key: &Key) -> Result<Next, kube::Error> {
    let Some(budget) = views.budgets.get(key) else { return Ok(Next::Settled) };
    let all = views.pods.list(&key.namespace);
    let pods: Vec<&Pod> = all.iter().map(AsRef::as_ref).filter(|pod| selects(&budget, pod)).collect();
    let now = Timestamp::now();
    let scale = if budget::needs_scale(&budget) { views.scale(&pods) } else { Ok(0) };
    let status = match scale {
        Ok(scale) => budget::status(&budget, &pods, scale, now),
        Err(why) => budget::failed(&budget, &why, now),
    };
    let waits = status.disrupted_pods.is_some();
    if budget.status.as_ref() != Some(&status) {
        let updated = PodDisruptionBudget { status: Some(status), ..budget.as_ref().clone() };
        let api = Api::<PodDisruptionBudget>::namespaced(client.clone(), &key.namespace);
        controller::gone_is_fine(api.replace_status(&key.name, &PostParams::default(), &updated).await)?;
    }
    Ok(if waits { Next::After(AGAIN) } else { Next::Settled })
}

impl Views {
    /// How many pods the workloads behind these want together.
    fn scale(&self, pods: &[&Pod]) -> Result<i32, String> {
        let mut wanted: HashMap<String, i32> = HashMap::new();
        for pod in pods {
            let name = pod.name_any();
            let owner =
                controller_of(&pod.metadata).ok_or_else(|| format!("found no controller ref for pod \"{name}\""))?;
            let key = Key::new(pod.namespace().unwrap_or_default(), owner.name.clone());
            let (uid, replicas) = match owner.kind.as_str() {
                "ReplicationController" => {
                    let found = self.replication_controllers.get(&key);
                    found.map(|found| (found.uid(), found.spec.as_ref().and_then(|spec| spec.replicas)))
                }
                "ReplicaSet" => self.replica_sets.get(&key).map(|set| self.of_replica_set(&set)),
                "StatefulSet" => {
                    let found = self.stateful_sets.get(&key);
                    found.map(|found| (found.uid(), found.spec.as_ref().and_then(|spec| spec.replicas)))
                }
                kind => return Err(format!("{kind}.{} does not implement the scale subresource", owner.api_version)),
            }
            .ok_or_else(|| format!("found no {} \"{}\" for pod \"{name}\"", owner.kind, owner.name))?;
            wanted.insert(uid.unwrap_or_default(), replicas.unwrap_or(1));
        }
        Ok(wanted.into_values().fold(0, i32::saturating_add))
    }

    /// A Deployment's ReplicaSets count as the Deployment.
    fn of_replica_set(&self, set: &ReplicaSet) -> (Option<String>, Option<i32>) {
        let owner = controller_of(&set.metadata).filter(|owner| owner.kind == "Deployment");
        let deployment = owner
            .and_then(|owner| self.deployments.get(&Key::new(set.namespace().unwrap_or_default(), owner.name.clone())));
        match deployment {
            Some(deployment) => (deployment.uid(), deployment.spec.as_ref().and_then(|spec| spec.replicas)),
            None => (set.uid(), set.spec.as_ref().and_then(|spec| spec.replicas)),
        }
    }
}
