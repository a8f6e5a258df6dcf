//! All priority levels, and how many seats each of them has: by its shares, and by what it lends to and borrows from others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;
use tokio::sync::Notify;

use super::dump::table;
use super::lending::{Claim, divide};
use super::level::Level;
use super::queues::{Discipline, Shape};
use crate::metrics::{FlowMetrics, LevelLimits};
use crate::object::meta;

/// Of a level's seats one request takes at most this part.
const WIDEST: f64 = 0.15;

/// A PriorityLevelConfiguration, as far as it is needed here.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Spec {
    discipline: Discipline,
    shares: u32,
    /// In percent of the nominal seats.
    lendable: u32,
    /// Likewise; nothing for as much as there is.
    borrowing: Option<u32>,
}

impl Spec {
    /// Nothing of one that contradicts itself.
    pub fn read(object: &Value) -> Option<Self> {
        let spec = &object["spec"];
        let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
        let (part, discipline) = match spec["type"].as_str()? {
            // Nothing else is exempt, for a level does not become so while requests wait in it.
            "Exempt" if meta(object, "name") == "exempt" => (&spec["exempt"], Discipline::Exempt),
            "Limited" if spec["limited"].is_object() => {
                let response = &spec["limited"]["limitResponse"];
                let count = |member: &str| usize::try_from(response["queuing"][member].as_u64()?).ok();
                let discipline = match response["type"].as_str()? {
                    "Reject" => Discipline::Reject,
                    "Queue" => Discipline::Queue(Shape {
                        queues: count("queues")?.max(1),
                        hand: count("handSize")?.max(1),
                        length: count("queueLengthLimit")?,
                    }),
                    _ => return None,
                };
                (&spec["limited"], discipline)
            }
            _ => return None,
        };
        Some(Self {
            discipline,
            shares: number(&part["nominalConcurrencyShares"]).unwrap_or(0),
            lendable: number(&part["lendablePercent"]).unwrap_or(0),
            borrowing: number(&part["borrowingLimitPercent"]),
        })
    }
}

struct Held {
    level: Arc<Level>,
    spec: Spec,
    wanted: bool,
    limits: LevelLimits,
}

/// All levels by name, also those that are no more wanted and still have requests.
pub(super) struct Levels {
    held: BTreeMap<String, Held>,
    /// All seats of the server.
    seats: u32,
    metrics: FlowMetrics,
    idle: Arc<Notify>,
}

/// Percents of a number of seats, rounded.
fn percent(seats: u32, percent: u32) -> u32 {
    rounded(f64::from(seats) * f64::from(percent) / 100.0)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn rounded(seats: f64) -> u32 {
    // A cast to an integer stays within its bounds.
    seats.round() as u32
}

impl Levels {
    pub fn new(seats: u32, metrics: FlowMetrics, idle: Arc<Notify>) -> Self {
        Self { held: BTreeMap::new(), seats, metrics, idle }
    }

    /// These are the levels from now on. One that is not among them stays until its requests are gone.
    pub fn set(&mut self, specs: BTreeMap<String, Spec>, now: Instant) {
        for held in self.held.values_mut() {
            held.wanted = false;
        }
        for (name, spec) in specs {
            match self.held.get_mut(&name) {
                Some(held) => (held.spec, held.wanted) = (spec, true),
                None => {
                    let level = Arc::new(Level::new(spec.discipline, self.idle.clone(), now));
                    self.held.insert(name, Held { level, spec, wanted: true, limits: LevelLimits::default() });
                }
            }
        }
        self.share(now);
    }

    /// Drops levels that nobody wants any more, if there are any.
    pub fn reap(&mut self, now: Instant) {
        if self.held.values().any(|held| !held.wanted) {
            self.share(now);
        }
    }

    /// A level that is wanted.
    pub fn get(&self, name: &str) -> Option<&Arc<Level>> {
        self.held.get(name).filter(|held| held.wanted).map(|held| &held.level)
    }

    /// What there is of each level, for debugging.
    pub fn dump(&self) -> String {
        let columns = [
            "PriorityLevelName",
            "ActiveQueues",
            "IsIdle",
            "IsQuiescing",
            "WaitingRequests",
            "ExecutingRequests",
            "DispatchedRequests",
            "RejectedRequests",
            "TimedoutRequests",
            "CancelledRequests",
        ];
        let rows = self.held.iter().map(|(name, held)| {
            let queues = held.level.queues();
            let ((waiting, executing), tally) = (queues.requests(), queues.tally());
            vec![
                name.clone(),
                queues.occupied().to_string(),
                queues.is_idle().to_string(),
                (!held.wanted).to_string(),
                waiting.to_string(),
                executing.to_string(),
                tally.dispatched.to_string(),
                tally.rejected.to_string(),
                // kube-apiserver counts these among the cancelled, too.
                "0".to_owned(),
                tally.cancelled.to_string(),
            ]
        });
        let head = std::iter::once(columns.map(str::to_owned).to_vec());
        table(&head.chain(rows).collect::<Vec<_>>())
    }

    /// What everybody has by its shares.
    fn share(&mut self, now: Instant) {
        let metrics = &self.metrics;
        self.held.retain(|name, held| {
            let stays = held.wanted || !held.level.queues().is_idle();
            if !stays {
                metrics.forget(name);
            }
            stays
        });
        let shares: f64 = self.held.values().map(|held| f64::from(held.spec.shares)).sum();
        for held in self.held.values_mut() {
            let spec = &held.spec;
            let exactly = f64::from(self.seats) * f64::from(spec.shares) / shares.max(1.0);
            let nominal = rounded(exactly.ceil());
            let lendable = percent(nominal, spec.lendable);
            let borrowing = spec.borrowing.map_or(self.seats, |borrowing| percent(nominal, borrowing));
            let upper = nominal.saturating_add(borrowing);
            let lower = nominal.saturating_sub(lendable);
            held.limits = LevelLimits { nominal, lower, upper, ..held.limits };
            let widest = match spec.discipline {
                Discipline::Queue(shape) => {
                    let hand = u32::try_from(shape.hand).unwrap_or(u32::MAX);
                    rounded((f64::from(nominal) * WIDEST).ceil()).min(nominal / hand).max(1)
                }
                _ => 0,
            };
            held.level.configure(spec.discipline, widest, held.wanted);
        }
        self.lend(now);
    }

    /// Divides the seats anew by what was demanded since this was done last.
    pub fn lend(&mut self, now: Instant) {
        let nominal = self.held.values().fold(0_u32, |sum, held| sum.saturating_add(held.limits.nominal));
        let (mut left, mut claims) = (nominal, Vec::new());
        for held in self.held.values_mut() {
            let demanded = held.level.queues().demanded(now);
            let limits = &mut held.limits;
            (limits.most, limits.average, limits.deviation) = (demanded.most, demanded.average, demanded.deviation);
            limits.smoothed = demanded.smooth(limits.smoothed);
            let (most, lower) = (rounded(demanded.most), limits.lower);
            if held.spec.discipline == Discipline::Exempt {
                // It has what it takes, and others what it leaves.
                limits.current = lower.max(most);
                limits.target = f64::from(limits.current);
                left = left.saturating_sub(limits.current);
                continue;
            }
            // Of its own seats nobody gets less than it used.
            let least = f64::from(lower.max(most.min(limits.nominal)));
            limits.target = limits.smoothed.max(least);
            let (most, kept) = (limits.upper.into(), lower.into());
            claims.push(Claim { target: limits.target, least, most, kept });
        }
        let (parts, proportion) = divide(nominal.into(), left.into(), &claims);
        let limited = self.held.values_mut().filter(|held| held.spec.discipline != Discipline::Exempt);
        for (held, part) in limited.zip(parts) {
            held.limits.current = rounded(part);
        }
        for (name, held) in &self.held {
            held.level.set_limit(held.limits.current, now);
            self.metrics.limits(name, &held.limits);
        }
        self.metrics.fair(proportion);
    }
}

#[cfg(test)]
mod tests {
    use orlop_kinds::flow_control::bootstrap;
    use serde_json::json;

    use super::*;
    use crate::flow_control::queues::Entered;

    fn levels() -> (Levels, BTreeMap<String, Spec>) {
        let all = bootstrap::mandatory().into_iter().chain(bootstrap::suggested());
        let levels = all.filter(|object| object["kind"] == "PriorityLevelConfiguration");
        let specs = levels.map(|level| (meta(&level, "name").to_owned(), Spec::read(&level).unwrap())).collect();
        (Levels::new(600, FlowMetrics::default(), Arc::default()), specs)
    }

    fn limits(levels: &Levels, name: &str) -> (u32, u32, u32) {
        let limits = levels.held[name].limits;
        (limits.nominal, limits.lower, limits.current)
    }

    fn take(levels: &Levels, name: &str, count: u32) {
        let level = levels.get(name).unwrap();
        for flow in 0..count {
            let tell = || tokio::sync::oneshot::channel().0;
            let entered = level.queues().enter(1, flow.into(), Instant::now(), tell);
            assert!(!matches!(entered, Entered::Refused(_)));
        }
    }

    #[test]
    fn seats_by_shares() {
        let (mut levels, specs) = levels();
        levels.set(specs, Instant::now());
        // 600 of 245 shares.
        assert_eq!(limits(&levels, "workload-low"), (245, 24, limits(&levels, "workload-low").2));
        assert_eq!(levels.held["global-default"].limits.nominal, 49);
        assert_eq!(limits(&levels, "catch-all").0, 13);
        assert_eq!(limits(&levels, "exempt"), (0, 0, 0));
        assert_eq!(levels.get("workload-low").unwrap().widest(), Some(37));
        assert_eq!(levels.get("leader-election").unwrap().widest(), Some(4));
        let current: u32 = levels.held.values().map(|held| held.limits.current).sum();
        let nominal: u32 = levels.held.values().map(|held| held.limits.nominal).sum();
        assert!(current.abs_diff(nominal) <= 4, "{current} of {nominal}");
    }

    #[test]
    fn who_needs_more_borrows_and_who_needs_its_own_gets_it_back() {
        let (mut levels, specs) = levels();
        let now = Instant::now();
        levels.set(specs, now);
        take(&levels, "global-default", 300);
        let mut later = now;
        for _ in 0..3 {
            later += std::time::Duration::from_secs(10);
            levels.lend(later);
        }
        let borrowed = limits(&levels, "global-default").2;
        assert!(borrowed > 250, "{borrowed}");
        assert!(limits(&levels, "workload-low").2 < 100);
        take(&levels, "workload-low", 245);
        levels.lend(later + std::time::Duration::from_secs(10));
        assert!(limits(&levels, "workload-low").2 >= 245);
    }

    #[test]
    fn a_level_stays_as_long_as_its_requests() {
        let (mut levels, mut specs) = levels();
        let now = Instant::now();
        levels.set(specs.clone(), now);
        let started = match levels.get("system").unwrap().queues().enter(1, 0, now, || unreachable!()) {
            Entered::Started(started) => started,
            other => panic!("{other:?}"),
        };
        specs.remove("system");
        specs.remove("node-high");
        levels.set(specs, now);
        assert!(levels.get("system").is_none() && levels.held.contains_key("system"));
        assert!(!levels.held.contains_key("node-high"));
        levels.held["system"].level.queues().finish(&started, now);
        levels.reap(now);
        assert!(!levels.held.contains_key("system"));
    }

    #[test]
    fn what_contradicts_itself_is_no_level() {
        let level = |name: &str, spec: Value| Spec::read(&json!({"metadata": {"name": name}, "spec": spec}));
        assert!(level("mine", json!({"type": "Exempt", "exempt": {}})).is_none());
        assert!(level("mine", json!({"type": "Limited"})).is_none());
        assert!(level("mine", json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue"}}})).is_none());
        assert!(level("mine", json!({"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}})).is_some());
    }
}
