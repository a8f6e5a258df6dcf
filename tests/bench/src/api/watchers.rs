//! Many watchers of one resource: how long until each has heard of a change.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt as _;
use tokio::sync::{Barrier, mpsc};

use super::load::milliseconds;
use super::wire::Client;

/// Watchers that share a connection, as kube-apiserver allows them to.
const PER_CONNECTION: usize = 100;
/// Changes that are made, one after the other.
const CHANGES: usize = 100;
/// Between two of them.
pub const PAUSE: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(60);

/// What the watchers saw.
pub struct Heard {
    /// Milliseconds from just before each write until each watcher had its event.
    pub delays: Vec<f64>,
    /// Milliseconds from just before each write until the last watcher had its event.
    pub last: Vec<f64>,
    /// Bytes that one watcher was sent for one change.
    pub bytes: f64,
}

/// `count` watchers of the ConfigMaps of a namespace, while some are created.
pub async fn watch(client: &Client, namespace: &str, count: usize, object: fn(&str) -> Bytes) -> Result<Heard> {
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    let writer = client.connect().await?;
    let list: serde_json::Value =
        serde_json::from_slice(&writer.ask(Method::GET, &format!("{path}?limit=1"), Bytes::new()).await?)?;
    let version = list["metadata"]["resourceVersion"].as_str().context("a list has a version")?.to_owned();
    let url = format!("{path}?watch=1&resourceVersion={version}");
    let (tell, mut told) = mpsc::unbounded_channel::<(usize, Instant, usize)>();
    let ready = Arc::new(Barrier::new(count + 1));
    let mut tasks = Vec::new();
    for first in (0..count).step_by(PER_CONNECTION) {
        let connection = client.connect().await?;
        for _ in first..count.min(first + PER_CONNECTION) {
            let (connection, url, tell, ready) = (connection.clone(), url.clone(), tell.clone(), ready.clone());
            tasks.push(tokio::spawn(async move {
                let answer = connection.open(Method::GET, &url, Bytes::new()).await?;
                ensure!(answer.status().is_success(), "{}", answer.status());
                let (mut body, mut event, mut bytes) = (answer.into_body(), 0, 0);
                ready.wait().await;
                while event < CHANGES {
                    let frame = body.frame().await.context("the watch ended")??;
                    let Some(data) = frame.data_ref() else { continue };
                    let now = Instant::now();
                    // An event is a line.
                    for part in data.split_inclusive(|byte| *byte == b'\n') {
                        bytes += part.len();
                        if part.ends_with(b"\n") {
                            let _ = tell.send((event, now, bytes));
                            (event, bytes) = (event + 1, 0);
                        }
                    }
                }
                Ok::<_, anyhow::Error>(())
            }));
        }
    }
    drop(tell);
    tokio::time::timeout(PATIENCE, ready.wait()).await.context("not every watch began")?;
    let mut written = HashMap::new();
    for number in 0..CHANGES {
        written.insert(number, Instant::now());
        let name = format!("watched-{count}-{number}");
        writer.ask(Method::POST, &path, object(&name)).await?;
        tokio::time::sleep(PAUSE).await;
    }
    for task in tasks {
        tokio::time::timeout(PATIENCE, task).await.context("a watcher has not heard of every change")???;
    }
    let (mut delays, mut last, mut total) = (Vec::new(), vec![0.0_f64; CHANGES], 0);
    while let Some((event, at, bytes)) = told.recv().await {
        let delay = milliseconds(at.saturating_duration_since(written[&event]));
        delays.push(delay);
        last[event] = last[event].max(delay);
        total += bytes;
    }
    #[allow(clippy::cast_precision_loss)]
    let bytes = total as f64 / delays.len() as f64;
    Ok(Heard { delays, last, bytes })
}
