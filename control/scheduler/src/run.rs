//! The shell: watches, keeps the cache and the queue, decides one pod at a time, and binds many at once.

mod views;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::ObjectMeta;
use kube::{Api, Client, Resource as _, ResourceExt as _};
use orlop_runtime::{Key, Recorder};
use rand::Rng as _;
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cache::{Cache, node_of};
use crate::decide::{Cluster, Unfit, decide};
use crate::pod_info::PodInfo;
use crate::queue::{Cause, Queue};

use views::Views;

/// The scheduler that pods name which name none.
const NAME: &str = "default-scheduler";
/// How many bindings are on their way at most.
const BINDINGS: usize = 64;

pub(crate) struct State {
    cache: Mutex<Cache>,
    queue: Mutex<Queue>,
    wake: Notify,
}

impl State {
    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn happened(&self, cause: Cause) {
        self.queue().happened(cause, Instant::now());
        self.wake.notify_one();
    }
}

struct Scheduler {
    client: Client,
    recorder: Recorder,
    state: Arc<State>,
    views: Views,
    bindings: Semaphore,
}

/// Schedules until cancelled. The client's user is `system:kube-scheduler`.
pub async fn run(client: Client, stop: CancellationToken) {
    let state = Arc::new(State { cache: Mutex::default(), queue: Mutex::default(), wake: Notify::new() });
    let views = Views::default();
    views.feed(&state);
    let mut tasks = JoinSet::new();
    views.run(&client, &stop, &mut tasks);
    tokio::select! {
        () = stop.cancelled() => {}
        () = views.synced() => {}
    }
    let recorder = Recorder::new(client.clone(), NAME);
    let scheduler = Arc::new(Scheduler { client, recorder, state, views, bindings: Semaphore::new(BINDINGS) });
    loop {
        let (next, at) = {
            let mut queue = scheduler.state.queue();
            (queue.pop(Instant::now()), queue.next_at())
        };
        let Some(key) = next else {
            let sleep = async {
                match at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = scheduler.state.wake.notified() => {}
                () = sleep => {}
            }
            continue;
        };
        if stop.is_cancelled() {
            break;
        }
        scheduler.schedule(&key, &mut tasks);
        // Deciding does not wait for anything; the informers must get their turn.
        tokio::task::yield_now().await;
        while let Some(ended) = tasks.try_join_next() {
            // A watch that panicked must not be missed silently: the scheduler ends with it.
            if let Err(error) = ended
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }
    tasks.shutdown().await;
}

/// Whether a pod waits for this scheduler.
pub(crate) fn is_ours(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    node_of(pod).is_none()
        && pod.metadata.deletion_timestamp.is_none()
        && matches!(spec.scheduler_name.as_deref(), None | Some("" | NAME))
        && spec.scheduling_gates.as_ref().is_none_or(Vec::is_empty)
}

impl Scheduler {
    /// Decides where a pod goes; the rest happens in tasks of its own.
    fn schedule(self: &Arc<Self>, key: &Key, tasks: &mut JoinSet<()>) {
        let Some(pod) = self.views.pods.get(key).filter(|pod| is_ours(pod)) else {
            return self.state.queue().remove(key);
        };
        let info = PodInfo::new(pod.clone());
        let decision = {
            let mut cache = self.state.cache();
            if cache.is_placed(&info.uid()) {
                // Its binding is on the way.
                return;
            }
            let cluster = Cluster {
                cache: &cache,
                namespace_labels: &|namespace| self.views.namespace_labels(namespace),
                default_selector: self.views.default_selector(&pod),
            };
            let decision = decide(&info, &cluster, |count| rand::rng().random_range(0..count.max(1)));
            if let Ok(node) = &decision {
                cache.assume(info, node);
            }
            decision
        };
        let (this, key) = (self.clone(), key.clone());
        match decision {
            Ok(node) => {
                self.state.happened(Cause::Placement);
                tasks.spawn(async move { this.bind(&key, &pod, &node).await });
            }
            Err(unfit) => {
                tracing::debug!(pod = %key, %unfit, "no node for the pod");
                self.state.queue().unfit(&key, Instant::now());
                tasks.spawn(async move { this.tell_unfit(&pod, &unfit).await });
            }
        }
    }

    async fn bind(&self, key: &Key, pod: &Pod, node: &str) {
        // The semaphore is never closed.
        let _permit = self.bindings.acquire().await;
        let binding = Binding {
            metadata: ObjectMeta {
                name: Some(key.name.clone()),
                namespace: Some(key.namespace.clone()),
                uid: pod.uid(),
                ..ObjectMeta::default()
            },
            target: ObjectReference {
                kind: Some("Node".into()),
                name: Some(node.to_owned()),
                ..ObjectReference::default()
            },
        };
        let api = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        let result: Result<Value, _> =
            api.create_subresource("binding", &key.name, &PostParams::default(), &binding).await;
        match result {
            Ok(_) => {
                tracing::debug!(pod = %key, node, "bound");
                let note = format!("Successfully assigned {key} to {node}");
                self.recorder.normal(pod.object_ref(&()), "Scheduled", note);
            }
            Err(error) => {
                self.state.cache().forget(&pod.uid().unwrap_or_default());
                let gone = matches!(&error, kube::Error::Api(status) if status.code == 404);
                let assigned = self.views.pods.get(key).is_none_or(|pod| !is_ours(&pod));
                if gone || assigned {
                    self.state.queue().remove(key);
                    return;
                }
                tracing::warn!(pod = %key, node, %error, "binding failed, trying again");
                let note = format!("binding rejected: {error}");
                self.recorder.warning(pod.object_ref(&()), "FailedScheduling", note.clone());
                self.state.queue().failed(key, Instant::now());
                self.state.happened(Cause::Room);
                self.set_condition(pod, "SchedulerError", &note).await;
            }
        }
    }

    async fn tell_unfit(&self, pod: &Pod, unfit: &Unfit) {
        let note = unfit.to_string();
        self.recorder.warning(pod.object_ref(&()), "FailedScheduling", note.clone());
        self.set_condition(pod, "Unschedulable", &note).await;
    }

    /// Writes `PodScheduled=False`, if the pod does not say so already.
    async fn set_condition(&self, pod: &Pod, reason: &str, message: &str) {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let old = conditions.iter().find(|condition| condition.type_ == "PodScheduled");
        let is_false = old.filter(|old| old.status == "False");
        if is_false.is_some_and(|old| old.reason.as_deref() == Some(reason) && old.message.as_deref() == Some(message))
        {
            return;
        }
        let since = is_false.and_then(|old| old.last_transition_time.clone()).unwrap_or(Time(Timestamp::now()));
        let patch = json!({
            "metadata": {"uid": pod.uid()},
            "status": {"conditions": [{
                "type": "PodScheduled", "status": "False", "reason": reason, "message": message,
                "lastProbeTime": null, "lastTransitionTime": since, "observedGeneration": pod.metadata.generation,
            }]},
        });
        let api = Api::<Pod>::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        let result = api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(patch)).await;
        match result {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {}
            Err(error) => tracing::warn!(pod = %Key::of(pod), %error, "writing the PodScheduled condition"),
        }
    }
}
