//! Node IPAM: gives each Node its part of the cluster's pod network, `spec.podCIDR` (the range allocator of
//! `pkg/controller/nodeipam`). What Nodes carry already is believed first, so that a restart gives nothing twice.

mod cidr_set;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use orlop_runtime::Recorder;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::controller::{self, Next};
use crate::{Config, Informer, Key, Queue};

use cidr_set::CidrSet;

const NAME: &str = "node-ipam-controller";

struct Given {
    set: CidrSet,
    by_node: HashMap<String, Ipv4Net>,
}

impl Given {
    fn keep(&mut self, node: &str, network: Ipv4Net) {
        self.set.occupy(network);
        self.by_node.insert(node.to_owned(), network);
    }

    fn release(&mut self, node: &str) {
        if let Some(network) = self.by_node.remove(node) {
            self.set.release(network);
        }
    }

    /// The node's part: the one it was given before, or the next free one.
    fn give(&mut self, node: &str) -> Option<Ipv4Net> {
        if let Some(network) = self.by_node.get(node) {
            return Some(*network);
        }
        let network = self.set.allocate()?;
        self.by_node.insert(node.to_owned(), network);
        Some(network)
    }
}

struct NodeIpam {
    client: Client,
    recorder: Recorder,
    nodes: Arc<Informer<Node>>,
    given: Mutex<Given>,
}

/// Runs the controller until cancelled.
pub(crate) async fn run(client: Client, nodes: Arc<Informer<Node>>, config: Config, stop: CancellationToken) {
    let queue = Queue::<Key>::default();
    let changed = queue.clone();
    nodes.on_change(move |old, new| {
        if old.is_none() || new.is_none_or(|node| pod_cidr(node).is_none()) {
            changed.add(Key::new("", new.or(old).map(|node| node.name_any()).unwrap_or_default()));
        }
    });
    nodes.synced().await;
    let mut given =
        Given { set: CidrSet::new(config.cluster_cidr, config.node_cidr_mask_size), by_node: HashMap::new() };
    for node in nodes.all() {
        if let Some(network) = pod_cidr(&node) {
            given.keep(&node.name_any(), network);
        }
        queue.add(Key::of(node.as_ref()));
    }
    let recorder = Recorder::new(client.clone(), "cidrAllocator");
    let this = Arc::new(NodeIpam { client, recorder, nodes, given: Mutex::new(given) });
    let reconcile = move |key: Key| {
        let this = this.clone();
        async move { this.reconcile(&key).await }
    };
    controller::work(NAME, queue, 1, stop, reconcile).await;
}

fn pod_cidr(node: &Node) -> Option<Ipv4Net> {
    node.spec.as_ref()?.pod_cidr.as_deref()?.parse().ok()
}

impl NodeIpam {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(node) = self.nodes.get(key) else {
            self.given().release(&key.name);
            return Ok(Next::Settled);
        };
        if let Some(network) = pod_cidr(&node) {
            self.given().keep(&key.name, network);
            return Ok(Next::Settled);
        }
        let Some(network) = self.given().give(&key.name) else {
            let note = format!("Node {} status is now: CIDRNotAvailable", key.name);
            self.recorder.normal(node.object_ref(&()), "CIDRNotAvailable", note);
            return Ok(Next::After(std::time::Duration::from_secs(30)));
        };
        let patch = json!({
            "metadata": {"uid": node.uid()}, "spec": {"podCIDR": network.to_string(), "podCIDRs": [network.to_string()]},
        });
        let result =
            Api::<Node>::all(self.client.clone()).patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        controller::gone_is_fine(result)?;
        Ok(Next::Settled)
    }

    fn given(&self) -> MutexGuard<'_, Given> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
