//! What a refused client is told to wait before it asks again: longer while many are refused, shorter again when few are
//! (`dropped_requests_tracker.go`).

use std::collections::VecDeque;

const LONGEST: u64 = 32;

/// The refusals of one priority level.
#[derive(Debug)]
pub(super) struct Refusals {
    /// Refusals by second, of the last seconds before the current one.
    history: VecDeque<(u64, u64)>,
    current: (u64, u64),
    wait: u64,
    raised: u64,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { history: VecDeque::new(), current: (0, 0), wait: 1, raised: 0 }
    }
}

impl Refusals {
    /// One more, in this second; how many seconds its client is to wait.
    pub fn count(&mut self, second: u64) -> u64 {
        if self.current.0 == second {
            self.current.1 += 1;
            return self.wait;
        }
        let over = std::mem::replace(&mut self.current, (second, 1));
        self.history.push_back(over);
        let oldest = over.0.saturating_sub((2 * self.wait).min(LONGEST));
        while self.history.front().is_some_and(|(at, _)| *at < oldest) {
            self.history.pop_front();
        }
        self.look_back(second);
        self.wait
    }

    fn look_back(&mut self, second: u64) {
        let since = second.saturating_sub(self.wait);
        let refused: u64 = self.history.iter().filter(|(at, _)| *at >= since).map(|(_, count)| count).sum();
        if refused >= 3 * self.wait && second.saturating_sub(self.raised) >= self.wait {
            self.wait = (2 * self.wait).min(LONGEST);
            self.raised = second;
        } else if refused < self.wait && self.wait > 1 {
            self.wait -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_refusal_asks_for_a_second() {
        let mut refusals = Refusals::default();
        assert_eq!(refusals.count(1000), 1);
        assert_eq!(refusals.count(1000), 1);
        assert_eq!(refusals.count(2000), 1);
    }

    #[test]
    fn many_refusals_ask_for_more_and_it_passes() {
        let mut refusals = Refusals::default();
        for second in 1000..1100 {
            for _ in 0..200 {
                refusals.count(second);
            }
        }
        assert_eq!(refusals.count(1100), LONGEST);
        for second in 0..31 {
            refusals.count(2000 + 100 * second);
        }
        assert_eq!(refusals.count(9000), 1);
    }
}
