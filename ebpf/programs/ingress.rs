//! A device's ingress: packets to a Service go to an endpoint, answers of endpoints go back as the Service's.
//!
//! Minimum kernel version: 5.10 (`bpf_redirect_neigh`), 5.11 (`bpf_ktime_get_coarse_ns`).

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use orlop_ebpf::{Address, Backend, Flow, counters, flow_flags};

use crate::balance;
use crate::counter::count;
use crate::errors;
use crate::open::{Opened, open};
use crate::packet::{self, Packet};
use crate::refuse::{refuse, too_big};
use crate::route::{self, Route};
use crate::track::{self, Table};

/// How long a route is remembered.
const ROUTE_AGE: u64 = 1_000_000_000;

/// Every device that faces an endpoint or the world.
#[classifier]
pub fn tc_ingress(context: TcContext) -> i32 {
    let now = balance::now();
    let Some(packet) = packet::read(&context) else { return errors::pass_on(&context, now) };
    let known = track::find(&packet.key, now).filter(|(flow, _)| !stale(*flow, packet));
    // One way out for all: `pass_on` is in the program once.
    let (flow, table) = match known {
        Some(found) => found,
        // In mid-connection and not ours: somebody else's, or older than we are.
        None if !packet.opens() => return TC_ACT_UNSPEC,
        None => match open(&context, packet, now) {
            Opened::NotOurs => return TC_ACT_UNSPEC,
            Opened::Dropped => return TC_ACT_SHOT,
            Opened::Refused => return refuse(&context, packet),
            Opened::Flow => match track::find(&packet.key, now) {
                Some(found) => found,
                None => return TC_ACT_SHOT,
            },
        },
    };
    pass_on(&context, packet, flow, table, now)
}

/// Whether a packet begins anew what this entry was for: a client that reuses its port, or datagrams to an endpoint
/// that has gone.
#[inline(always)]
fn stale(flow: *const Flow, packet: &Packet) -> bool {
    if !packet.opens() {
        return false;
    }
    // SAFETY: an element of a map, as for `track::find`.
    let flow = unsafe { &*flow };
    if flow.flags & flow_flags::REPLY != 0 {
        return false;
    }
    let backend = Backend { address: flow.becomes.destination, port: flow.becomes.destination_port, zero: 0 };
    let over = packet.is_tcp() && track::is_over(flow);
    if !over && balance::is_member(flow.set, &backend) {
        return false;
    }
    track::forget(&packet.key, flow);
    true
}

/// Translates a packet of a known connection and sends it on its way.
#[inline(always)]
fn pass_on(context: &TcContext, packet: &Packet, entry: *mut Flow, table: Table, now: u64) -> i32 {
    // SAFETY: an element of a map, as for `track::find`; copied before it moves to the other table.
    let (becomes, mut way, routed) = unsafe { ((*entry).becomes, way(&*entry), (*entry).routed) };
    if now.saturating_sub(routed) > ROUTE_AGE {
        way = match route::find(context, packet.tos, &becomes) {
            Route::Out { device, next_hop, mtu } => Way { device, next_hop, mtu },
            Route::Here => Way { device: 0, next_hop: becomes.destination, mtu: 0 },
            Route::None => {
                count(counters::UNROUTABLE);
                return TC_ACT_SHOT;
            }
        };
        // SAFETY: as above.
        let flow = unsafe { &mut *entry };
        (flow.device, flow.next_hop, flow.mtu) = (way.device, way.next_hop, way.mtu);
        flow.routed = route::known_since(way.device, way.mtu, now);
    }
    if way.mtu != 0 && packet.is_larger_than(way.mtu) {
        count(counters::TOO_BIG);
        return too_big(context, packet, way.mtu);
    }
    track::advance(entry, table, packet, now);
    packet.remember();
    let hops = u8::from(way.device != 0);
    if packet.ttl <= hops {
        return TC_ACT_SHOT;
    }
    if packet::write(context, packet, &becomes, hops).is_none() {
        return TC_ACT_SHOT;
    }
    count(counters::TRANSLATED);
    if way.device == 0 { TC_ACT_UNSPEC } else { route::send(way.device, &way.next_hop) }
}

/// Where a connection's packets leave.
struct Way {
    device: u32,
    next_hop: Address,
    mtu: u32,
}

#[inline(always)]
fn way(flow: &Flow) -> Way {
    Way { device: flow.device, next_hop: flow.next_hop, mtu: flow.mtu }
}
