//! Deletes flows that lead nowhere ([`crate::conntrack`]) in a thread of its own: a look at conntrack may take long where there
//! are many flows or little time, and no change of a Service waits for it.
//!
//! It rests between looks. Each costs the walk of a table, whatever changed; changes come as often as they like.
//!
//! It is told what there is and where to look, never what to delete. What is asked for while it looks is looked for next, all at
//! once. Before each deletion it asks again what there is: whoever programs a plan announces it first, so that a flow whose endpoint
//! comes back is safe from that moment on.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike as _};
use orlop_plan::{Family, Frontend, Plan, Reconciled};

use crate::Error;
use crate::backend::FAMILIES;
use crate::conntrack::{self, Flow, Scope};
use crate::netlink::Netlink;

/// With more looks than this, a look at each protocol's flows is cheaper: every look walks the buckets of the whole machine's
/// conntrack table, 13 ms for the 262,144 of a large one, whatever it asks for.
const MAX_LOOKS: usize = 2;
/// So long after a look comes another, at what entered the table while the first went on.
const AGAIN: Duration = Duration::from_millis(900);
/// So long frontends that left are looked for: past the look that comes again after the first one.
const LEAVES: Duration = Duration::from_millis(1800);
/// How long it is remembered since when one waits.
const MEMORY: Duration = Duration::from_secs(5);
/// After a look it rests this many times as long as that took of the processor, and at most [`REST`]: a storm of changes is looked
/// at a few times a second, not all the time, and a walk that the machine made slow is no reason to come late again.
const REST_FOR_WORK: u32 = 5;
/// See [`REST_FOR_WORK`]; a quarter of what a removed endpoint may be met for.
const REST: Duration = Duration::from_millis(250);
/// How many looks wait to be told of.
const MAX_TOLD: usize = 64;

/// Where to look, by family.
type Looks = [Vec<Scope>; 2];

/// The thread, from outside.
pub(crate) struct Reconciler {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    work: Mutex<Work>,
    /// Something of the work has changed.
    changed: Condvar,
    /// Somebody has a plan to announce: the thread lets go of the work between two deletions.
    announcing: AtomicBool,
}

#[derive(Default)]
struct Work {
    /// What there is, or will be in a moment.
    plan: Plan,
    /// Where to look, by family.
    looks: Looks,
    /// Frontends that left the plan and whose flows are yet to be looked for, and those whose flows are gone.
    leaving: [HashSet<Frontend>; 2],
    gone: [HashSet<Frontend>; 2],
    /// Whether the thread is looking.
    busy: bool,
    /// Somebody waits until all is done: there is no rest.
    awaited: bool,
    ended: bool,
    told: Vec<Reconciled>,
}

impl Shared {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reconciler {
    /// For the network namespace of the calling thread.
    pub fn start() -> Result<Self, Error> {
        let shared = Arc::new(Shared::default());
        let mut looker = Looker {
            shared: shared.clone(),
            netlink: Netlink::open()?,
            seen: Default::default(),
            left: Default::default(),
            again: None,
            rested: Instant::now(),
        };
        let thread = thread::Builder::new().name("nft-conntrack".into()).spawn(move || looker.run());
        Ok(Self { shared, thread: Some(thread.map_err(Error::Thread)?) })
    }

    /// What there will be in a moment. Gives the frontends whose flows have been deleted since the last call, by family.
    pub fn announce(&self, plan: &Plan) -> [HashSet<Frontend>; 2] {
        self.shared.announcing.store(true, Ordering::Relaxed);
        let mut work = self.shared.work();
        self.shared.announcing.store(false, Ordering::Relaxed);
        work.plan = plan.clone();
        std::mem::take(&mut work.gone)
    }

    /// Has flows of a family looked at, of which some may lead where no endpoint is since what was announced is so; and to
    /// `leaving`, frontends that the plan has no more.
    pub fn look(&self, family: Family, scopes: Vec<Scope>, leaving: &HashSet<Frontend>) {
        let mut work = self.shared.work();
        add(&mut work.looks[family as usize], scopes);
        work.leaving[family as usize].clone_from(leaving);
        // They have left again since.
        work.gone[family as usize].retain(|frontend| !leaving.contains(frontend));
        self.shared.changed.notify_all();
    }

    /// Waits until that is done.
    pub fn settle(&self) {
        let waits = |work: &mut Work| work.busy || work.looks.iter().any(|looks| !looks.is_empty());
        let mut work = self.shared.work();
        work.awaited = true;
        self.shared.changed.notify_all();
        let work = self.shared.changed.wait_while(work, waits);
        work.unwrap_or_else(PoisonError::into_inner).awaited = false;
    }

    /// The looks since the last call.
    pub fn reconciled(&self) -> Vec<Reconciled> {
        std::mem::take(&mut self.shared.work().told)
    }
}

impl Drop for Reconciler {
    /// Does what was asked for, and no more.
    fn drop(&mut self) {
        self.shared.work().ended = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the calling thread has had of the processor.
fn processor_time() -> Duration {
    let of = |time: TimeVal| Duration::from_micros(u64::try_from(time.num_microseconds()).unwrap_or(0));
    getrusage(UsageWho::RUSAGE_THREAD).map_or(Duration::ZERO, |usage| of(usage.user_time()) + of(usage.system_time()))
}

fn looks_of(family: Family, scopes: &[Scope]) -> Looks {
    let mut looks = Looks::default();
    looks[family as usize] = scopes.to_vec();
    looks
}

/// Adds looks; instead of many, one at everything of a protocol.
fn add(looks: &mut Vec<Scope>, more: Vec<Scope>) {
    for scope in more {
        if !looks.contains(&scope) {
            looks.push(scope);
        }
    }
    if looks.len() > MAX_LOOKS {
        *looks = Scope::whole(|protocol| looks.iter().any(|scope| scope.protocol() == protocol));
    }
}

/// The thread, from inside.
struct Looker {
    shared: Arc<Shared>,
    netlink: Netlink,
    /// Flows that nobody had answered when they were first seen, by family.
    seen: [HashMap<Vec<u8>, Instant>; 2],
    /// Frontends that left, since they are looked for.
    left: [HashMap<Frontend, Instant>; 2],
    /// Another look, and when.
    again: Option<(Instant, Looks)>,
    /// Before then it does not look.
    rested: Instant,
}

impl Looker {
    fn run(&mut self) {
        while let Some((now, looks)) = self.next() {
            let worked = processor_time();
            for (family, scopes) in FAMILIES.into_iter().zip(looks) {
                if !scopes.is_empty()
                    && let Err(error) = self.look(now, family, &scopes)
                {
                    // The tables are right, and the next resync looks again.
                    tracing::warn!(%error, ?family, "cannot clean conntrack entries");
                }
            }
            let worked = processor_time().saturating_sub(worked);
            self.rested = Instant::now() + (worked * REST_FOR_WORK).min(REST);
        }
    }

    /// Waits for something to do: what was asked for, or another look. None at the end.
    fn next(&mut self) -> Option<(Instant, Looks)> {
        let shared = self.shared.clone();
        let mut work = shared.work();
        work.busy = false;
        shared.changed.notify_all();
        loop {
            let now = Instant::now();
            if now < self.rested && !work.awaited && !work.ended {
                let rest = shared.changed.wait_timeout(work, self.rested - now);
                work = rest.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let mut looks = std::mem::take(&mut work.looks);
            if looks == Looks::default() && work.ended {
                return None;
            }
            let due = self.again.take_if(|(due, _)| *due <= now);
            self.look_again(now + AGAIN, &looks);
            looks.iter_mut().zip(due.map(|(_, looks)| looks).unwrap_or_default()).for_each(|(l, more)| add(l, more));
            if looks != Looks::default() {
                work.busy = true;
                return Some((now, looks));
            }
            let wait = self.again.as_ref().map(|(due, _)| due.saturating_duration_since(now));
            work = match wait {
                Some(wait) => shared.changed.wait_timeout(work, wait).unwrap_or_else(PoisonError::into_inner).0,
                None => shared.changed.wait(work).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Looks at the same again, then at the latest.
    fn look_again(&mut self, then: Instant, looks: &Looks) {
        if *looks != Looks::default() {
            let (due, again) = self.again.get_or_insert_with(|| (then, Looks::default()));
            *due = then.min(*due);
            again.iter_mut().zip(looks.clone()).for_each(|(again, more)| add(again, more));
        }
    }

    fn look(&mut self, now: Instant, family: Family, scopes: &[Scope]) -> Result<(), Error> {
        let (start, n) = (Instant::now(), family as usize);
        let (plan, leaving) = {
            let work = self.shared.work();
            (work.plan.clone(), work.leaving[n].clone())
        };
        self.left[n].retain(|frontend, _| leaving.contains(frontend));
        for frontend in &leaving {
            self.left[n].entry(*frontend).or_insert(now);
        }
        let (mut deleted, mut waiting, mut soonest) = (0, Looks::default(), AGAIN);
        for scope in scopes {
            for flow in conntrack::stale(&mut self.netlink, family, *scope, &plan, &leaving)? {
                let patience = flow.patience();
                if !patience.is_zero() {
                    let since = *self.seen[n].entry(flow.name.clone()).or_insert(now);
                    let left = patience.saturating_sub(now.saturating_duration_since(since));
                    if !left.is_zero() {
                        add(&mut waiting[n], vec![*scope]);
                        soonest = soonest.min(left);
                        continue;
                    }
                    self.seen[n].remove(&flow.name);
                }
                deleted += usize::from(self.delete(family, &flow, &leaving)?);
            }
        }
        self.seen[n].retain(|_, since| now.saturating_duration_since(*since) < MEMORY);
        let settled = waiting[n].is_empty();
        self.look_again(now + soonest, &waiting);
        let long_gone: HashSet<Frontend> = self.left[n]
            .extract_if(|_, since| settled && now.saturating_duration_since(*since) >= LEAVES)
            .map(|(f, _)| f)
            .collect();
        if !self.left[n].is_empty() {
            self.look_again(now + AGAIN, &looks_of(family, scopes));
        }
        let work = &mut *self.shared.work();
        work.leaving[n].retain(|frontend| !long_gone.contains(frontend));
        work.gone[n].extend(long_gone);
        // Somebody who never asks must not make it grow.
        work.told.truncate(MAX_TOLD);
        let took = start.elapsed();
        work.told.push(Reconciled { family, took, deleted });
        if deleted > 0 {
            tracing::info!(deleted, ?family, ?took, "deleted stale conntrack entries");
        }
        Ok(())
    }

    /// Deletes a flow, unless there is an endpoint for it again. Nobody announces one meanwhile.
    fn delete(&mut self, family: Family, flow: &Flow, leaving: &HashSet<Frontend>) -> Result<bool, Error> {
        while self.shared.announcing.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        let work = self.shared.work();
        if !conntrack::is_stale(&work.plan, leaving, flow) {
            return Ok(false);
        }
        conntrack::delete(&mut self.netlink, family, flow)
    }
}
