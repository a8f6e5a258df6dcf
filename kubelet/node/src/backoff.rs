//! Exponential back-off as client-go's `flowcontrol.Backoff` counts it, for restarts and image pulls. Pure: the clock is given.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

const FIRST: SignedDuration = SignedDuration::from_secs(10);
const LONGEST: SignedDuration = SignedDuration::from_secs(300);

#[derive(Debug, Clone, Copy)]
struct Entry {
    delay: SignedDuration,
    updated: Timestamp,
}

/// Delays by key: 10 s, doubled at each failure up to 5 minutes, forgotten after 10 minutes without one.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    entries: HashMap<String, Entry>,
}

impl Backoff {
    /// While the key's delay since `event` (the last failure) has not passed: when it will have, and how long it is.
    pub fn waiting_until(&self, key: &str, event: Timestamp, now: Timestamp) -> Option<(Timestamp, SignedDuration)> {
        let entry = self.entries.get(key)?;
        if is_forgotten(entry, event) {
            return None;
        }
        let until = event + entry.delay;
        (now < until).then_some((until, entry.delay))
    }

    /// Counts one more attempt: the next failure waits longer.
    pub fn next(&mut self, key: &str, event: Timestamp, now: Timestamp) {
        let delay = match self.entries.get(key) {
            Some(entry) if !is_forgotten(entry, event) => (entry.delay + entry.delay).min(LONGEST),
            _ => FIRST,
        };
        self.entries.insert(key.to_owned(), Entry { delay, updated: now });
    }

    /// Forgets a key after a success.
    pub fn reset(&mut self, key: &str) {
        self.entries.remove(key);
    }
}

fn is_forgotten(entry: &Entry, event: Timestamp) -> bool {
    event.duration_since(entry.updated) > LONGEST + LONGEST
}

/// `10s`, `2m40s`: as Go prints a duration of whole seconds.
pub fn go_duration(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 60, seconds % 60) {
        (0, s) => format!("{s}s"),
        (m, s) => format!("{m}m{s}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn the_first_failure_is_tried_again_at_once_and_the_later_ones_wait_longer_and_longer() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.waiting_until("a", at(0), at(0)), None);
        let mut clock = 0;
        for expected in [10, 20, 40, 80, 160, 300, 300] {
            backoff.next("a", at(clock), at(clock));
            let (until, _) = backoff.waiting_until("a", at(clock), at(clock)).unwrap();
            assert_eq!(until, at(clock + expected));
            assert_eq!(backoff.waiting_until("a", at(clock), until), None);
            clock += expected;
        }
    }

    #[test]
    fn a_container_that_ran_for_more_than_ten_minutes_starts_anew() {
        let mut backoff = Backoff::default();
        backoff.next("a", at(0), at(0));
        backoff.next("a", at(10), at(10));
        assert_eq!(backoff.waiting_until("a", at(700), at(700)), None);
        backoff.next("a", at(700), at(700));
        assert_eq!(backoff.waiting_until("a", at(700), at(701)).unwrap().1, FIRST);
    }

    #[test]
    fn durations_print_as_go_prints_them() {
        assert_eq!(go_duration(SignedDuration::from_secs(10)), "10s");
        assert_eq!(go_duration(SignedDuration::from_secs(160)), "2m40s");
        assert_eq!(go_duration(SignedDuration::from_secs(300)), "5m0s");
    }
}
