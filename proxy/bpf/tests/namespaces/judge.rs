//! The ingress program before the judge that judges nftables mode: the same random plans and packets, run without a wire,
//! and the same seeded defects. What processes of the node send is not judged here, nor SCTP, which is nftables' here too.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Instant;

use orlop_bpf::{EbpfBackend, Options};
use orlop_judge::frame::{First, Seen, read};
use orlop_judge::{Case, Coverage, Defect, Judge, Observed, Shot, Way, cases, world};
use orlop_plan::{Backend as _, Family, Outcome, Plan, Protocol, diff, interpret};
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::frame::{Action, Runner};
use crate::world::{Namespace, Node};

const ETHERNET: usize = 14;
/// The ports that the programs give.
const OURS: std::ops::Range<u16> = 1_024..30_000;

struct Bench {
    backend: EbpfBackend,
    uplink: Runner,
    pods: [Runner; 2],
    plan: Plan,
    rounds: usize,
    token: u32,
}

impl Bench {
    /// In the node's namespace.
    fn open(options: Options) -> Self {
        let root: PathBuf = options.bpf_root.clone();
        let backend = EbpfBackend::open(options).expect("open the backend");
        let runner = |device: &str| Runner::open(&root, device);
        let pods = world::POD_DEVICES.map(runner);
        Self { backend, uplink: runner(world::UPLINK), pods, plan: Plan::default(), rounds: 0, token: 0 }
    }

    /// By the difference or by a whole comparison, in turn.
    fn install(&mut self, plan: &Plan) {
        self.rounds += 1;
        match self.rounds % 3 {
            1 => self.backend.resync(plan).expect("resync"),
            _ => self.backend.sync(plan, &diff(&self.plan, plan)).expect("sync"),
        }
        self.plan = plan.clone();
    }

    fn judge(&mut self, case: &Case, coverage: &mut Coverage) -> Result<(), (usize, String)> {
        let mut judge = Judge::default();
        judge.other_ports = OURS;
        for (index, shot) in case.shots.iter().enumerate() {
            let (port, observed) = self.fire(&case.plan, shot);
            let outcome = judge.judge(&case.plan, shot, port, observed).map_err(|reason| (index, reason))?;
            coverage.count(&case.plan, shot, outcome);
        }
        Ok(())
    }

    fn fire(&mut self, plan: &Plan, shot: &Shot) -> (u16, Observed) {
        self.token += 1;
        let source_port = 1024 + (self.token % 60_000) as u16;
        let first = First {
            source: shot.source,
            source_port,
            destination: shot.destination,
            port: shot.port,
            protocol: shot.protocol,
            token: self.token,
        };
        let mut packet = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        packet.extend(if shot.family() == Family::V4 { [0x08, 0x00] } else { [0x86, 0xdd] });
        packet.extend(first.bytes());
        let runner = match shot.way {
            Way::Pod(index) => &self.pods[index],
            _ => &self.uplink,
        };
        let (action, bytes) = runner.run_bytes(&packet);
        let own = plan.node.addresses.contains(&shot.destination);
        let observed = match (action, read(&bytes[ETHERNET..])) {
            (Action::Drop, _) => Observed::Nothing,
            // The stack refuses what is to an address of its own and nobody serves.
            (Action::Pass, _) if own && interpret(plan, &shot.packet()) == Outcome::Reject => Observed::Refused,
            (Action::Pass, _) if own => Observed::Taken,
            (_, Some(Seen::First(out, sound))) => {
                let (source, destination) = ((out.source, out.source_port), (out.destination, out.port));
                Observed::Delivered { source, destination, sound }
            }
            // An ICMP error quotes less than it takes to know the packet by its token.
            _ => Observed::Refused,
        };
        (source_port, observed)
    }
}

/// A node with the devices of the judge's world, and what runs in it.
fn on_a_node(job: impl FnOnce(Bench) + Send + 'static) {
    let (node, outside) = (Node::new(), Namespace::new());
    for device in [world::UPLINK, world::POD_DEVICES[0], world::POD_DEVICES[1]] {
        node.namespace.cable(device, &outside, device);
    }
    for family in [Family::V4, Family::V6] {
        let (length, nodad) = if family == Family::V4 { (24, "") } else { (64, " nodad") };
        for address in world::node(family) {
            node.namespace.ip(&format!("addr add {address}/{length} dev {}{nodad}", world::UPLINK));
        }
        node.namespace.ip(&format!("route add default via {} dev {}", world::remote(family)[2], world::UPLINK));
        for (pod, device) in world::pods(family).iter().zip(world::POD_DEVICES) {
            node.namespace.ip(&format!("route add {pod} dev {device}"));
        }
    }
    let options = node.options();
    node.namespace.run(move || job(Bench::open(options)));
}

/// What this backend is asked to judge: SCTP and the node's own sockets are others'.
fn ours(cases: impl Strategy<Value = Case>) -> impl Strategy<Value = Case> {
    cases.prop_map(|mut case| {
        case.plan.frontends = case.plan.frontends.into_iter().filter(|(f, _)| f.protocol != Protocol::Sctp).collect();
        case.shots.retain(|shot| shot.way != Way::Node && shot.protocol != Protocol::Sctp);
        case
    })
}

fn config(cases: u32) -> Config {
    Config { cases, failure_persistence: None, max_shrink_iters: 0, ..Config::default() }
}

#[test]
fn the_program_does_what_the_specification_says_of_any_services() {
    on_a_node(|bench| {
        let (bench, coverage) = (RefCell::new(bench), RefCell::new(Coverage::default()));
        let (start, failed) = (Instant::now(), RefCell::new(None));
        let result = TestRunner::new(config(80)).run(&ours(cases(12, 700)), |case| {
            let mut bench = bench.borrow_mut();
            bench.install(&case.plan);
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
            let reason = match result {
                Err(TestError::Fail(reason, _)) => reason.to_string(),
                other => format!("{other:?}"),
            };
            panic!("{reason}\nin the smallest case:\n{smallest:?}");
        }
        let coverage = coverage.borrow();
        eprintln!("{} packets judged in {:?}", coverage.judged(), start.elapsed());
        let missing = coverage.missing(&[Family::V4, Family::V6], &[Protocol::Tcp, Protocol::Udp]);
        let missing: Vec<_> = missing.iter().filter(|kind| !kind.starts_with("from the node")).collect();
        assert!(missing.is_empty(), "never judged: {missing:#?}");
    });
}

#[test]
fn every_seeded_defect_is_noticed() {
    on_a_node(|bench| {
        let (bench, mut missed) = (RefCell::new(bench), Vec::new());
        for defect in Defect::ALL {
            let mut runner = TestRunner::new_with_rng(config(60), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
            let verdict = runner.run(&ours(cases(10, 300)), |case| {
                let mut bench = bench.borrow_mut();
                bench.install(&defect.skew(&case.plan));
                let judged = bench.judge(&case, &mut Coverage::default());
                judged.map_err(|(_, reason)| TestCaseError::fail(reason))
            });
            if !matches!(verdict, Err(TestError::Fail(..))) {
                missed.push(defect);
            }
        }
        // The program compares addresses itself: nobody has to tell it which endpoints are here.
        missed.retain(|defect| *defect != Defect::NoHairpin);
        assert!(missed.is_empty(), "not noticed: {missed:?}");
    });
}
