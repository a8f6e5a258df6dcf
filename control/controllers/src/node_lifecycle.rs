//! The node lifecycle controller: a Node that is silent too long is Unknown, its pods are not Ready from that moment, and taints
//! keep new pods away and evict the old ones (`pkg/controller/nodelifecycle`).
//!
//! How soon a Node that was cut off loses its traffic depends on `Config::node_monitor_grace_period` and the interval of its
//! kubelet's heartbeats; nothing else here waits.

mod conditions;
mod health;
mod rate;
mod taints;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use orlop_runtime::Recorder;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::controller::{self, Next};
use crate::replicas::ready_since;
use crate::{Config, Informer, Key, Queue};

use health::Health;
use rate::Rate;
use taints::Eviction;

pub(crate) const NAME: &str = "node-controller";
const LEASES: &str = "kube-node-lease";
const WORKERS: usize = 8;
/// A Node that never told its status is given this long (`--node-startup-grace-period`).
const STARTUP_GRACE: Duration = Duration::from_secs(60);
/// How soon a Node that waits for its eviction is looked at again.
const AGAIN: Duration = Duration::from_secs(1);

/// The views that the controller reads.
pub(crate) struct Views {
    pub(crate) nodes: Arc<Informer<Node>>,
    pub(crate) leases: Arc<Informer<Lease>>,
    pub(crate) pods: Arc<Informer<Pod>>,
}

struct Lifecycle {
    client: Client,
    recorder: Recorder,
    views: Views,
    health: Mutex<Health>,
    rate: Mutex<Rate>,
    period: Duration,
    grace: Duration,
}

/// Runs the controller until cancelled.
pub(crate) async fn run(client: Client, views: Views, config: Config, stop: CancellationToken) {
    let this = Arc::new(Lifecycle {
        recorder: Recorder::new(client.clone(), NAME),
        client,
        views,
        health: Mutex::default(),
        rate: Mutex::default(),
        period: config.node_monitor_period,
        grace: config.node_monitor_grace_period,
    });
    let queue = Queue::<Key>::default();
    this.listen(&queue);
    this.views.nodes.synced().await;
    this.views.leases.synced().await;
    this.views.pods.synced().await;
    let monitor = tokio::spawn(this.clone().monitor(stop.clone()));
    let reconcile = move |key: Key| {
        let this = this.clone();
        async move { this.reconcile(&key).await }
    };
    controller::work(NAME, queue, WORKERS, stop, reconcile).await;
    // It ends by the same token.
    let _ = monitor.await;
}

impl Lifecycle {
    fn listen(self: &Arc<Self>, queue: &Queue<Key>) {
        let (this, changed) = (self.clone(), queue.clone());
        self.views.nodes.on_change(move |old, new| {
            let Some(new) = new else {
                let name = old.map(|node| node.name_any()).unwrap_or_default();
                return this.health().forget(&name);
            };
            let heartbeat = conditions::condition(new, "Ready")
                // What this controller wrote is no sign of life.
                .filter(|condition| condition.status != "Unknown")
                .map(|c| format!("{:?} {} {:?}", c.last_heartbeat_time, c.status, c.last_transition_time));
            if heartbeat.is_some() {
                this.health().status(&new.name_any(), heartbeat, Instant::now());
            }
            changed.add(Key::of(new.as_ref()));
        });
        let this = self.clone();
        self.views.leases.on_change(move |_, new| {
            if let Some(lease) = new.filter(|lease| lease.namespace().as_deref() == Some(LEASES)) {
                let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref());
                let renewed = renewed.map(|time| time.0.to_string());
                this.health().lease(&lease.name_any(), renewed, Instant::now());
            }
        });
        let (changed, nodes) = (queue.clone(), self.views.nodes.clone());
        self.views.pods.on_change(move |_, new| {
            let Some(node) = new.and_then(|pod| pod.spec.as_ref()?.node_name.clone()) else { return };
            let key = Key::new("", node);
            let lost = nodes.get(&key).is_some_and(|node| conditions::ready(&node) != "True");
            if lost && new.is_some_and(|pod| ready_since(pod).is_some()) {
                changed.add(key);
            }
        });
    }

    /// Looks for silent Nodes.
    async fn monitor(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(self.period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let now = Instant::now();
            let nodes = self.views.nodes.all();
            let silent: Vec<_> = {
                let mut health = self.health();
                health.look(self.period, self.grace, now);
                let silent = nodes.into_iter().filter(|node| {
                    let known = conditions::condition(node, "Ready").is_some();
                    let grace = if known { self.grace } else { STARTUP_GRACE.max(self.grace) };
                    health.silence(&node.name_any(), now) > grace
                });
                silent.collect()
            };
            join_all(silent.iter().map(|node| self.give_up(node))).await;
        }
    }

    /// Says that nothing is known of a Node.
    async fn give_up(&self, node: &Node) {
        let changed = conditions::unknown(node, Timestamp::now());
        if changed.is_empty() {
            return;
        }
        let name = node.name_any();
        tracing::info!(node = name, "silent for longer than {:?}", self.grace);
        let patch = json!({"metadata": {"uid": node.uid()}, "status": {"conditions": changed}});
        let api = Api::<Node>::all(self.client.clone());
        match api.patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            Ok(_) => {
                let note = format!("Node {name} status is now: NodeNotReady");
                self.recorder.normal(node.object_ref(&()), "NodeNotReady", note);
            }
            Err(error) if controller::is_not_found(&error) => {}
            Err(error) => tracing::warn!(node = name, %error, "writing the status of a silent node, trying again"),
        }
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(node) = self.views.nodes.get(key) else { return Ok(Next::Settled) };
        // The pods come first: that is what traffic waits for.
        self.mark_pods(&node).await?;
        let (eviction, waits) = self.eviction(&node);
        if let Some(taints) = taints::desired(&node, eviction, Timestamp::now()) {
            let patch = json!({
                "metadata": {"uid": node.uid(), "resourceVersion": node.resource_version()},
                "spec": {"taints": taints},
            });
            let api = Api::<Node>::all(self.client.clone());
            let result = api.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await;
            controller::gone_is_fine(result)?;
        }
        Ok(if waits { Next::After(AGAIN) } else { Next::Settled })
    }

    /// What may be done to a Node that is not ready, and whether to ask again.
    fn eviction(&self, node: &Node) -> (Eviction, bool) {
        if !taints::is_lost(node) {
            return (Eviction::Hold, false);
        }
        let nodes = self.views.nodes.all();
        let ready = nodes.iter().filter(|node| conditions::ready(node) == "True").count();
        if taints::is_evicting(node) {
            return if ready == 0 { (Eviction::Stop, true) } else { (Eviction::Hold, true) };
        }
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        let eviction = rate.take(ready, nodes.len() - ready, Instant::now());
        (eviction, eviction != Eviction::Begin)
    }

    /// Makes the pods of a Node that is not ready not ready either, so that no Service leads there.
    async fn mark_pods(&self, node: &Node) -> Result<(), kube::Error> {
        let Some(condition) = conditions::condition(node, "Ready").filter(|condition| condition.status != "True")
        else {
            return Ok(());
        };
        let name = node.name_any();
        let since = condition.last_transition_time.as_ref().map(|time| time.0);
        // A kubelet that still speaks knows better what became ready after that.
        let unknown = condition.status == "Unknown";
        let concerned = self.views.pods.all().into_iter().filter(|pod| {
            let on_node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(name.as_str());
            on_node && ready_since(pod).is_some_and(|ready| unknown || since.is_none_or(|since| ready <= since))
        });
        let results = join_all(concerned.map(|pod| self.mark_pod(pod))).await;
        results.into_iter().collect()
    }

    async fn mark_pod(&self, pod: Arc<Pod>) -> Result<(), kube::Error> {
        let patch = json!({"metadata": {"uid": pod.uid()}, "status": {"conditions": [
            {"type": "Ready", "status": "False", "lastTransitionTime": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()},
        ]}});
        let api = Api::<Pod>::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        let result = api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(patch)).await;
        controller::gone_is_fine(result)?;
        self.recorder.warning(pod.object_ref(&()), "NodeNotReady", "Node is not ready");
        Ok(())
    }

    fn health(&self) -> std::sync::MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
