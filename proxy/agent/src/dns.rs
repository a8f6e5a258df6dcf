//! Cluster DNS beside the proxy: the proxy's own watches feed its table, so that a node needs no others.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::watcher::Event;
use orlop_dns::{Dns, Sockets};
use tokio_util::sync::CancellationToken;

use crate::http::{Answer, Handler, Request, not_found, page, plain, serve};
use crate::pages::OPENMETRICS;
use crate::watch::Fact;
use crate::{Config, Error};

/// How often an address that is not there yet is tried.
const TRY_EVERY: Duration = Duration::from_secs(5);
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Cluster DNS on this node.
#[derive(Clone, Debug)]
pub struct ClusterDns {
    /// What to serve, and where.
    pub serve: orlop_dns::Config,
    /// Where `/metrics`, `/health` and `/ready` are, with CoreDNS' paths.
    pub metrics_bind_address: Option<SocketAddr>,
    /// `namespace/name` of a Service that this node's callers are led from to this listener, whatever its endpoints are: so it
    /// takes over from another cluster DNS. Its ports are found by their names `dns`, `dns-tcp` and `metrics`.
    pub take_over: Option<String>,
}

/// The table's feeder.
pub(crate) struct Feed {
    dns: Arc<Dns>,
    config: ClusterDns,
    node_name: String,
    services: HashSet<String>,
    slices: HashSet<String>,
}

impl Feed {
    /// Starts serving. An address that cannot be had is tried again, unless callers would be led there.
    pub async fn start(config: &Config, stop: &CancellationToken) -> Result<Option<Self>, Error> {
        let Some(own) = &config.cluster_dns else { return Ok(None) };
        let dns = Dns::new(own.serve.clone())?;
        match dns.bind().await {
            Ok(sockets) => drop(tokio::spawn(sockets.serve(stop.child_token()))),
            Err(error) if own.take_over.is_some() => return Err(error.into()),
            Err(error) => {
                tracing::warn!("{error}, trying again");
                tokio::spawn(serve_later(dns.clone(), stop.child_token()));
            }
        }
        if let Some(address) = own.metrics_bind_address {
            let pages = DnsPages { dns: dns.clone() };
            serve("DNS metrics", address, false, pages, stop.child_token()).await?;
        }
        let (config, node_name) = (own.clone(), config.node_name.clone());
        Ok(Some(Self { dns, config, node_name, services: HashSet::new(), slices: HashSet::new() }))
    }

    /// Takes a fact in.
    pub fn learn(&mut self, fact: &Fact) {
        match fact {
            Fact::Service(event) => match &**event {
                Event::Init => self.services.clear(),
                Event::InitApply(service) => {
                    self.services.insert(full_name(&service.metadata));
                    self.dns.update(|table| table.upsert_service(service));
                }
                Event::InitDone => {
                    let seen = std::mem::take(&mut self.services);
                    self.dns.update(|table| table.services_listed(&seen));
                }
                Event::Apply(service) => self.dns.update(|table| table.upsert_service(service)),
                Event::Delete(service) => {
                    let (namespace, name) = names(&service.metadata);
                    self.dns.update(|table| table.remove_service(namespace, name));
                }
            },
            Fact::Slice(event) => match &**event {
                Event::Init => self.slices.clear(),
                Event::InitApply(slice) => {
                    self.slices.insert(full_name(&slice.metadata));
                    self.dns.update(|table| table.upsert_slice(slice));
                }
                Event::InitDone => {
                    let seen = std::mem::take(&mut self.slices);
                    self.dns.update(|table| table.slices_listed(&seen));
                }
                Event::Apply(slice) => self.dns.update(|table| table.upsert_slice(slice)),
                Event::Delete(slice) => {
                    let (namespace, name) = names(&slice.metadata);
                    self.dns.update(|table| table.remove_slice(namespace, name));
                }
            },
            Fact::Node(_) => {}
        }
    }

    /// What the proxy is to think of a slice: one of the Service that is taken over leads here.
    pub fn redirect(&self, fact: Fact) -> Fact {
        let Fact::Slice(event) = fact else { return fact };
        Fact::Slice(Box::new(match *event {
            Event::Apply(slice) => Event::Apply(self.led_here(slice)),
            Event::InitApply(slice) => Event::InitApply(self.led_here(slice)),
            other => other,
        }))
    }

    fn led_here(&self, mut slice: EndpointSlice) -> EndpointSlice {
        let of = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME));
        let service = of.map(|of| format!("{}/{of}", names(&slice.metadata).0));
        if service.is_none() || service != self.config.take_over {
            return slice;
        }
        let family_of = |address: &&SocketAddr| address.is_ipv6() == (slice.address_type == "IPv6");
        let Some(listen) = self.config.serve.listen.iter().find(family_of).copied() else { return slice };
        let port = |name: &str, protocol: &str, number: u16| EndpointPort {
            name: Some(name.into()),
            protocol: Some(protocol.into()),
            port: Some(number.into()),
            app_protocol: None,
        };
        let mut ports = vec![port("dns", "UDP", listen.port()), port("dns-tcp", "TCP", listen.port())];
        ports.extend(self.config.metrics_bind_address.map(|address| port("metrics", "TCP", address.port())));
        slice.ports = Some(ports);
        slice.endpoints = Some(vec![Endpoint {
            addresses: vec![listen.ip().to_string()],
            conditions: Some(EndpointConditions { ready: Some(true), serving: Some(true), terminating: Some(false) }),
            node_name: Some(self.node_name.clone()),
            ..Endpoint::default()
        }]);
        slice
    }
}

/// Serves as soon as the addresses can be had.
async fn serve_later(dns: Arc<Dns>, stop: CancellationToken) {
    let sockets: Sockets = loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(TRY_EVERY) => {}
        }
        match dns.bind().await {
            Ok(sockets) => break sockets,
            Err(error) => tracing::debug!("{error}, trying again"),
        }
    };
    tracing::info!("cluster DNS has its addresses now");
    sockets.serve(stop).await;
}

/// CoreDNS' `/metrics`, `/health` and `/ready`, on one address.
struct DnsPages {
    dns: Arc<Dns>,
}

impl Handler for DnsPages {
    async fn answer(&self, request: Request) -> Answer {
        match request.path.as_str() {
            "/metrics" => page(StatusCode::OK, OPENMETRICS, self.dns.metrics()),
            "/health" => plain(StatusCode::OK, "OK"),
            "/ready" if self.dns.is_ready() => plain(StatusCode::OK, "OK"),
            // The plugin that is not ready, as CoreDNS names it.
            "/ready" => plain(StatusCode::SERVICE_UNAVAILABLE, "kubernetes"),
            _ => not_found(),
        }
    }
}

fn names(meta: &ObjectMeta) -> (&str, &str) {
    (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

fn full_name(meta: &ObjectMeta) -> String {
    let (namespace, name) = names(meta);
    format!("{namespace}/{name}")
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;
    use std::collections::BTreeMap;

    use super::*;

    fn feed(take_over: Option<&str>) -> Feed {
        let serve = orlop_dns::Config::new(vec!["192.0.2.1:10053".parse().unwrap()]);
        let config = ClusterDns { serve, metrics_bind_address: None, take_over: take_over.map(Into::into) };
        let dns = Dns::new(config.serve.clone()).unwrap();
        Feed { dns, config, node_name: "node1".into(), services: HashSet::new(), slices: HashSet::new() }
    }

    fn slice(service: &str) -> EndpointSlice {
        let labels = BTreeMap::from([(SERVICE_NAME.to_owned(), service.to_owned())]);
        EndpointSlice {
            metadata: ObjectMeta {
                namespace: Some("kube-system".into()),
                name: Some("a".into()),
                labels: Some(labels),
                ..ObjectMeta::default()
            },
            address_type: "IPv4".into(),
            endpoints: Some(vec![Endpoint { addresses: vec!["10.244.0.7".into()], ..Endpoint::default() }]),
            ..EndpointSlice::default()
        }
    }

    fn led(feed: &Feed, service: &str) -> (String, usize) {
        let Fact::Slice(event) = feed.redirect(Fact::Slice(Box::new(Event::Apply(slice(service))))) else { panic!() };
        let Event::Apply(slice) = *event else { panic!() };
        (slice.endpoints.unwrap()[0].addresses[0].clone(), slice.ports.unwrap_or_default().len())
    }

    #[test]
    fn only_the_service_that_is_taken_over_leads_here() {
        let here = ("192.0.2.1".to_owned(), 2);
        let there = ("10.244.0.7".to_owned(), 0);
        assert_eq!(led(&feed(Some("kube-system/kube-dns")), "kube-dns"), here);
        assert_eq!(led(&feed(Some("kube-system/kube-dns")), "web"), there);
        assert_eq!(led(&feed(None), "kube-dns"), there, "not asked, not taken");
    }

    #[test]
    fn it_is_ready_after_both_lists_and_forgets_what_the_next_one_does_not_bring() {
        let mut feed = feed(None);
        let service = Service {
            metadata: ObjectMeta { namespace: Some("a".into()), name: Some("b".into()), ..ObjectMeta::default() },
            spec: Some(Default::default()),
            ..Service::default()
        };
        let mut say = |event| feed.learn(&Fact::Service(Box::new(event)));
        say(Event::Init);
        say(Event::InitApply(service));
        say(Event::InitDone);
        assert!(!feed.dns.is_ready());
        feed.learn(&Fact::Slice(Box::new(Event::Init)));
        feed.learn(&Fact::Slice(Box::new(Event::InitDone)));
        assert!(feed.dns.is_ready());
        assert_eq!(feed.dns.look(orlop_dns::Table::services), 1);
        feed.learn(&Fact::Service(Box::new(Event::Init)));
        assert_eq!(feed.dns.look(orlop_dns::Table::services), 1, "an outage takes nothing");
        feed.learn(&Fact::Service(Box::new(Event::InitDone)));
        assert_eq!(feed.dns.look(orlop_dns::Table::services), 0);
    }
}
