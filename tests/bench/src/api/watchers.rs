//! Many watchers of one resource: how long until each has heard of a change.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::Method;
use tokio::sync::Barrier;

use super::frames::Frames;
use super::load::milliseconds;
use super::wire::Client;

/// Watchers that share a connection, as kube-apiserver allows them to.
const PER_CONNECTION: usize = 100;
/// Changes that are made, one after the other: so many that the 99th percentile is not the slowest change alone.
const CHANGES: usize = 500;
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

/// An event that was heard.
struct Event {
    /// Of which change.
    number: usize,
    at: Instant,
    bytes: usize,
}

/// `count` watchers of the ConfigMaps of a namespace, while some are created. All in one thread: what is measured is how fast the
/// server is, not how fast the threads of the client wake each other on the processors that both share.
pub async fn watch(client: Client, namespace: &'static str, count: usize, object: fn(&str) -> Bytes) -> Result<Heard> {
    tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(watch_here(&client, namespace, count, object))
    })
    .await?
}

async fn watch_here(client: &Client, namespace: &str, count: usize, object: fn(&str) -> Bytes) -> Result<Heard> {
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    let list = client.connect().await?.ask(Method::GET, &format!("{path}?limit=1"), Bytes::new()).await?;
    let list: serde_json::Value = serde_json::from_slice(&list)?;
    let version = list["metadata"]["resourceVersion"].as_str().context("a list has a version")?;
    let url = format!("{path}?watch=1&resourceVersion={version}");
    let mut connections = Vec::new();
    for first in (0..count).step_by(PER_CONNECTION) {
        connections.push((client.frames().await?, PER_CONNECTION.min(count - first)));
    }
    let ready = Arc::new(Barrier::new(connections.len() + 1));
    let listeners = connections.into_iter().map(|(frames, count)| listen(frames, url.clone(), count, ready.clone()));
    let tasks: Vec<_> = listeners.map(tokio::spawn).collect();
    tokio::time::timeout(PATIENCE, ready.wait()).await.context("not every watch began")?;
    let mut writer = client.frames().await?;
    let mut written = Vec::with_capacity(CHANGES);
    for number in 0..CHANGES {
        let object = object(&format!("watched-{count}-{number}"));
        written.push(Instant::now());
        writer.ask(&path, &object).await?;
        while !writer.next().await?.ended {}
        tokio::time::sleep(PAUSE).await;
    }
    let (mut delays, mut last, mut total) = (Vec::new(), vec![0.0_f64; CHANGES], 0);
    for task in tasks {
        let heard =
            tokio::time::timeout(PATIENCE, task).await.context("a watcher has not heard of every change")???;
        for Event { number, at, bytes } in heard {
            let delay = milliseconds(at.saturating_duration_since(written[number]));
            delays.push(delay);
            last[number] = last[number].max(delay);
            total += bytes;
        }
    }
    ensure!(delays.len() == count * CHANGES, "{} events were heard of", delays.len());
    #[allow(clippy::cast_precision_loss)]
    let bytes = total as f64 / delays.len() as f64;
    Ok(Heard { delays, last, bytes })
}

/// `count` watches of one connection, from when each was answered until each has heard of every change.
async fn listen(mut frames: Frames, url: String, count: usize, ready: Arc<Barrier>) -> Result<Vec<Event>> {
    /// How far a watch is: changes it has heard of, and bytes of the next.
    type Heard = (usize, usize);
    let mut watches: HashMap<u32, Heard> = HashMap::new();
    for _ in 0..count {
        watches.insert(frames.ask(&url, &[]).await?, (0, 0));
    }
    for _ in 0..count {
        ensure!(frames.next().await?.data.is_empty(), "an event before there was a change");
    }
    ready.wait().await;
    let mut events = Vec::with_capacity(count * CHANGES);
    while events.len() < count * CHANGES {
        let part = frames.next().await?;
        let at = Instant::now();
        ensure!(!part.ended, "a watch ended");
        let (heard, bytes) = watches.get_mut(&part.stream).context("an event of no watch")?;
        // An event is a line.
        for piece in part.data.split_inclusive(|byte| *byte == b'\n') {
            *bytes += piece.len();
            if piece.ends_with(b"\n") {
                events.push(Event { number: *heard, at, bytes: std::mem::take(bytes) });
                *heard += 1;
            }
        }
    }
    ensure!(watches.values().all(|(heard, _)| *heard == CHANGES), "a watcher heard of other changes than the others");
    Ok(events)
}
