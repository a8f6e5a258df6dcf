//! Waiting for the cluster as a client sees it: the API server's /readyz, then every Node's Ready condition.

use crate::daemon::{Daemon, tail};
use crate::layout::{Layout, NodeLayout};
use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How long the API server and then the Nodes have.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client with the person's own kubeconfig, over the loopback socket that the person will use.
pub(crate) async fn client(layout: &Layout) -> Result<Client> {
    let path = layout.admin_kubeconfig();
    let file = Kubeconfig::read_from(&path).with_context(|| format!("reading {}", path.display()))?;
    let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    config.connect_timeout = Some(Duration::from_secs(2));
    config.read_timeout = Some(Duration::from_secs(10));
    Ok(Client::try_from(config)?)
}

/// Waits until the API server says `ok`.
pub(crate) async fn api(client: &Client, server: &Daemon, on: &NodeLayout) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let request = http::Request::get("/readyz").body(Vec::new())?;
        let answer = timeout(Duration::from_secs(2), client.request_text(request)).await;
        if matches!(&answer, Ok(Ok(text)) if text.trim() == "ok") {
            return Ok(());
        }
        let log = server.log(on);
        ensure!(server.running(on), "the API server ended:\n{}", tail(&log));
        if Instant::now() > deadline {
            bail!("the API server is not ready after {PATIENCE:?} ({answer:?}); {}:\n{}", log.display(), tail(&log));
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until `count` Nodes are Ready, as heartbeats tell.
pub(crate) async fn nodes(client: &Client, layout: &Layout, count: u32) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let missing: Vec<_> = match Api::<Node>::all(client.clone()).list(&ListParams::default()).await {
            Ok(list) => {
                let ready: Vec<_> =
                    list.items.iter().filter(|n| is_ready(n)).filter_map(|n| n.metadata.name.clone()).collect();
                (1..=count).map(|n| layout.node(n)).filter(|node| !ready.contains(&node.name())).collect()
            }
            Err(error) => bail!("listing Nodes: {error}"),
        };
        let Some(first) = missing.first() else { return Ok(()) };
        if Instant::now() > deadline {
            let log = first.run().join("node.log");
            bail!("{} is not Ready after {PATIENCE:?}; {}:\n{}", first.name(), log.display(), tail(&log));
        }
        sleep(Duration::from_millis(50)).await;
    }
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}
