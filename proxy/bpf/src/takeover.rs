//! Flows that nftables translates go on with the endpoints they have.
//!
//! Before the programs are attached for the first time, what connection tracking knows becomes entries of theirs: UDP
//! flows, and TCP connections that are being made. Established TCP connections need none: their packets miss, and go on to
//! connection tracking. An unconnected UDP socket would be given an endpoint by its next `sendmsg`; it is given the one its
//! flow has. Sockets that are connected to a Service's own address stay with connection tracking.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::Path;

use orlop_ebpf::{Address, Backend, Flow, FlowKey, Peer, Talk, TalkKey, UDP, flow_flags};

use crate::conntrack::{self, Tracked};
use crate::convert::address;
use crate::map::Map;
use crate::netns::{inside, namespaces};
use crate::sock_diag::SockDiag;
use crate::table::Table;
use crate::{Error, sys};

/// How long the programs remember a flow after its last packet, in seconds: a UDP flow that was answered,
const ANSWERED: u32 = 120;
/// one that was not,
const UNANSWERED: u32 = 30;
/// and a TCP connection that is being made.
const HALF_OPEN: u32 = 120;
const SECOND: u64 = 1_000_000_000;

/// Enters every flow whose Service still has the endpoint, and gives how many.
pub fn import(pins: &Path, cgroup_root: &Path, table: &Table, ours: &HashSet<Address>) -> Result<usize, Error> {
    let tracked = conntrack::translated().map_err(Error::Netlink)?;
    let wanted = tracked.iter().filter(|flow| flow.half_open || flow.client.protocol == u32::from(UDP));
    let served: Vec<(Tracked, u32)> =
        wanted.filter_map(|flow| Some((*flow, table.set_of(&flow.client, &endpoint(flow))?))).collect();
    let devices: Vec<_> = served.iter().filter_map(|(flow, set)| entries(flow, *set, ours)).flatten().collect();
    for (name, answered) in [("FLOWS", true), ("HALF_OPEN", false)] {
        let map = Map::<FlowKey, Flow>::open(pins, name)?;
        let part = devices.iter().filter(|(_, flow)| (flow.flags & flow_flags::ANSWERED != 0) == answered);
        map.update(&part.copied().collect::<Vec<_>>())?;
    }
    let talks = Map::<TalkKey, Talk>::open(pins, "OTHER_TALKS")?;
    let flows = Map::<FlowKey, Flow>::open(pins, "FLOWS")?.dump()?;
    let known = flows.iter().filter_map(own);
    let all: Vec<(Tracked, u32)> = served.iter().copied().chain(known).collect();
    let udp: HashMap<_, _> = all
        .iter()
        .filter(|(flow, _)| flow.client.protocol == u32::from(UDP))
        .map(|(flow, set)| ((flow.client.source, flow.client.source_port), (flow, *set)))
        .fold(HashMap::new(), |mut all: HashMap<_, Vec<_>>, (from, flow)| {
            all.entry(from).or_default().push(flow);
            all
        });
    if !udp.is_empty() {
        for (_, namespace) in namespaces(cgroup_root) {
            match senders(&namespace, &udp) {
                Ok(senders) => talks.update(&senders)?,
                Err(error) => tracing::warn!(%error, "UDP sockets of a network namespace may change their endpoints"),
            }
        }
    }
    Ok(served.len())
}

/// A flow that the programs at the devices went on with, under a backend that has none of its own for it: connection
/// tracking has forgotten it since. With the set that it is from.
fn own((client, flow): &(FlowKey, Flow)) -> Option<(Tracked, u32)> {
    let living = !flow.is_reply() && !flow.is_expired(sys::now());
    let answered = flow.flags & flow_flags::ANSWERED != 0;
    let tracked =
        Tracked { client: *client, endpoint: flow.becomes.answer(), answered, half_open: false, remaining: 0 };
    living.then_some((tracked, flow.set))
}

/// The endpoint, as whom the answers come.
fn endpoint(flow: &Tracked) -> Backend {
    Backend { address: flow.endpoint.source, port: flow.endpoint.source_port, zero: 0 }
}

/// Both entries of a flow that arrives at a device and leaves by one. What begins or ends on this node passes the stack:
/// it can stay with connection tracking where the client is the node, and is begun anew where the endpoint is.
fn entries(flow: &Tracked, set: u32, ours: &HashSet<Address>) -> Option<[(FlowKey, Flow); 2]> {
    if ours.contains(&flow.client.source) || ours.contains(&flow.endpoint.source) {
        return None;
    }
    let becomes = flow.endpoint.answer();
    let (mut flags, lasts) = match (flow.half_open, flow.answered) {
        // It may yet be made and end where connection tracking alone sees it: nothing that lasts.
        (true, _) => (0, HALF_OPEN),
        (false, true) => (flow_flags::ANSWERED, ANSWERED),
        (false, false) => (0, UNANSWERED),
    };
    // Forgotten when connection tracking forgets it, and may give its source port to another flow.
    let silent = u64::from(lasts.saturating_sub(flow.remaining)) * SECOND;
    if becomes.source != flow.client.source {
        flags |= flow_flags::MASQUERADED;
    }
    let client = Flow {
        becomes,
        set,
        flags,
        device: 0,
        mtu: 0,
        next_hop: becomes.destination,
        seen: sys::now().saturating_sub(silent),
        // The first packet asks for the way.
        routed: 0,
        // When it began is not known; it is at least as old as this.
        opened: sys::now(),
        packets: 0,
        bytes: 0,
        told_packets: 0,
        told_bytes: 0,
    };
    let answer = Flow { becomes: flow.client.answer(), flags: flags | flow_flags::REPLY, ..client };
    Some([(flow.client, client), (flow.endpoint, answer)])
}

/// What the unconnected sockets of a namespace say to Services.
fn senders(
    namespace: &File,
    flows: &HashMap<(Address, u16), Vec<(&Tracked, u32)>>,
) -> io::Result<Vec<(TalkKey, Talk)>> {
    inside(namespace, || {
        let own: Vec<Address> = nix::ifaddrs::getifaddrs()?
            .filter_map(|interface| {
                let found = interface.address?;
                let v4 = found.as_sockaddr_in().map(|a| address(a.ip().into()));
                v4.or_else(|| found.as_sockaddr_in6().map(|a| address(a.ip().into())))
            })
            .collect();
        let now = sys::exact_now();
        let mut talks = Vec::new();
        for socket in SockDiag::open()?.unconnected_udp()? {
            let bound = (!socket.from.address.is_any()).then_some(socket.from.address);
            let sources = own.iter().filter(|own| bound.is_none_or(|bound| bound == **own));
            for (flow, set) in sources.filter_map(|source| flows.get(&(*source, socket.from.port))).flatten() {
                let peer = Peer { address: flow.client.destination, port: flow.client.destination_port, zero: 0 };
                let key = TalkKey { cookie: socket.cookie, peer, zero: 0 };
                talks.push((key, Talk { seen: now, peer, backend: endpoint(flow), set: *set, zero: 0 }));
            }
        }
        Ok(talks)
    })
}
