//! The Job controller, and the one that removes finished Jobs after their `ttlSecondsAfterFinished`.
//!
//! Not here: `podFailurePolicy`, `successPolicy` and `backoffLimitPerIndex`. A Job that names a controller of its own
//! (`spec.managedBy`) is left to it.

mod indexes;
mod plan;
mod pods;

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::controller::{self, Next};
use crate::owner::controller_of;
use crate::pod_control::PodControl;
use crate::{Informer, Key, Queue};

use plan::{Plan, finished, plan};

pub(crate) const NAME: &str = "job-controller";
pub(crate) const TTL_NAME: &str = "ttl-after-finished-controller";
const MANAGED_BY: &str = "kubernetes.io/job-controller";
const WORKERS: usize = 5;

struct Jobs {
    control: PodControl,
    jobs: Arc<Informer<Job>>,
    pods: Arc<Informer<Pod>>,
}

/// Runs the controller until cancelled.
pub(crate) async fn run(client: Client, jobs: Arc<Informer<Job>>, pods: Arc<Informer<Pod>>, stop: CancellationToken) {
    let queue = Queue::<Key>::default();
    controller::enqueue(&jobs, &queue);
    let changed = queue.clone();
    pods.on_change(move |old, new| {
        for pod in old.into_iter().chain(new) {
            if let Some(owner) = controller_of(&pod.metadata).filter(|owner| owner.kind == "Job") {
                changed.add(Key::new(pod.namespace().unwrap_or_default(), owner.name.clone()));
            }
        }
    });
    jobs.synced().await;
    pods.synced().await;
    let this = Arc::new(Jobs { control: PodControl::new(client, NAME), jobs, pods });
    let reconcile = move |key: Key| {
        let this = this.clone();
        async move { this.reconcile(&key).await }
    };
    controller::work(NAME, queue, WORKERS, stop, reconcile).await;
}

impl Jobs {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(job) = self.jobs.get(key) else {
            self.control.in_flight.forget(key);
            return self.release_orphans(key).await;
        };
        let managed_by = job.spec.as_ref().and_then(|spec| spec.managed_by.as_deref());
        if managed_by.is_some_and(|manager| manager != MANAGED_BY) || !self.control.in_flight.settled(key, &self.pods) {
            return Ok(Next::Settled);
        }
        let mut pods = self.pods.list(&key.namespace);
        pods.retain(|pod| {
            controller_of(&pod.metadata).is_some_and(|owner| Some(&owner.uid) == job.metadata.uid.as_ref())
        });
        if job.metadata.deletion_timestamp.is_some() {
            // Nobody will read the counts any more.
            let tracked: Vec<_> = pods.into_iter().filter(|pod| pods::is_tracked(pod)).collect();
            self.release(&tracked).await?;
            return Ok(Next::Settled);
        }
        let plan = plan(&job, &pods, Timestamp::now());
        let again = plan.again;
        self.carry_out(key, &job, plan).await?;
        Ok(match again {
            Some(left) => Next::After(Duration::try_from(left).unwrap_or_default().max(Duration::from_millis(10))),
            None => Next::Settled,
        })
    }

    async fn carry_out(&self, key: &Key, job: &Job, plan: Plan) -> Result<(), kube::Error> {
        // What is released was stored before, so the order does not matter; what is created should be seen to be started.
        if job.status.as_ref() != Some(&plan.status) {
            let updated = Job { status: Some(plan.status.clone()), ..job.clone() };
            let api = Api::<Job>::namespaced(self.control.client.clone(), &key.namespace);
            api.replace_status(&key.name, &PostParams::default(), &updated).await?;
            self.tell(job, &plan);
        }
        self.release(&plan.release).await?;
        self.release(&plan.discard).await?;
        let about = job.object_ref(&());
        self.control.delete(key, &about, &plan.end).await?;
        self.control.delete(key, &about, &plan.discard).await?;
        let new: Vec<Pod> = plan.create.iter().map(|index| pods::new(job, *index)).collect();
        self.control.create(key, &about, &new).await
    }

    fn tell(&self, job: &Job, plan: &Plan) {
        let Some(end) = finished(&plan.status) else { return };
        if job.status.as_ref().and_then(finished).is_some() {
            return;
        }
        if end.type_ == "Complete" {
            self.control.recorder.normal(job.object_ref(&()), "Completed", "Job completed");
        } else if end.reason.as_deref() == Some("DeadlineExceeded") {
            self.control.recorder.warning(
                job.object_ref(&()),
                "DeadlineExceeded",
                end.message.clone().unwrap_or_default(),
            );
        } else {
            self.control.recorder.warning(
                job.object_ref(&()),
                "BackoffLimitExceeded",
                end.message.clone().unwrap_or_default(),
            );
        }
    }

    /// The Job is gone: what it held may go.
    async fn release_orphans(&self, key: &Key) -> Result<Next, kube::Error> {
        let mut pods = self.pods.list(&key.namespace);
        pods.retain(|pod| {
            let owner = controller_of(&pod.metadata).filter(|owner| owner.kind == "Job");
            pods::is_tracked(pod) && owner.is_some_and(|owner| owner.name == key.name)
        });
        self.release(&pods).await?;
        Ok(Next::Settled)
    }

    async fn release(&self, pods: &[Arc<Pod>]) -> Result<(), kube::Error> {
        let patches = pods.iter().filter(|pod| pods::is_tracked(pod)).map(async |pod| {
            let kept: Vec<_> = pod.finalizers().iter().filter(|finalizer| *finalizer != pods::FINALIZER).collect();
            let patch = json!({"metadata": {
                "uid": pod.uid(), "resourceVersion": pod.resource_version(), "finalizers": kept,
            }});
            let api = Api::<Pod>::namespaced(self.control.client.clone(), &pod.namespace().unwrap_or_default());
            let result = api.patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
            controller::gone_is_fine(result)
        });
        join_all(patches).await.into_iter().collect()
    }
}

/// Removes finished Jobs when their time is over, until cancelled.
pub(crate) async fn run_ttl(client: Client, jobs: Arc<Informer<Job>>, stop: CancellationToken) {
    let queue = Queue::<Key>::default();
    let changed = queue.clone();
    jobs.on_change(move |_, new| {
        if let Some(job) = new.filter(|job| expires_at(job).is_some()) {
            changed.add(Key::of(job.as_ref()));
        }
    });
    jobs.synced().await;
    let reconcile = move |key: Key| {
        let (client, jobs) = (client.clone(), jobs.clone());
        async move {
            let job = jobs.get(&key).filter(|job| job.metadata.deletion_timestamp.is_none());
            let Some((job, at)) = job.and_then(|job| expires_at(&job).map(|at| (job, at))) else {
                return Ok(Next::Settled);
            };
            let left = at.duration_since(Timestamp::now());
            if left.is_positive() {
                return Ok(Next::After(Duration::try_from(left).unwrap_or_default()));
            }
            let preconditions = Preconditions { uid: job.uid(), resource_version: job.resource_version() };
            let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::foreground() };
            let api = Api::<Job>::namespaced(client, &key.namespace);
            controller::gone_is_fine(api.delete(&key.name, &parameters).await)?;
            Ok(Next::Settled)
        }
    };
    controller::work(TTL_NAME, queue, WORKERS, stop, reconcile).await;
}

fn expires_at(job: &Job) -> Option<Timestamp> {
    let ttl = job.spec.as_ref()?.ttl_seconds_after_finished?;
    let ended = finished(job.status.as_ref()?)?.last_transition_time.as_ref()?.0;
    ended.checked_add(SignedDuration::from_secs(ttl.into())).ok()
}
