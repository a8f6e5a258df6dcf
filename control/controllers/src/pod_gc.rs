//! The pod garbage collector: pods of Nodes that are gone, pods that were deleted before they were scheduled, and the oldest of
//! too many finished ones (`pkg/controller/podgc`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::replicas::phase;
use crate::{Informer, Key, controller};

pub(crate) const NAME: &str = "pod-garbage-collector";
const PERIOD: Duration = Duration::from_secs(20);
/// A Node must be missing for this long.
const QUARANTINE: Duration = Duration::from_secs(40);
/// So many finished pods are kept (`--terminated-pod-gc-threshold`).
const FINISHED: usize = 12_500;

/// Why a pod goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    NodeGone,
    NeverScheduled,
    Finished,
}

/// The pods to delete; `is_gone` says whether a Node has been missing for long enough.
fn garbage(pods: &[Arc<Pod>], is_gone: impl Fn(&str) -> bool, keep_finished: usize) -> Vec<(Arc<Pod>, Reason)> {
    let mut garbage = Vec::new();
    let mut finished = Vec::new();
    for pod in pods {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).filter(|node| !node.is_empty());
        match node {
            Some(node) if is_gone(node) => garbage.push((pod.clone(), Reason::NodeGone)),
            None if pod.metadata.deletion_timestamp.is_some() => garbage.push((pod.clone(), Reason::NeverScheduled)),
            _ if matches!(phase(pod), "Succeeded" | "Failed") => finished.push(pod.clone()),
            _ => {}
        }
    }
    let surplus = finished.len().saturating_sub(keep_finished);
    finished.sort_by_cached_key(|pod| (pod.metadata.creation_timestamp.as_ref().map(|time| time.0), pod.name_any()));
    garbage.extend(finished.into_iter().take(surplus).map(|pod| (pod, Reason::Finished)));
    garbage
}

/// Runs the collector until cancelled.
pub(crate) async fn run(client: Client, nodes: Arc<Informer<Node>>, pods: Arc<Informer<Pod>>, stop: CancellationToken) {
    nodes.synced().await;
    pods.synced().await;
    let mut missing: HashMap<String, Instant> = HashMap::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
        let all = pods.all();
        let named =
            all.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.as_deref()).filter(|node| !node.is_empty());
        let now: HashMap<String, Instant> = named
            .filter(|node| nodes.get(&Key::new("", *node)).is_none())
            .map(|node| (node.to_owned(), missing.get(node).copied().unwrap_or_else(Instant::now)))
            .collect();
        missing = now;
        let mut gone = Vec::new();
        for (node, _) in missing.iter().filter(|(_, since)| since.elapsed() >= QUARANTINE) {
            // The view may be wrong about what is not there.
            match Api::<Node>::all(client.clone()).get_opt(node).await {
                Ok(None) => gone.push(node.clone()),
                Ok(Some(_)) => {}
                Err(error) => tracing::warn!(node, %error, "looking for a missing node"),
            }
        }
        for (pod, reason) in garbage(&all, |node| gone.iter().any(|gone| gone == node), FINISHED) {
            if let Err(error) = delete(&client, &pod, reason).await {
                tracing::warn!(pod = %Key::of(pod.as_ref()), %error, "collecting a pod, trying again");
            }
        }
    }
}

async fn delete(client: &Client, pod: &Pod, reason: Reason) -> Result<(), kube::Error> {
    let api = Api::<Pod>::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let name = pod.name_any();
    tracing::info!(pod = %Key::of(pod), ?reason, "collecting a pod");
    // A pod that never finished is told to have failed: whoever counts on it must see that.
    if !matches!(phase(pod), "Succeeded" | "Failed") {
        let mut status = json!({"phase": "Failed"});
        if reason == Reason::NodeGone {
            status["conditions"] = json!([{
                "type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC",
                "message": "PodGC: node no longer exists",
                "lastTransitionTime": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            }]);
        }
        let patch = json!({"metadata": {"uid": pod.uid()}, "status": status});
        controller::gone_is_fine(api.patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch)).await)?;
    }
    let parameters = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions { uid: pod.uid(), resource_version: None }),
        ..DeleteParams::default()
    };
    controller::gone_is_fine(api.delete(&name, &parameters).await)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn pod(name: &str, node: &str, phase: &str, more: Value) -> Arc<Pod> {
        let mut value = json!({"metadata": {"name": name}, "spec": {"containers": [], "nodeName": node}, "status": {"phase": phase}});
        for (key, field) in more.as_object().unwrap() {
            value["metadata"][key] = field.clone();
        }
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn pods_of_lost_nodes_and_never_scheduled_ones_go_and_the_oldest_finished_ones() {
        let pods = [
            pod("lost", "gone", "Running", json!({})),
            pod("unlucky", "", "Pending", json!({"deletionTimestamp": "2026-01-01T00:00:00Z"})),
            pod("old", "n", "Succeeded", json!({"creationTimestamp": "2026-01-01T00:00:00Z"})),
            pod("new", "n", "Failed", json!({"creationTimestamp": "2026-01-02T00:00:00Z"})),
            pod("running", "n", "Running", json!({})),
            pod("waiting", "", "Pending", json!({})),
        ];
        let found = garbage(&pods, |node| node == "gone", 1);
        let found: Vec<_> = found.iter().map(|(pod, reason)| (pod.name_any(), *reason)).collect();
        let expected = [("lost", Reason::NodeGone), ("unlucky", Reason::NeverScheduled), ("old", Reason::Finished)];
        assert_eq!(found, expected.map(|(name, reason)| (name.to_owned(), reason)));
    }
}
