//! The ReplicationController and ReplicaSet controllers: as many pods as the spec asks for.
//!
//! The view of pods lags behind our own writes, so each owner remembers what it did until the view has caught up
//! ([`crate::in_flight::InFlight`]); without that, a second look would create the same pods again.

mod workload;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};
use tokio_util::sync::CancellationToken;

use crate::controller::{self, Next};
use crate::owner::controller_of;
use crate::pod_control::PodControl;
use crate::replicas::{self, BURST};
use crate::{Informer, Key, Queue};

pub(crate) use workload::Workload;

const WORKERS: usize = 5;

struct Replication<W: Workload> {
    control: PodControl,
    owners: Arc<Informer<W>>,
    pods: Arc<Informer<Pod>>,
}

/// Why the pods are not as many as they should be.
#[derive(Debug)]
pub(crate) struct Failure {
    reason: &'static str,
    error: kube::Error,
}

/// Runs the controller of one kind until cancelled.
pub(crate) async fn run<W: Workload>(
    client: Client,
    owners: Arc<Informer<W>>,
    pods: Arc<Informer<Pod>>,
    stop: CancellationToken,
) {
    let queue = Queue::<Key>::default();
    controller::enqueue(&owners, &queue);
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
    let this = Arc::new(Replication { control: PodControl::new(client, W::CONTROLLER), owners, pods });
    let reconcile = move |key: Key| {
        let this = this.clone();
        async move { this.reconcile(&key).await }
    };
    controller::work(W::CONTROLLER, queue, WORKERS, stop, reconcile).await;
}

impl<W: Workload> Replication<W> {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(owner) = self.owners.get(key) else {
            self.control.in_flight.forget(key);
            return Ok(Next::Settled);
        };
        let all = self.pods.list(&key.namespace);
        let mut active = self.control.claim(owner.as_ref(), all, |pod| owner.selects(pod)).await?;
        active.retain(|pod| replicas::is_active(pod));
        let mut failure = None;
        if owner.meta().deletion_timestamp.is_none() && self.control.in_flight.settled(key, &self.pods) {
            failure = self.scale(key, &owner, &active).await.err();
        }
        let next = self.update_status(&owner, &active, failure.as_ref()).await?;
        match failure {
            Some(failure) => Err(failure.error),
            None => Ok(next),
        }
    }

    async fn scale(&self, key: &Key, owner: &W, active: &[Arc<Pod>]) -> Result<(), Failure> {
        let wanted = usize::try_from(owner.replicas()).unwrap_or(0);
        let about = owner.object_ref(&());
        if active.len() < wanted {
            let new = vec![owner.pod(); (wanted - active.len()).min(BURST)];
            let result = self.control.create(key, &about, &new).await;
            return result.map_err(|error| Failure { reason: "FailedCreate", error });
        }
        let surplus = (active.len() - wanted).min(BURST);
        let pods: Vec<&Pod> = active.iter().map(AsRef::as_ref).collect();
        let chosen: Vec<_> = replicas::to_delete(&pods, surplus).iter().map(|pod| pod.uid()).collect();
        let chosen: Vec<_> = active.iter().filter(|pod| chosen.contains(&pod.uid())).cloned().collect();
        let result = self.control.delete(key, &about, &chosen).await;
        result.map_err(|error| Failure { reason: "FailedDelete", error })
    }

    async fn update_status(
        &self,
        owner: &W,
        active: &[Arc<Pod>],
        failure: Option<&Failure>,
    ) -> Result<Next, kube::Error> {
        let now = Timestamp::now();
        let min_ready = owner.min_ready_seconds();
        let pods: Vec<&Pod> = active.iter().map(AsRef::as_ref).collect();
        let counts = replicas::count(&pods, &owner.template_labels(), min_ready, now);
        if let Some(updated) = owner.with_status(counts, failure, now) {
            let api = Api::<W>::namespaced(self.control.client.clone(), &owner.namespace().unwrap_or_default());
            let result = api.replace_status(&owner.name_any(), &PostParams::default(), &updated).await;
            controller::gone_is_fine(result)?;
        }
        // A pod becomes available by the mere passing of time.
        let waits = counts.ready > counts.available;
        Ok(if waits { Next::After(Duration::from_secs(1)) } else { Next::Settled })
    }
}
