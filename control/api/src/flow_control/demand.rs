//! How many seats a priority level could have used since somebody looked last: the input of lending.

use std::time::Duration;

/// What is left of the smoothed demand after one period: its half-life is five minutes of periods of ten seconds.
const KEPT: f64 = 0.977;

/// A number of seats integrated over time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Demand {
    seats: f64,
    most: f64,
    elapsed: f64,
    sum: f64,
    squares: f64,
}

/// What was demanded in one period.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Demanded {
    /// At most.
    pub most: f64,
    /// On average.
    pub average: f64,
    /// Standard deviation.
    pub deviation: f64,
    /// Whether the period had any length.
    pub lasted: bool,
}

impl Demand {
    /// So many seats were demanded all that time.
    pub fn pass(&mut self, time: Duration) {
        let time = time.as_secs_f64();
        self.elapsed += time;
        self.sum += time * self.seats;
        self.squares += time * self.seats * self.seats;
    }

    /// So many are demanded from now on.
    pub fn set(&mut self, seats: f64) {
        self.seats = seats;
        self.most = self.most.max(seats);
    }

    /// What was demanded since this was asked last.
    pub fn take(&mut self) -> Demanded {
        let lasted = self.elapsed > 0.0;
        let average = if lasted { self.sum / self.elapsed } else { 0.0 };
        let variance = if lasted { self.squares / self.elapsed - average * average } else { 0.0 };
        let demanded = Demanded { most: self.most, average, deviation: variance.max(0.0).sqrt(), lasted };
        *self = Self { seats: self.seats, most: self.seats, ..Self::default() };
        demanded
    }
}

impl Demanded {
    /// The smoothed demand after this period: it follows a rise at once, and a fall slowly.
    pub fn smooth(&self, before: f64) -> f64 {
        if !self.lasted {
            return before;
        }
        let envelope = self.average + self.deviation;
        envelope.max(KEPT * before + (1.0 - KEPT) * envelope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_over_time() {
        let mut demand = Demand::default();
        demand.set(4.0);
        demand.pass(Duration::from_secs(1));
        demand.set(0.0);
        demand.pass(Duration::from_secs(1));
        let seen = demand.take();
        assert_eq!((seen.most, seen.average, seen.deviation), (4.0, 2.0, 2.0));
        assert_eq!(demand.take(), Demanded::default());
    }

    #[test]
    fn a_rise_counts_at_once_and_a_fall_slowly() {
        let demanded = |average| Demanded { most: average, average, deviation: 0.0, lasted: true };
        assert!((demanded(10.0).smooth(0.0) - 10.0).abs() < 1e-9);
        let after = (0..30).fold(10.0, |before, _| demanded(0.0).smooth(before));
        assert!((after - 5.0).abs() < 0.1, "{after} after five minutes");
    }
}
