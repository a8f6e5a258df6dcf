//! What the programs counted, by frontend and endpoint.
//!
//! Sockets' packets pass no program: of those only connections are counted and how long they took. Packets at devices are
//! told to the tallies at the turns of a connection and every few seconds; what a flow of datagrams carried after the last
//! telling before it fell silent is missing.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use orlop_ebpf::{MemberKey, Tally};
use orlop_plan::{Counters, EndpointTally, Latency};

use crate::Error;
use crate::convert;
use crate::maps::Maps;
use crate::table::Table;

type Endpoint = (IpAddr, u16);

/// Reads all of it.
pub fn read(maps: &Maps, table: &Table) -> Result<Counters, Error> {
    let mut totals = HashMap::new();
    let mut members: HashMap<u32, Vec<(Endpoint, Tally)>> = HashMap::new();
    for (key, tally) in maps.members.dump()? {
        if key == MemberKey::total(key.set) {
            totals.insert(key.set, tally);
        } else {
            members.entry(key.set).or_default().push((convert::endpoint(&key.backend), tally));
        }
    }
    let mut counters = Counters::default();
    for (key, sets) in table.sets() {
        let Some(frontend) = convert::frontend(key) else { continue };
        let mut total = Tally::default();
        let mut endpoints: BTreeMap<Endpoint, Tally> = BTreeMap::new();
        for set in sets {
            add(&mut total, totals.get(&set));
            for (endpoint, tally) in members.get(&set).into_iter().flatten() {
                add(endpoints.entry(*endpoint).or_default(), Some(tally));
            }
        }
        counters.frontends.push((frontend, shown(&total)));
        let endpoints = endpoints.into_iter();
        counters.endpoints.extend(endpoints.map(|(endpoint, tally)| EndpointTally {
            frontend,
            endpoint,
            tally: shown(&tally),
        }));
    }
    Ok(counters)
}

fn add(sum: &mut Tally, more: Option<&Tally>) {
    let Some(more) = more else { return };
    sum.connections += more.connections;
    sum.packets += more.packets;
    sum.bytes += more.bytes;
    sum.handshakes += more.handshakes;
    sum.handshake_time += more.handshake_time;
}

fn shown(tally: &Tally) -> orlop_plan::Tally {
    orlop_plan::Tally {
        connections: Some(tally.connections),
        packets: Some(tally.packets),
        bytes: Some(tally.bytes),
        connect_latency: Some(Latency { count: tally.handshakes, nanoseconds: tally.handshake_time }),
    }
}
