//! Watches that do not go deaf. The connection of a watch that was cut off stays open on this side and says nothing for minutes; the
//! Lease, which is renewed every few seconds, notices first. When it is renewed again after it was not, all watches begin anew.

use std::fmt::Debug;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

/// Counts how often the API server was reached again after it could not be.
pub type Reconnected = watch::Receiver<u64>;

/// `watcher` with back-off, begun anew (with a new list) at each reconnection.
pub fn watch<K>(
    api: Api<K>,
    config: watcher::Config,
    reconnected: Reconnected,
) -> impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send
where
    K: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let begin = move || -> BoxStream<'static, _> { watcher(api.clone(), config.clone()).default_backoff().boxed() };
    let events = begin();
    futures::stream::unfold((events, reconnected, begin), |(mut events, mut reconnected, begin)| async move {
        loop {
            tokio::select! {
                event = events.next() => return event.map(|event| (event, (events, reconnected, begin))),
                // An error means that the kubelet ends; then the other branch alone is left.
                Ok(()) = reconnected.changed() => events = begin(),
            }
        }
    })
}
