use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// One card for each flow: tests say themselves who shares a queue.
fn queued(queues: usize, length: usize, limit: u32) -> (Queues<u64>, Instant) {
    let now = Instant::now();
    let mut set = Queues::new(Discipline::Queue(Shape { queues, hand: 1, length }), now);
    set.set_limit(limit, now);
    (set, now)
}

fn started(entered: Entered) -> Started {
    match entered {
        Entered::Started(started) => started,
        other => panic!("{other:?}"),
    }
}

fn waiting(entered: Entered) -> Ticket {
    match entered {
        Entered::Waiting(ticket, _) => ticket,
        other => panic!("{other:?}"),
    }
}

#[test]
fn seats_then_a_queue_then_a_refusal() {
    let (mut set, now) = queued(1, 1, 1);
    let first = started(set.enter(1, 0, now, || 1));
    waiting(set.enter(1, 0, now, || 2));
    assert!(matches!(set.enter(1, 0, now, || 3), Entered::Refused("queue-full")));
    assert!(set.next(now).is_none());
    set.finish(&first, now);
    let (second, woken) = set.next(now).unwrap();
    assert_eq!(woken, 2);
    set.finish(&second, now);
    assert!(set.next(now).is_none() && set.is_idle());
    assert_eq!((set.busy, set.occupied(), set.requests()), (0, 0, (0, 0)));
    assert_eq!(set.tally(), Tally { dispatched: 2, rejected: 1, cancelled: 0 });
}

#[test]
fn who_goes_away_makes_room_in_the_queue() {
    let (mut set, now) = queued(1, 1, 1);
    let first = started(set.enter(1, 0, now, || 1));
    let ticket = waiting(set.enter(1, 0, now, || 2));
    assert!(set.leave(&ticket, now));
    assert!(!set.leave(&ticket, now), "only once");
    let other = waiting(set.enter(1, 0, now, || 3));
    set.finish(&first, now);
    assert_eq!(set.next(now).map(|(_, woken)| woken), Some(3));
    assert!(!set.leave(&other, now), "it has begun");
}

#[test]
fn without_queues_what_has_no_seat_is_refused() {
    let now = Instant::now();
    let mut set: Queues<()> = Queues::new(Discipline::Reject, now);
    set.set_limit(2, now);
    let _first = started(set.enter(1, 0, now, || ()));
    assert!(matches!(set.enter(2, 0, now, || ()), Entered::Refused("concurrency-limit")));
    let second = started(set.enter(1, 0, now, || ()));
    set.finish(&second, now);
    started(set.enter(1, 0, now, || ()));
}

#[test]
fn the_exempt_never_wait() {
    let now = Instant::now();
    let mut set: Queues<()> = Queues::new(Discipline::Exempt, now);
    let all: Vec<Started> = (0..100).map(|_| started(set.enter(1, 0, now, || ()))).collect();
    assert_eq!(set.requests(), (0, 100));
    all.iter().for_each(|started| set.finish(started, now));
    assert!(set.is_idle());
}

#[test]
fn a_request_wider_than_the_level_begins_alone() {
    let (mut set, now) = queued(2, 10, 4);
    let first = started(set.enter(1, 0, now, || 0));
    waiting(set.enter(10, 1, now, || 1));
    assert!(set.next(now).is_none());
    set.finish(&first, now);
    let (wide, woken) = set.next(now).unwrap();
    assert_eq!((woken, wide.width()), (1, 10));
    waiting(set.enter(1, 0, now, || 2));
    assert!(set.next(now).is_none());
    set.finish(&wide, now);
    assert_eq!(set.next(now).unwrap().1, 2);
}

#[test]
fn a_quiet_flow_goes_before_the_backlog_of_a_noisy_one() {
    let (mut set, mut now) = queued(2, 1000, 1);
    let mut running = started(set.enter(1, 0, now, || 0));
    for _ in 0..100 {
        waiting(set.enter(1, 0, now, || 0));
    }
    let mut all = 0;
    for turn in 0..20 {
        now += Duration::from_millis(10);
        let quiet = waiting(set.enter(1, 1, now, || 1));
        set.finish(&running, now);
        let mut woken;
        let mut before = 0;
        loop {
            (running, woken) = set.next(now).unwrap();
            if woken == 1 {
                break;
            }
            before += 1;
            now += Duration::from_millis(10);
            set.finish(&running, now);
        }
        all += before;
        assert!(before <= 2, "{before} of the noisy flow went first in turn {turn}");
        assert!(!set.leave(&quiet, now));
    }
    assert!(all <= 30, "{all} of the noisy flow for 20 of the quiet one");
}

#[test]
fn fewer_queues_empty_before_they_go() {
    let (mut set, now) = queued(4, 10, 1);
    let first = started(set.enter(1, 3, now, || 0));
    let ticket = waiting(set.enter(1, 3, now, || 1));
    set.set_discipline(Discipline::Queue(Shape { queues: 2, hand: 1, length: 10 }));
    assert_eq!(set.queues.len(), 4);
    waiting(set.enter(1, 3, now, || 2));
    assert!(set.leave(&ticket, now));
    set.finish(&first, now);
    assert_eq!(set.queues.len(), 2);
    assert_eq!(set.next(now).unwrap().1, 2);
    // And when there are to be none.
    let ticket = waiting(set.enter(1, 0, now, || 3));
    set.set_discipline(Discipline::Reject);
    assert!(!set.queues.is_empty());
    assert!(set.leave(&ticket, now));
}

#[test]
fn more_seats_begin_more() {
    let (mut set, now) = queued(1, 10, 0);
    for flow in 0..3 {
        waiting(set.enter(1, 0, now, || flow));
    }
    assert!(set.next(now).is_none());
    set.set_limit(2, now);
    assert!(set.next(now).is_some() && set.next(now).is_some() && set.next(now).is_none());
}

#[test]
fn demand_counts_those_that_wait() {
    let (mut set, now) = queued(1, 10, 1);
    let first = started(set.enter(1, 0, now, || 0));
    let ticket = waiting(set.enter(3, 0, now, || 1));
    let later = now + Duration::from_secs(1);
    assert!(set.leave(&ticket, later));
    set.finish(&first, later);
    let demanded = set.demanded(later + Duration::from_secs(1));
    assert_eq!((demanded.most, demanded.average), (4.0, 2.0));
}

#[derive(Debug, Clone)]
enum Event {
    Enter { width: u32, flow: u64 },
    Finish(usize),
    Leave(usize),
    Limit(u32),
    Queues(usize),
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (1_u32..6, any::<u64>()).prop_map(|(width, flow)| Event::Enter { width, flow }),
        5 => any::<usize>().prop_map(Event::Finish),
        2 => any::<usize>().prop_map(Event::Leave),
        1 => (0_u32..8).prop_map(Event::Limit),
        1 => (0_usize..9).prop_map(Event::Queues),
        3 => (0_u64..20_000).prop_map(Event::Pass),
    ]
}

/// What a test knows of the requests of a level by itself.
#[derive(Default)]
struct Model {
    waiting: BTreeMap<u64, (Ticket, u32)>,
    running: Vec<Started>,
    limit: u32,
}

impl Model {
    fn seats(&self) -> u32 {
        self.running.iter().map(Started::width).sum()
    }

    fn begin(&mut self, started: Started) {
        let seats = self.seats() + started.width();
        assert!(seats <= self.limit || self.running.is_empty(), "{seats} seats of {}", self.limit);
        self.running.push(started);
    }

    fn settle(&mut self, set: &mut Queues<u64>, now: Instant) {
        while let Some((started, woken)) = set.next(now) {
            let (_, width) = self.waiting.remove(&woken).expect("nobody begins twice");
            assert_eq!(width, started.width());
            self.begin(started);
        }
        // Nobody waits for a seat that is free for all that wait.
        let narrow = self.waiting.values().all(|(_, width)| self.seats() + width <= self.limit);
        assert!(self.waiting.is_empty() || self.limit == 0 || !narrow);
        assert_eq!(set.requests(), (self.waiting.len() as u32, self.running.len() as u32));
    }
}

proptest! {
    #[test]
    fn no_seat_is_taken_twice_and_nobody_is_forgotten(events in proptest::collection::vec(event(), 1..200)) {
        let now = Instant::now();
        let mut shape = Shape { queues: 8, hand: 3, length: 4 };
        let mut set = Queues::new(Discipline::Queue(shape), now);
        let (mut model, mut now, mut number) = (Model::default(), now, 0);
        for event in events {
            match event {
                Event::Enter { width, flow } => {
                    number += 1;
                    match set.enter(width, flow, now, || number) {
                        Entered::Started(started) => model.begin(started),
                        Entered::Waiting(ticket, _) => {
                            model.waiting.insert(number, (ticket, width));
                        }
                        Entered::Refused(_) => prop_assert!(model.seats() + width > model.limit || model.seats() >= model.limit),
                    }
                }
                Event::Finish(which) if !model.running.is_empty() => {
                    let over = model.running.swap_remove(which % model.running.len());
                    set.finish(&over, now);
                }
                Event::Leave(which) if !model.waiting.is_empty() => {
                    let number = *model.waiting.keys().nth(which % model.waiting.len()).unwrap();
                    let (ticket, _) = model.waiting.remove(&number).unwrap();
                    prop_assert!(set.leave(&ticket, now));
                }
                Event::Limit(limit) => {
                    model.limit = limit;
                    set.set_limit(limit, now);
                }
                Event::Queues(0) => set.set_discipline(Discipline::Reject),
                Event::Queues(queues) => {
                    shape = Shape { queues, hand: shape.hand.min(queues), ..shape };
                    set.set_discipline(Discipline::Queue(shape));
                }
                Event::Pass(micros) => now += Duration::from_micros(micros),
                Event::Finish(_) | Event::Leave(_) => {}
            }
            model.settle(&mut set, now);
        }
        model.limit = 3;
        set.set_limit(3, now);
        loop {
            model.settle(&mut set, now);
            let Some(over) = model.running.pop() else { break };
            set.finish(&over, now);
        }
        prop_assert!(set.is_idle() && model.waiting.is_empty());
        prop_assert_eq!((set.busy, set.seats, set.seats_waiting), (0, 0, 0));
    }

    /// Flows that always have something waiting get the same number of seat-seconds, however many and however long requests each has.
    #[test]
    fn backlogged_flows_are_served_equally(
        limit in 2_u32..6,
        flows in proptest::collection::vec((1_u64..30, 1_usize..60), 2..5),
    ) {
        let (mut set, mut now) = queued(flows.len(), 1000, 0);
        for (flow, (_, backlog)) in flows.iter().enumerate() {
            // As many as could run at once wait besides.
            for _ in 0..backlog + limit as usize {
                waiting(set.enter(1, flow as u64, now, || flow as u64));
            }
        }
        set.set_limit(limit, now);
        let mut served = vec![0.0; flows.len()];
        let mut running: BTreeMap<(Instant, u64), (usize, Started)> = BTreeMap::new();
        let (mut number, end) = (0, now + Duration::from_secs(5));
        while now < end {
            while let Some((started, flow)) = set.next(now) {
                number += 1;
                let (millis, _) = flows[flow as usize];
                running.insert((now + Duration::from_millis(millis), number), (flow as usize, started));
                waiting(set.enter(1, flow, now, || flow));
            }
            prop_assert_eq!(running.len(), limit as usize);
            let ((over, _), (flow, started)) = running.pop_first().unwrap();
            now = over;
            set.finish(&started, now);
            served[flow] += flows[flow].0 as f64 / 1000.0;
        }
        let (least, most) = served.iter().fold((f64::MAX, 0.0_f64), |(least, most), &s| (least.min(s), most.max(s)));
        prop_assert!(most - least < 0.05 * most + 0.2, "{served:?}");
    }
}
