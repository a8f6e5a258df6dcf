//! The walk through the table: every cell is asked for by real callers, and judged.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use orlop_chaos::{Exchange, Ground, Kind, Place, Traffic};
use orlop_conformance::eventually;

use crate::case::{Case, cells};
use crate::judge::judge;
use crate::table::{ORIGINS, Row, rows};

const PROGRAM: &str = env!("CARGO_BIN_EXE_orlop-traffic");
/// Tries of a cell: of two servers each answers once, but for one time in 4 million.
const TRIES: usize = 23;
/// Cells that a caller asks for at once: the servers have little machine to share, and time counts.
const AT_ONCE: usize = 24;

/// Where the walk goes.
pub struct World<'a, G> {
    pub ground: &'a G,
    pub mode: &'a str,
    pub kinds: &'a [Kind],
    /// Whether NodePorts of TCP and UDP answer on loopback.
    pub loopback: bool,
    /// By [`ORIGINS`].
    pub places: [Place<'a>; 3],
    /// The callers' own addresses, by [`ORIGINS`]; the node's come first.
    pub own: [BTreeSet<IpAddr>; 3],
    /// What a page of node 1's proxy says.
    pub page: &'a dyn Fn(&str) -> String,
}

/// Serves the port of all Services in a pod.
pub fn serve(ground: &impl Ground, place: Place<'_>, name: &str) -> Traffic {
    Traffic::serve(ground, PROGRAM, place, name, &[crate::case::PORT]).unwrap()
}

/// Calls from a place.
pub fn call(ground: &impl Ground, place: Place<'_>) -> Traffic {
    Traffic::call(ground, PROGRAM, place).unwrap()
}

/// A cell of the table for one address of one Service over one protocol.
struct Cell<'a> {
    key: String,
    kind: Kind,
    to: std::net::SocketAddr,
    expected: &'a str,
}

impl Cell<'_> {
    /// Whether nobody will answer: whoever waits for nothing waits three seconds.
    fn waits(&self) -> bool {
        matches!(self.expected, "dropped" | "failure")
    }

    fn tries(&self) -> usize {
        match self.expected {
            _ if self.waits() => 2,
            "refused" => 3,
            _ => TRIES,
        }
    }

    fn protocol(&self) -> &'static str {
        match self.kind {
            Kind::UdpShort => "UDP",
            Kind::SctpShort => "SCTP",
            _ => "TCP",
        }
    }
}

/// Asks for every cell; the problems found.
pub fn walk<G: Ground>(world: &World<'_, G>, cases: &[Case]) -> Vec<String> {
    let mut callers = world.places.map(|place| call(world.ground, place));
    let last = cases.last().unwrap();
    for (place, kind) in last.places.iter().flat_map(|place| world.kinds.iter().map(move |kind| (place, *kind))) {
        eventually("the last Service to be served", Duration::from_secs(10), || {
            let answers = callers[0].once(kind, place.cluster_ip, 1)?;
            Ok(answers.iter().all(|one| one.answer.is_ok()).then_some(()))
        })
        .unwrap();
    }
    // The other node, and what is behind the last one that can be asked.
    std::thread::sleep(Duration::from_secs(1));

    let (rows, families) = (rows(), last.places.len());
    let (mut count, mut wrong) = (0, Vec::new());
    for family in 0..families {
        let asked = [0, 1, 2].map(|origin| asked(world, &rows, cases, family, origin));
        // All callers at once: most of the time they wait for what is dropped.
        let answers: Vec<Vec<Exchange>> = std::thread::scope(|scope| {
            let ask = |(traffic, cells): (&mut Traffic, &Vec<Cell<'_>>)| {
                let (waiting, served): (Vec<_>, Vec<_>) = cells.iter().partition(|cell| cell.waits());
                let turns = served.chunks(AT_ONCE).chain([&waiting[..]]);
                let ask = |cells: &[&Cell<'_>]| {
                    let cells = cells.iter().map(|cell| (cell.key.as_str(), cell.kind, cell.to, cell.tries()));
                    traffic.ask(cells).unwrap()
                };
                turns.flat_map(ask).collect()
            };
            let threads: Vec<_> = callers.iter_mut().zip(&asked).map(|pair| scope.spawn(move || ask(pair))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for (origin, (cells, answers)) in asked.iter().zip(answers).enumerate() {
            for cell in cells {
                let exchanges: Vec<&Exchange> = answers.iter().filter(|exchange| exchange.flow == cell.key).collect();
                count += 1;
                if let Err(got) = judge(cell.expected, &exchanges, &world.own[origin], &world.own[0]) {
                    let (key, expected, from) = (&cell.key, cell.expected, ORIGINS[origin]);
                    let held = (world.page)(&format!("/explain?to={}/{}&from={from}", cell.to, cell.protocol()));
                    wrong.push(format!("{key} from {from}: expected {expected}, got {got}; node1 says now:\n{held}"));
                }
            }
        }
    }
    println!("{count} cells in {} mode", world.mode);
    if wrong.is_empty() {
        assert_eq!(count, cells() * families * world.kinds.len(), "the table is whole");
    }
    wrong
}

fn asked<'a, G>(world: &World<'_, G>, rows: &'a [Row], cases: &[Case], family: usize, origin: usize) -> Vec<Cell<'a>> {
    let mut cells = Vec::new();
    for row in rows.iter().filter(|row| row.cells[origin] != "-") {
        for (case, kind) in cases.iter().flat_map(|case| world.kinds.iter().map(move |kind| (case, *kind))) {
            let loopback = world.loopback && kind != Kind::SctpShort;
            for (frontend, to) in case.addresses(row, family, loopback) {
                let key = format!("{frontend}/{}/{}/{}", case.name, kind.name(), ["v4", "v6"][family]);
                cells.push(Cell { key, kind, to, expected: row.cells[origin] });
            }
        }
    }
    cells
}
