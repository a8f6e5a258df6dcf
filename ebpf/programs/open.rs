//! The first packet of a connection to a Service: choosing the endpoint and how its answers come back.

use aya_ebpf::maps::lpm_trie::Key;
use orlop_ebpf::{
    Address, Backend, Config, FlowKey, Frontend, address_flags, config_flags, counters, device_flags, flow_flags,
    frontend_flags, maglev,
};

use crate::balance::{self, Found, How};
use crate::counter::{connection, count};
use crate::direct;
use crate::hook::Hook;
use crate::maps::{CLUSTER_CIDRS, DEVICES};
use crate::packet::{self, Packet};
use crate::route::{self, Route};
use crate::track::{self, Opening};

/// The set of connections that are no Service's.
pub const NO_SET: u32 = 0;

/// What came of it.
pub enum Opened {
    /// No Service's packet, or one that the stack refuses better than we could.
    NotOurs,
    /// Must not go on.
    Dropped,
    /// Nobody serves it: the caller shall notice. On an address of this node the stack knows how to refuse.
    RefusedByStack,
    /// Elsewhere we must.
    Refused,
    /// An endpoint is chosen: [`enter`] is next.
    Chosen(Source),
}

/// Chooses an endpoint for the connection that the packet in hand begins.
///
/// What follows is a function of its own, and not called from here: the stack has no room for both.
#[inline(never)]
pub fn open<H: Hook>(raw: *mut H::Raw, now: u64) -> Opened {
    let (context, Some(packet)) = (&H::of(raw), packet::again()) else { return Opened::NotOurs };
    let destination = packet.key.destination;
    let known = balance::address(&destination);
    let found = if known & !address_flags::NODE == 0 || known & address_flags::LOOPBACK != 0 {
        Found::Nothing
    } else {
        balance::find(known, &destination, packet.key.destination_port, packet.key.protocol as u8)
    };
    let frontend = match found {
        Found::Frontend(frontend) => frontend,
        Found::Nothing => return beside(packet, now),
        Found::UnusedPort => return refused(known),
    };
    let Some(config) = balance::config() else { return Opened::NotOurs };
    let source = packet.key.source;
    if frontend.flags & frontend_flags::SOURCE_RANGES != 0 && !balance::admits(&frontend, &source) {
        count(counters::DENIED);
        return Opened::Dropped;
    }
    let (set, masquerade) = permitted(context, &frontend, config, &source);
    let how = How::Flow(maglev::flow(&packet.key, frontend.affinity != 0));
    let Some(backend) = balance::choose_for(set, frontend.affinity, source, how) else {
        if frontend.flags & frontend_flags::DROP_WHEN_EMPTY != 0 {
            count(counters::DENIED);
            return Opened::Dropped;
        }
        return refused(known);
    };
    if backend.address.is_v4() == packet.v6 {
        return Opened::NotOurs;
    }
    let Some(opening) = track::opening() else { return Opened::Dropped };
    let becomes = FlowKey { destination: backend.address, destination_port: backend.port, ..packet.key };
    // SAFETY: what `opening` gave.
    unsafe { begin(opening, &packet.key, &packet.key, &becomes, set, now) };
    let keeps = if masquerade {
        source_kept(context, packet, &frontend, config, set, &backend)
    } else if frontend.flags & frontend_flags::EXTERNAL == 0 || in_pod_network(context, config, &source) {
        Source::Address
    } else {
        Source::Kept
    };
    let keeps = if backend.address == source { Source::Ours } else { keeps };
    Opened::Chosen(keeps)
}

/// A connection that is no Service's goes on as it is; unless its answers would be taken for those of a Service's connection, which the
/// client has to the same endpoint from the same port. That is forgotten if it is over, or else this one gets another port, as
/// connection tracking would have it. Of datagrams, each would have to be asked.
#[inline(always)]
fn beside(packet: &Packet, now: u64) -> Opened {
    if !packet.is_tcp() || track::vacate(&packet.key.answer(), now, true) {
        return Opened::NotOurs;
    }
    let Some(opening) = track::opening() else { return Opened::Dropped };
    // SAFETY: what `opening` gave.
    unsafe { begin(opening, &packet.key, &packet.key, &packet.key, NO_SET, now) };
    Opened::Chosen(Source::Address)
}

/// A connection of which nothing is known but who speaks with whom. It is written where it stays: the stack has no room.
///
/// # Safety
/// What [`track::opening`] gave.
#[inline(always)]
pub unsafe fn begin(opening: *mut Opening, key: &FlowKey, asked: &FlowKey, becomes: &FlowKey, set: u32, now: u64) {
    // SAFETY: this CPU's element, which nobody else has while this is used.
    let Opening { key: to_key, asked: to_asked, flow, .. } = unsafe { &mut *opening };
    (*to_key, *to_asked, flow.becomes, flow.next_hop) = (*key, *asked, *becomes, becomes.destination);
    (flow.set, flow.flags, flow.device, flow.mtu, flow.seen, flow.routed) = (set, 0, 0, 0, now, now);
    flow.opened = now;
    (flow.packets, flow.bytes, flow.told_packets, flow.told_bytes) = (0, 0, 0, 0);
}

/// Whose address the endpoint sees.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The client's; the answers pass here.
    Kept,
    /// The client's address with a port of ours; the answers pass here. A pod calls the same endpoint by itself, too: through
    /// Services that its sockets know, and then its kernel gives any port, also one that a connection through here has.
    Address,
    /// The client's, and the endpoint's node answers past us.
    Direct,
    /// One of this node.
    Ours,
}

/// Whether a caller that would be masqueraded can be answered without. The endpoint is a pod then, here or on another
/// node, for nobody else's node knows what to do.
#[inline(always)]
fn source_kept<H: Hook>(
    context: &H,
    packet: &Packet,
    frontend: &Frontend,
    config: &Config,
    set: u32,
    backend: &Backend,
) -> Source {
    let source = &packet.key.source;
    if frontend.flags & frontend_flags::EXTERNAL == 0
        || !direct::serves(config, packet)
        || in_pod_network(context, config, source)
    {
        return Source::Ours;
    }
    if balance::is_local(set, backend) {
        return Source::Kept;
    }
    match CLUSTER_CIDRS.get(&Key::new(128, backend.address)) {
        Some(_) => Source::Direct,
        None => Source::Ours,
    }
}

/// Enters the connection; false when it must not go on.
#[inline(never)]
pub fn enter<H: Hook>(raw: *mut H::Raw, keeps: Source) -> bool {
    let (Some(opening), Some(packet)) = (track::opening(), packet::again()) else { return false };
    if !find_way(&H::of(raw), packet, opening, keeps) {
        return false;
    }
    // SAFETY: what `opening` gave.
    let flow = unsafe { &(*opening).flow };
    let (address, port) = (flow.becomes.destination, flow.becomes.destination_port);
    connection(flow.set, &Backend { address, port, zero: 0 });
    count(counters::OPENED);
    true
}

/// Finds the way to the endpoint and, where the source changes, an address of that way's device and a free port.
#[inline(always)]
fn find_way<H: Hook>(context: &H, packet: &Packet, opening: *mut Opening, mut keeps: Source) -> bool {
    let Some(config) = balance::config() else { return false };
    // SAFETY: this CPU's element, of which nobody else has a reference while this one is used.
    let flow = unsafe { &mut (*opening).flow };
    match route::find(context, packet.tos, &flow.becomes) {
        Route::None => {
            count(counters::UNROUTABLE);
            return false;
        }
        Route::Here => {
            // Its answers leave through this node whatever their destination: the source can stay.
            flow.flags |= flow_flags::HOST;
            if keeps != Source::Address {
                keeps = Source::Kept;
            }
        }
        Route::Out { device, next_hop, mtu } => {
            (flow.device, flow.next_hop, flow.mtu) = (device, next_hop, mtu);
            flow.routed = route::known_since(device, mtu, flow.routed);
        }
    }
    if keeps == Source::Direct {
        flow.flags |= flow_flags::DIRECT;
    }
    // Without masquerading the answers of two Services' connections between the same ports could be the same: then the
    // source keeps its address and gets another port. One that is answered past us cannot: its answers must be the client's.
    // SAFETY: as above.
    if (keeps == Source::Kept || keeps == Source::Direct) && unsafe { track::open(opening) } {
        return true;
    }
    // SAFETY: as above.
    let flow = unsafe { &mut (*opening).flow };
    if keeps == Source::Ours || keeps == Source::Direct {
        flow.flags &= !flow_flags::DIRECT;
        flow.flags |= flow_flags::MASQUERADED;
        flow.becomes.source = source_on(flow.device, config, &packet.key.source);
    }
    // SAFETY: as above.
    let entered = !flow.becomes.source.is_any() && unsafe { track::open_from_another_port(opening, config) };
    if !entered {
        count(counters::EXHAUSTED);
    }
    entered
}

/// The address that answers from beyond a device come back to, of the family of `other`.
#[inline(always)]
fn source_on(device: u32, config: &Config, other: &Address) -> Address {
    // SAFETY: read once; the map is not preallocated.
    match unsafe { DEVICES.get(&device) } {
        Some(device) if !device.address(other).is_any() => device.address(other),
        _ => config.address(other),
    }
}

#[inline(always)]
fn refused(known: u32) -> Opened {
    if known & address_flags::NODE != 0 { Opened::RefusedByStack } else { Opened::Refused }
}

/// Which set the caller may use, and whether its source changes: `permitted` of the plan's `interpret`.
#[inline(always)]
fn permitted<H: Hook>(context: &H, frontend: &Frontend, config: &Config, source: &Address) -> (u32, bool) {
    if frontend.flags & frontend_flags::LOCAL != 0 {
        let set = if in_pod_network(context, config, source) { frontend.set } else { frontend.local_set };
        return (set, false);
    }
    let strangers = if source.is_v4() { config_flags::STRANGERS_V4 } else { config_flags::STRANGERS_V6 };
    let masquerade = frontend.flags & frontend_flags::MASQUERADE_ALWAYS != 0
        || frontend.flags & frontend_flags::MASQUERADE_OUTSIDE != 0
            && config.flags & strangers != 0
            && !in_pod_network(context, config, source);
    (frontend.set, masquerade)
}

#[inline(always)]
fn in_pod_network<H: Hook>(context: &H, config: &Config, source: &Address) -> bool {
    if config.flags & config_flags::BY_DEVICE != 0 {
        // SAFETY: read once; the map is not preallocated.
        let device = unsafe { DEVICES.get(&context.device()) };
        return device.is_some_and(|device| device.flags & device_flags::PODS != 0);
    }
    CLUSTER_CIDRS.get(&Key::new(128, *source)).is_some()
}
