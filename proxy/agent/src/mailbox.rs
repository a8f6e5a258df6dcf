//! Where the agent leaves the newest plan for the backend's thread: an older one that was not taken is replaced.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use orlop_plan::Plan;

/// What the backend is to do next.
pub(crate) enum Order {
    /// Make the kernel equal to this plan; the times at which the changes in it happened at their origin.
    Program { plan: Plan, triggers: Vec<SystemTime> },
    /// Nothing came in time.
    Idle,
    /// Stop, leaving the kernel as it is.
    Stop,
}

#[derive(Default)]
struct Slot {
    plan: Option<Plan>,
    triggers: Vec<SystemTime>,
    stopped: bool,
}

/// A slot for one plan.
#[derive(Default)]
pub(crate) struct Mailbox {
    slot: Mutex<Slot>,
    filled: Condvar,
}

impl Mailbox {
    /// Leaves a plan.
    pub fn put(&self, plan: Plan, triggers: Vec<SystemTime>) {
        let mut slot = self.lock();
        slot.plan = Some(plan);
        slot.triggers.extend(triggers);
        self.filled.notify_one();
    }

    /// Ends every wait, now and later.
    pub fn stop(&self) {
        self.lock().stopped = true;
        self.filled.notify_all();
    }

    /// Waits for a plan, so long at most.
    pub fn take(&self, patience: Duration) -> Order {
        let deadline = Instant::now() + patience;
        let mut slot = self.lock();
        loop {
            if slot.stopped {
                return Order::Stop;
            }
            if let Some(plan) = slot.plan.take() {
                return Order::Program { plan, triggers: std::mem::take(&mut slot.triggers) };
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
