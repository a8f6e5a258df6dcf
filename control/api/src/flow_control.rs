//! API Priority and Fairness: which FlowSchema a request belongs to, and with it to which priority level; how many requests of each
//! level run at once, and who of those that wait is next. The client is told of its flow (`X-Kubernetes-PF-FlowSchema-UID`,
//! `X-Kubernetes-PF-PriorityLevel-UID`). [`keep`] holds up the objects that every cluster has.
//!
//! A request that calls others before it answers (webhooks, aggregated servers) keeps its seat meanwhile. What they ask of this
//! server in turn may have to wait for it; for a quarter of the time that the first has, so that all come to an end.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue};
use orlop_auth::UserInfo;
use orlop_kinds::flow_control::bootstrap;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::cache::{Cache, Change, Observer};
use crate::metrics::{FlowCounts, FlowMetrics};
use crate::object::meta;
use crate::request::{Query, RequestInfo};
use crate::server::ApiServer;

mod demand;
mod dump;
mod estimate;
mod hand;
pub mod keep;
mod lending;
mod level;
mod levels;
mod matching;
mod queues;
mod refusals;
mod unfinished;

use level::{Arrival, Level};
pub use level::{Refused, Seat};
use levels::{Levels, Spec};
pub use unfinished::{Unfinished, stay};

pub(crate) const SCHEMAS: &str = "flowschemas";
pub(crate) const LEVELS: &str = "prioritylevelconfigurations";

/// How often seats are lent and given back.
const LENDING: Duration = Duration::from_secs(10);

/// A FlowSchema with its priority level.
pub struct Flow {
    rules: Vec<matching::Rule>,
    /// Whether it is `catch-all`, for those whom nothing else matches.
    last: bool,
    distinguisher: Distinguisher,
    /// Tells the flows of this schema from those of others.
    seed: u64,
    schema: HeaderValue,
    priority: HeaderValue,
    level: Arc<Level>,
    counts: Arc<FlowCounts>,
}

/// What tells the flows of a schema apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Distinguisher {
    /// They are one.
    None,
    User,
    Namespace,
}

impl Flow {
    /// Tells the client.
    pub fn tell(&self, headers: &mut HeaderMap) {
        headers.insert("x-kubernetes-pf-flowschema-uid", self.schema.clone());
        headers.insert("x-kubernetes-pf-prioritylevel-uid", self.priority.clone());
    }

    /// Waits for a seat, at most so long.
    pub async fn seat(
        &self,
        server: &ApiServer,
        user: &UserInfo,
        info: &RequestInfo,
        query: &Query,
        patience: Duration,
    ) -> Result<Seat, Refused> {
        let width = estimate::width(server, info, query, self.level.widest());
        let flow = match self.distinguisher {
            Distinguisher::None => self.seed,
            Distinguisher::User => server.flow_control().hash(self.seed, &user.name),
            Distinguisher::Namespace => server.flow_control().hash(self.seed, &info.namespace),
        };
        let arrival = Arrival { width, flow, watch: info.verb == "watch", patience };
        self.level.seat(&self.counts, arrival).await
    }
}

/// All FlowSchemas in the order in which they are asked, and all priority levels.
#[derive(Clone)]
pub struct FlowControl {
    shared: Arc<Shared>,
}

struct Shared {
    flows: RwLock<Arc<Vec<Arc<Flow>>>>,
    levels: Mutex<Levels>,
    caches: RwLock<Vec<Arc<Cache>>>,
    changed: Notify,
    /// Told when a level that is not wanted has become idle.
    idle: Arc<Notify>,
    metrics: FlowMetrics,
    /// Nobody can choose a name that is dealt the queues of another.
    hash: RandomState,
}

impl FlowControl {
    /// With what is mandatory, for so many seats.
    pub fn new(seats: u32) -> Self {
        let (metrics, idle) = (FlowMetrics::default(), Arc::<Notify>::default());
        let shared = Shared {
            flows: RwLock::default(),
            levels: Mutex::new(Levels::new(seats, metrics.clone(), idle.clone())),
            caches: RwLock::default(),
            changed: Notify::new(),
            idle,
            metrics,
            hash: RandomState::new(),
        };
        let control = Self { shared: Arc::new(shared) };
        control.rebuild();
        control
    }

    /// What keeps the order equal to the stored objects.
    pub fn observer(&self) -> Box<dyn Observer> {
        Box::new(self.clone())
    }

    /// What is counted.
    pub fn metrics(&self) -> &FlowMetrics {
        &self.shared.metrics
    }

    /// The first FlowSchema that a request matches.
    pub fn classify(&self, user: &UserInfo, info: &RequestInfo) -> Option<Arc<Flow>> {
        let flows = self.shared.flows.read().unwrap_or_else(PoisonError::into_inner).clone();
        let found = flows.iter().find(|flow| flow.rules.iter().any(|rule| rule.matches(user, info)));
        found.or_else(|| flows.iter().find(|flow| flow.last)).cloned()
    }

    /// What there is of each priority level, for debugging.
    pub fn dump(&self) -> String {
        self.levels().dump()
    }

    /// Lends seats until the server stops.
    pub fn run(&self, stop: CancellationToken) {
        let control = self.clone();
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(LENDING);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = ticks.tick() => control.levels().lend(Instant::now()),
                    () = control.shared.idle.notified() => control.levels().reap(Instant::now()),
                }
            }
        });
    }

    /// Waits for the next change of either kind.
    pub(crate) async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    fn levels(&self) -> MutexGuard<'_, Levels> {
        self.shared.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hash(&self, seed: u64, distinguisher: &str) -> u64 {
        let mut hasher = self.shared.hash.build_hasher();
        seed.hash(&mut hasher);
        distinguisher.hash(&mut hasher);
        hasher.finish()
    }

    /// Takes up what is stored. What is mandatory is there even before it is stored; schemas without their level are left out.
    fn rebuild(&self) {
        let caches = self.shared.caches.read().unwrap_or_else(PoisonError::into_inner);
        let objects = |storage: &str, kind: &str| -> BTreeMap<String, Value> {
            let cache = caches.iter().find(|cache| cache.resource.storage == storage);
            let stored = cache.map(|cache| cache.snapshot().0.values().map(|o| o.value()).collect::<Vec<_>>());
            let mandatory = bootstrap::mandatory().into_iter().filter(|object| object["kind"] == kind);
            let all = mandatory.chain(stored.unwrap_or_default());
            all.map(|object| (meta(&object, "name").to_owned(), object)).collect()
        };
        let objects_of_levels = objects(LEVELS, "PriorityLevelConfiguration");
        let specs = objects_of_levels.iter().filter_map(|(name, level)| Some((name.clone(), Spec::read(level)?)));
        let mut schemas: Vec<(String, Value)> = objects(SCHEMAS, "FlowSchema").into_iter().collect();
        schemas.sort_by_key(|(_, schema)| schema["spec"]["matchingPrecedence"].as_i64().unwrap_or(i64::MAX));
        let mut levels = self.levels();
        levels.set(specs.collect(), Instant::now());
        let flows = schemas.iter().filter_map(|(name, schema)| {
            let priority = schema["spec"]["priorityLevelConfiguration"]["name"].as_str()?;
            Some(Arc::new(Flow {
                last: name == "catch-all",
                rules: matching::rules(&schema["spec"]["rules"]),
                distinguisher: match schema["spec"]["distinguisherMethod"]["type"].as_str() {
                    Some("ByUser") => Distinguisher::User,
                    Some("ByNamespace") => Distinguisher::Namespace,
                    _ => Distinguisher::None,
                },
                seed: self.hash(0, name),
                schema: HeaderValue::from_str(meta(schema, "uid")).ok()?,
                priority: HeaderValue::from_str(meta(objects_of_levels.get(priority)?, "uid")).ok()?,
                level: levels.get(priority)?.clone(),
                counts: Arc::new(self.shared.metrics.of(priority, name)),
            }))
        });
        let flows = Arc::new(flows.collect());
        *self.shared.flows.write().unwrap_or_else(PoisonError::into_inner) = flows;
    }
}

impl Observer for FlowControl {
    fn reset(&self, caches: &[Arc<Cache>]) {
        let ours = caches.iter().filter(|cache| matches!(cache.resource.storage.as_str(), SCHEMAS | LEVELS));
        *self.shared.caches.write().unwrap_or_else(PoisonError::into_inner) = ours.cloned().collect();
        self.rebuild();
        self.shared.changed.notify_one();
    }

    fn changed(&self, cache: &Cache, _: &Change) {
        if matches!(cache.resource.storage.as_str(), SCHEMAS | LEVELS) {
            self.rebuild();
            self.shared.changed.notify_one();
        }
    }
}
