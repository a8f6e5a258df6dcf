//! The queues of one priority level: who may begin, who waits and who is next (`flowcontrol/fairqueuing/queueset`). Pure: it is told
//! what time it is, and nobody waits in here; whom to wake when a request may begin is the caller's value.
//!
//! Each flow has a hand of queues, and its request goes to the one of them with the least work. Among queues the order is fair
//! queuing's: `progress` is what each busy queue would have got by now, in seat-seconds, if all were served at once in equal parts;
//! a queue's `start` is the progress at which its next request would begin; and the request that would end first goes first.

use std::collections::VecDeque;
use std::time::Instant;

use super::demand::{Demand, Demanded};
use super::hand::Hand;

/// Seconds that a request is taken to last as long as nobody knows.
const GUESS: f64 = 0.003;

/// How requests wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// How many queues there are.
    pub queues: usize,
    /// How many of them are each flow's.
    pub hand: usize,
    /// How many requests may wait in each.
    pub length: usize,
}

/// What becomes of a request when all seats are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Discipline {
    /// It begins nevertheless.
    Exempt,
    /// It is refused.
    Reject,
    /// It waits.
    Queue(Shape),
}

/// A request that has begun; to be given back when it is over.
#[derive(Debug)]
pub(super) struct Started {
    queue: Option<usize>,
    width: u32,
    since: Instant,
}

impl Started {
    /// How many seats it takes.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// When it began.
    pub fn since(&self) -> Instant {
        self.since
    }
}

/// A request that waits.
#[derive(Debug)]
pub(super) struct Ticket {
    queue: usize,
    number: u64,
}

/// What became of a request that came.
#[derive(Debug)]
pub(super) enum Entered {
    /// It begins.
    Started(Started),
    /// It waits, together with so many in its queue.
    Waiting(Ticket, usize),
    /// It is refused, for this reason.
    Refused(&'static str),
}

#[derive(Debug)]
struct Waiting<W> {
    number: u64,
    width: u32,
    /// The progress when it came: it cannot begin before.
    arrival: f64,
    wake: W,
}

#[derive(Debug)]
struct Queue<W> {
    waiting: VecDeque<Waiting<W>>,
    seats_waiting: u32,
    executing: u32,
    start: f64,
}

impl<W> Queue<W> {
    fn new() -> Self {
        Self { waiting: VecDeque::new(), seats_waiting: 0, executing: 0, start: 0.0 }
    }

    fn is_idle(&self) -> bool {
        self.executing == 0 && self.waiting.is_empty()
    }

    /// Nothing begins before it came: what a queue did not use of its part is not saved up.
    fn bound(&mut self) {
        if let Some(oldest) = self.waiting.front() {
            self.start = self.start.max(oldest.arrival);
        }
    }

    fn pop(&mut self, place: usize) -> Option<Waiting<W>> {
        let gone = self.waiting.remove(place)?;
        self.seats_waiting -= gone.width;
        Some(gone)
    }
}

fn work(width: u32, seconds: f64) -> f64 {
    f64::from(width) * seconds
}

/// What became of all requests that ever came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// They began.
    pub dispatched: u64,
    /// They did not.
    pub rejected: u64,
    /// Of these, those that waited first.
    pub cancelled: u64,
}

/// The requests of one priority level.
#[derive(Debug)]
pub(super) struct Queues<W> {
    discipline: Discipline,
    limit: u32,
    /// More than there are to be, while the last ones empty.
    queues: Vec<Queue<W>>,
    /// The queue that was served last.
    robin: usize,
    /// Queues with anything in them.
    busy: u32,
    progress: f64,
    now: Instant,
    waiting: u32,
    seats_waiting: u32,
    executing: u32,
    seats: u32,
    /// Requests that ever came.
    entered: u64,
    tally: Tally,
    demand: Demand,
}

impl<W> Queues<W> {
    /// Without seats.
    pub fn new(discipline: Discipline, now: Instant) -> Self {
        let mut queues = Self {
            discipline,
            limit: 0,
            queues: Vec::new(),
            robin: 0,
            busy: 0,
            progress: 0.0,
            now,
            waiting: 0,
            seats_waiting: 0,
            executing: 0,
            seats: 0,
            entered: 0,
            tally: Tally::default(),
            demand: Demand::default(),
        };
        queues.set_discipline(discipline);
        queues
    }

    /// Other queues from now on; who waits in one that is no more wanted keeps its place.
    pub fn set_discipline(&mut self, discipline: Discipline) {
        self.discipline = discipline;
        while self.queues.len() < self.wanted() {
            self.queues.push(Queue::new());
        }
        self.shrink();
    }

    /// So many seats from now on; [`Queues::next`] tells who may begin for that.
    pub fn set_limit(&mut self, limit: u32, now: Instant) {
        self.advance(now);
        self.limit = limit;
    }

    /// How many requests wait, and how many have begun.
    pub fn requests(&self) -> (u32, u32) {
        (self.waiting, self.executing)
    }

    /// Queues in which somebody waits.
    pub fn occupied(&self) -> usize {
        self.queues.iter().filter(|queue| !queue.waiting.is_empty()).count()
    }

    /// What became of the requests so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Whether there is no request at all.
    pub fn is_idle(&self) -> bool {
        self.waiting == 0 && self.executing == 0
    }

    /// What was demanded since this was asked last.
    pub fn demanded(&mut self, now: Instant) -> Demanded {
        self.advance(now);
        self.demand.take()
    }

    /// A request of a flow comes. If it has to wait, `wake` says whom to tell; [`Queues::next`] is to be asked then, for a narrow
    /// request may begin where the wide one before it cannot.
    pub fn enter(&mut self, width: u32, flow: u64, now: Instant, wake: impl FnOnce() -> W) -> Entered {
        self.advance(now);
        self.entered += 1;
        let shape = match self.discipline {
            Discipline::Queue(shape) => shape,
            Discipline::Reject if !self.has_room(width) => return self.refuse("concurrency-limit"),
            Discipline::Exempt | Discipline::Reject => return Entered::Started(self.start(None, width)),
        };
        let chosen = self.choose(shape, flow);
        let queue = &mut self.queues[chosen];
        if self.seats >= self.limit && queue.waiting.len() >= shape.length {
            return self.refuse("queue-full");
        }
        if queue.is_idle() {
            queue.start = self.progress;
            self.busy += 1;
        }
        if self.waiting == 0 && self.seats < self.limit && self.has_room(width) {
            let queue = &mut self.queues[chosen];
            queue.start = queue.start.max(self.progress);
            return Entered::Started(self.start(Some(chosen), width));
        }
        let (number, arrival) = (self.entered, self.progress);
        let queue = &mut self.queues[chosen];
        queue.waiting.push_back(Waiting { number, width, arrival, wake: wake() });
        queue.seats_waiting += width;
        queue.bound();
        let length = queue.waiting.len();
        self.waiting += 1;
        self.seats_waiting += width;
        self.demands();
        Entered::Waiting(Ticket { queue: chosen, number }, length)
    }

    /// The next request that may begin now, if any may. To be asked until none may, after anything that happened.
    pub fn next(&mut self, now: Instant) -> Option<(Started, W)> {
        if self.waiting == 0 || self.seats >= self.limit {
            return None;
        }
        self.advance(now);
        let chosen = self.first_to_end()?;
        let width = self.queues[chosen].waiting.front()?.width;
        if !self.has_room(width) {
            return None;
        }
        let request = self.queues[chosen].pop(0)?;
        self.waiting -= 1;
        self.seats_waiting -= width;
        self.robin = chosen;
        let started = self.start(Some(chosen), width);
        self.queues[chosen].bound();
        Some((started, request.wake))
    }

    /// A request does not wait any longer; false if it has begun already.
    pub fn leave(&mut self, ticket: &Ticket, now: Instant) -> bool {
        self.advance(now);
        let Some(queue) = self.queues.get_mut(ticket.queue) else { return false };
        let place = queue.waiting.iter().position(|waiting| waiting.number == ticket.number);
        let Some(gone) = place.and_then(|place| queue.pop(place)) else { return false };
        queue.bound();
        self.waiting -= 1;
        self.seats_waiting -= gone.width;
        self.tally.rejected += 1;
        self.tally.cancelled += 1;
        self.demands();
        self.settle(ticket.queue);
        true
    }

    /// A request is over.
    pub fn finish(&mut self, started: &Started, now: Instant) {
        self.advance(now);
        self.executing -= 1;
        self.seats -= started.width;
        self.demands();
        if let Some(place) = started.queue {
            let lasted = now.saturating_duration_since(started.since).as_secs_f64();
            let queue = &mut self.queues[place];
            queue.executing -= 1;
            // It was charged with a guess.
            queue.start -= work(started.width, GUESS - lasted);
            queue.bound();
            self.settle(place);
        }
    }

    fn refuse(&mut self, reason: &'static str) -> Entered {
        self.tally.rejected += 1;
        Entered::Refused(reason)
    }

    fn start(&mut self, queue: Option<usize>, width: u32) -> Started {
        self.tally.dispatched += 1;
        self.executing += 1;
        self.seats += width;
        self.demands();
        if let Some(place) = queue {
            let queue = &mut self.queues[place];
            queue.executing += 1;
            queue.start += work(width, GUESS);
        }
        Started { queue, width, since: self.now }
    }

    fn demands(&mut self) {
        self.demand.set(f64::from(self.seats) + f64::from(self.seats_waiting));
    }

    /// A queue may have become idle.
    fn settle(&mut self, place: usize) {
        if self.queues[place].is_idle() {
            self.busy -= 1;
            self.shrink();
        }
    }

    fn wanted(&self) -> usize {
        match self.discipline {
            Discipline::Queue(shape) => shape.queues.max(1),
            _ => 0,
        }
    }

    /// Queues that are too many go from the end, so that the others keep their places.
    fn shrink(&mut self) {
        while self.queues.len() > self.wanted() && self.queues.last().is_some_and(Queue::is_idle) {
            self.queues.pop();
        }
    }

    /// The queue of a flow's hand with the least work waiting. Among equals it is another one each time.
    fn choose(&self, shape: Shape, flow: u64) -> usize {
        let turn = usize::try_from(self.entered % 64).unwrap_or_default();
        let hand = Hand::deal(flow, shape.queues.max(1), shape.hand);
        hand.beginning_with(turn).min_by_key(|&place| self.queues[place].seats_waiting).unwrap_or_default()
    }

    /// Of the queues where somebody waits, the one whose oldest request would end first; among equals the next in turn.
    fn first_to_end(&self) -> Option<usize> {
        let (count, mut best) = (self.queues.len(), None);
        for place in (1..=count).map(|step| (self.robin + step) % count) {
            let queue = &self.queues[place];
            let Some(oldest) = queue.waiting.front() else { continue };
            let end = queue.start + work(oldest.width, GUESS);
            if best.is_none_or(|(earliest, _)| end < earliest) {
                best = Some((end, place));
            }
        }
        best.map(|(_, place)| place)
    }

    /// Whether a request of that width may begin beside those that have. One that is wider than the level begins alone.
    fn has_room(&self, width: u32) -> bool {
        if width > self.limit { self.executing == 0 } else { self.seats + width <= self.limit }
    }

    /// Lets time pass in which nothing happened.
    fn advance(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.now);
        self.now = self.now.max(now);
        self.demand.pass(passed);
        if self.busy == 0 {
            // Nobody remembers anything of it, and it does not grow for ever.
            self.progress = 0.0;
            return;
        }
        let served = self.seats.saturating_add(self.seats_waiting).min(self.limit);
        self.progress += f64::from(served) / f64::from(self.busy) * passed.as_secs_f64();
    }
}

#[cfg(test)]
mod tests;
