//! The three watches as one stream of facts. Objects are handed on as they come and never kept.

use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

/// Objects with these labels are another proxy's or have no cluster IP; kube-proxy leaves them out likewise.
const NOT_OURS: [&str; 2] = ["service.kubernetes.io/headless", "service.kubernetes.io/service-proxy-name"];
/// What one list call brings at most: bounds the memory a start takes.
const PAGE: u32 = 250;
/// A watch error is reported at most this often, whatever the number of retries.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// Something the cluster said.
pub(crate) enum Fact {
    Service(Box<Event<Service>>),
    Slice(Box<Event<EndpointSlice>>),
    Node(Box<Event<Node>>),
}

impl Fact {
    /// What a watch would say that leaves out what is not the proxy's: cluster DNS must see all of it.
    pub fn of_ours(self) -> Option<Self> {
        match self {
            Self::Service(event) => ours(*event).map(|event| Self::Service(Box::new(event))),
            Self::Slice(event) => ours(*event).map(|event| Self::Slice(Box::new(event))),
            Self::Node(event) => Some(Self::Node(event)),
        }
    }
}

/// An object that came to carry one of the labels has gone, as a watch with a selector tells it.
fn ours<K: Resource>(event: Event<K>) -> Option<Event<K>> {
    let foreign = |object: &K| {
        object.meta().labels.as_ref().is_some_and(|labels| NOT_OURS.iter().any(|label| labels.contains_key(*label)))
    };
    match event {
        Event::Apply(object) if foreign(&object) => Some(Event::Delete(object)),
        Event::InitApply(object) if foreign(&object) => None,
        other => Some(other),
    }
}

/// Watches for ever: errors are retried with back-off, and meanwhile nothing is said. With `everything`, objects come that are
/// not the proxy's.
pub(crate) fn facts(client: &Client, node_name: &str, everything: bool) -> BoxStream<'static, Fact> {
    let selector = if everything { String::new() } else { NOT_OURS.map(|label| format!("!{label}")).join(",") };
    let ours = watcher::Config::default().labels(&selector).page_size(PAGE);
    let own = watcher::Config::default().fields(&format!("metadata.name={node_name}"));
    let services = events(all::<Service>(client), ours.clone()).map(|event| Fact::Service(Box::new(event)));
    let slices = events(all::<EndpointSlice>(client), ours).map(|event| Fact::Slice(Box::new(event)));
    let nodes = events(Api::<Node>::all(client.clone()), own).map(|event| Fact::Node(Box::new(event)));
    stream::select(stream::select(services, slices), nodes).boxed()
}

fn all<K>(client: &Client) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope>,
    K::DynamicType: Default,
{
    Api::all(client.clone())
}

fn events<K>(api: Api<K>, config: watcher::Config) -> BoxStream<'static, Event<K>>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
    K::DynamicType: Default,
{
    let kind = std::any::type_name::<K>().rsplit("::").next().unwrap_or_default();
    let mut reported: Option<std::time::Instant> = None;
    watch(api, config)
        .default_backoff()
        .filter_map(move |event| {
            let event = match event {
                Ok(event) => Some(event),
                Err(error) => {
                    if reported.is_none_or(|at| at.elapsed() >= REPORT_EVERY) {
                        tracing::warn!(%error, kind, "watch interrupted; the kernel keeps what it has");
                        reported = Some(std::time::Instant::now());
                    }
                    None
                }
            };
            std::future::ready(event)
        })
        .boxed()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn service(label: &str) -> Service {
        let mut service = Service::default();
        service.metadata.labels = Some(BTreeMap::from([(label.to_owned(), String::new())]));
        service
    }

    #[test]
    fn what_is_not_the_proxys_is_gone_for_it() {
        for label in NOT_OURS {
            assert!(matches!(ours(Event::Apply(service(label))), Some(Event::Delete(_))), "{label}");
            assert!(ours(Event::InitApply(service(label))).is_none(), "{label}");
        }
        assert!(matches!(ours(Event::Apply(service("app"))), Some(Event::Apply(_))));
        assert!(matches!(ours(Event::InitApply(service("app"))), Some(Event::InitApply(_))));
    }
}
