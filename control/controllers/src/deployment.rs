//! The Deployment controller: rolls a template out over ReplicaSets, one for each revision (`pkg/controller/deployment`).

mod plan;
mod revision;
mod status;
mod strategy;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::{Selector, SelectorExt as _};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use orlop_runtime::Recorder;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::controller::{self, Next};
use crate::owner::{controller_of, controller_reference, recheck};
use crate::replicas::phase;
use crate::{Informer, Key, Queue};

use plan::{Plan, Sets, plan, size};
use revision::{REVISION, has_template_of, split};

pub(crate) const NAME: &str = "deployment-controller";
const WORKERS: usize = 5;

/// The views that the controller reads.
pub(crate) struct Views {
    pub(crate) deployments: Arc<Informer<Deployment>>,
    pub(crate) replica_sets: Arc<Informer<ReplicaSet>>,
    pub(crate) pods: Arc<Informer<Pod>>,
}

struct Deployments {
    client: Client,
    recorder: Recorder,
    views: Views,
}

/// Runs the controller until cancelled.
pub(crate) async fn run(client: Client, views: Views, stop: CancellationToken) {
    let queue = Queue::<Key>::default();
    controller::enqueue(&views.deployments, &queue);
    let (changed, deployments) = (queue.clone(), views.deployments.clone());
    views.replica_sets.on_change(move |old, new| {
        for set in old.into_iter().chain(new) {
            let namespace = set.namespace().unwrap_or_default();
            match controller_of(&set.metadata) {
                Some(owner) if owner.kind == "Deployment" => changed.add(Key::new(namespace, owner.name.clone())),
                Some(_) => {}
                // An orphan may be adopted by whoever selects it.
                None => {
                    let selecting = deployments.list(&namespace).into_iter().filter(|d| selects(d, set));
                    selecting.for_each(|deployment| changed.add(Key::of(deployment.as_ref())));
                }
            }
        }
    });
    // Recreate waits for the last old pod to be gone.
    let (changed, deployments, sets) = (queue.clone(), views.deployments.clone(), views.replica_sets.clone());
    views.pods.on_change(move |old, new| {
        let (Some(pod), None) = (old, new) else { return };
        let namespace = pod.namespace().unwrap_or_default();
        let set = controller_of(&pod.metadata).and_then(|owner| sets.get(&Key::new(&namespace, &owner.name)));
        let Some(owner) = set.and_then(|set| controller_of(&set.metadata).cloned()) else { return };
        let key = Key::new(namespace, owner.name);
        if deployments.get(&key).is_some_and(|deployment| strategy::is_recreate(&deployment)) {
            changed.add(key);
        }
    });
    views.deployments.synced().await;
    views.replica_sets.synced().await;
    views.pods.synced().await;
    let this = Arc::new(Deployments { recorder: Recorder::new(client.clone(), NAME), client, views });
    let reconcile = move |key: Key| {
        let this = this.clone();
        async move { this.reconcile(&key).await }
    };
    controller::work(NAME, queue, WORKERS, stop, reconcile).await;
}

fn selects(deployment: &Deployment, set: &ReplicaSet) -> bool {
    let selector = deployment.spec.as_ref().and_then(|spec| Selector::try_from(spec.selector.clone()).ok());
    selector.is_some_and(|selector| !selector.selects_all() && selector.matches(set.labels()))
}

impl Deployments {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(deployment) = self.views.deployments.get(key) else { return Ok(Next::Settled) };
        let owned = self.claim(&deployment).await?;
        let old_pods = self.old_pods(&deployment, &owned);
        let (new, old) = split(&deployment, owned);
        let sets = Sets { new, old };
        let mut failure = None;
        if deployment.metadata.deletion_timestamp.is_none() {
            let plan = plan(&deployment, &sets, old_pods);
            failure = self.carry_out(&deployment, &sets, plan).await.err();
        }
        if failure.as_ref().is_some_and(controller::is_conflict) {
            // The view is behind: nothing more can be said from it.
            return failure.map_or(Ok(Next::Settled), Err);
        }
        let next = self.update(&deployment, &sets, failure.as_ref()).await?;
        failure.map_or(Ok(next), Err)
    }

    /// The ReplicaSets that are the Deployment's; orphans that it selects are adopted, those it no longer selects released.
    async fn claim(&self, deployment: &Deployment) -> Result<Vec<ReplicaSet>, kube::Error> {
        let (mut owned, mut rechecked) = (Vec::new(), false);
        let leaving = deployment.metadata.deletion_timestamp.is_some();
        for set in self.views.replica_sets.list(&deployment.namespace().unwrap_or_default()) {
            match controller_of(&set.metadata) {
                Some(owner) if Some(&owner.uid) == deployment.metadata.uid.as_ref() => {
                    if selects(deployment, &set) {
                        owned.push(set.as_ref().clone());
                    } else if !leaving {
                        self.reown(&set, None).await?;
                    }
                }
                None if !leaving && set.metadata.deletion_timestamp.is_none() && selects(deployment, &set) => {
                    if !rechecked {
                        recheck(&self.client, deployment).await?;
                        rechecked = true;
                    }
                    self.reown(&set, Some(deployment)).await?;
                }
                _ => {}
            }
        }
        Ok(owned)
    }

    async fn reown(&self, set: &ReplicaSet, owner: Option<&Deployment>) -> Result<(), kube::Error> {
        let others = set.owner_references().iter().filter(|reference| reference.controller != Some(true)).cloned();
        let references: Vec<_> = others.chain(owner.map(controller_reference)).collect();
        let patch = json!({"metadata": {
            "uid": set.uid(), "resourceVersion": set.resource_version(), "ownerReferences": references,
        }});
        let result =
            self.sets(set.namespace()).patch(&set.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
        controller::gone_is_fine(result)
    }

    fn old_pods(&self, deployment: &Deployment, owned: &[ReplicaSet]) -> bool {
        if !strategy::is_recreate(deployment) {
            return false;
        }
        let old = owned.iter().filter(|set| !has_template_of(deployment, set));
        let old: Vec<_> = old.filter_map(|set| set.uid()).collect();
        self.views.pods.list(&deployment.namespace().unwrap_or_default()).iter().any(|pod| {
            let of_old = controller_of(&pod.metadata).is_some_and(|owner| old.contains(&owner.uid));
            of_old && !matches!(phase(pod), "Succeeded" | "Failed")
        })
    }

    async fn carry_out(&self, deployment: &Deployment, sets: &Sets, plan: Plan) -> Result<(), kube::Error> {
        let api = self.sets(deployment.namespace());
        let about = || deployment.object_ref(&());
        for set in plan.update {
            let name = set.name_any();
            let before = sets.old.iter().chain(&sets.new).find(|old| old.name_any() == name).map(size);
            api.replace(&name, &PostParams::default(), &set).await?;
            let after = size(&set);
            if let Some(before) = before.filter(|before| *before != after) {
                let direction = if before < after { "up" } else { "down" };
                let note = format!("Scaled {direction} replica set {name} from {before} to {after}");
                self.recorder.normal(about(), "ScalingReplicaSet", note);
            }
        }
        if let Some(set) = plan.create {
            self.create(deployment, set).await?;
        }
        for set in plan.delete {
            let preconditions = Preconditions { uid: set.uid(), resource_version: set.resource_version() };
            let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
            controller::gone_is_fine(api.delete(&set.name_any(), &parameters).await)?;
        }
        Ok(())
    }

    async fn create(&self, deployment: &Deployment, set: ReplicaSet) -> Result<(), kube::Error> {
        let (api, name) = (self.sets(deployment.namespace()), set.name_any());
        let error = match api.create(&PostParams::default(), &set).await {
            Ok(_) => {
                if size(&set) > 0 {
                    let note = format!("Scaled up replica set {name} from 0 to {}", size(&set));
                    self.recorder.normal(deployment.object_ref(&()), "ScalingReplicaSet", note);
                }
                return Ok(());
            }
            Err(error) => error,
        };
        if controller::is_namespace_terminating(&error) {
            return Ok(());
        }
        if controller::is_already_exists(&error) {
            let Some(found) = api.get_opt(&name).await? else { return Err(error) };
            let ours = controller_of(&found.metadata)
                .is_some_and(|owner| Some(&owner.uid) == deployment.metadata.uid.as_ref());
            if ours && has_template_of(deployment, &found) {
                // The view is behind.
                return Ok(());
            }
            // Another template has this hash: count it in, and the next one is different.
            let mut deployment = deployment.clone();
            let status = deployment.status.get_or_insert_default();
            status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
            self.deployments(&deployment)
                .replace_status(&deployment.name_any(), &PostParams::default(), &deployment)
                .await?;
            return Ok(());
        }
        let note = format!("Failed to create new replica set \"{name}\": {error}");
        self.recorder.warning(deployment.object_ref(&()), "ReplicaSetCreateError", note);
        Err(error)
    }

    /// Writes the revision and the status.
    async fn update(
        &self,
        deployment: &Deployment,
        sets: &Sets,
        failure: Option<&kube::Error>,
    ) -> Result<Next, kube::Error> {
        let now = Timestamp::now();
        let mut live = deployment.clone();
        let revision = sets.new.as_ref().and_then(|set| set.annotations().get(REVISION));
        if let Some(revision) = revision.filter(|revision| deployment.annotations().get(REVISION) != Some(revision)) {
            live.annotations_mut().insert(REVISION.into(), revision.clone());
            live = self.deployments(deployment).replace(&live.name_any(), &PostParams::default(), &live).await?;
        }
        let mut status = status::status(&live, sets, now);
        if let Some(error) = failure.filter(|_| sets.new.is_none() && strategy::progress_deadline(deployment).is_some())
        {
            let message = format!("Failed to create new replica set: {error}");
            status::set(&mut status, "Progressing", "False", "ReplicaSetCreateError", message, now);
        }
        let next = match status::times_out_at(&live, &status) {
            Some(at) => {
                let left = Duration::try_from(at.duration_since(now)).unwrap_or_default();
                Next::After(left + Duration::from_secs(1))
            }
            None => Next::Settled,
        };
        if live.status.as_ref() != Some(&status) {
            live.status = Some(status);
            let result =
                self.deployments(deployment).replace_status(&live.name_any(), &PostParams::default(), &live).await;
            controller::gone_is_fine(result)?;
        }
        Ok(next)
    }

    fn sets(&self, namespace: Option<String>) -> Api<ReplicaSet> {
        Api::namespaced(self.client.clone(), &namespace.unwrap_or_default())
    }

    fn deployments(&self, deployment: &Deployment) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), &deployment.namespace().unwrap_or_default())
    }
}
