//! Random plans and packets: what the kernel does is what the specification permits.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use orlop_judge::{Case, Coverage, Defect, Judge, Observed, cases};
use orlop_nft::NftBackend;
use orlop_plan::{Backend, Family, Held, Outcome, Plan, Protocol, diff, interpret};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::wire::Wire;

/// A node whose backend is given plans, and whose packets are judged.
struct Bench {
    wire: Wire,
    backend: NftBackend,
    plan: Plan,
    rounds: usize,
}

impl Bench {
    fn new() -> Self {
        let wire = Wire::new();
        let backend = wire.node.run(|| NftBackend::open().unwrap());
        Self { wire, backend, plan: Plan::default(), rounds: 0 }
    }

    /// By the difference, by a whole comparison or by a restart, in turn: all must lead to the same.
    fn install(&mut self, plan: &Plan) {
        self.rounds += 1;
        match self.rounds % 4 {
            0 => self.backend.resync(plan).unwrap(),
            1 => {
                self.backend = self.wire.node.run(|| NftBackend::open().unwrap());
                self.backend.resync(plan).unwrap();
            }
            _ => self.backend.sync(plan, &diff(&self.plan, plan)).unwrap(),
        }
        self.backend.settle();
        self.plan = plan.clone();
    }

    /// What the kernel holds, read back, is what the plan wants.
    fn drift(&mut self, plan: &Plan) -> Result<(), String> {
        for (frontend, target) in &plan.frontends {
            let held = self.backend.held(frontend).map_err(|error| error.to_string())?;
            let drift = Held::drift(held.as_ref(), Some(&**target));
            if !drift.is_empty() {
                return Err(format!("{frontend}: {drift:?}, {held:?}"));
            }
        }
        Ok(())
    }

    fn judge(&mut self, case: &Case, coverage: &mut Coverage) -> Result<(), (usize, String)> {
        let silent: Vec<bool> =
            case.shots.iter().map(|shot| interpret(&case.plan, &shot.packet()) == Outcome::Drop).collect();
        let settled = |index: usize, observed| silent[index] || observed != Observed::Nothing;
        let results = self.wire.fire(&case.shots, settled);
        let mut judge = Judge::default();
        for (index, (shot, (port, observed))) in case.shots.iter().zip(results).enumerate() {
            let outcome = judge.judge(&case.plan, shot, port, observed).map_err(|reason| (index, reason))?;
            coverage.count(&case.plan, shot, outcome);
        }
        Ok(())
    }
}

fn config(cases: u32) -> Config {
    Config { cases, failure_persistence: None, max_shrink_iters: 0, ..Config::default() }
}

#[test]
fn the_kernel_does_what_the_specification_says() {
    let (bench, coverage) = (RefCell::new(Bench::new()), RefCell::new(Coverage::default()));
    let start = Instant::now();
    let failed = RefCell::new(None);
    let result = TestRunner::new(config(80)).run(&cases(10, 400), |case| {
        let mut bench = bench.borrow_mut();
        bench.install(&case.plan);
        bench.drift(&case.plan).map_err(TestCaseError::fail)?;
        bench.judge(&case, &mut coverage.borrow_mut()).map_err(|(index, reason)| {
            failed.replace(Some((case, index)));
            TestCaseError::fail(reason)
        })
    });
    if let Some((case, index)) = failed.take() {
        let smallest = case.smallest(index, |case| {
            let mut bench = bench.borrow_mut();
            bench.install(&case.plan);
            bench.judge(case, &mut Coverage::default()).is_err()
        });
        panic!("{}\nin the smallest case:\n{smallest:?}", result.unwrap_err());
    }
    result.unwrap();
    let coverage = coverage.borrow();
    eprintln!("{} packets judged in {:?}", coverage.judged(), start.elapsed());
    let missing = coverage.missing(&[Family::V4, Family::V6], &[Protocol::Tcp, Protocol::Udp, Protocol::Sctp]);
    assert!(missing.is_empty(), "never judged: {missing:#?}");
    assert!(coverage.judged() >= 10_000, "{}", coverage.judged());
    assert!(start.elapsed() < Duration::from_secs(60));
}

#[test]
fn every_seeded_defect_is_noticed() {
    let bench = RefCell::new(Bench::new());
    let mut missed = Vec::new();
    for defect in Defect::ALL {
        let mut runner = TestRunner::new_with_rng(config(40), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
        let verdict = runner.run(&cases(10, 300), |case| {
            let mut bench = bench.borrow_mut();
            bench.install(&defect.skew(&case.plan));
            let judged = bench.judge(&case, &mut Coverage::default());
            judged.map_err(|(_, reason)| TestCaseError::fail(reason))
        });
        match verdict {
            Err(TestError::Fail(reason, _)) => eprintln!("{defect:?}: {reason}"),
            _ => missed.push(defect),
        }
    }
    assert!(missed.is_empty(), "not noticed: {missed:?}");
}

/// What a foreign hand may break in the kernel, in nft's words without the family.
const BROKEN: [&str; 13] = [
    "flush chain orlop marked",
    "flush chain orlop refuse",
    "flush chain orlop discard",
    "flush chain orlop node-ports",
    "flush chain orlop services",
    "flush chain orlop postrouting",
    "flush set orlop hairpin",
    "flush set orlop members",
    "flush set orlop cluster-ips",
    "flush map orlop frontends",
    "flush map orlop groups",
    "flush map orlop counts",
    "flush map orlop endpoints",
];

#[test]
fn whatever_a_foreign_hand_breaks_is_noticed_and_repaired() {
    let bench = RefCell::new(Bench::new());
    let mut missed = Vec::new();
    for broken in BROKEN {
        let mut runner = TestRunner::new_with_rng(config(40), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
        let verdict = runner.run(&cases(10, 200), |case| {
            let mut bench = bench.borrow_mut();
            // A family without frontends needs no table.
            if ![Family::V4, Family::V6].iter().all(|own| case.plan.frontends.keys().any(|f| f.family() == *own)) {
                return Ok(());
            }
            bench.install(&case.plan);
            bench.wire.node.run(move || {
                let script = ["ip", "ip6"].map(|version| broken.replace("orlop", &format!("{version} orlop")));
                let done = std::process::Command::new("nft").arg(script.join("; ")).status();
                assert!(done.expect("running nft: it must be in PATH").success(), "{script:?}");
            });
            let noticed = bench.judge(&case, &mut Coverage::default());
            bench.backend.resync(&case.plan).unwrap();
            let repaired = bench.judge(&case, &mut Coverage::default());
            assert_eq!(repaired, Ok(()), "after `{broken}` and a resync: {case:?}");
            noticed.map_err(|(_, reason)| TestCaseError::fail(reason))
        });
        match verdict {
            Err(TestError::Fail(..)) => {}
            _ => missed.push(broken),
        }
    }
    assert!(missed.is_empty(), "not noticed: {missed:?}");
}
