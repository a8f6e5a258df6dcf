//! The agent: watches Nodes and keeps the overlay equal to them.

use crate::error::{Error, Result};
use crate::node::NodeNet;
use crate::overlay::{Overlay, Settings};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client};
use orlop_netns::NetNs;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

/// How often the kernel is compared with the Nodes though no Node changed.
const RESYNC: Duration = Duration::from_secs(30);
/// How long after a failure to try again.
const RETRY: Duration = Duration::from_secs(1);
/// How long changes are gathered before they are applied together.
const GATHER: Duration = Duration::from_millis(20);

/// What [`run`] needs.
pub struct Config {
    /// The cluster, as user `system:orlop-overlay`.
    pub client: Client,
    /// The overlay's own settings.
    pub settings: Settings,
}

/// Runs until `stop`. What is in the kernel stays there: a node whose agent is gone keeps its pod network.
pub async fn run(config: Config, stop: CancellationToken) -> Result<()> {
    let name = config.settings.node_name.clone();
    let mut overlay = Overlay::new(config.settings, NetNs::current()?).await?;
    let api: Api<Node> = Api::all(config.client);
    let (nodes, writer) = reflector::store();
    let mut events = std::pin::pin!(watch(api.clone(), watcher::Config::default()).default_backoff().reflect(writer));
    let mut resync = interval(RESYNC);
    resync.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Until all Nodes have been listed once, a missing one means nothing.
    let mut listed = false;
    let mut due: Option<Instant> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            event = events.next() => match event {
                Some(Ok(event)) => {
                    listed |= matches!(event, Event::InitDone);
                    due = due.or_else(|| Some(Instant::now() + GATHER));
                }
                Some(Err(error)) => tracing::warn!(%error, "watching Nodes"),
                None => return Ok(()),
            },
            _ = resync.tick() => due = Some(Instant::now()),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() && listed => {
                due = None;
                if let Err(error) = reconcile(&mut overlay, &api, &nodes, &name).await {
                    tracing::warn!(%error, "pod network is not as it should be; trying again");
                    due = Some(Instant::now() + RETRY);
                }
            }
        }
    }
}

async fn reconcile(overlay: &mut Overlay, api: &Api<Node>, store: &Store<Node>, name: &str) -> Result<()> {
    let objects = store.state();
    let nodes: Vec<NodeNet> = objects.iter().filter_map(|node| NodeNet::of(node).ok()).collect();
    let Some(object) = objects.iter().find(|node| node.metadata.name.as_deref() == Some(name)) else { return Ok(()) };
    let me = match NodeNet::of(object) {
        Ok(me) => me,
        Err(reason) => {
            tracing::debug!(node = name, %reason, "waiting");
            return Ok(());
        }
    };
    let wanted = overlay.prepare(me.pod_cidr, me.vtep.map(|vtep| vtep.mac)).await?;
    let empty = BTreeMap::new();
    let present = object.metadata.annotations.as_ref().unwrap_or(&empty);
    if wanted.iter().any(|(key, value)| present.get(key) != Some(value)) {
        let patch = json!({"metadata": {"annotations": wanted}});
        let params = PatchParams { field_manager: Some("orlop-overlay".into()), ..PatchParams::default() };
        let patched = api.patch(name, &params, &Patch::Merge(&patch)).await;
        patched.map_err(|e| Error::Api { doing: format!("annotating Node {name}"), source: Box::new(e) })?;
    }
    overlay.sync(&nodes).await?;
    Ok(())
}
