//! The loop: facts in, the newest plan out.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::Event;
use orlop_plan::{Family, NodePortAddresses, Tracker};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::dns::Feed;
use crate::driver::Observers;
use crate::event::Events;
use crate::health::Health;
use crate::http::serve;
use crate::mailbox::{Mailbox, Programme};
use crate::metrics::{Metrics, Stage};
use crate::node::NodeInfo;
use crate::pages::{HealthPages, MetricsPages};
use crate::watch::{Fact, facts};
use crate::{Config, Error, driver, service_health};

/// A change may wait so long, in sync periods, before the proxy counts as unhealthy.
const HEALTH_PERIODS: u32 = 2;
/// Changes come in bursts: after the first of one, so long is waited for the others.
const TOGETHER: Duration = Duration::from_millis(10);
/// When the endpoints behind a slice last changed, as the EndpointSlice controller noted it.
const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// Runs the proxy until the token is cancelled. The kernel is left as it is then.
///
/// Watch and backend errors are retried for ever; only what cannot get better by itself is returned.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), Error> {
    crate::memory::keep_little();
    crate::set_limits(config.conntrack.as_ref(), config.oom_score_adj);
    let metrics = Arc::new(Metrics::new());
    let health = Arc::new(Health::new(config.sync_period * HEALTH_PERIODS));
    let mailbox = Arc::new(Mailbox::default());
    let (ask_census, mut censuses) = mpsc::channel(8);
    let hard_fail = config.bind_address_hard_fail;
    if let Some(address) = config.healthz_bind_address {
        let pages = HealthPages { health: health.clone(), metrics: metrics.clone() };
        serve("health", address, hard_fail, pages, stop.child_token()).await?;
    }
    if let Some(address) = config.metrics_bind_address {
        let pages = MetricsPages {
            health: health.clone(),
            metrics: metrics.clone(),
            mailbox: mailbox.clone(),
            configz: config.configz.clone(),
            flagz: config.flagz.clone(),
            censuses: ask_census,
        };
        serve("metrics", address, hard_fail, pages, stop.child_token()).await?;
    }
    let (health_checks, checks) = watch::channel(driver::HealthChecks::new());
    let (answering, addresses) = watch::channel(NodePortAddresses::Only(Vec::new()));
    let events = Events::new(config.client.clone(), &config.node_name);
    events.starting();
    tokio::spawn(service_health::run(health.clone(), checks, addresses, events, stop.child_token()));
    let observers = Observers { health: health.clone(), metrics: metrics.clone(), health_checks };
    let mut ended = driver::spawn(config.clone(), mailbox.clone(), observers)?;
    let mut dns = Feed::start(&config, &stop).await?;
    let mut agent = Agent::new(&config, health, metrics);
    let mut stream = facts(&config.client, &config.node_name, dns.is_some());
    let mut refresh = tokio::time::interval(config.sync_period);
    let mut publish_at: Option<Instant> = None;
    let mut published = Instant::now();
    let end = loop {
        let due = publish_at;
        tokio::select! {
            biased;
            () = stop.cancelled() => break None,
            end = &mut ended => break Some(end),
            () = async { tokio::time::sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => {
                publish_at = None;
                published = Instant::now();
                agent.publish(&mailbox, &answering);
            }
            fact = stream.next() => match fact {
                Some(fact) => if take_in(fact, dns.as_mut()).is_some_and(|fact| agent.learn(fact)) {
                    let soon = Instant::now() + config.min_sync_period.min(TOGETHER);
                    publish_at.get_or_insert(soon.max(published + config.min_sync_period));
                },
                None => break None,
            },
            Some((frontends, asker)) = censuses.recv() => {
                // Whoever asked may have gone.
                let _ = asker.send(frontends.iter().find_map(|frontend| agent.tracker.census(frontend)));
            },
            _ = refresh.tick() => if agent.refresh_node() {
                publish_at.get_or_insert(Instant::now());
            },
        }
    };
    mailbox.stop();
    let end = match end {
        Some(end) => end,
        None => ended.await,
    };
    end.unwrap_or_else(|_| Err(Error::Thread("it panicked".into())))
}

/// Tells cluster DNS of a fact, and hands on what the proxy is to know of it.
fn take_in(fact: Fact, dns: Option<&mut Feed>) -> Option<Fact> {
    match dns {
        Some(dns) => {
            dns.learn(&fact);
            dns.redirect(fact).of_ours()
        }
        None => Some(fact),
    }
}

/// Which objects a list brought, to find out what vanished while the watch was away.
#[derive(Default)]
struct Listing {
    seen: HashSet<String>,
    complete: bool,
}

struct Agent<'a> {
    config: &'a Config,
    tracker: Tracker,
    node: NodeInfo,
    services: Listing,
    slices: Listing,
    triggers: Vec<(Family, SystemTime)>,
    /// When the first event came that is not in a plan yet.
    waiting_since: Option<Instant>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
}

impl<'a> Agent<'a> {
    fn new(config: &'a Config, health: Arc<Health>, metrics: Arc<Metrics>) -> Self {
        let node = NodeInfo::default();
        let tracker = Tracker::new(node.facts(config));
        let tracker = if config.external_ips { tracker } else { tracker.without_external_ips() };
        let (services, slices) = (Listing::default(), Listing::default());
        Self { config, tracker, node, services, slices, triggers: Vec::new(), waiting_since: None, health, metrics }
    }

    /// Whether enough is known to touch the kernel: programming half a list would take away the other half.
    fn ready(&self) -> bool {
        self.services.complete && self.slices.complete && self.node.lacks(self.config).is_none()
    }

    /// Takes a fact in; says whether the plan may have changed.
    fn learn(&mut self, fact: Fact) -> bool {
        match fact {
            Fact::Service(event) => self.learn_service(*event),
            Fact::Slice(event) => self.learn_slice(*event),
            Fact::Node(event) => match *event {
                Event::Apply(node) | Event::InitApply(node) => self.learn_node(&node),
                // A Node deleted under us: kube-proxy too goes on with what it knew, and fails its health check.
                Event::Delete(_) => self.health.set_node_eligible(false),
                Event::Init | Event::InitDone => {}
            },
        }
        if self.ready() {
            self.health.queued();
            self.waiting_since.get_or_insert_with(Instant::now);
        }
        self.ready()
    }

    fn learn_service(&mut self, event: Event<Service>) {
        match event {
            Event::Init => self.services.seen.clear(),
            Event::InitApply(service) => {
                self.services.seen.insert(name_of(&service.metadata));
                self.tracker.upsert_service(&service);
            }
            Event::InitDone => {
                let seen = std::mem::take(&mut self.services.seen);
                let gone: Vec<String> =
                    self.tracker.services().filter(|key| !seen.contains(*key)).map(String::from).collect();
                for (namespace, name) in gone.iter().filter_map(|key| key.split_once('/')) {
                    self.tracker.remove_service(namespace, name);
                }
                self.services.complete = true;
            }
            Event::Apply(service) => {
                self.metrics.service_changed();
                self.tracker.upsert_service(&service);
            }
            Event::Delete(service) => {
                self.metrics.service_changed();
                let meta = &service.metadata;
                self.tracker.remove_service(text(meta.namespace.as_deref()), text(meta.name.as_deref()));
            }
        }
    }

    fn learn_slice(&mut self, event: Event<EndpointSlice>) {
        match event {
            Event::Init => self.slices.seen.clear(),
            Event::InitApply(slice) => {
                self.slices.seen.insert(name_of(&slice.metadata));
                self.tracker.upsert_slice(&slice);
            }
            Event::InitDone => {
                let seen = std::mem::take(&mut self.slices.seen);
                let gone: Vec<String> =
                    self.tracker.slices().filter(|key| !seen.contains(*key)).map(String::from).collect();
                for (namespace, name) in gone.iter().filter_map(|key| key.split_once('/')) {
                    self.tracker.remove_slice(namespace, name);
                }
                self.slices.complete = true;
            }
            Event::Apply(slice) => {
                self.metrics.endpoints_changed();
                // Before the first sync a trigger time tells of the past, not of this proxy.
                if self.ready() {
                    self.triggers.extend(trigger_time(&slice));
                }
                self.tracker.upsert_slice(&slice);
            }
            Event::Delete(slice) => {
                self.metrics.endpoints_changed();
                let meta = &slice.metadata;
                self.tracker.remove_slice(text(meta.namespace.as_deref()), text(meta.name.as_deref()));
            }
        }
    }

    fn learn_node(&mut self, node: &Node) {
        let info = NodeInfo::of(node);
        self.health.set_node_eligible(info.eligible);
        if info != self.node {
            self.node = info;
            self.tracker.set_node(self.node.facts(self.config));
        }
    }

    /// Looks at the machine's addresses again; says whether there is something to publish.
    fn refresh_node(&mut self) -> bool {
        if let Some(lacking) = self.node.lacks(self.config).filter(|_| self.services.complete) {
            tracing::warn!(node = self.config.node_name, "nothing can be programmed yet: waiting for {lacking}");
        }
        self.tracker.set_node(self.node.facts(self.config));
        self.ready()
    }

    fn publish(&mut self, mailbox: &Mailbox, answering: &watch::Sender<NodePortAddresses>) {
        let seen = self.metrics.queued();
        let start = std::time::Instant::now();
        if let Some(since) = self.waiting_since.take() {
            self.metrics.passed(Stage::Gather, since.elapsed());
        }
        let plan = self.tracker.plan();
        self.metrics.passed(Stage::Plan, start.elapsed());
        for family in [Family::V4, Family::V6] {
            self.metrics.set_no_local_endpoints(family, self.tracker.no_local_endpoints(family));
        }
        answering.send_if_modified(|present| {
            let differs = *present != plan.node.node_ports;
            if differs {
                present.clone_from(&plan.node.node_ports);
            }
            differs
        });
        let health_checks = self.tracker.health_checks().clone();
        let published = Some(std::time::Instant::now());
        mailbox.put(Programme { plan, triggers: std::mem::take(&mut self.triggers), seen, published, health_checks });
    }
}

fn text(value: Option<&str>) -> &str {
    value.unwrap_or_default()
}

fn name_of(meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> String {
    format!("{}/{}", text(meta.namespace.as_deref()), text(meta.name.as_deref()))
}

fn trigger_time(slice: &EndpointSlice) -> Option<(Family, SystemTime)> {
    let noted: jiff::Timestamp = slice.metadata.annotations.as_ref()?.get(TRIGGER_TIME)?.parse().ok()?;
    let nanoseconds = u64::try_from(noted.as_nanosecond()).ok()?;
    let family = if slice.address_type == "IPv6" { Family::V6 } else { Family::V4 };
    Some((family, SystemTime::UNIX_EPOCH + Duration::from_nanos(nanoseconds)))
}
