//! Flows to a frontend, as connection tracking knows them.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use orlop_plan::{Family, Flow, FlowFilter, Flows, Protocol, Volume};

use crate::Error;
use crate::attr::{Attributes, Put};
use crate::conntrack::{self, Tuple, field, put_tuple, tuple};
use crate::netlink::{Netlink, flags, message};
use crate::table::family_number;

const TIMEOUT: u16 = 7;
const SENT: u16 = 9;
const RECEIVED: u16 = 10;
const TIMESTAMP: u16 = 20;
/// `IPS_ASSURED`
const ASSURED: u32 = 1 << 2;

/// Switches without which conntrack does not keep something, and what that is.
const SWITCHES: [(&str, &str); 2] = [
    ("nf_conntrack_acct", "packets and bytes are not counted"),
    ("nf_conntrack_timestamp", "when a flow began is not kept"),
];

/// The wanted flows whose destination is translated.
pub(crate) fn read(netlink: &mut Netlink, wanted: &FlowFilter) -> Result<Flows, Error> {
    let mut request = Vec::new();
    let number = family_number(wanted.family());
    message(&mut request, conntrack::DUMP, flags::DUMP, number, 0, |out| put_filter(out, wanted));
    let now = SystemTime::now();
    let mut found = Vec::new();
    netlink.dump("conntrack entries", &request, || {}, |entry| found.extend(flow(entry, wanted, now)))?;
    // An interrupted listing begins anew, and tells of some twice.
    let mut flows = Flows::default();
    found.sort_unstable_by_key(|flow| (flow.client, flow.service));
    found.dedup_by_key(|flow| (flow.client, flow.service));
    found.into_iter().for_each(|flow| flows.push(flow, wanted));
    for (name, lost) in SWITCHES.into_iter().filter(|_| flows.total > 0) {
        let path = format!("/proc/sys/net/netfilter/{name}");
        if fs::read_to_string(path).is_ok_and(|text| text.trim() == "0") {
            flows.notes.push(format!("net.netfilter.{name} is 0: {lost}"));
        }
    }
    Ok(flows)
}

/// What the kernel need not tell of; what it does not filter by is looked at here.
fn put_filter(out: &mut Vec<u8>, wanted: &FlowFilter) {
    let mut fields = field::PROTOCOL | field::DESTINATION_PORT;
    // See `Scope::put`.
    let by_address = |ip: IpAddr| Some(ip).filter(|_| wanted.family() == Family::V4);
    let destination = wanted.address().and_then(by_address);
    let source = wanted.client.and_then(|client| by_address(client.ip()));
    let port = wanted.client.map(|client| client.port());
    for (present, field) in [
        (destination.is_some(), field::DESTINATION),
        (source.is_some(), field::SOURCE),
        (port.is_some(), field::SOURCE_PORT),
    ] {
        fields |= if present { field } else { 0 };
    }
    out.nest(conntrack::TUPLE_ORIGINAL, |o| {
        put_tuple(o, source, destination, wanted.protocol, port, Some(wanted.service.port()));
    });
    out.nest(conntrack::FILTER, |o| o.put(1, &fields.to_ne_bytes()));
}

fn flow(entry: Attributes<'_>, wanted: &FlowFilter, now: SystemTime) -> Option<Flow> {
    let original = tuple(entry.nested(conntrack::TUPLE_ORIGINAL))?;
    let reply = tuple(entry.nested(conntrack::TUPLE_REPLY))?;
    let status = entry.u32(conntrack::STATUS).unwrap_or(0);
    let Tuple { source, source_port, destination, destination_port, protocol } = original;
    let (client, service) = (SocketAddr::new(source, source_port), SocketAddr::new(destination, destination_port));
    let ours = status & conntrack::DESTINATION_TRANSLATED != 0
        && protocol == wanted.protocol.number()
        && wanted.admits_service(service)
        && wanted.admits_client(client);
    if !ours {
        return None;
    }
    let seen_as = SocketAddr::new(reply.destination, reply.destination_port);
    let volume = |kind| {
        let counters = entry.nested(kind);
        Some(Volume { packets: u64_of(counters, 1)?, bytes: u64_of(counters, 2)? })
    };
    let begun = u64_of(entry.nested(TIMESTAMP), 1).filter(|start| *start != 0).map(Duration::from_nanos);
    Some(Flow {
        protocol: wanted.protocol,
        client,
        service,
        endpoint: SocketAddr::new(reply.source, reply.source_port),
        source: (seen_as != client).then_some(seen_as),
        state: state(wanted.protocol, status, entry),
        begun: begun.and_then(|start| now.duration_since(SystemTime::UNIX_EPOCH + start).ok()),
        last: None,
        kept: entry.u32(TIMEOUT).map(|seconds| Duration::from_secs(seconds.into())),
        there: volume(SENT),
        back: volume(RECEIVED),
        place: "connection tracking".into(),
    })
}

fn u64_of(attributes: Attributes<'_>, kind: u16) -> Option<u64> {
    Some(u64::from_be_bytes(attributes.get(kind)?.try_into().ok()?))
}

/// conntrack's own words.
fn state(protocol: Protocol, status: u32, entry: Attributes<'_>) -> String {
    const TCP: [&str; 10] = [
        "NONE",
        "SYN_SENT",
        "SYN_RECV",
        "ESTABLISHED",
        "FIN_WAIT",
        "CLOSE_WAIT",
        "LAST_ACK",
        "TIME_WAIT",
        "CLOSE",
        "SYN_SENT2",
    ];
    let tcp = conntrack::tcp_state(entry).filter(|_| protocol == Protocol::Tcp);
    if let Some(name) = tcp.and_then(|state| TCP.get(usize::from(state))) {
        return (*name).into();
    }
    let answered = if status & conntrack::ANSWERED == 0 { "UNREPLIED" } else { "REPLIED" };
    if status & ASSURED == 0 { answered.into() } else { format!("{answered}, ASSURED") }
}
