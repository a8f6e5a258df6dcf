//! How fast Nodes that are not ready lose their pods: one each ten seconds, slower or not at all when many are lost at once, for
//! then the fault is more likely in the network between (`--node-eviction-rate` and its relatives; all Nodes count as one zone).

use std::time::Duration;

use tokio::time::Instant;

use super::taints::Eviction;

const PERIOD: Duration = Duration::from_secs(10);
const SECONDARY_PERIOD: Duration = Duration::from_secs(100);
/// From this share of lost Nodes on, fewer are given up (`--unhealthy-zone-threshold`).
const UNHEALTHY: f64 = 0.55;
/// Clusters up to this size then give up none (`--large-cluster-size-threshold`).
const LARGE: usize = 50;

#[derive(Debug, Default)]
pub(super) struct Rate {
    last: Option<Instant>,
}

impl Rate {
    /// What may be done to one more Node now, given how many are ready and how many are not.
    pub(super) fn take(&mut self, ready: usize, lost: usize, now: Instant) -> Eviction {
        let Some(period) = period(ready, lost) else {
            return if ready == 0 { Eviction::Stop } else { Eviction::Hold };
        };
        if self.last.is_some_and(|last| now.duration_since(last) < period) {
            return Eviction::Hold;
        }
        self.last = Some(now);
        Eviction::Begin
    }
}

fn period(ready: usize, lost: usize) -> Option<Duration> {
    let all = ready + lost;
    match () {
        () if ready == 0 => None,
        () if lost > 2 && lost as f64 >= UNHEALTHY * all as f64 => (all > LARGE).then_some(SECONDARY_PERIOD),
        () => Some(PERIOD),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_node_each_ten_seconds() {
        let (mut rate, now) = (Rate::default(), Instant::now());
        assert_eq!(rate.take(5, 1, now), Eviction::Begin);
        assert_eq!(rate.take(4, 2, now + Duration::from_secs(9)), Eviction::Hold);
        assert_eq!(rate.take(4, 2, now + Duration::from_secs(10)), Eviction::Begin);
    }

    #[test]
    fn when_most_are_lost_none_is_given_up_and_when_all_are_it_is_taken_back() {
        let (mut rate, now) = (Rate::default(), Instant::now());
        assert_eq!(rate.take(2, 3, now), Eviction::Hold);
        assert_eq!(rate.take(0, 1, now), Eviction::Stop);
        assert_eq!(rate.take(40, 60, now), Eviction::Begin, "a large cluster goes on slowly");
        assert_eq!(rate.take(40, 60, now + Duration::from_secs(50)), Eviction::Hold);
    }
}
