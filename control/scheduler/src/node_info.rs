//! A Node with the pods on it and the sums over them.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Taint};
use kube::ResourceExt as _;
use orlop_placement::node_affinity;

use crate::pod_info::PodInfo;
use crate::resources::Resources;

#[derive(Debug, Clone, Default)]
pub(crate) struct NodeInfo {
    /// `None` for a Node that is not known (yet, or any more) but has pods.
    pub(crate) node: Option<Arc<Node>>,
    pub(crate) allocatable: Resources,
    pub(crate) requested: Resources,
    pub(crate) scored: Resources,
    pub(crate) pods: HashMap<String, PodInfo>,
}

impl NodeInfo {
    pub(crate) fn set_node(&mut self, node: Option<Arc<Node>>) {
        let allocatable = node.as_ref().and_then(|node| node.status.as_ref()?.allocatable.as_ref());
        self.allocatable = Resources::of(allocatable);
        self.node = node;
    }

    pub(crate) fn add(&mut self, pod: PodInfo) {
        let uid = pod.uid();
        self.remove(&uid);
        self.requested.add(&pod.requests);
        self.scored.add(&pod.scored);
        self.pods.insert(uid, pod);
    }

    pub(crate) fn remove(&mut self, uid: &str) {
        if let Some(pod) = self.pods.remove(uid) {
            self.requested.subtract(&pod.requests);
            self.scored.subtract(&pod.scored);
        }
    }

    pub(crate) fn name(&self) -> String {
        self.node.as_ref().map(|node| node.name_any()).unwrap_or_default()
    }

    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.node.as_ref()?.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }

    pub(crate) fn taints(&self) -> &[Taint] {
        let spec = self.node.as_ref().and_then(|node| node.spec.as_ref());
        spec.and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
    }

    /// Whether the Node is among those that a pod's selector and affinity demand.
    pub(crate) fn is_demanded(&self, pod: &PodInfo) -> bool {
        let (Some(spec), Some(node)) = (pod.spec(), &self.node) else { return true };
        node_affinity::required(spec, node)
    }

    pub(crate) fn is_unschedulable(&self) -> bool {
        let spec = self.node.as_ref().and_then(|node| node.spec.as_ref());
        spec.is_some_and(|spec| spec.unschedulable == Some(true))
    }
}
