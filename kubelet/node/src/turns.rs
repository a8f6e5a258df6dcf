//! Turns at what loads the whole machine. Fifty pods that start together share the processors, and if all were begun at once none
//! would be ready before the last: so a few are begun at a time, and the others follow.

use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

/// When no turn was given back for so long, who waits begins anyhow: those before may hang, and must not hold up the node.
const PATIENCE: Duration = Duration::from_secs(5);

/// Hands out turns in the order of asking.
#[derive(Debug)]
pub struct Turns {
    free: Semaphore,
    given_back: Mutex<Instant>,
    patience: Duration,
}

impl Turns {
    /// Two turns at a time for each of so many processors: while one waits for the kernel, another computes.
    pub fn for_processors(count: i64) -> Self {
        let turns = usize::try_from(count).unwrap_or(1).max(1).saturating_mul(2);
        Self { free: Semaphore::new(turns), given_back: Mutex::new(Instant::now()), patience: PATIENCE }
    }

    /// Waits for a turn, which lasts until the result is dropped.
    pub async fn take(&self) -> Turn<'_> {
        let began = Instant::now();
        let mut acquire = pin!(self.free.acquire());
        loop {
            let last = (*self.given_back.lock().unwrap_or_else(PoisonError::into_inner)).max(began);
            // The semaphore is never closed: there is a permit, or patience has ended.
            match tokio::time::timeout(self.patience.saturating_sub(last.elapsed()), &mut acquire).await {
                Ok(permit) => return Turn { turns: self, permit: permit.ok() },
                Err(_) if last.elapsed() < self.patience => {}
                Err(_) if self.moved_since(last) => {}
                Err(_) => return Turn { turns: self, permit: None },
            }
        }
    }

    fn moved_since(&self, then: Instant) -> bool {
        *self.given_back.lock().unwrap_or_else(PoisonError::into_inner) > then
    }
}

/// A turn; without a permit when it was taken out of impatience.
#[must_use]
#[derive(Debug)]
pub struct Turn<'a> {
    turns: &'a Turns,
    permit: Option<SemaphorePermit<'a>>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.permit.is_some() {
            *self.turns.given_back.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_turn_is_waited_for_but_not_for_ever() {
        let patience = Duration::from_millis(50);
        let turns = Turns { patience, ..Turns::for_processors(1) };
        let (first, _second) = (turns.take().await, turns.take().await);
        let began = std::time::Instant::now();
        let impatient = turns.take().await;
        assert!(began.elapsed() >= patience, "both turns are taken");
        assert!(impatient.permit.is_none());
        drop(first);
        assert!(turns.take().await.permit.is_some(), "a turn that was given back is taken again");
    }
}
