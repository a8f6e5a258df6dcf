//! The ReplicationController and ReplicaSet controllers: as many pods as the spec asks for.
//!
//! The view of pods lags behind our own writes, so each owner remembers what it did until the view has caught up
//! ([`InFlight`]); without that, a second look would create the same pods again.

mod in_flight;
mod workload;

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};
use orlop_runtime::Recorder;
use tokio_util::sync::CancellationToken;

use crate::controller::{self, Next};
use crate::owner::{controller_of, controller_reference};
use crate::replicas::{self, BURST};
use crate::{Informer, Key, Queue};

use in_flight::InFlight;
pub(crate) use workload::Workload;

const WORKERS: usize = 5;

struct Replication<W: Workload> {
    client: Client,
    recorder: Recorder,
    owners: Arc<Informer<W>>,
    pods: Arc<Informer<Pod>>,
    in_flight: InFlight,
}

/// Runs the controller of one kind until cancelled.
pub(crate) async fn run<W: Workload>(
    client: Client,
    owners: Arc<Informer<W>>,
    pods: Arc<Informer<Pod>>,
    stop: CancellationToken,
) {
    let queue = Queue::<Key>::default();
    let changed = queue.clone();
    owners.on_change(move |old, new| {
        if let Some(owner) = new.or(old) {
            changed.add(Key::of(owner.as_ref()));
        }
    });
    let (changed, orphans, kinds) = (queue.clone(), owners.clone(), W::kind(&W::DynamicType::default()).into_owned());
    pods.on_change(move |old, new| {
        for pod in old.into_iter().chain(new) {
            let namespace = pod.namespace().unwrap_or_default();
            match controller_of(&pod.metadata) {
                Some(owner) if owner.kind == kinds => changed.add(Key::new(namespace, owner.name.clone())),
                Some(_) => {}
                // An orphan may be adopted by whoever selects it.
                None => {
                    for owner in orphans.list(&namespace) {
                        if owner.selects(pod) {
                            changed.add(Key::of(owner.as_ref()));
                        }
                    }
                }
            }
        }
    });
    owners.synced().await;
    pods.synced().await;
    let recorder = Recorder::new(client.clone(), W::CONTROLLER);
    let this = Arc::new(Replication { client, recorder, owners, pods, in_flight: InFlight::default() });
    let reconcile = move |key: Key| {
        let this = this.clone();
        async move { this.reconcile(&key).await }
    };
    controller::work(W::CONTROLLER, queue, WORKERS, stop, reconcile).await;
}

impl<W: Workload> Replication<W> {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(owner) = self.owners.get(key) else {
            self.in_flight.forget(key);
            return Ok(Next::Settled);
        };
        let pods = self.claim(&owner).await?;
        let active: Vec<&Pod> = pods.iter().map(AsRef::as_ref).filter(|pod| replicas::is_active(pod)).collect();
        let mut failure = None;
        if owner.meta().deletion_timestamp.is_none() && self.in_flight.settled(key, &self.pods) {
            failure = self.scale(key, &owner, &active).await.err();
        }
        let next = self.update_status(&owner, &active).await?;
        match failure {
            Some(error) => Err(error),
            None => Ok(next),
        }
    }

    /// The pods that are the owner's: those that name it, and orphans it selects, which it adopts; those it no longer
    /// selects are released.
    async fn claim(&self, owner: &W) -> Result<Vec<Arc<Pod>>, kube::Error> {
        let mut claimed = Vec::new();
        for pod in self.pods.list(&owner.namespace().unwrap_or_default()) {
            match controller_of(&pod.metadata) {
                Some(reference) if Some(&reference.uid) == owner.meta().uid.as_ref() => {
                    if owner.selects(&pod) {
                        claimed.push(pod);
                    } else if owner.meta().deletion_timestamp.is_none() {
                        self.reown(&pod, None).await?;
                    }
                }
                Some(_) => {}
                None => {
                    let adoptable = replicas::is_active(&pod) && owner.meta().deletion_timestamp.is_none();
                    if adoptable && owner.selects(&pod) {
                        self.reown(&pod, Some(owner)).await?;
                        claimed.push(pod);
                    }
                }
            }
        }
        Ok(claimed)
    }

    /// Adopts a pod (`Some`), or releases it (`None`).
    async fn reown(&self, pod: &Pod, owner: Option<&W>) -> Result<(), kube::Error> {
        let others = pod.owner_references().iter().filter(|reference| reference.controller != Some(true)).cloned();
        let references: Vec<_> = others.chain(owner.map(controller_reference)).collect();
        let patch = serde_json::json!({"metadata": {
            "uid": pod.uid(), "resourceVersion": pod.resource_version(), "ownerReferences": references,
        }});
        let api = Api::<Pod>::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        let result = api.patch(&pod.name_any(), &Default::default(), &kube::api::Patch::Merge(patch)).await;
        controller::gone_is_fine(result)
    }

    async fn scale(&self, key: &Key, owner: &W, active: &[&Pod]) -> Result<(), kube::Error> {
        let wanted = usize::try_from(owner.replicas()).unwrap_or(0);
        if active.len() < wanted {
            self.create(key, owner, (wanted - active.len()).min(BURST)).await
        } else if active.len() > wanted {
            let surplus = (active.len() - wanted).min(BURST);
            self.delete(key, owner, &replicas::to_delete(active, surplus)).await
        } else {
            Ok(())
        }
    }

    /// Creates pods in batches that double, so that a template that is refused costs one request and not five hundred.
    async fn create(&self, key: &Key, owner: &W, count: usize) -> Result<(), kube::Error> {
        let api = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        let pod = owner.pod();
        let (mut left, mut batch) = (count, 1);
        while left > 0 {
            let now = batch.min(left);
            let parameters = PostParams::default();
            let results = join_all((0..now).map(|_| api.create(&parameters, &pod))).await;
            let mut failure = None;
            for result in results {
                match result {
                    Ok(pod) => {
                        self.in_flight.created(key, &pod);
                        let note = format!("Created pod: {}", pod.name_any());
                        self.recorder.normal(owner.object_ref(&()), "SuccessfulCreate", note);
                    }
                    Err(error) => failure = Some(error),
                }
            }
            if let Some(error) = failure {
                if controller::is_namespace_terminating(&error) {
                    return Ok(());
                }
                self.recorder.warning(owner.object_ref(&()), "FailedCreate", format!("Error creating: {error}"));
                return Err(error);
            }
            left -= now;
            batch *= 2;
        }
        Ok(())
    }

    async fn delete(&self, key: &Key, owner: &W, pods: &[&Pod]) -> Result<(), kube::Error> {
        let api = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        let results = join_all(pods.iter().map(|pod| {
            let api = &api;
            async move {
                let preconditions = Preconditions { uid: pod.uid(), resource_version: None };
                let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
                self.in_flight.deleting(key, pod);
                let result = api.delete(&pod.name_any(), &parameters).await;
                if result.is_err() {
                    self.in_flight.not_deleted(key, pod);
                }
                (pod, controller::gone_is_fine(result))
            }
        }))
        .await;
        let mut failure = None;
        for (pod, result) in results {
            match result {
                Ok(()) => {
                    let note = format!("Deleted pod: {}", pod.name_any());
                    self.recorder.normal(owner.object_ref(&()), "SuccessfulDelete", note);
                }
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(()), Err)
    }

    async fn update_status(&self, owner: &W, active: &[&Pod]) -> Result<Next, kube::Error> {
        let now = Timestamp::now();
        let min_ready = owner.min_ready_seconds();
        let counts = replicas::count(active, &owner.template_labels(), min_ready, now);
        if let Some(updated) = owner.with_status(counts) {
            let api = Api::<W>::namespaced(self.client.clone(), &owner.namespace().unwrap_or_default());
            let result = api.replace_status(&owner.name_any(), &PostParams::default(), &updated).await;
            controller::gone_is_fine(result)?;
        }
        // A pod becomes available by the mere passing of time.
        let waits = counts.ready > counts.available;
        Ok(if waits { Next::After(Duration::from_secs(1)) } else { Next::Settled })
    }
}
