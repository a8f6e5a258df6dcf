//! A device's driver: packets to Services and answers to them are translated and sent on before the stack has seen them (XDP).
//!
//! It does what [`crate::ingress`] does, with the same tables and, but for what each hook has of its own, the same functions. Those
//! of established connections, which nothing is to be done for but translating, have a short way ([`settled`]); what begins a
//! connection or changes one goes through [`attend`]. What it cannot send goes on to the stack's hook, which finds the
//! connection entered: pieces of datagrams, headers with options, ICMP errors, refusals, what asks for its way anew or has no room on
//! it, and what is for this node or a device that takes no such frames.
//!
//! Minimum kernel version: 6.3, which says what devices can do.

use core::mem::{size_of, zeroed};

use aya_ebpf::bindings::bpf_fib_lookup as Lookup;
use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS};
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{bpf_fib_lookup, bpf_redirect};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use orlop_ebpf::{Address, Backend, Flow, FlowKey, TCP, UDP, counters, device_flags, flow_flags};

use crate::balance;
use crate::checksum::{fold16, replaced};
use crate::counter::count;
use crate::direct;
use crate::headers::{
    ETH_P_IP, ETH_P_IPV6, ETHERNET, FRAGMENT_OFFSET, Ipv4, Ipv6, MORE_FRAGMENTS, PLAIN_HEADER, TRANSPORT, TRANSPORT6,
};
use crate::hook::Hook as _;
use crate::ingress::{ROUTE_AGE, stale};
use crate::maps::{DEVICES, FLOWS};
use crate::open::{Opened, enter, open};
use crate::packet::{self, ACK, pair, readdressed};
use crate::route;
use crate::track::{self, TELL_OTHER, Table};

/// A flag of TCP that says nothing of the connection.
const PUSH: u8 = 8;
/// The bytes of a transport header that are read: of TCP to its checksum, of UDP all.
const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
/// What [`settled`] says of a packet that it is not for.
const NOT_SETTLED: u32 = XDP_ABORTED;

/// Devices that face the world and can.
#[xdp]
pub fn xdp_ingress(context: XdpContext) -> u32 {
    match settled(context.ctx) {
        NOT_SETTLED => attend(&context),
        done => done,
    }
}

/// Sends a packet of an established connection on.
#[inline(never)]
fn settled(raw: *mut xdp_md) -> u32 {
    let context = &XdpContext::new(raw);
    let sent = match context.protocol() {
        ETH_P_IP => v4(context),
        ETH_P_IPV6 => v6(context),
        _ => Some(XDP_PASS),
    };
    sent.unwrap_or(NOT_SETTLED)
}

/// Does with a packet what the stack's hook would do.
#[inline(always)]
fn attend(context: &XdpContext) -> u32 {
    let now = balance::now();
    let Some(packet) = packet::read(context) else { return XDP_PASS };
    if !packet.is_plain() || !packet.is_whole() {
        return XDP_PASS;
    }
    let known = track::find(&packet.key, now).filter(|(flow, _)| !packet.opens() || !stale(*flow));
    let (flow, table) = match known {
        Some(found) => found,
        None if !packet.opens() => return XDP_PASS,
        None => match open::<XdpContext>(context.ctx, now) {
            Opened::Dropped => return XDP_DROP,
            Opened::NotOurs | Opened::RefusedByStack | Opened::Refused => return XDP_PASS,
            Opened::Chosen(keeps) if !enter::<XdpContext>(context.ctx, keeps) => return XDP_DROP,
            Opened::Chosen(_) => match track::find(&packet.key, now) {
                Some(found) => found,
                None => return XDP_DROP,
            },
        },
    };
    pass_on(context.ctx, flow, table, now)
}

/// Translates the packet in hand, of a known connection, and sends it on its way, if that leads out of a device that takes it.
#[inline(never)]
fn pass_on(raw: *mut xdp_md, entry: *mut Flow, table: Table, now: u64) -> u32 {
    let (context, Some(packet)) = (&XdpContext::new(raw), packet::again()) else { return XDP_PASS };
    // SAFETY: an element of a map, as for `track::find`; copied before it moves to the other table.
    let (becomes, flags, device, mtu, routed) =
        unsafe { ((*entry).becomes, (*entry).flags, (*entry).device, (*entry).mtu, (*entry).routed) };
    let tells = flags & (flow_flags::DIRECT | flow_flags::REPLY) == flow_flags::DIRECT && packet.opens();
    let more = if tells { direct::size(packet.v6) } else { 0 };
    let routed = device != 0 && now.saturating_sub(routed) <= ROUTE_AGE;
    if !routed || packet.has_no_room(more, mtu) || packet.ttl < 2 {
        return XDP_PASS;
    }
    let Some(way) = Way::find(context, device, packet.tos, &becomes) else { return XDP_PASS };
    // When there is no room before the packet, it is as it was.
    if tells && direct::tell(context, packet).is_none() {
        return XDP_PASS;
    }
    track::advance(entry, table, packet, now);
    let (written, at) = if packet.v6 {
        (
            packet::write_v6(context, &packet.key, &becomes, 1),
            TRANSPORT6 + if tells { direct::size(true) as usize } else { 0 },
        )
    } else {
        (
            packet::write_v4(context, &packet.key, &becomes, 1),
            TRANSPORT + if tells { direct::size(false) as usize } else { 0 },
        )
    };
    let Some(addresses) = written else { return XDP_DROP };
    let (data, end) = (context.data(), context.data_end());
    let Some(sum) = sum_of(data + at, end, packet.key.protocol) else { return XDP_DROP };
    if write(data + at, end, &packet.key, &becomes, addresses, sum).is_none() {
        return XDP_DROP;
    }
    way.send(data, end).unwrap_or(XDP_DROP)
}

#[inline(always)]
fn v4(context: &XdpContext) -> Option<u32> {
    let (data, end) = (context.data(), context.data_end());
    if data + TRANSPORT > end {
        return None;
    }
    // SAFETY: the header lies within the packet, as just checked, and XDP may write it.
    let ip = unsafe { &mut *((data + ETHERNET) as *mut Ipv4) };
    let [ttl, protocol] = ip.ttl_protocol.to_ne_bytes();
    let whole = ip.fragment & (FRAGMENT_OFFSET | MORE_FRAGMENTS) == 0;
    if ip.version != PLAIN_HEADER || !whole || ttl < 2 {
        return None;
    }
    let mut key = FlowKey {
        source: Address::v4(ip.source),
        destination: Address::v4(ip.destination),
        source_port: 0,
        destination_port: 0,
        protocol: u32::from(protocol),
    };
    let length = u32::from(u16::from_be(ip.length));
    let (flow, sum) = find(data + TRANSPORT, end, &mut key, length)?;
    let way = Way::find(context, flow.device, ip.tos, &flow.becomes)?;
    note(flow, length);
    let new = &flow.becomes;
    let (source, destination) = (new.source.words[3], new.destination.words[3]);
    let addresses = replaced(ip.source, source) + replaced(ip.destination, destination);
    let ttl_protocol = u16::from_ne_bytes([ttl - 1, protocol]);
    let head = addresses + u64::from(!ip.ttl_protocol) + u64::from(ttl_protocol) + u64::from(!ip.checksum);
    (ip.checksum, ip.ttl_protocol) = (!fold16(head), ttl_protocol);
    (ip.source, ip.destination) = (source, destination);
    Some(write(data + TRANSPORT, end, &key, new, addresses, sum).and_then(|()| way.send(data, end)).unwrap_or(XDP_DROP))
}

#[inline(always)]
fn v6(context: &XdpContext) -> Option<u32> {
    let (data, end) = (context.data(), context.data_end());
    if data + TRANSPORT6 > end {
        return None;
    }
    // SAFETY: the header lies within the packet, as just checked, and XDP may write it.
    let ip = unsafe { &mut *((data + ETHERNET) as *mut Ipv6) };
    if ip.hops < 2 {
        return None;
    }
    let mut key = FlowKey {
        source: Address { words: ip.source },
        destination: Address { words: ip.destination },
        source_port: 0,
        destination_port: 0,
        protocol: u32::from(ip.next),
    };
    let length = u32::from(u16::from_be(ip.length)) + size_of::<Ipv6>() as u32;
    let (flow, sum) = find(data + TRANSPORT6, end, &mut key, length)?;
    let way = Way::find(context, flow.device, 0, &flow.becomes)?;
    note(flow, length);
    let new = &flow.becomes;
    let addresses = readdressed(&key.source, &new.source) + readdressed(&key.destination, &new.destination);
    ip.hops -= 1;
    (ip.source, ip.destination) = (new.source.words, new.destination.words);
    Some(
        write(data + TRANSPORT6, end, &key, new, addresses, sum).and_then(|()| way.send(data, end)).unwrap_or(XDP_DROP),
    )
}

/// Where a transport header has its checksum; of a datagram that has none nothing.
type Sum = Option<usize>;

/// The entry of a packet whose transport header is at `at`, if the connection is established and nothing is to be done
/// but translating; the packet counts as seen.
#[inline(always)]
fn find(at: usize, end: usize, key: &mut FlowKey, length: u32) -> Option<(&'static mut Flow, Sum)> {
    if at + UDP_HEADER > end {
        return None;
    }
    // SAFETY: just checked.
    [key.source_port, key.destination_port] = unsafe { *(at as *const [u16; 2]) };
    let sum = sum_of(at, end, key.protocol)?;
    let udp = key.protocol == u32::from(UDP);
    if !udp {
        if at + TCP_HEADER > end {
            return None;
        }
        // SAFETY: just checked.
        let flags = unsafe { *((at + 13) as *const u8) };
        if flags & !PUSH != ACK {
            return None;
        }
    }
    let entry = FLOWS.get_ptr_mut(&*key)?;
    // SAFETY: an element of a map, as for `track::find`; races on what is counted lose a count.
    let flow = unsafe { &mut *entry };
    let now = balance::now();
    let settled = flow.flags & flow_flags::ANSWERED != 0 && !flow.is_closed() && !flow.is_expired(now);
    let routed = flow.device != 0 && now.saturating_sub(flow.routed) <= ROUTE_AGE;
    if !settled || !routed || length > flow.mtu || flow.seen >> TELL_OTHER != now >> TELL_OTHER {
        return None;
    }
    if udp && flow.flags & flow_flags::REPLY == 0 && !stays(flow) {
        return None;
    }
    flow.seen = now;
    Some((flow, sum))
}

/// None of what is neither TCP nor UDP, or too short.
#[inline(always)]
fn sum_of(at: usize, end: usize, protocol: u32) -> Option<Sum> {
    if protocol == u32::from(UDP) && at + UDP_HEADER <= end {
        // SAFETY: just checked.
        let sum = unsafe { *((at + 6) as *const u16) };
        Some((sum != 0).then_some(6))
    } else if protocol == u32::from(TCP) && at + TCP_HEADER <= end {
        Some(Some(16))
    } else {
        None
    }
}

/// Counts a packet.
#[inline(always)]
fn note(flow: &mut Flow, length: u32) {
    flow.packets += 1;
    flow.bytes += u64::from(length);
}

/// Whether a datagram of a client goes where the one before it went, without saying anything.
#[inline(always)]
fn stays(flow: &Flow) -> bool {
    let backend = Backend { address: flow.becomes.destination, port: flow.becomes.destination_port, zero: 0 };
    flow.flags & flow_flags::DIRECT == 0
        && (flow.flags & flow_flags::DELIVERED != 0 || balance::is_member(flow.set, &backend))
}

/// Gives the transport header its ports and checksum.
#[inline(always)]
fn write(at: usize, end: usize, old: &FlowKey, new: &FlowKey, addresses: u64, sum: Sum) -> Option<()> {
    if at + UDP_HEADER > end {
        return None;
    }
    // SAFETY: just checked; XDP may write it.
    unsafe { *(at as *mut [u16; 2]) = [new.source_port, new.destination_port] };
    let gain = addresses + replaced(pair(old), pair(new));
    let updated = |before: u16| match !fold16(u64::from(!before) + gain) {
        0 => u16::MAX,
        sum => sum,
    };
    match sum {
        Some(16) if at + TCP_HEADER <= end => {
            // SAFETY: just checked.
            let sum = unsafe { &mut *((at + 16) as *mut u16) };
            *sum = updated(*sum);
        }
        Some(_) => {
            // SAFETY: checked above.
            let sum = unsafe { &mut *((at + 6) as *mut u16) };
            *sum = updated(*sum);
        }
        None => {}
    }
    Some(())
}

/// Where a packet leaves, and between which link addresses.
struct Way {
    device: u32,
    source: [u8; 6],
    destination: [u8; 6],
}

impl Way {
    /// The way of a connection's packets, if it is by this device, that takes frames, and the neighbour is known.
    #[inline(always)]
    fn find(context: &XdpContext, device: u32, tos: u8, becomes: &FlowKey) -> Option<Self> {
        // SAFETY: read once; the map is not preallocated.
        let known = unsafe { DEVICES.get(&device) }?;
        if known.flags & device_flags::TAKES_FRAMES == 0 {
            return None;
        }
        // SAFETY: plain integers.
        let mut lookup: Lookup = unsafe { zeroed() };
        route::ask_for(&mut lookup, tos, becomes);
        // SAFETY: the context is the one this program was called with, and the struct is of the size given.
        let result = unsafe {
            lookup.ifindex = context.device();
            bpf_fib_lookup(context.any(), &raw mut lookup, size_of::<Lookup>() as i32, 0)
        };
        if result != route::SUCCESS || lookup.ifindex != device {
            return None;
        }
        Some(Self { device: lookup.ifindex, source: lookup.smac, destination: lookup.dmac })
    }

    #[inline(always)]
    fn send(&self, data: usize, end: usize) -> Option<u32> {
        if data + ETHERNET > end {
            return None;
        }
        // SAFETY: just checked; XDP may write it.
        unsafe { *(data as *mut [[u8; 6]; 2]) = [self.destination, self.source] };
        count(counters::TRANSLATED);
        count(counters::EARLY);
        // SAFETY: takes numbers.
        Some(unsafe { bpf_redirect(self.device, 0) } as u32)
    }
}
