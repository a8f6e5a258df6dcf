//! A device's ingress: packets to a Service go to an endpoint, answers of endpoints go back as the Service's.
//!
//! The program itself only decides what is next. Each step is a function of its own, that finds the packet where it was
//! read to: the kernel has 512 bytes of stack for all that call each other.
//!
//! Minimum kernel version: 5.10 (`bpf_redirect_neigh`), 5.11 (`bpf_ktime_get_coarse_ns`).

use aya_ebpf::bindings::{__sk_buff, TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use orlop_ebpf::{Address, Backend, Flow, counters, flow_flags};

use crate::balance;
use crate::counter::count;
use crate::direct;
use crate::errors;
use crate::open::{NO_SET, Opened, enter, open};
use crate::packet;
use crate::refuse::{refuse, too_big};
use crate::route::{self, Route};
use crate::track::{self, Table};

/// How long a route is remembered.
pub const ROUTE_AGE: u64 = 1_000_000_000;

/// Every device that faces an endpoint or the world.
#[classifier]
pub fn tc_ingress(context: TcContext) -> i32 {
    let now = balance::now();
    let Some(mut packet) = packet::read(&context) else { return errors::pass_on(context.skb.skb, now) };
    if packet.forwarded && balance::config().is_some_and(|config| direct::serves(config, packet)) {
        if !direct::arrive(&context, now) {
            return TC_ACT_SHOT;
        }
        let Some(arrived) = packet::again() else { return TC_ACT_SHOT };
        packet = arrived;
    }
    let known = track::find(&packet.key, now).filter(|(flow, _)| !packet.opens() || !stale(*flow));
    // One way out for all: `pass_on` is in the program once.
    let (flow, table) = match known {
        Some(found) => found,
        // In mid-connection and not ours: somebody else's, or older than we are.
        None if !packet.opens() => return TC_ACT_UNSPEC,
        None => match open::<TcContext>(context.skb.skb, now) {
            Opened::NotOurs => return TC_ACT_UNSPEC,
            Opened::Dropped => return TC_ACT_SHOT,
            Opened::RefusedByStack => {
                count(counters::REFUSED);
                return TC_ACT_UNSPEC;
            }
            Opened::Refused => {
                count(counters::REFUSED);
                return refuse(context.skb.skb);
            }
            Opened::Chosen(keeps) if !enter::<TcContext>(context.skb.skb, keeps) => return TC_ACT_SHOT,
            Opened::Chosen(_) => match track::find(&packet.key, now) {
                Some(found) => found,
                None => return TC_ACT_SHOT,
            },
        },
    };
    pass_on(context.skb.skb, flow, table, now)
}

/// Whether a packet begins anew what this entry was for: a client that reuses its port, or datagrams to an endpoint
/// that has gone.
#[inline(never)]
pub fn stale(flow: *const Flow) -> bool {
    let Some(packet) = packet::again() else { return true };
    // SAFETY: an element of a map, as for `track::find`.
    let flow = unsafe { &*flow };
    if flow.flags & flow_flags::REPLY != 0 {
        return false;
    }
    let backend = Backend { address: flow.becomes.destination, port: flow.becomes.destination_port, zero: 0 };
    let over = packet.is_tcp() && track::is_over(flow);
    // What another node sent on goes where that node says, and what is no Service's where the client says.
    let bound = flow.flags & flow_flags::DELIVERED != 0 || flow.set == NO_SET;
    if !over && (bound || balance::is_member(flow.set, &backend)) {
        return false;
    }
    track::forget(&packet.key, flow);
    true
}

/// Translates the packet in hand, of a known connection, and sends it on its way.
#[inline(never)]
fn pass_on(skb: *mut __sk_buff, entry: *mut Flow, table: Table, now: u64) -> i32 {
    let (context, Some(packet)) = (&TcContext::new(skb), packet::again()) else { return TC_ACT_SHOT };
    // SAFETY: an element of a map, as for `track::find`; copied before it moves to the other table.
    let (becomes, mut way, routed, flags) =
        unsafe { ((*entry).becomes, way(&*entry), (*entry).routed, (*entry).flags) };
    let tells = flags & (flow_flags::DIRECT | flow_flags::REPLY) == flow_flags::DIRECT && packet.opens();
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
        return too_big(skb, way.mtu);
    }
    let more = direct::size(packet.v6);
    if tells && way.mtu > more && packet.has_no_room(more, way.mtu) {
        count(counters::TOO_BIG);
        return too_big(skb, way.mtu - more);
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
    if tells && direct::tell(context, packet).is_none() {
        return TC_ACT_SHOT;
    }
    count(counters::TRANSLATED);
    if way.device == 0 { TC_ACT_UNSPEC } else { route::send(context, way.device, &way.next_hop) }
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
