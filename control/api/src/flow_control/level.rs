//! One priority level at work: requests come, wait for a seat, and give it back. Which of them is next is [`Queues`]' matter.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, oneshot};

use super::queues::{Discipline, Entered, Queues, Started, Ticket};
use super::refusals::Refusals;
use crate::metrics::{FlowCounts, InQueue};

/// A priority level.
pub(super) struct Level {
    queues: Mutex<Queues<oneshot::Sender<Started>>>,
    refusals: Mutex<Refusals>,
    /// Whether its requests are counted only.
    exempt: bool,
    /// The most seats that one request may take; 0 for as many as it likes.
    widest: AtomicU32,
    /// Its configuration is gone; it lasts as long as its requests do.
    unwanted: AtomicBool,
    /// Told when an unwanted level has become idle.
    idle: Arc<Notify>,
}

/// A request is refused; its client is to ask again after so many seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused(pub u64);

/// What a request is and how it is counted.
pub(super) struct Arrival {
    pub width: u32,
    /// Which flow of the level it belongs to.
    pub flow: u64,
    /// Whether only its beginning takes a seat.
    pub watch: bool,
    /// How long it may wait.
    pub patience: Duration,
}

/// A request's place in the server; another may take it when it is dropped.
pub struct Seat {
    level: Arc<Level>,
    counts: Arc<FlowCounts>,
    started: Started,
    watch: bool,
}

/// A request that waits. It leaves its queue when it is dropped.
struct Waiting<'a> {
    level: &'a Level,
    counts: &'a FlowCounts,
    since: Instant,
    ticket: Option<Ticket>,
    told: oneshot::Receiver<Started>,
    _counted: InQueue,
}

impl Level {
    pub fn new(discipline: Discipline, idle: Arc<Notify>, now: Instant) -> Self {
        Self {
            queues: Mutex::new(Queues::new(discipline, now)),
            refusals: Mutex::default(),
            exempt: discipline == Discipline::Exempt,
            widest: AtomicU32::new(0),
            unwanted: AtomicBool::new(false),
            idle,
        }
    }

    /// The queues, with this moment.
    pub fn queues(&self) -> MutexGuard<'_, Queues<oneshot::Sender<Started>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another configuration; `widest` is the most seats of one request, 0 for as many as it likes.
    pub fn configure(&self, discipline: Discipline, widest: u32, wanted: bool) {
        let mut queues = self.queues();
        queues.set_discipline(discipline);
        self.widest.store(widest, Ordering::Relaxed);
        self.unwanted.store(!wanted, Ordering::Relaxed);
        // Its last request may be gone since it was looked at.
        if !wanted && queues.is_idle() {
            self.idle.notify_one();
        }
    }

    /// So many seats from now on.
    pub fn set_limit(&self, limit: u32, now: Instant) {
        let mut queues = self.queues();
        queues.set_limit(limit, now);
        dispatch(&mut queues, now);
    }

    /// The most seats that one request may take.
    pub fn widest(&self) -> Option<u32> {
        Some(self.widest.load(Ordering::Relaxed)).filter(|widest| *widest > 0)
    }

    /// Waits for a seat.
    pub async fn seat(self: &Arc<Self>, counts: &Arc<FlowCounts>, arrival: Arrival) -> Result<Seat, Refused> {
        let now = Instant::now();
        let mut told = None;
        let entered = {
            let mut queues = self.queues();
            let entered = queues.enter(arrival.width, arrival.flow, now, || {
                let (tell, receiver) = oneshot::channel();
                told = Some(receiver);
                tell
            });
            if told.is_some() {
                dispatch(&mut queues, now);
            }
            entered
        };
        let seat = |started| Seat { level: self.clone(), counts: counts.clone(), started, watch: arrival.watch };
        match (entered, told) {
            (Entered::Started(started), _) => {
                counts.started(arrival.width, (!self.exempt).then_some(0.0));
                Ok(seat(started))
            }
            (Entered::Waiting(ticket, length), Some(told)) => {
                let counted = counts.in_queue(arrival.width, length);
                let ticket = Some(ticket);
                let mut waiting = Waiting { level: self, counts, since: now, ticket, told, _counted: counted };
                let Ok(Ok(started)) = tokio::time::timeout(arrival.patience, &mut waiting.told).await else {
                    drop(waiting);
                    return Err(self.refused());
                };
                waiting.ticket = None;
                counts.started(arrival.width, Some(now.elapsed().as_secs_f64()));
                Ok(seat(started))
            }
            (Entered::Refused(reason), _) => {
                counts.rejected(reason, 0.0);
                Err(self.refused())
            }
            // Who waits was given somebody to tell.
            (Entered::Waiting(..), None) => Err(self.refused()),
        }
    }

    fn refused(&self) -> Refused {
        let second = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Refused(self.refusals.lock().unwrap_or_else(PoisonError::into_inner).count(second))
    }

    fn finish(&self, started: &Started, now: Instant) {
        let mut queues = self.queues();
        queues.finish(started, now);
        self.after(&mut queues, now);
    }

    /// After a request is gone.
    fn after(&self, queues: &mut Queues<oneshot::Sender<Started>>, now: Instant) {
        dispatch(queues, now);
        if self.unwanted.load(Ordering::Relaxed) && queues.is_idle() {
            self.idle.notify_one();
        }
    }
}

/// Tells all who may begin now.
fn dispatch(queues: &mut Queues<oneshot::Sender<Started>>, now: Instant) {
    while let Some((started, tell)) = queues.next(now) {
        // Who waits no more has left, so that somebody is there to be told.
        if let Err(started) = tell.send(started) {
            queues.finish(&started, now);
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        let now = Instant::now();
        let mut queues = self.level.queues();
        if !queues.leave(&ticket, now)
            // It was told to begin just now.
            && let Ok(started) = self.told.try_recv()
        {
            queues.finish(&started, now);
        }
        self.level.after(&mut queues, now);
        drop(queues);
        self.counts.rejected("time-out", now.saturating_duration_since(self.since).as_secs_f64());
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let now = Instant::now();
        let lasted = now.saturating_duration_since(self.started.since()).as_secs_f64();
        self.counts.finished(self.started.width(), self.watch, lasted);
        self.level.finish(&self.started, now);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::flow_control::queues::Shape;
    use crate::metrics::FlowMetrics;

    fn level(limit: u32) -> (Arc<Level>, Arc<FlowCounts>) {
        let shape = Shape { queues: 1, hand: 1, length: 2 };
        let level = Level::new(Discipline::Queue(shape), Arc::default(), Instant::now());
        level.set_limit(limit, Instant::now());
        (Arc::new(level), Arc::new(FlowMetrics::default().of("level", "schema")))
    }

    fn arrival(patience: u64) -> Arrival {
        Arrival { width: 1, flow: 0, watch: false, patience: Duration::from_millis(patience) }
    }

    #[tokio::test]
    async fn a_seat_that_is_given_back_goes_to_who_waits() {
        let (level, counts) = level(1);
        let first = level.seat(&counts, arrival(1000)).await.unwrap();
        let second = level.seat(&counts, arrival(1000));
        tokio::pin!(second);
        assert!(second.as_mut().now_or_never().is_none());
        assert_eq!(level.queues().requests(), (1, 1));
        drop(first);
        let second = second.await.unwrap();
        assert_eq!(level.queues().requests(), (0, 1));
        drop(second);
        assert!(level.queues().is_idle());
    }

    #[tokio::test]
    async fn who_waits_too_long_is_refused() {
        let (level, counts) = level(1);
        let _first = level.seat(&counts, arrival(1000)).await.unwrap();
        assert_eq!(level.seat(&counts, arrival(10)).await.err(), Some(Refused(1)));
        assert_eq!(level.queues().requests(), (0, 1));
    }

    #[tokio::test]
    async fn who_goes_away_leaves_the_queue_or_the_seat() {
        let (level, counts) = level(1);
        let first = level.seat(&counts, arrival(1000)).await.unwrap();
        let mut waits = Box::pin(level.seat(&counts, arrival(1000)));
        assert!(waits.as_mut().now_or_never().is_none());
        drop(waits);
        assert_eq!(level.queues().requests(), (0, 1));
        // One that was told to begin and did not hear it.
        let mut told = Box::pin(level.seat(&counts, arrival(1000)));
        assert!(told.as_mut().now_or_never().is_none());
        drop(first);
        assert_eq!(level.queues().requests(), (0, 1));
        drop(told);
        assert!(level.queues().is_idle());
    }

    #[tokio::test]
    async fn an_unwanted_level_says_when_it_is_idle() {
        let (level, counts) = level(1);
        let seat = level.seat(&counts, arrival(1000)).await.unwrap();
        level.configure(Discipline::Reject, 0, false);
        assert!(level.idle.notified().now_or_never().is_none());
        drop(seat);
        assert!(level.idle.notified().now_or_never().is_some());
    }
}
