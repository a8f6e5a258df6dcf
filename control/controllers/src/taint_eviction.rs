//! Taint-based eviction: a pod that does not tolerate a NoExecute taint of its Node is deleted, at once or after its
//! `tolerationSeconds` (`pkg/controller/tainteviction`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use orlop_placement::taints::tolerates;
use orlop_runtime::Recorder;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::controller::{self, Next};
use crate::{Informer, Key, Queue};

const NAME: &str = "taint-eviction-controller";
const WORKERS: usize = 8;

/// What the taints mean for a pod.
#[derive(Debug, PartialEq, Eq)]
enum Stay {
    Forever,
    /// For so long after the taints were noticed.
    For(Duration),
}

/// How long a pod may stay. Of the tolerations that it needs, the shortest counts.
fn stay(tolerations: &[Toleration], taints: &[Taint]) -> Stay {
    let mut shortest: Option<Duration> = None;
    for taint in taints {
        let mut tolerating = tolerations.iter().filter(|toleration| tolerates(toleration, taint)).peekable();
        if tolerating.peek().is_none() {
            return Stay::For(Duration::ZERO);
        }
        for seconds in tolerating.filter_map(|toleration| toleration.toleration_seconds) {
            let limit = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            shortest = Some(shortest.map_or(limit, |shortest| shortest.min(limit)));
        }
    }
    shortest.map_or(Stay::Forever, Stay::For)
}

fn no_execute(node: &Node) -> Vec<Taint> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    taints.into_iter().filter(|taint| taint.effect == "NoExecute").collect()
}

struct Evictor {
    client: Client,
    recorder: Recorder,
    nodes: Arc<Informer<Node>>,
    pods: Arc<Informer<Pod>>,
    /// Since when each pod (by UID) may not stay for ever.
    noticed: Mutex<HashMap<String, Instant>>,
}

/// Runs the controller until cancelled.
pub(crate) async fn run(client: Client, nodes: Arc<Informer<Node>>, pods: Arc<Informer<Pod>>, stop: CancellationToken) {
    let queue = Queue::<Key>::default();
    let (changed, on_node) = (queue.clone(), pods.clone());
    nodes.on_change(move |old, new| {
        let Some(new) = new else { return };
        if old.map(|node| no_execute(node)).unwrap_or_default() != no_execute(new) {
            let name = new.name_any();
            let concerned = on_node.all().into_iter().filter(|pod| node_of(pod) == Some(name.as_str()));
            concerned.for_each(|pod| changed.add(Key::of(pod.as_ref())));
        }
    });
    let (changed, of_pod) = (queue.clone(), nodes.clone());
    pods.on_change(move |old, new| {
        let Some(pod) = new.or(old) else { return };
        let node = node_of(pod).and_then(|node| of_pod.get(&Key::new("", node)));
        if new.is_none() || node.is_some_and(|node| !no_execute(&node).is_empty()) {
            changed.add(Key::of(pod.as_ref()));
        }
    });
    nodes.synced().await;
    pods.synced().await;
    let recorder = Recorder::new(client.clone(), NAME);
    let this = Arc::new(Evictor { client, recorder, nodes, pods, noticed: Mutex::default() });
    let reconcile = move |key: Key| {
        let this = this.clone();
        async move { this.reconcile(&key).await }
    };
    controller::work(NAME, queue, WORKERS, stop, reconcile).await;
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|node| !node.is_empty())
}

impl Evictor {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(pod) = self.pods.get(key) else {
            self.forget_gone();
            return Ok(Next::Settled);
        };
        let uid = pod.uid().unwrap_or_default();
        let node = node_of(&pod).and_then(|node| self.nodes.get(&Key::new("", node)));
        let taints = node.map(|node| no_execute(&node)).unwrap_or_default();
        let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
        let Stay::For(limit) = stay(tolerations, &taints) else {
            self.noticed().remove(&uid);
            return Ok(Next::Settled);
        };
        if pod.metadata.deletion_timestamp.is_some() {
            return Ok(Next::Settled);
        }
        let since = *self.noticed().entry(uid).or_insert_with(Instant::now);
        let left = limit.saturating_sub(since.elapsed());
        if !left.is_zero() {
            return Ok(Next::After(left));
        }
        self.evict(&pod).await?;
        Ok(Next::Settled)
    }

    async fn evict(&self, pod: &Pod) -> Result<(), kube::Error> {
        let name = pod.name_any();
        let api = Api::<Pod>::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        self.recorder.normal(
            pod.object_ref(&()),
            "TaintManagerEviction",
            format!("Marking for deletion Pod {}", Key::of(pod)),
        );
        let patch = json!({"metadata": {"uid": pod.uid()}, "status": {"conditions": [{
            "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        }]}});
        controller::gone_is_fine(api.patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch)).await)?;
        let preconditions = Preconditions { uid: pod.uid(), resource_version: None };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        controller::gone_is_fine(api.delete(&name, &parameters).await)
    }

    fn forget_gone(&self) {
        let mut noticed = self.noticed();
        if !noticed.is_empty() {
            let there: std::collections::HashSet<String> = self.pods.all().iter().filter_map(|pod| pod.uid()).collect();
            noticed.retain(|uid, _| there.contains(uid));
        }
    }

    fn noticed(&self) -> std::sync::MutexGuard<'_, HashMap<String, Instant>> {
        self.noticed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn stays(tolerations: Value, taints: &[&str]) -> Stay {
        let taints = taints.iter().map(|key| json!({"key": key, "effect": "NoExecute"})).collect::<Vec<_>>();
        stay(
            &serde_json::from_value::<Vec<_>>(tolerations).unwrap(),
            &serde_json::from_value::<Vec<_>>(json!(taints)).unwrap(),
        )
    }

    #[test]
    fn a_pod_stays_as_long_as_its_tolerations_say() {
        assert_eq!(stays(json!([]), &[]), Stay::Forever);
        assert_eq!(stays(json!([]), &["a"]), Stay::For(Duration::ZERO));
        assert_eq!(stays(json!([{"operator": "Exists"}]), &["a", "b"]), Stay::Forever);
        let limited = json!([
            {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            {"key": "b", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}]);
        assert_eq!(stays(limited.clone(), &["a"]), Stay::For(Duration::from_secs(300)));
        assert_eq!(stays(limited.clone(), &["a", "b"]), Stay::For(Duration::from_secs(30)));
        assert_eq!(stays(limited, &["a", "c"]), Stay::For(Duration::ZERO));
    }
}
