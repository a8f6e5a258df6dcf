//! A metadata watch for every resource; discovery is asked again now and then.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::{StreamExt as _, pin_mut};
use kube::core::discovery::verbs;
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::discovery::{ResourceType, deletable};

use super::Collector;
use super::graph::Item;

/// How often new resources are looked for.
const PERIOD: Duration = Duration::from_secs(10);

/// Keeps the graph until cancelled; tells when all of the first resources were listed.
pub(super) async fn run(collector: Arc<Collector>, synced: oneshot::Sender<()>, stop: CancellationToken) {
    let mut running: HashMap<(String, String), CancellationToken> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut synced = Some(synced);
    loop {
        let mut wait = PERIOD;
        match deletable(&collector.client).await {
            Ok(resources) => {
                let resources: Vec<_> = resources.into_iter().filter(is_collected).map(Arc::new).collect();
                let by_kind = resources.iter().map(|r| ((r.api.group.clone(), r.api.kind.clone()), r.clone()));
                *collector.kinds.write().unwrap_or_else(PoisonError::into_inner) = by_kind.collect();
                let ids: HashSet<_> = resources.iter().map(|resource| resource.id()).collect();
                running.retain(|(group, plural), stop| {
                    let stays = ids.contains(&(group.as_str(), plural.as_str()));
                    if !stays {
                        stop.cancel();
                    }
                    stays
                });
                let (listed, mut all_listed) = mpsc::channel::<()>(1);
                for resource in &resources {
                    let (group, plural) = resource.id();
                    running.entry((group.to_owned(), plural.to_owned())).or_insert_with(|| {
                        let stop = stop.child_token();
                        tasks.spawn(watch(collector.clone(), resource.clone(), listed.clone(), stop.clone()));
                        stop
                    });
                }
                drop(listed);
                if let Some(synced) = synced.take() {
                    // Each watch drops its end when it has listed.
                    tokio::select! {
                        () = stop.cancelled() => {}
                        _ = all_listed.recv() => {}
                    }
                    let _ = synced.send(());
                }
            }
            Err(error) => {
                tracing::warn!(%error, "discovery failed, trying again");
                wait = Duration::from_secs(1);
            }
        }
        while tasks.try_join_next().is_some() {}
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(wait) => {}
        }
    }
    while tasks.join_next().await.is_some() {}
}

/// Events come and go by themselves, and nothing owns or is owned by them.
fn is_collected(resource: &ResourceType) -> bool {
    resource.can(verbs::WATCH) && resource.api.plural != "events"
}

async fn watch(
    collector: Arc<Collector>,
    resource: Arc<ResourceType>,
    listed: mpsc::Sender<()>,
    stop: CancellationToken,
) {
    let events = watcher(resource.metadata(&collector.client, ""), watcher::Config::default()).default_backoff();
    pin_mut!(events);
    let mut listed = Some(listed);
    let mut known: HashSet<String> = HashSet::new();
    let mut listing: HashSet<String> = HashSet::new();
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => break,
            event = events.next() => event,
        };
        match event {
            None => break,
            Some(Err(error)) => tracing::debug!(kind = resource.api.kind, %error, "watch failed, trying again"),
            Some(Ok(watcher::Event::Init)) => listing.clear(),
            Some(Ok(watcher::Event::InitApply(object))) => {
                listing.extend(object.metadata.uid.clone());
                upsert(&collector, &resource, &object.metadata, &mut known);
            }
            Some(Ok(watcher::Event::InitDone)) => {
                for uid in known.difference(&listing) {
                    collector.look(collector.graph().remove(uid));
                }
                known = std::mem::take(&mut listing);
                listed = None;
            }
            Some(Ok(watcher::Event::Apply(object))) => upsert(&collector, &resource, &object.metadata, &mut known),
            Some(Ok(watcher::Event::Delete(object))) => {
                if let Some(uid) = object.metadata.uid {
                    known.remove(&uid);
                    collector.look(collector.graph().remove(&uid));
                }
            }
        }
    }
    drop(listed);
    // The resource is not served any more, or all ends.
    for uid in known {
        let looks = collector.graph().remove(&uid);
        if !stop.is_cancelled() {
            collector.look(looks);
        }
    }
}

fn upsert(
    collector: &Collector,
    resource: &Arc<ResourceType>,
    metadata: &kube::core::ObjectMeta,
    known: &mut HashSet<String>,
) {
    if let Some(item) = Item::new(resource.clone(), metadata) {
        known.insert(item.uid.clone());
        let looks = collector.graph().upsert(item);
        collector.look(looks);
    }
}
