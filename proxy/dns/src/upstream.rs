//! Names that are not the cluster's: asked of the machine's own name servers (`forward . /etc/resolv.conf`), with a cache in
//! front, and a bound on how many questions wait at once. A server that leads back here is found out and not asked again.

mod cache;
mod exchange;
mod resolv_conf;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use rand::Rng as _;
use rand::seq::SliceRandom as _;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::message::Request;
use cache::{Cache, Key, MAX_TTL, sections};
use resolv_conf::ResolvConf;

/// A question is given up after so long, however many name servers there are.
const DEADLINE: Duration = Duration::from_secs(5);
const PORT: u16 = 53;

/// Why there is no answer from upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Too many questions wait (`max_concurrent`).
    Busy,
    /// Nobody to ask, or nobody answered.
    Unreachable,
}

impl Failure {
    pub fn code(self) -> ResponseCode {
        match self {
            Self::Busy => ResponseCode::Refused,
            Self::Unreachable => ResponseCode::ServFail,
        }
    }
}

/// The way out.
pub(crate) struct Upstream {
    conf: ResolvConf,
    port: u16,
    cache: Mutex<Cache>,
    places: Semaphore,
    probe: Probe,
}

impl Upstream {
    pub fn new(resolv_conf: PathBuf, max_concurrent: usize) -> Self {
        Self::at_port(resolv_conf, max_concurrent, PORT)
    }

    pub fn at_port(resolv_conf: PathBuf, max_concurrent: usize, port: u16) -> Self {
        Self {
            conf: ResolvConf::new(resolv_conf),
            port,
            cache: Mutex::default(),
            places: Semaphore::new(max_concurrent),
            probe: Probe::new(),
        }
    }

    /// What the cache knows.
    pub fn cached(&self, key: &Key) -> Option<Message> {
        self.cache().get(key, Instant::now())
    }

    /// How many answers are kept.
    pub fn kept(&self) -> usize {
        self.cache().len()
    }

    /// Asks the name servers in random order until one answers.
    pub async fn ask(self: &Arc<Self>, key: Key) -> Result<Message, Failure> {
        let Ok(_place) = self.places.try_acquire() else { return Err(Failure::Busy) };
        let (mut servers, generation) = self.conf.servers();
        if servers.is_empty() || self.probe.leads_back(generation) {
            return Err(Failure::Unreachable);
        }
        self.probe_once(&servers, generation);
        servers.shuffle(&mut rand::rng());
        let asking = async {
            let mut failed = None;
            for server in servers {
                match exchange::ask(SocketAddr::new(server, self.port), &key).await {
                    // One name server's trouble need not be the next one's.
                    Ok(answer) if answer.metadata.response_code == ResponseCode::ServFail => failed = Some(answer),
                    Ok(answer) => return Some(answer),
                    Err(error) => tracing::debug!(%server, name = %key.name, %error, "asking upstream"),
                }
            }
            failed
        };
        let answer = timeout(DEADLINE, asking).await.ok().flatten();
        let Some(mut answer) = answer else { return Err(Failure::Unreachable) };
        for record in sections(&mut answer) {
            record.ttl = record.ttl.min(MAX_TTL);
        }
        self.cache().put(key, &answer, Instant::now());
        Ok(answer)
    }

    /// Whether a question that came in is our own, sent upstream to find out where it leads.
    pub fn is_probe(&self, question: &Query) -> bool {
        let ours = question.query_type == RecordType::HINFO && question.name == self.probe.name;
        if ours && self.probe.came_back() {
            tracing::error!(
                "loop: the machine's name servers ask cluster DNS; names outside the cluster fail until resolv.conf changes"
            );
        }
        ours
    }

    /// Sends the probe when the name servers are new.
    fn probe_once(self: &Arc<Self>, servers: &[IpAddr], generation: u64) {
        if self.probe.begin(generation) {
            for server in servers {
                let server = SocketAddr::new(*server, self.port);
                let key = Key {
                    name: self.probe.name.clone(),
                    kind: RecordType::HINFO,
                    dnssec_ok: false,
                    checking_disabled: false,
                };
                tokio::spawn(async move { exchange::ask(server, &key).await });
            }
        }
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The cache's key of a request for a name.
pub(crate) fn key(request: &Request, name: &Name) -> Key {
    Key {
        name: name.clone(),
        kind: request.question.query_type,
        dnssec_ok: request.dnssec_ok,
        checking_disabled: request.checking_disabled,
    }
}

/// A name that nobody else asks for: if it comes in, upstream leads here.
struct Probe {
    name: Name,
    /// The generation of name servers that was probed last.
    probed: AtomicU64,
    /// The generation that led back.
    looped: AtomicU64,
}

impl Probe {
    fn new() -> Self {
        let mut random = rand::rng();
        let label = |n: u64| format!("{n:016x}");
        let labels = [label(random.random()), label(random.random())];
        let name = Name::from_labels(labels.iter().map(|label| label.as_bytes())).unwrap_or_default();
        Self { name, probed: AtomicU64::new(0), looped: AtomicU64::new(0) }
    }

    fn begin(&self, generation: u64) -> bool {
        self.probed.swap(generation, Ordering::Relaxed) != generation
    }

    fn came_back(&self) -> bool {
        let probed = self.probed.load(Ordering::Relaxed);
        self.looped.swap(probed, Ordering::Relaxed) != probed
    }

    fn leads_back(&self, generation: u64) -> bool {
        self.looped.load(Ordering::Relaxed) == generation && generation != 0
    }
}
