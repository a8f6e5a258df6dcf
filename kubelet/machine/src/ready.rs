//! Waiting for the cluster as a client sees it: the API server's /readyz, every Node's Ready condition, every node's proxy.

use crate::daemon::{Daemon, tail};
use crate::layout::{Layout, NodeLayout};
use crate::spaces;
use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

/// How long the API server and then the Nodes have.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the proxy tells about itself on each node.
const PROXY_METRICS_PORT: u16 = 10249;

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

/// Waits until every node's service proxy has programmed what it knows; the backend that each of them uses.
pub(crate) async fn proxies(layout: &Layout, count: u32) -> Result<Vec<(String, String)>> {
    let deadline = Instant::now() + PATIENCE;
    let mut modes = Vec::new();
    for node in (1..=count).map(|n| layout.node(n)) {
        loop {
            let asked = node.clone();
            let mode = spawn_blocking(move || spaces::inside(&asked, proxy_mode)).await?;
            if let Ok(Ok(mode)) = &mode
                && !mode.is_empty()
            {
                modes.push((node.name(), mode.clone()));
                break;
            }
            if Instant::now() > deadline {
                let log = node.run().join("node.log");
                bail!("the service proxy of {} is not ready; {}:\n{}", node.name(), log.display(), tail(&log));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(modes)
}

/// What the proxy's /proxyMode says, asked from within its network namespace.
fn proxy_mode() -> std::io::Result<String> {
    let patience = Duration::from_secs(1);
    let mut stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, PROXY_METRICS_PORT).into(), patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"GET /proxyMode HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.trim().to_owned()).unwrap_or_default())
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}
