//! One question, from bytes to bytes: what the table knows is said at once, everything else waits for upstream.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Instant, SystemTime};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, Record};
use ipnet::IpNet;

use crate::answer::{Answer, answer};
use crate::clients::Clients;
use crate::message::{Incoming, Request, Transport, encode, read};
use crate::metrics::{By, Metrics};
use crate::upstream::{Failure, Upstream, key};
use crate::zone::Place;
use crate::{Error, Table, Zone};

/// How cluster DNS is to be served. Defaults are those of kubeadm's Corefile.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cluster's domain.
    pub domain: String,
    /// Where to listen, UDP and TCP: addresses of the node, never the unspecified one (a reply must come from where the
    /// question went).
    pub listen: Vec<SocketAddr>,
    /// Names the servers that know the rest of the world.
    pub resolv_conf: PathBuf,
    /// Networks whose clients are answered beside private ones: this is no server for the world.
    pub clients: Vec<IpNet>,
    /// How long clients may keep an answer, in seconds.
    pub ttl: u32,
    /// So many questions may wait for upstream at once.
    pub max_concurrent: usize,
    /// So many TCP connections may be open at once.
    pub max_connections: usize,
}

impl Config {
    /// The defaults, for a server that listens there.
    pub fn new(listen: Vec<SocketAddr>) -> Self {
        Self {
            domain: "cluster.local".into(),
            listen,
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            clients: Vec::new(),
            ttl: 30,
            max_concurrent: 1000,
            max_connections: 256,
        }
    }
}

/// Cluster DNS: the table that somebody feeds, and the answers made of it.
pub struct Dns {
    pub(crate) config: Config,
    zone: Zone,
    clients: Clients,
    table: RwLock<Table>,
    upstream: Arc<Upstream>,
    metrics: Metrics,
    turn: AtomicUsize,
}

/// What came of a request at first sight.
pub(crate) enum First {
    /// Nothing is to be said.
    Silence,
    /// This is to be said.
    Say(Vec<u8>),
    /// Upstream must be asked.
    Wait(Box<Waiting>),
}

/// A request that waits for upstream.
pub(crate) struct Waiting {
    request: Request,
    ours: bool,
    records: Vec<Record>,
    target: Name,
    since: Instant,
}

impl Dns {
    /// A server that knows nothing yet.
    ///
    /// # Errors
    /// If the domain is no domain name.
    pub fn new(config: Config) -> Result<Arc<Self>, Error> {
        let upstream = Upstream::new(config.resolv_conf.clone(), config.max_concurrent);
        Self::with_upstream(config, upstream)
    }

    pub(crate) fn with_upstream(config: Config, upstream: Upstream) -> Result<Arc<Self>, Error> {
        let zone = Zone::new(&config.domain, config.ttl, config.listen.clone())?;
        let clients = Clients::new(&config.listen, &config.clients);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // The serial wraps around in 2106, as serials do.
        let serial = u32::try_from(now.as_secs() & u64::from(u32::MAX)).unwrap_or_default();
        let metrics = Metrics::new(&zone.domain.to_ascii());
        let (table, turn) = (RwLock::new(Table::new(serial)), AtomicUsize::default());
        Ok(Arc::new(Self { config, zone, clients, table, upstream: Arc::new(upstream), metrics, turn }))
    }

    /// Changes the table. Questions wait meanwhile: do nothing slow.
    pub fn update<T>(&self, change: impl FnOnce(&mut Table) -> T) -> T {
        change(&mut self.table.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the table.
    pub fn look<T>(&self, read: impl FnOnce(&Table) -> T) -> T {
        read(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether names of the cluster are answered: a complete list came.
    pub fn is_ready(&self) -> bool {
        self.look(Table::is_complete)
    }

    /// CoreDNS' metrics as OpenMetrics text.
    pub fn metrics(&self) -> String {
        self.metrics.text(self.upstream.kept())
    }

    /// Answers what can be answered without waiting.
    pub(crate) fn first(&self, bytes: &[u8], transport: Transport, client: SocketAddr) -> First {
        if !self.clients.has(client.ip()) {
            return First::Silence;
        }
        let since = Instant::now();
        let request = match read(bytes, transport) {
            Incoming::Request(request) => *request,
            Incoming::Refused(message) => {
                self.metrics.said(message.metadata.response_code, By::Nobody, false, since.elapsed());
                return First::Say(encode(&message));
            }
            Incoming::Noise => return First::Silence,
        };
        let question = &request.question;
        let ours = self.zone.place(&question.name) == Place::Cluster;
        self.metrics.asked(transport, client.is_ipv4(), question.query_type, ours);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let (records, target) = match self.look(|table| answer(table, &self.zone, question, turn)) {
            Answer::Reply(reply) => {
                self.metrics.said(reply.code, By::Kubernetes, ours, since.elapsed());
                return First::Say(request.respond(|message| {
                    message.metadata.authoritative = true;
                    message.metadata.response_code = reply.code;
                    message.answers = reply.answers;
                    message.authorities = reply.authorities;
                    message.additionals = reply.additionals;
                }));
            }
            Answer::Forward => (Vec::new(), question.name.clone()),
            Answer::Chase { records, target } => (records, target),
        };
        // Whoever asks what this server asked upstream, is upstream, or asked by it.
        if self.upstream.is_probe(question) {
            self.metrics.said(ResponseCode::ServFail, By::Nobody, ours, since.elapsed());
            return First::Say(request.respond(|message| message.metadata.response_code = ResponseCode::ServFail));
        }
        let waiting = Waiting { request, ours, records, target, since };
        match self.upstream.cached(&key(&waiting.request, &waiting.target)) {
            Some(found) => {
                let by = By::Cache { denial: found.answers.is_empty() };
                First::Say(self.end(waiting, Ok(found), by))
            }
            None => First::Wait(Box::new(waiting)),
        }
    }

    /// Asks upstream.
    pub(crate) async fn second(&self, waiting: Waiting) -> Vec<u8> {
        let result = self.upstream.ask(key(&waiting.request, &waiting.target)).await;
        if result.as_ref().err() == Some(&Failure::Busy) {
            self.metrics.rejected();
        }
        self.end(waiting, result, By::Forward)
    }

    fn end(&self, waiting: Waiting, result: Result<Message, Failure>, by: By) -> Vec<u8> {
        let Waiting { request, ours, mut records, since, .. } = waiting;
        let code = result.as_ref().map_or_else(|failure| failure.code(), |answer| answer.metadata.response_code);
        self.metrics.said(code, by, ours, since.elapsed());
        request.respond(|message| {
            message.metadata.response_code = code;
            if let Ok(answer) = result {
                message.metadata.authentic_data = answer.metadata.authentic_data && records.is_empty();
                records.extend(answer.answers);
                message.authorities = answer.authorities;
                message.additionals = answer.additionals;
            }
            message.answers = records;
        })
    }
}
