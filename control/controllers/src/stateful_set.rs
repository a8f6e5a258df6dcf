//! The StatefulSet controller: pods with names and volumes of their own.
//!
//! Not here: `persistentVolumeClaimRetentionPolicy` (claims are always retained).

mod plan;
mod pods;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::PostParams;
use kube::core::{Selector, SelectorExt as _};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use tokio_util::sync::CancellationToken;

use crate::controller::{self, Next};
use crate::history::{self, HASH_LABEL, History};
use crate::owner::controller_of;
use crate::pod_control::PodControl;
use crate::{Informer, Key, Queue};

use plan::{Revisions, plan};

pub(crate) const NAME: &str = "statefulset-controller";
const KIND: &str = "StatefulSet";
const WORKERS: usize = 5;
const HISTORY: usize = 10;

/// The views that the controller reads.
pub(crate) struct Views {
    pub(crate) stateful_sets: Arc<Informer<StatefulSet>>,
    pub(crate) revisions: Arc<Informer<ControllerRevision>>,
    pub(crate) pods: Arc<Informer<Pod>>,
}

struct StatefulSets {
    control: PodControl,
    views: Views,
}

/// Runs the controller until cancelled.
pub(crate) async fn run(client: Client, views: Views, stop: CancellationToken) {
    let queue = Queue::<Key>::default();
    controller::enqueue(&views.stateful_sets, &queue);
    let (changed, sets) = (queue.clone(), views.stateful_sets.clone());
    views.pods.on_change(move |old, new| {
        for pod in old.into_iter().chain(new) {
            let namespace = pod.namespace().unwrap_or_default();
            match controller_of(&pod.metadata) {
                Some(owner) if owner.kind == KIND => changed.add(Key::new(namespace, owner.name.clone())),
                Some(_) => {}
                // An orphan may be adopted by whoever selects it.
                None => {
                    let selecting = sets.list(&namespace).into_iter().filter(|set| selects(set, pod));
                    selecting.for_each(|set| changed.add(Key::of(set.as_ref())));
                }
            }
        }
    });
    views.stateful_sets.synced().await;
    views.revisions.synced().await;
    views.pods.synced().await;
    let this = Arc::new(StatefulSets { control: PodControl::new(client, NAME), views });
    let reconcile = move |key: Key| {
        let this = this.clone();
        async move { this.reconcile(&key).await }
    };
    controller::work(NAME, queue, WORKERS, stop, reconcile).await;
}

fn selects(set: &StatefulSet, pod: &Pod) -> bool {
    let selector = set.spec.as_ref().and_then(|spec| Selector::try_from(spec.selector.clone()).ok());
    pods::ordinal(set, pod).is_some()
        && selector.is_some_and(|selector| !selector.selects_all() && selector.matches(pod.labels()))
}

impl StatefulSets {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(set) = self.views.stateful_sets.get(key) else {
            self.control.in_flight.forget(key);
            return Ok(Next::Settled);
        };
        let Some(spec) = &set.spec else { return Ok(Next::Settled) };
        if !self.control.in_flight.settled(key, &self.views.pods) {
            return Ok(Next::Settled);
        }
        let all = self.views.pods.list(&key.namespace);
        let owned = self.control.claim(set.as_ref(), all, |pod| selects(&set, pod)).await?;
        let client = &self.control.client;
        let collisions = set.status.as_ref().and_then(|status| status.collision_count).filter(|count| *count > 0);
        let history = history::sync(client, &self.views.revisions, set.as_ref(), &spec.template, collisions).await?;
        let update = history.current.name_any();
        let current = self.current(&set, &history);
        let current_name = current.map_or_else(|| update.clone(), |revision| revision.name_any());
        let plan = plan(&set, Revisions { current: &current_name, update: &update }, &owned, Timestamp::now());

        let current_template = current.and_then(history::template_of);
        let mut new = Vec::with_capacity(plan.create.len());
        for (ordinal, updated) in &plan.create {
            self.create_claims(&set, *ordinal).await?;
            let (template, revision) = match current_template.as_ref().filter(|_| !updated) {
                Some(template) => (template, current_name.as_str()),
                None => (&spec.template, update.as_str()),
            };
            new.push(pods::new(&set, template, revision, *ordinal));
        }
        let about = set.object_ref(&());
        let deleted = self.control.delete(key, &about, &plan.delete).await;
        let created = self.control.create(key, &about, &new).await;
        if set.status.as_ref() != Some(&plan.status) {
            let updated = StatefulSet { status: Some(plan.status), ..set.as_ref().clone() };
            let api = Api::<StatefulSet>::namespaced(client.clone(), &key.namespace);
            let result = api.replace_status(&key.name, &PostParams::default(), &updated).await;
            controller::gone_is_fine(result)?;
        }
        deleted.and(created)?;
        let used = |name: &str| owned.iter().any(|pod| pod.labels().get(HASH_LABEL).is_some_and(|label| label == name));
        let in_use = |revision: &ControllerRevision| {
            let name = revision.name_any();
            name == current_name || used(&name)
        };
        let limit = spec.revision_history_limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(HISTORY);
        history::truncate(client, &history, in_use, limit).await?;
        Ok(if plan.waits { Next::After(Duration::from_secs(1)) } else { Next::Settled })
    }

    /// The revision from which an update goes away; `None` if there is none but the present one.
    fn current<'a>(&self, set: &StatefulSet, history: &'a History) -> Option<&'a ControllerRevision> {
        let name = set.status.as_ref()?.current_revision.as_deref()?;
        history.old.iter().find(|revision| revision.metadata.name.as_deref() == Some(name))
    }

    async fn create_claims(&self, set: &StatefulSet, ordinal: i32) -> Result<(), kube::Error> {
        for (_, claim) in pods::claims(set, ordinal) {
            let (name, namespace) = (claim.name_any(), claim.namespace().unwrap_or_default());
            let api = Api::<PersistentVolumeClaim>::namespaced(self.control.client.clone(), &namespace);
            match api.create(&PostParams::default(), &claim).await {
                Ok(_) => {
                    let note = format!(
                        "create Claim {name} Pod {}-{ordinal} in StatefulSet {} success",
                        set.name_any(),
                        set.name_any()
                    );
                    self.control.recorder.normal(set.object_ref(&()), "SuccessfulCreate", note);
                }
                Err(error) if controller::is_already_exists(&error) || controller::is_namespace_terminating(&error) => {
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
