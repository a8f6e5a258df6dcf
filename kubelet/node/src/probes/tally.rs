//! Successes and failures in a row against a probe's thresholds. Pure.

/// What a probe's last answers amount to.
#[derive(Debug, Clone, Copy)]
pub struct Tally {
    success_threshold: i32,
    failure_threshold: i32,
    last: bool,
    in_a_row: i32,
}

impl Tally {
    /// Thresholds as in the probe's spec; 1 and 3 by default.
    pub fn new(success_threshold: Option<i32>, failure_threshold: Option<i32>) -> Self {
        Self {
            success_threshold: success_threshold.unwrap_or(1).max(1),
            failure_threshold: failure_threshold.unwrap_or(3).max(1),
            last: false,
            in_a_row: 0,
        }
    }

    /// Counts one answer. The verdict, once there are enough of the same in a row.
    pub fn count(&mut self, success: bool) -> Option<bool> {
        if success == self.last {
            self.in_a_row = self.in_a_row.saturating_add(1);
        } else {
            (self.last, self.in_a_row) = (success, 1);
        }
        let threshold = if success { self.success_threshold } else { self.failure_threshold };
        (self.in_a_row >= threshold).then_some(success)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_in_a_row_change_the_verdict() {
        let mut tally = Tally::new(Some(2), Some(3));
        let verdicts: Vec<_> = [false, false, true, true, false, false, false].map(|answer| tally.count(answer)).into();
        assert_eq!(verdicts, [None, None, None, Some(true), None, None, Some(false)]);
    }

    #[test]
    fn the_first_success_is_enough_by_default() {
        assert_eq!(Tally::new(None, None).count(true), Some(true));
        assert_eq!(Tally::new(None, None).count(false), None);
    }
}
