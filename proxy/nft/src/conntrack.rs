//! Conntrack entries of flows that lead where no endpoint is any more.
//!
//! A UDP flow has no end of its own: as long as its client keeps sending, its entry keeps translating to the endpoint it
//! was given. Entries of a Service whose endpoint is not permitted (any more), or that were made while there was none, are
//! deleted; the next datagram is balanced anew. Likewise a TCP connection that was never answered: its entry lives for two
//! minutes, and would send its next SYN, or that of another connection from the same port, to the endpoint that has gone.
//! Entries to permitted endpoints and established connections are never touched.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use orlop_plan::{Family, Frontend, FrontendAddress, Plan, Protocol, Target};

use crate::Error;
use crate::attr::{Attributes, Put};
use crate::netlink::{Netlink, flags, message};
use crate::table::family_number;

/// NFNL_SUBSYS_CTNETLINK, shifted.
const CTNETLINK: u16 = 1 << 8;
const CT_GET: u16 = 1;
const CT_DELETE: u16 = 2;
/// Asks for entries.
pub(crate) const DUMP: u16 = CTNETLINK | CT_GET;
pub(crate) const TUPLE_ORIGINAL: u16 = 1;
pub(crate) const TUPLE_REPLY: u16 = 2;
pub(crate) const STATUS: u16 = 3;
const PROTOCOL_INFO: u16 = 4;
const ID: u16 = 12;
const ZONE: u16 = 18;
pub(crate) const FILTER: u16 = 25;
const STATUS_MASK: u16 = 26;
/// `IPS_SEEN_REPLY`
pub(crate) const ANSWERED: u32 = 1 << 1;
/// `TCP_CONNTRACK_SYN_SENT`
const SYN_SENT: u8 = 1;
/// `IPS_DST_NAT`
pub(crate) const DESTINATION_TRANSLATED: u32 = 1 << 5;

/// One direction of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tuple {
    pub source: IpAddr,
    pub source_port: u16,
    pub destination: IpAddr,
    pub destination_port: u16,
    pub protocol: u8,
}

/// A flow as conntrack knows it.
pub(crate) struct Flow {
    original: Tuple,
    reply: Tuple,
    translated: bool,
    answered: bool,
    /// Whether it has an end that conntrack will see: an answered TCP connection.
    settled: bool,
    /// The attributes that name it in a deletion.
    pub name: Vec<u8>,
}

impl Flow {
    /// Whether it is a TCP connection, of those that nobody has answered.
    fn is_connecting(&self) -> bool {
        self.original.protocol == Protocol::Tcp.number()
    }

    /// How long an answer may be on its way after the flow was first seen. None is to what was sent to a Service's address itself,
    /// where nobody is. A connection has until just before its next SYN; datagrams that go on shall not go to nobody for long.
    pub fn patience(&self) -> Duration {
        match (self.translated && !self.answered, self.is_connecting()) {
            (false, _) => Duration::ZERO,
            (true, true) => Duration::from_millis(900),
            (true, false) => Duration::from_millis(200),
        }
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(<[u8; 4]>::try_from(bytes).ok()?.into()),
        16 => Some(<[u8; 16]>::try_from(bytes).ok()?.into()),
        _ => None,
    }
}

pub(crate) fn tuple(attributes: Attributes<'_>) -> Option<Tuple> {
    let (ip, proto) = (attributes.nested(1), attributes.nested(2));
    let port = |kind| Some(u16::from_be_bytes(proto.get(kind)?.try_into().ok()?));
    Some(Tuple {
        source: address(ip.get(1).or_else(|| ip.get(3))?)?,
        destination: address(ip.get(2).or_else(|| ip.get(4))?)?,
        protocol: *proto.get(1)?.first()?,
        source_port: port(2)?,
        destination_port: port(3)?,
    })
}

/// A flow, as yet without a name: few need one.
fn flow(attributes: Attributes<'_>) -> Option<Flow> {
    let original = tuple(attributes.nested(TUPLE_ORIGINAL))?;
    let status = attributes.u32(STATUS).unwrap_or(0);
    Some(Flow {
        settled: original.protocol != Protocol::Udp.number() && tcp_state(attributes) != Some(SYN_SENT),
        original,
        reply: tuple(attributes.nested(TUPLE_REPLY))?,
        translated: status & DESTINATION_TRANSLATED != 0,
        answered: status & ANSWERED != 0,
        name: Vec::new(),
    })
}

fn name(attributes: Attributes<'_>) -> Vec<u8> {
    let mut name = Vec::new();
    for kind in [TUPLE_ORIGINAL, ID, ZONE] {
        if let Some(value) = attributes.get(kind) {
            let nested = if kind == TUPLE_ORIGINAL { 0x8000 } else { 0 };
            name.put(kind | nested, value);
        }
    }
    name
}

/// `CTA_PROTOINFO_TCP_STATE` of a TCP flow.
pub(crate) fn tcp_state(attributes: Attributes<'_>) -> Option<u8> {
    attributes.nested(PROTOCOL_INFO).nested(1).get(1)?.first().copied()
}

fn protocol(flow: &Tuple) -> Option<Protocol> {
    [Protocol::Tcp, Protocol::Udp].into_iter().find(|protocol| protocol.number() == flow.protocol)
}

/// The target a flow's first packet found.
fn target<'a>(plan: &'a Plan, to: &Tuple) -> Option<&'a Target> {
    let protocol = protocol(to)?;
    let exact = Frontend::ip(to.destination, protocol, to.destination_port);
    let node_port = || {
        let frontend = Frontend::node_port(Family::of(to.destination), protocol, to.destination_port);
        plan.node.answers_node_ports(to.destination).then(|| plan.get(&frontend)).flatten()
    };
    plan.get(&exact).or_else(node_port).map(|target| &**target)
}

/// Whether a flow leads where no endpoint is; `removed` are frontends that left the plan.
pub(crate) fn is_stale(plan: &Plan, removed: &HashSet<Frontend>, flow: &Flow) -> bool {
    let Some(protocol) = protocol(&flow.original).filter(|_| !flow.settled) else { return false };
    let (from, port) = (flow.reply.source, flow.reply.source_port);
    if let Some(target) = target(plan, &flow.original) {
        let sets = [Some(&target.endpoints), target.local.as_ref()];
        return !sets.into_iter().flatten().any(|set| set.serves(from, port));
    }
    let (to, port) = (flow.original.destination, flow.original.destination_port);
    let was_ours = removed.contains(&Frontend::ip(to, protocol, port))
        || (removed.contains(&Frontend::node_port(Family::of(to), protocol, port)) && plan.node.answers_node_ports(to));
    flow.translated && was_ours
}

/// Which flows a change may have left behind: the kernel tells of these alone, however many others there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Every UDP flow.
    Datagrams,
    /// TCP connections that nobody answered.
    Connecting,
    /// Flows to a frontend, of TCP only those that nobody answered; where an endpoint is named, those that lead there.
    To(Frontend, Option<(IpAddr, u16)>),
}

/// `CTA_FILTER_F_*` flags: which fields of a tuple must be equal.
pub(crate) mod field {
    pub const SOURCE: u32 = 1;
    pub const DESTINATION: u32 = 1 << 1;
    pub const PROTOCOL: u32 = 1 << 3;
    pub const SOURCE_PORT: u32 = 1 << 4;
    pub const DESTINATION_PORT: u32 = 1 << 5;
}

impl Scope {
    /// Whose flows.
    pub const fn protocol(self) -> Protocol {
        match self {
            Self::Datagrams => Protocol::Udp,
            Self::Connecting => Protocol::Tcp,
            Self::To(frontend, _) => frontend.protocol,
        }
    }

    /// The whole of it: one look for each protocol that is concerned.
    pub fn whole(concerned: impl Fn(Protocol) -> bool) -> Vec<Self> {
        [Self::Datagrams, Self::Connecting].into_iter().filter(|scope| concerned(scope.protocol())).collect()
    }

    /// Writes what the kernel filters by. One that does not know a filter (before 5.8, of the status before 5.13) tells of
    /// everything, which is only slower.
    fn put(self, out: &mut Vec<u8>) {
        let unanswered = |o: &mut Vec<u8>| {
            o.put_u32(STATUS, 0);
            o.put_u32(STATUS_MASK, ANSWERED);
        };
        let of_protocol = |o: &mut Vec<u8>, protocol| {
            o.nest(TUPLE_ORIGINAL, |o| put_tuple(o, None, None, protocol, None, None));
            o.nest(FILTER, |o| o.put(1, &field::PROTOCOL.to_ne_bytes()));
        };
        match self {
            Self::Datagrams => of_protocol(out, Protocol::Udp),
            Self::Connecting => {
                unanswered(out);
                of_protocol(out, Protocol::Tcp);
            }
            Self::To(frontend, endpoint) => {
                if frontend.protocol == Protocol::Tcp {
                    unanswered(out);
                }
                let mut original = field::PROTOCOL | field::DESTINATION_PORT;
                // Kernels up to 6.18 at least tell of every address of IPv6 but the one that is asked for.
                let by_address = frontend.family() == Family::V4;
                let ip = match frontend.address {
                    FrontendAddress::Ip(ip) if by_address => Some(ip),
                    _ => None,
                };
                original |= ip.map_or(0, |_| field::DESTINATION);
                out.nest(TUPLE_ORIGINAL, |o| put_tuple(o, None, ip, frontend.protocol, None, Some(frontend.port)));
                let mut reply = 0;
                if let Some((ip, port)) = endpoint {
                    let ip = Some(ip).filter(|_| by_address);
                    reply = field::PROTOCOL | field::SOURCE_PORT | ip.map_or(0, |_| field::SOURCE);
                    out.nest(TUPLE_REPLY, |o| put_tuple(o, ip, None, frontend.protocol, Some(port), None));
                }
                out.nest(FILTER, |o| {
                    o.put(1, &original.to_ne_bytes());
                    if reply != 0 {
                        o.put(2, &reply.to_ne_bytes());
                    }
                });
            }
        }
    }
}

pub(crate) fn put_tuple(
    out: &mut Vec<u8>,
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    protocol: Protocol,
    source_port: Option<u16>,
    destination_port: Option<u16>,
) {
    out.nest(1, |o| {
        for (address, [v4, v6]) in [(source, [1, 3]), (destination, [2, 4])] {
            match address {
                Some(IpAddr::V4(ip)) => o.put(v4, &ip.octets()),
                Some(IpAddr::V6(ip)) => o.put(v6, &ip.octets()),
                None => {}
            }
        }
    });
    out.nest(2, |o| {
        o.put(1, &[protocol.number()]);
        for (port, kind) in [(source_port, 2), (destination_port, 3)] {
            if let Some(port) = port {
                o.put(kind, &port.to_be_bytes());
            }
        }
    });
}

/// The stale flows of a family, as they are listed.
pub(crate) fn stale(
    netlink: &mut Netlink,
    family: Family,
    scope: Scope,
    plan: &Plan,
    removed: &HashSet<Frontend>,
) -> Result<Vec<Flow>, Error> {
    let mut all = Vec::new();
    message(&mut all, DUMP, flags::DUMP, family_number(family), 0, |o| scope.put(o));
    let mut stale = Vec::new();
    // An interrupted listing is no harm: what it gave twice is deleted once.
    netlink.dump(
        "conntrack entries",
        &all,
        || {},
        |entry| {
            let flow = flow(entry).filter(|flow| is_stale(plan, removed, flow));
            stale.extend(flow.map(|flow| Flow { name: name(entry), ..flow }));
        },
    )?;
    Ok(stale)
}

/// Deletes a flow; false if it ended by itself, or was answered, meanwhile.
pub(crate) fn delete(netlink: &mut Netlink, family: Family, flow: &Flow) -> Result<bool, Error> {
    if flow.is_connecting() && !is_unanswered(netlink, family, flow)? {
        return Ok(false);
    }
    let mut request = Vec::new();
    message(&mut request, CTNETLINK | CT_DELETE, 0, family_number(family), 0, |o| o.extend_from_slice(&flow.name));
    match netlink.request("deleting a conntrack entry", request) {
        Ok(()) => Ok(true),
        Err(Error::Refused { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Whether a TCP connection still is what it was when it was listed.
fn is_unanswered(netlink: &mut Netlink, family: Family, flow: &Flow) -> Result<bool, Error> {
    let (mut request, mut unanswered) = (Vec::new(), false);
    message(&mut request, CTNETLINK | CT_GET, 0, family_number(family), 0, |o| o.extend_from_slice(&flow.name));
    netlink.ask("a conntrack entry", request, |entry| {
        unanswered |= tcp_state(entry) == Some(SYN_SENT) && name(entry) == flow.name;
    })?;
    Ok(unanswered)
}
