//! Where the agent leaves the newest plan for the backend's thread, and others their questions: an older plan that was not
//! taken is replaced.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use orlop_plan::{Backend, Family, HealthCheck, Plan};

use crate::metrics::Seen;

/// A plan and what goes with it.
#[derive(Default)]
pub(crate) struct Programme {
    pub plan: Plan,
    /// When the changes in it happened at their origin.
    pub triggers: Vec<(Family, SystemTime)>,
    /// The changes that it holds.
    pub seen: Seen,
    /// When it was handed on.
    pub published: Option<Instant>,
    /// What the Services' health checks are to say once it is programmed.
    pub health_checks: BTreeMap<Arc<str>, HealthCheck>,
}

/// What can be asked of the backend: it is given the plan that the kernel should hold. Runs on the backend's thread.
pub(crate) type Question = Box<dyn FnOnce(&mut dyn Backend, &Plan) + Send>;

/// What the backend is to do next.
pub(crate) enum Order {
    /// Make the kernel equal to this plan.
    Program(Programme),
    /// Answer this.
    Ask(Question),
    /// Nothing came in time.
    Idle,
    /// Stop, leaving the kernel as it is.
    Stop,
}

#[derive(Default)]
struct Slot {
    programme: Option<Programme>,
    questions: VecDeque<Question>,
    stopped: bool,
}

/// A slot for one plan.
#[derive(Default)]
pub(crate) struct Mailbox {
    slot: Mutex<Slot>,
    filled: Condvar,
}

impl Mailbox {
    /// Leaves a plan; the triggers of one that it replaces go with it.
    pub fn put(&self, mut programme: Programme) {
        let mut slot = self.lock();
        if let Some(replaced) = slot.programme.take() {
            programme.triggers.extend(replaced.triggers);
        }
        slot.programme = Some(programme);
        self.filled.notify_one();
    }

    /// Leaves a question. It is dropped unanswered if the backend stops.
    pub fn ask(&self, question: Question) {
        self.lock().questions.push_back(question);
        self.filled.notify_one();
    }

    /// Ends every wait, now and later.
    pub fn stop(&self) {
        self.lock().stopped = true;
        self.filled.notify_all();
    }

    /// Waits for a plan (first) or a question, so long at most.
    pub fn take(&self, patience: Duration) -> Order {
        let deadline = Instant::now() + patience;
        let mut slot = self.lock();
        loop {
            if slot.stopped {
                slot.questions.clear();
                return Order::Stop;
            }
            if let Some(programme) = slot.programme.take() {
                return Order::Program(programme);
            }
            if let Some(question) = slot.questions.pop_front() {
                return Order::Ask(question);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Order::Idle;
            }
            slot = self.filled.wait_timeout(slot, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        // A panic elsewhere leaves the slot whole: every change to it is one assignment.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_plan_replaces_an_older_one_and_takes_over_its_triggers() {
        let mailbox = Mailbox::default();
        let programme = || Programme { triggers: vec![(Family::V4, SystemTime::now())], ..Programme::default() };
        mailbox.ask(Box::new(|_, _| {}));
        mailbox.put(programme());
        mailbox.put(programme());
        let Order::Program(taken) = mailbox.take(Duration::ZERO) else { panic!("plans come first") };
        assert_eq!(taken.triggers.len(), 2);
        assert!(matches!(mailbox.take(Duration::ZERO), Order::Ask(_)));
        assert!(matches!(mailbox.take(Duration::ZERO), Order::Idle));
        mailbox.stop();
        assert!(matches!(mailbox.take(Duration::from_secs(60)), Order::Stop));
    }
}
