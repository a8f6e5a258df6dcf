//! The first packet of a connection to a Service: choosing the endpoint and how its answers come back.

use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::programs::TcContext;
use orlop_ebpf::{
    Address, Config, Flow, FlowKey, Frontend, address_flags, config_flags, counters, device_flags, flow_flags,
    frontend_flags, maglev,
};

use crate::balance::{self, Found, How};
use crate::counter::{connection, count};
use crate::maps::{CLUSTER_CIDRS, DEVICES};
use crate::packet::Packet;
use crate::route::{self, Route};
use crate::track::{self, Opening};

/// What came of it.
pub enum Opened {
    /// No Service's packet, or one that the stack refuses better than we could.
    NotOurs,
    /// Must not go on.
    Dropped,
    /// Nobody serves it: the caller shall notice.
    Refused,
    /// The connection is in the table.
    Flow,
}

/// Enters the connection that the packet begins.
#[inline(always)]
pub fn open(context: &TcContext, packet: &Packet, now: u64) -> Opened {
    let destination = packet.key.destination;
    let known = balance::address(&destination);
    if known & !address_flags::NODE == 0 || known & address_flags::LOOPBACK != 0 {
        return Opened::NotOurs;
    }
    let frontend = match balance::find(known, &destination, packet.key.destination_port, packet.key.protocol as u8) {
        Found::Frontend(frontend) => frontend,
        Found::Nothing => return Opened::NotOurs,
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
    let flow = Flow {
        becomes: FlowKey { destination: backend.address, destination_port: backend.port, ..packet.key },
        set,
        flags: 0,
        device: 0,
        mtu: 0,
        next_hop: backend.address,
        seen: now,
        routed: now,
        opened: now,
        packets: 0,
        bytes: 0,
        told_packets: 0,
        told_bytes: 0,
    };
    // SAFETY: this CPU's element.
    unsafe { ((*opening).key, (*opening).flow) = (packet.key, flow) };
    let hairpin = backend.address == source;
    if enter(context, packet, opening, config, masquerade || hairpin) {
        connection(set, &backend);
        count(counters::OPENED);
        Opened::Flow
    } else {
        Opened::Dropped
    }
}

/// Finds the way to the endpoint and, where the source changes, an address of that way's device and a free port.
#[inline(always)]
fn enter(context: &TcContext, packet: &Packet, opening: *mut Opening, config: &Config, masquerade: bool) -> bool {
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
            // SAFETY: as above.
            return unsafe { track::open(opening) };
        }
        Route::Out { device, next_hop, mtu } => {
            (flow.device, flow.next_hop, flow.mtu) = (device, next_hop, mtu);
            flow.routed = route::known_since(device, mtu, flow.routed);
        }
    }
    // Without masquerading the answers of two Services' connections between the same ports could be the same: then the
    // source keeps its address and gets another port.
    // SAFETY: as above.
    if !masquerade && unsafe { track::open(opening) } {
        return true;
    }
    // SAFETY: as above.
    let flow = unsafe { &mut (*opening).flow };
    if masquerade {
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

/// On an address of this node the stack knows how to refuse; elsewhere we must.
#[inline(always)]
fn refused(known: u32) -> Opened {
    count(counters::REFUSED);
    if known & address_flags::NODE != 0 { Opened::NotOurs } else { Opened::Refused }
}

/// Which set the caller may use, and whether its source changes: `permitted` of the plan's `interpret`.
#[inline(always)]
fn permitted(context: &TcContext, frontend: &Frontend, config: &Config, source: &Address) -> (u32, bool) {
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
fn in_pod_network(context: &TcContext, config: &Config, source: &Address) -> bool {
    if config.flags & config_flags::BY_DEVICE != 0 {
        // SAFETY: the context is the one this program was called with; the map is not preallocated.
        let device = unsafe {
            let index = (*context.skb.skb).ifindex;
            DEVICES.get(&index)
        };
        return device.is_some_and(|device| device.flags & device_flags::PODS != 0);
    }
    CLUSTER_CIDRS.get(&Key::new(128, *source)).is_some()
}
