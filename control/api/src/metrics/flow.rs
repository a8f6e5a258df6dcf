//! Of flow control: what waits, what runs, what was refused, and how many seats each priority level has
//! (`flowcontrol/metrics/metrics.go`).

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::Buckets;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Level {
    priority_level: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Flow {
    priority_level: String,
    flow_schema: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Rejected {
    #[prometheus(flatten)]
    flow: Flow,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Waited {
    #[prometheus(flatten)]
    flow: Flow,
    execute: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Executed {
    #[prometheus(flatten)]
    flow: Flow,
    r#type: &'static str,
}

type Decimal = Gauge<f64, AtomicU64>;

const SECONDS: [f64; 13] = [0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0];
const LENGTHS: [f64; 8] = [0.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0];

/// What is counted.
#[derive(Clone)]
pub struct FlowMetrics {
    rejected: Family<Rejected, Counter>,
    dispatched: Family<Flow, Counter>,
    waiting: Family<Flow, Gauge>,
    waiting_seats: Family<Flow, Gauge>,
    executing: Family<Flow, Gauge>,
    executing_seats: Family<Flow, Gauge>,
    waited: Family<Waited, Histogram, Buckets>,
    lengths: Family<Flow, Histogram, Buckets>,
    executions: Family<Executed, Histogram, Buckets>,
    nominal: Family<Level, Gauge>,
    lower: Family<Level, Gauge>,
    upper: Family<Level, Gauge>,
    current: Family<Level, Gauge>,
    most: Family<Level, Decimal>,
    average: Family<Level, Decimal>,
    deviation: Family<Level, Decimal>,
    smoothed: Family<Level, Decimal>,
    target: Family<Level, Decimal>,
    fair: Decimal,
}

impl Default for FlowMetrics {
    fn default() -> Self {
        Self {
            rejected: Family::default(),
            dispatched: Family::default(),
            waiting: Family::default(),
            waiting_seats: Family::default(),
            executing: Family::default(),
            executing_seats: Family::default(),
            waited: Family::new_with_constructor(Buckets(&SECONDS)),
            lengths: Family::new_with_constructor(Buckets(&LENGTHS)),
            executions: Family::new_with_constructor(Buckets(&SECONDS)),
            nominal: Family::default(),
            lower: Family::default(),
            upper: Family::default(),
            current: Family::default(),
            most: Family::default(),
            average: Family::default(),
            deviation: Family::default(),
            smoothed: Family::default(),
            target: Family::default(),
            fair: Gauge::default(),
        }
    }
}

/// What is counted of the requests of one FlowSchema: found once, so that a request looks nothing up.
pub struct FlowCounts {
    metrics: FlowMetrics,
    flow: Flow,
    dispatched: Counter,
    executing: Gauge,
    executing_seats: Gauge,
    waited: Histogram,
    regular: Histogram,
    watches: Histogram,
}

/// A request that waits, until it is dropped.
pub struct InQueue {
    requests: Gauge,
    seats: Gauge,
    width: i64,
}

impl Drop for InQueue {
    fn drop(&mut self) {
        self.requests.dec();
        self.seats.dec_by(self.width);
    }
}

impl FlowCounts {
    /// It begins, after so many seconds if it was to wait at all.
    pub fn started(&self, width: u32, waited: Option<f64>) {
        if let Some(seconds) = waited {
            self.waited.observe(seconds);
        }
        self.dispatched.inc();
        self.executing.inc();
        self.executing_seats.inc_by(width.into());
    }

    /// It is over.
    pub fn finished(&self, width: u32, watch: bool, seconds: f64) {
        self.executing.dec();
        self.executing_seats.dec_by(width.into());
        if watch { &self.watches } else { &self.regular }.observe(seconds);
    }

    /// It waits, together with so many in its queue.
    pub fn in_queue(&self, width: u32, length: usize) -> InQueue {
        let (requests, seats) = (
            self.metrics.waiting.get_or_create_owned(&self.flow),
            self.metrics.waiting_seats.get_or_create_owned(&self.flow),
        );
        requests.inc();
        seats.inc_by(width.into());
        #[allow(clippy::cast_precision_loss)]
        self.metrics.lengths.get_or_create(&self.flow).observe(length as f64);
        InQueue { requests, seats, width: width.into() }
    }

    /// It is refused after so many seconds.
    pub fn rejected(&self, reason: &'static str, seconds: f64) {
        self.metrics.rejected.get_or_create(&Rejected { flow: self.flow.clone(), reason }).inc();
        let waited = Waited { flow: self.flow.clone(), execute: "false" };
        self.metrics.waited.get_or_create(&waited).observe(seconds);
    }
}

/// What a priority level may take, and what it demanded.
#[derive(Debug, Clone, Copy, Default)]
pub struct LevelLimits {
    /// By its shares.
    pub nominal: u32,
    /// When it has lent all it may.
    pub lower: u32,
    /// When it has borrowed all it may.
    pub upper: u32,
    /// Now.
    pub current: u32,
    /// At most in the last period.
    pub most: f64,
    /// On average.
    pub average: f64,
    /// Its deviation.
    pub deviation: f64,
    /// Smoothed over the periods.
    pub smoothed: f64,
    /// What it was to get in proportion to others.
    pub target: f64,
}

impl FlowMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let name = |name: &str| format!("apiserver_flowcontrol_{name}");
        let help = "Number of requests rejected by API Priority and Fairness subsystem";
        registry.register(name("rejected_requests"), help, self.rejected.clone());
        let help = "Number of requests executed by API Priority and Fairness subsystem";
        registry.register(name("dispatched_requests"), help, self.dispatched.clone());
        let help = "Number of requests currently pending in queues of the API Priority and Fairness subsystem";
        registry.register(name("current_inqueue_requests"), help, self.waiting.clone());
        let help = "Number of seats currently pending in queues of the API Priority and Fairness subsystem";
        registry.register(name("current_inqueue_seats"), help, self.waiting_seats.clone());
        let help = "Number of requests in initial (for a WATCH) or any (for a non-WATCH) execution stage in the API Priority and \
            Fairness subsystem";
        registry.register(name("current_executing_requests"), help, self.executing.clone());
        let help = "Concurrency (number of seats) occupied by the currently executing (initial stage for a WATCH, any stage otherwise) \
            requests in the API Priority and Fairness subsystem";
        registry.register(name("current_executing_seats"), help, self.executing_seats.clone());
        let help = "Length of time a request spent waiting in its queue";
        registry.register(name("request_wait_duration_seconds"), help, self.waited.clone());
        let help =
            "Length of queue in the API Priority and Fairness subsystem, as seen by each request after it is enqueued";
        registry.register(name("request_queue_length_after_enqueue"), help, self.lengths.clone());
        let help = "Duration of initial stage (for a WATCH) or any (for a non-WATCH) stage of request execution in the API Priority \
            and Fairness subsystem";
        registry.register(name("request_execution_seconds"), help, self.executions.clone());
        let limits = [
            (
                "nominal_limit_seats",
                "Nominal number of execution seats configured for each priority level",
                &self.nominal,
            ),
            (
                "lower_limit_seats",
                "Configured lower bound on number of execution seats available to each priority level",
                &self.lower,
            ),
            (
                "upper_limit_seats",
                "Configured upper bound on number of execution seats available to each priority level",
                &self.upper,
            ),
            (
                "current_limit_seats",
                "current derived number of execution seats available to each priority level",
                &self.current,
            ),
        ];
        for (limit, help, family) in limits {
            registry.register(name(limit), help, family.clone());
        }
        let demands = [
            ("demand_seats_high_watermark", "High watermark, over last adjustment period, of demand_seats", &self.most),
            (
                "demand_seats_average",
                "Time-weighted average, over last adjustment period, of demand_seats",
                &self.average,
            ),
            (
                "demand_seats_stdev",
                "Time-weighted standard deviation, over last adjustment period, of demand_seats",
                &self.deviation,
            ),
            ("demand_seats_smoothed", "Smoothed seat demands", &self.smoothed),
            ("target_seats", "Seat allocation targets", &self.target),
        ];
        for (demand, help, family) in demands {
            registry.register(name(demand), help, family.clone());
        }
        let help = "Fair fraction of server's concurrency to allocate to each priority level that can use it";
        registry.register(name("seat_fair_frac"), help, self.fair.clone());
    }

    /// For the requests of a FlowSchema.
    pub fn of(&self, level: &str, schema: &str) -> FlowCounts {
        let flow = Flow { priority_level: level.to_owned(), flow_schema: schema.to_owned() };
        let executed = |r#type| {
            let executed = Executed { flow: flow.clone(), r#type };
            self.executions.get_or_create_owned(&executed)
        };
        FlowCounts {
            dispatched: self.dispatched.get_or_create_owned(&flow),
            executing: self.executing.get_or_create_owned(&flow),
            executing_seats: self.executing_seats.get_or_create_owned(&flow),
            waited: self.waited.get_or_create_owned(&Waited { flow: flow.clone(), execute: "true" }),
            regular: executed("regular"),
            watches: executed("watch"),
            metrics: self.clone(),
            flow,
        }
    }

    /// What a level may take now.
    pub fn limits(&self, level: &str, limits: &LevelLimits) {
        let level = Level { priority_level: level.to_owned() };
        self.nominal.get_or_create(&level).set(limits.nominal.into());
        self.lower.get_or_create(&level).set(limits.lower.into());
        self.upper.get_or_create(&level).set(limits.upper.into());
        self.current.get_or_create(&level).set(limits.current.into());
        self.most.get_or_create(&level).set(limits.most);
        self.average.get_or_create(&level).set(limits.average);
        self.deviation.get_or_create(&level).set(limits.deviation);
        self.smoothed.get_or_create(&level).set(limits.smoothed);
        self.target.get_or_create(&level).set(limits.target);
    }

    /// In which proportion to their targets levels got their seats.
    pub fn fair(&self, proportion: f64) {
        self.fair.set(proportion);
    }

    /// A level that is no more has no limits.
    pub fn forget(&self, level: &str) {
        let level = Level { priority_level: level.to_owned() };
        for family in [&self.nominal, &self.lower, &self.upper, &self.current] {
            family.remove(&level);
        }
        for family in [&self.most, &self.average, &self.deviation, &self.smoothed, &self.target] {
            family.remove(&level);
        }
    }
}
