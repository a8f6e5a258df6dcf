//! When each Node was last heard of, by this process's own clock: what counts is that its Lease or its status changed, not what
//! time it wrote there (clocks of machines differ).

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug)]
struct Heard {
    lease: Option<String>,
    status: Option<String>,
    at: Instant,
}

/// The last signs of life.
#[derive(Debug, Default)]
pub(super) struct Health {
    heard: HashMap<String, Heard>,
    looked: Option<Instant>,
}

impl Health {
    /// The Node's Lease was renewed at `renewed`.
    pub(super) fn lease(&mut self, node: &str, renewed: Option<String>, now: Instant) {
        let heard = self.heard(node, now);
        if renewed.is_some() && heard.lease != renewed {
            heard.lease = renewed;
            heard.at = now;
        }
    }

    /// The Node's Ready condition has this heartbeat.
    pub(super) fn status(&mut self, node: &str, heartbeat: Option<String>, now: Instant) {
        let heard = self.heard(node, now);
        if heard.status != heartbeat {
            heard.status = heartbeat;
            heard.at = now;
        }
    }

    pub(super) fn forget(&mut self, node: &str) {
        self.heard.remove(node);
    }

    /// To be called at each look. If this process itself was away for long (suspended, starved), nobody could be heard: silence
    /// is counted anew.
    pub(super) fn look(&mut self, period: Duration, grace: Duration, now: Instant) {
        let away = self.looked.is_some_and(|last| now.duration_since(last) > period + grace / 2);
        if away {
            for heard in self.heard.values_mut() {
                heard.at = now;
            }
        }
        self.looked = Some(now);
    }

    /// For how long nothing was heard of a Node; one that was never heard of counts from its first look.
    pub(super) fn silence(&mut self, node: &str, now: Instant) -> Duration {
        now.duration_since(self.heard(node, now).at)
    }

    fn heard(&mut self, node: &str, now: Instant) -> &mut Heard {
        self.heard.entry(node.to_owned()).or_insert(Heard { lease: None, status: None, at: now })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_renewed_lease_or_a_new_heartbeat_breaks_the_silence_and_a_repeated_one_does_not() {
        let (mut health, start) = (Health::default(), Instant::now());
        health.lease("n", Some("1".into()), start);
        health.lease("n", Some("1".into()), start + seconds(5));
        assert_eq!(health.silence("n", start + seconds(9)), seconds(9));
        health.lease("n", Some("2".into()), start + seconds(10));
        health.status("n", Some("1".into()), start + seconds(12));
        assert_eq!(health.silence("n", start + seconds(15)), seconds(3));
    }

    #[test]
    fn who_was_away_himself_does_not_blame_the_nodes() {
        let (mut health, start) = (Health::default(), Instant::now());
        health.lease("n", Some("1".into()), start);
        health.look(seconds(5), seconds(50), start);
        health.look(seconds(5), seconds(50), start + seconds(5));
        assert_eq!(health.silence("n", start + seconds(5)), seconds(5));
        health.look(seconds(5), seconds(50), start + seconds(100));
        assert_eq!(health.silence("n", start + seconds(100)), seconds(0));
    }
}
