//! The cluster as the scheduler knows it: what it has seen, and what it has done and not yet seen (assumed pods).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt as _;

use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;

#[derive(Debug, Default)]
pub(crate) struct Cache {
    nodes: BTreeMap<String, NodeInfo>,
    /// Where each pod is, by UID, seen or assumed.
    placed: HashMap<String, String>,
    /// UIDs of the pods whose binding has not been seen.
    assumed: HashSet<String>,
}

impl Cache {
    /// Every known Node.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &NodeInfo> + Clone {
        self.nodes.values().filter(|info| info.node.is_some())
    }

    pub(crate) fn set_node(&mut self, node: Arc<Node>) {
        self.nodes.entry(node.name_any()).or_default().set_node(Some(node));
    }

    pub(crate) fn remove_node(&mut self, name: &str) {
        if let Some(info) = self.nodes.get_mut(name) {
            info.set_node(None);
            if info.pods.is_empty() {
                self.nodes.remove(name);
            }
        }
    }

    /// Takes note of a pod's present state.
    pub(crate) fn set_pod(&mut self, pod: &Arc<Pod>) {
        let uid = pod.uid().unwrap_or_default();
        let Some(node) = node_of(pod) else {
            // An assumed pod stays where it was put until its binding is seen or has failed.
            return;
        };
        self.assumed.remove(&uid);
        self.take_away(&uid);
        if !is_finished(pod) {
            self.put(node.to_owned(), PodInfo::new(pod.clone()));
        }
    }

    pub(crate) fn remove_pod(&mut self, pod: &Pod) {
        let uid = pod.uid().unwrap_or_default();
        self.assumed.remove(&uid);
        self.take_away(&uid);
    }

    /// Puts a pod where it is about to be bound.
    pub(crate) fn assume(&mut self, pod: PodInfo, node: &str) {
        let uid = pod.uid();
        self.take_away(&uid);
        self.assumed.insert(uid);
        self.put(node.to_owned(), pod);
    }

    /// The binding failed.
    pub(crate) fn forget(&mut self, uid: &str) {
        if self.assumed.remove(uid) {
            self.take_away(uid);
        }
    }

    pub(crate) fn is_placed(&self, uid: &str) -> bool {
        self.placed.contains_key(uid)
    }

    fn put(&mut self, node: String, pod: PodInfo) {
        self.placed.insert(pod.uid(), node.clone());
        self.nodes.entry(node).or_default().add(pod);
    }

    fn take_away(&mut self, uid: &str) {
        let Some(node) = self.placed.remove(uid) else { return };
        if let Some(info) = self.nodes.get_mut(&node) {
            info.remove(uid);
            if info.pods.is_empty() && info.node.is_none() {
                self.nodes.remove(&node);
            }
        }
    }
}

/// The Node a pod is bound to.
pub(crate) fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|node| !node.is_empty())
}

/// Whether a pod has ended for good and holds nothing any more.
pub(crate) fn is_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::CPU;
    use serde_json::json;

    fn pod(node: &str, phase: &str) -> Arc<Pod> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": "a", "namespace": "default", "uid": "u"},
                "spec": {"nodeName": node, "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
                "status": {"phase": phase},
            }))
            .unwrap(),
        )
    }

    fn used(cache: &Cache) -> i64 {
        cache.nodes().map(|info| info.requested.get(CPU)).sum()
    }

    fn cache() -> Cache {
        let mut cache = Cache::default();
        cache.set_node(Arc::new(serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap()));
        cache
    }

    #[test]
    fn an_assumed_pod_counts_until_its_binding_fails_or_is_seen() {
        let mut cache = cache();
        cache.assume(PodInfo::new(pod("", "Pending")), "n");
        cache.set_pod(&pod("", "Pending"));
        assert_eq!(used(&cache), 1000, "an update that does not show the binding changes nothing");
        cache.forget("u");
        assert_eq!(used(&cache), 0);
        cache.assume(PodInfo::new(pod("", "Pending")), "n");
        cache.set_pod(&pod("n", "Pending"));
        cache.forget("u");
        assert_eq!(used(&cache), 1000, "seen is seen");
    }

    #[test]
    fn a_finished_pod_gives_back_what_it_had() {
        let mut cache = cache();
        cache.set_pod(&pod("n", "Running"));
        cache.set_pod(&pod("n", "Succeeded"));
        assert_eq!(used(&cache), 0);
        assert!(!cache.is_placed("u"));
    }

    #[test]
    fn pods_seen_before_their_node_count_when_it_comes() {
        let mut cache = Cache::default();
        cache.set_pod(&pod("n", "Running"));
        assert_eq!(cache.nodes().count(), 0);
        cache.set_node(Arc::new(serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap()));
        assert_eq!(used(&cache), 1000);
    }
}
