//! A token bucket. Pure: the clock is given.

use std::time::{Duration, Instant};

/// So many at once, and so many in a second in the long run.
#[derive(Debug, Clone)]
pub struct Rate {
    burst: f64,
    per_second: f64,
    left: f64,
    since: Option<Instant>,
}

impl Rate {
    pub fn new(burst: f64, per_second: f64) -> Self {
        Self { burst, per_second, left: burst, since: None }
    }

    fn refill(&mut self, now: Instant) {
        if let Some(since) = self.since {
            let passed = now.saturating_duration_since(since).as_secs_f64();
            self.left = (self.left + passed * self.per_second).min(self.burst);
        }
        self.since = Some(now);
    }

    /// How long until one more may be sent.
    pub fn wait(&mut self, now: Instant) -> Duration {
        self.refill(now);
        Duration::from_secs_f64(((1.0 - self.left) / self.per_second).max(0.0))
    }

    /// Counts one that is sent.
    pub fn take(&mut self, now: Instant) {
        self.refill(now);
        self.left -= 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_the_rest_waits() {
        let mut rate = Rate::new(2.0, 4.0);
        let start = Instant::now();
        for _ in 0..2 {
            assert_eq!(rate.wait(start), Duration::ZERO);
            rate.take(start);
        }
        assert_eq!(rate.wait(start), Duration::from_millis(250));
        assert_eq!(rate.wait(start + Duration::from_millis(250)), Duration::ZERO);
    }
}
