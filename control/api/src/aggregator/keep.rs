//! The loop that keeps APIServices: makes the local ones, and looks whether the others answer.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{STORAGE, availability, local};
use crate::server::ApiServer;

/// How often the groups that are served are compared with what was there before.
const TICK: Duration = Duration::from_millis(250);
/// Aggregated servers are looked at so often.
const PERIOD: Duration = Duration::from_secs(10);
/// And so often when one of them does not answer.
const SOON: Duration = Duration::from_secs(1);

/// Runs until the server is stopped.
pub fn keep(server: &Arc<ApiServer>) {
    let (server, stop) = (Arc::downgrade(server), server.stop_token());
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = run(server) => {}
        }
    });
}

async fn run(server: Weak<ApiServer>) {
    let mut seen = None;
    let mut looked: Option<tokio::time::Instant> = None;
    let mut all_answer = true;
    loop {
        let Some(server) = server.upgrade() else { return };
        let revision = server.registry().hub().cache_at(STORAGE).map(|cache| cache.snapshot().1);
        let now = (revision, server.catalog().groups());
        let changed = seen.as_ref() != Some(&now);
        if changed {
            match local::reconcile(&server).await {
                Ok(()) => seen = Some(now),
                Err(error) => tracing::warn!(%error, "APIServices cannot be written, trying again"),
            }
        }
        let due = looked.is_none_or(|at| at.elapsed() >= if all_answer { PERIOD } else { SOON });
        if changed || due {
            all_answer = availability::look(&server).await;
            looked = Some(tokio::time::Instant::now());
        }
        drop(server);
        tokio::time::sleep(TICK).await;
    }
}
