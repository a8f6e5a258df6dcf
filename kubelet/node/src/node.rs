//! The Node object: registered at the start, kept true by status patches, kept alive by a Lease.

mod lease;
mod machine;
mod object;

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeStatus};
use kube::api::{Api, Patch, PatchParams, PostParams};
use tokio::sync::watch;

pub use machine::Machine;

use crate::kubelet::Kubelet;
use crate::within::{CALL, within};
use object::{Facts, node, reference, status};

/// Registers the Node, then keeps its status and renews its Lease, for ever.
pub async fn keep(kubelet: Arc<Kubelet>) {
    let api: Api<Node> = Api::all(kubelet.config.client.clone());
    let node = register(&kubelet, &api).await;
    kubelet.recorder.normal(reference(&kubelet.config.node_name), "Starting", "Starting kubelet.");
    // The Lease belongs to the Node: it must know when the Node has become another one.
    let (owner, owned) = watch::channel(uid(&node));
    tokio::join!(keep_status(&kubelet, &api, node, owner), lease::keep(&kubelet, owned));
}

async fn keep_status(kubelet: &Kubelet, api: &Api<Node>, mut current: Node, owner: watch::Sender<String>) {
    let config = &kubelet.config;
    let mut health = kubelet.health.subscribe();
    let mut reported = Instant::now();
    let mut was_ready = is_ready(current.status.as_ref());
    loop {
        let facts = facts(kubelet).await;
        let wanted = status(config, &kubelet.machine, &facts, current.status.as_ref(), Timestamp::now());
        let overdue = reported.elapsed() >= config.node_status_report_frequency;
        if overdue || !object::same(current.status.as_ref(), &wanted) {
            match send(api, &config.node_name, &wanted).await {
                Ok(node) => {
                    let ready = is_ready(node.status.as_ref());
                    if ready != was_ready {
                        let reason = if ready { "NodeReady" } else { "NodeNotReady" };
                        let message = format!("Node {} status is now: {reason}", config.node_name);
                        kubelet.recorder.normal(reference(&config.node_name), reason, message);
                    }
                    was_ready = ready;
                    reported = Instant::now();
                }
                Err(error) => tracing::warn!(%error, "the Node's status was not sent"),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(config.node_status_update_frequency) => kubelet.read_resolv_conf(),
            // An error cannot be: the sender lives in `kubelet`.
            _ = health.changed() => {}
        }
        // Others write this status too: the node controller makes it Unknown when the heartbeat was not heard for long.
        match within(CALL, api.get_opt(&config.node_name)).await {
            Ok(Some(node)) => current = node,
            Ok(None) => {
                current = register(kubelet, api).await;
                owner.send_replace(uid(&current));
            }
            Err(error) => tracing::warn!(%error, "the Node was not read"),
        }
    }
}

fn uid(node: &Node) -> String {
    node.metadata.uid.clone().unwrap_or_default()
}

fn is_ready(status: Option<&NodeStatus>) -> bool {
    let conditions = status.into_iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

async fn facts(kubelet: &Kubelet) -> Facts {
    let known = kubelet.runtime_version.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let runtime_version = match known {
        Some(version) => version,
        None => match kubelet.cri.version().await {
            Ok(reply) => {
                let version = format!("{}://{}", reply.runtime_name, reply.runtime_version);
                *kubelet.runtime_version.lock().unwrap_or_else(PoisonError::into_inner) = Some(version.clone());
                version
            }
            Err(_) => String::new(),
        },
    };
    Facts {
        runtime_version,
        health: kubelet.health.borrow().clone(),
        pressure: kubelet.machine.pressure(&kubelet.config),
    }
}

async fn send(api: &Api<Node>, name: &str, status: &NodeStatus) -> kube::Result<Node> {
    let body = serde_json::json!({ "status": status });
    within(CALL, api.patch_status(name, &PatchParams::default(), &Patch::Strategic(body))).await
}

/// Creates the Node, or takes over the one that is there: labels and addresses of its own are set, those of others stay.
async fn register(kubelet: &Kubelet, api: &Api<Node>) -> Node {
    let mut pause = Duration::from_millis(100);
    loop {
        let facts = facts(kubelet).await;
        let wanted = node(&kubelet.config, &kubelet.machine, &facts, Timestamp::now());
        let result = match within(CALL, api.create(&PostParams::default(), &wanted)).await {
            Err(kube::Error::Api(answer)) if answer.code == 409 => {
                let labels = serde_json::json!({ "metadata": { "labels": wanted.metadata.labels } });
                let name = kubelet.config.node_name.as_str();
                within(CALL, api.patch(name, &PatchParams::default(), &Patch::Strategic(labels))).await
            }
            other => other,
        };
        match result {
            Ok(node) => return node,
            Err(error) => tracing::warn!(%error, node = kubelet.config.node_name, "unable to register the Node"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(7));
    }
}
