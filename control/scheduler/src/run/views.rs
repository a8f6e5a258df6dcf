//! What the scheduler watches, and how that reaches its cache and queue.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, ReplicationController, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::Selector;
use kube::{Client, ResourceExt as _};
use orlop_runtime::{Informer, Key};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cache::{is_finished, node_of};
use crate::queue::Cause;

use super::{State, is_ours};

#[derive(Default)]
pub(super) struct Views {
    pub(super) pods: Arc<Informer<Pod>>,
    nodes: Arc<Informer<Node>>,
    namespaces: Arc<Informer<Namespace>>,
    services: Arc<Informer<Service>>,
    replication_controllers: Arc<Informer<ReplicationController>>,
    replica_sets: Arc<Informer<ReplicaSet>>,
    stateful_sets: Arc<Informer<StatefulSet>>,
}

impl Views {
    /// Lets changes reach the cache and the queue.
    pub(super) fn feed(&self, state: &Arc<State>) {
        let of = state.clone();
        self.nodes.on_change(move |old, new| match (old, new) {
            (_, Some(new)) => {
                of.cache().set_node(new.clone());
                if old.is_none_or(|old| matters(old) != matters(new)) {
                    of.happened(Cause::Room);
                }
            }
            (Some(old), None) => of.cache().remove_node(&old.name_any()),
            (None, None) => {}
        });
        let of = state.clone();
        self.pods.on_change(move |old, new| on_pod(&of, old, new));
    }

    pub(super) fn run(&self, client: &Client, stop: &CancellationToken, tasks: &mut JoinSet<()>) {
        // Nodes and the placed pods first would be nicer, but nothing is decided before all are here.
        tasks.spawn(self.nodes.clone().run(client.clone(), stop.clone()));
        tasks.spawn(self.pods.clone().run(client.clone(), stop.clone()));
        tasks.spawn(self.namespaces.clone().run(client.clone(), stop.clone()));
        tasks.spawn(self.services.clone().run(client.clone(), stop.clone()));
        tasks.spawn(self.replication_controllers.clone().run(client.clone(), stop.clone()));
        tasks.spawn(self.replica_sets.clone().run(client.clone(), stop.clone()));
        tasks.spawn(self.stateful_sets.clone().run(client.clone(), stop.clone()));
    }

    pub(super) async fn synced(&self) {
        self.nodes.synced().await;
        self.pods.synced().await;
        self.namespaces.synced().await;
        self.services.synced().await;
        self.replication_controllers.synced().await;
        self.replica_sets.synced().await;
        self.stateful_sets.synced().await;
    }

    pub(super) fn namespace_labels(&self, namespace: &str) -> Option<BTreeMap<String, String>> {
        Some(self.namespaces.get(&Key::new("", namespace))?.labels().clone())
    }

    /// Everything that the Services which select a pod, and the workload that owns it, select by; `None` if there are none.
    pub(super) fn default_selector(&self, pod: &Pod) -> Option<Selector> {
        let namespace = pod.namespace().unwrap_or_default();
        let mut selector = Selector::default();
        for service in self.services.list(&namespace) {
            let wanted = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else { continue };
            if wanted.iter().all(|(key, value)| pod.labels().get(key) == Some(value)) {
                selector.extend(wanted.clone().into_iter().collect::<Selector>());
            }
        }
        let owner = pod.owner_references().iter().find(|owner| owner.controller == Some(true));
        if let Some(owner) = owner {
            let key = Key::new(namespace, owner.name.clone());
            let of_workload: Option<LabelSelector> = match owner.kind.as_str() {
                "ReplicationController" => {
                    let labels =
                        self.replication_controllers.get(&key).and_then(|rc| rc.spec.as_ref()?.selector.clone());
                    labels.map(|labels| LabelSelector { match_labels: Some(labels), match_expressions: None })
                }
                "ReplicaSet" => self.replica_sets.get(&key).and_then(|rs| Some(rs.spec.as_ref()?.selector.clone())),
                "StatefulSet" => self.stateful_sets.get(&key).and_then(|set| Some(set.spec.as_ref()?.selector.clone())),
                _ => None,
            };
            if let Some(of_workload) = of_workload.and_then(|selector| Selector::try_from(selector).ok()) {
                selector.extend(of_workload);
            }
        }
        (!selector.selects_all()).then_some(selector)
    }
}

fn on_pod(state: &Arc<State>, old: Option<&Arc<Pod>>, new: Option<&Arc<Pod>>) {
    let holds = |pod: &Pod| node_of(pod).is_some() && !is_finished(pod);
    let held = old.is_some_and(|old| holds(old));
    let Some(new) = new else {
        let Some(old) = old else { return };
        state.cache().remove_pod(old);
        state.queue().remove(&Key::of(old.as_ref()));
        // It may have been assumed somewhere even if it was never seen there.
        return state.happened(Cause::Room);
    };
    // Deleted and made again under the same name between two looks.
    if let Some(old) = old.filter(|old| old.uid() != new.uid()) {
        state.cache().remove_pod(old);
        state.queue().remove(&Key::of(old.as_ref()));
    }
    state.cache().set_pod(new);
    let key = Key::of(new.as_ref());
    if is_ours(new) {
        let asks = |pod: &Pod| (pod.spec.clone(), pod.metadata.labels.clone(), pod.uid());
        if old.is_none_or(|old| asks(old) != asks(new)) {
            let spec = new.spec.as_ref();
            let priority = spec.and_then(|spec| spec.priority).unwrap_or(0);
            let awaits_pods = spec.is_some_and(|spec| {
                spec.topology_spread_constraints.is_some()
                    || spec.affinity.as_ref().is_some_and(|a| a.pod_affinity.is_some() || a.pod_anti_affinity.is_some())
            });
            state.queue().add(key, priority, awaits_pods, Instant::now());
            state.wake.notify_one();
        }
        return;
    }
    state.queue().remove(&key);
    match (held, holds(new)) {
        (true, false) => state.happened(Cause::Room),
        (false, true) => state.happened(Cause::Placement),
        _ => {}
    }
}

/// What about a Node can make pods fit.
fn matters(node: &Node) -> impl PartialEq {
    let spec = node.spec.as_ref();
    (
        spec.and_then(|spec| spec.unschedulable),
        spec.and_then(|spec| spec.taints.clone()),
        node.metadata.labels.clone(),
        node.status.as_ref().and_then(|status| status.allocatable.clone()),
    )
}
