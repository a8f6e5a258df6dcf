//! Direct server return: a packet goes on to an endpoint's node with its client as its source, and says by itself which
//! address and port of a Service it was sent to; that node answers the client as the Service.
//!
//! It says so in an IPv4 option or an IPv6 destination option (RFC 8200, section 4.6), Cilium's numbers for the purpose: the
//! packet is routed as any packet to the endpoint, through whatever overlay there is. Those that may begin a connection
//! carry it: a SYN, and every datagram, for nobody tells the first node that the other knows.

use core::mem::size_of;

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::programs::TcContext;
use orlop_ebpf::{Address, Config, FlowKey, address_flags, config_flags, counters, flow_flags};

use crate::balance::{self, Found};
use crate::checksum::{fold16, replaced, sum};
use crate::counter::count;
use crate::headers::{ETHERNET, Ipv4, Ipv6, TRANSPORT, TRANSPORT6};
use crate::hook::Hook;
use crate::maps::PACKET;
use crate::open::begin;
use crate::packet::{self, Packet};
use crate::route::{self, Route};
use crate::track;

/// An IPv4 option: copied into fragments, of no class, 26.
const KIND4: u8 = 0x9a;
/// An IPv6 option: to be skipped by whoever does not know it, and not changed on the way.
const KIND6: u8 = 0x1b;
/// The IPv6 extension header that options for the destination are in.
const DESTINATION: u8 = 60;
/// The most an IPv4 header can be, in words.
const LONGEST: u8 = 15;

/// The IPv4 option.
#[repr(C)]
#[derive(Clone, Copy)]
struct Option4 {
    kind: u8,
    length: u8,
    port: u16,
    address: u32,
}

impl Option4 {
    #[inline(always)]
    fn of(address: &Address, port: u16) -> Self {
        Self { kind: KIND4, length: SIZE4 as u8, port, address: address.words[3] }
    }

    #[inline(always)]
    fn words(&self) -> [u32; 2] {
        let [low, high] = self.port.to_ne_bytes();
        [u32::from_ne_bytes([self.kind, self.length, low, high]), self.address]
    }

    #[inline(always)]
    fn sum(&self) -> u64 {
        sum(&self.words())
    }
}

/// The IPv6 extension header with the one option.
#[repr(C)]
#[derive(Clone, Copy)]
struct Option6 {
    next: u8,
    /// In words of eight bytes, without the first.
    length: u8,
    kind: u8,
    /// In bytes, without these two.
    option_length: u8,
    address: [u32; 4],
    port: u16,
    zero: u16,
}

const SIZE4: usize = size_of::<Option4>();
const SIZE6: usize = size_of::<Option6>();

/// How much longer it makes a packet.
#[inline(always)]
pub const fn size(v6: bool) -> u32 {
    if v6 { SIZE6 as u32 } else { SIZE4 as u32 }
}

/// Whether connections of this protocol are answered directly.
#[inline(always)]
pub fn serves(config: &Config, packet: &Packet) -> bool {
    let flag = if packet.is_tcp() { config_flags::DIRECT_TCP } else { config_flags::DIRECT_UDP };
    config.flags & flag != 0
}

/// The Service an IPv4 packet says it was sent to; `at` is its options, of which ours is the first.
#[inline(always)]
pub fn read_v4(at: usize, end: usize) -> Option<(Address, u16)> {
    if at + SIZE4 > end {
        return None;
    }
    // SAFETY: within the packet, as just checked.
    let option = unsafe { &*(at as *const Option4) };
    let ours = option.kind == KIND4 && usize::from(option.length) == SIZE4;
    ours.then_some((Address::v4(option.address), option.port))
}

/// [`read_v4`] for IPv6, of the first extension header.
#[inline(always)]
pub fn read_v6(at: usize, end: usize) -> Option<(Address, u16)> {
    if at + SIZE6 > end {
        return None;
    }
    // SAFETY: within the packet, as just checked.
    let option = unsafe { &*(at as *const Option6) };
    let ours = usize::from(option.length) == SIZE6 / 8 - 1
        && option.kind == KIND6
        && usize::from(option.option_length) == SIZE6 - 4;
    ours.then_some((Address { words: option.address }, option.port))
}

/// Has the packet say which Service it was sent to. None when it has no room for that.
#[inline(always)]
pub fn tell<H: Hook>(context: &H, packet: &Packet) -> Option<()> {
    if packet.v6 { tell_v6(context, packet) } else { tell_v4(context, packet) }
}

#[inline(always)]
fn tell_v4<H: Hook>(context: &H, packet: &Packet) -> Option<()> {
    if header_v4(context)?.version & 15 > LONGEST - (SIZE4 / 4) as u8 {
        return None;
    }
    let option = Option4::of(&packet.key.destination, packet.key.destination_port);
    lengthen_v4(context, SIZE4 as i32, option.sum())?;
    context.store(TRANSPORT, &option)
}

#[inline(always)]
fn tell_v6<H: Hook>(context: &H, packet: &Packet) -> Option<()> {
    let mut option = Option6 {
        next: 0,
        length: (SIZE6 / 8 - 1) as u8,
        kind: KIND6,
        option_length: (SIZE6 - 4) as u8,
        address: packet.key.destination.words,
        port: packet.key.destination_port,
        zero: 0,
    };
    context.resize(TRANSPORT6, SIZE6 as i32)?;
    let ip = header_v6(context)?;
    option.next = ip.next;
    ip.next = DESTINATION;
    ip.length = u16::from_be(ip.length).wrapping_add(SIZE6 as u16).to_be();
    context.store(TRANSPORT6, &option)
}

/// At the endpoint's node: takes from the packet what it says, and sees to it that the answers come from there. False
/// when the packet must not go on; otherwise it is in the connection table.
#[inline(always)]
pub fn arrive(context: &TcContext, now: u64) -> bool {
    take(context, now).is_some()
}

#[inline(always)]
fn take(context: &TcContext, now: u64) -> Option<()> {
    let skb = context.skb.skb;
    match is_known(now) {
        Known::Yes => {}
        Known::No if enter(skb, now) => {}
        Known::No | Known::Ambiguous => return None,
    }
    let packet = PACKET.get_ptr_mut(0)?;
    // SAFETY: this CPU's element, as for `packet::read`, of which the caller reads nothing during this call.
    let packet = unsafe { &mut *packet };
    if packet.v6 {
        strip_v6(context)?;
    } else {
        strip_v4(context, packet)?;
    }
    packet.shorten(size(packet.v6));
    Some(())
}

/// What the table has of a packet.
#[repr(u32)]
enum Known {
    No,
    Yes,
    /// It could not be told from another connection's.
    Ambiguous,
}

/// Looks the packet in hand up. TCP goes on with its Service; a datagram is answered by the Service asked last.
#[inline(never)]
fn is_known(now: u64) -> Known {
    let Some(packet) = packet::again() else { return Known::Ambiguous };
    let Some((flow, _)) = track::find(&packet.key, now) else { return Known::No };
    // SAFETY: an element of a map, as for `track::find`.
    let flow = unsafe { &*flow };
    if flow.flags & flow_flags::DELIVERED == 0 {
        return Known::Ambiguous;
    }
    let over = packet.is_tcp() && track::is_over(flow);
    if !over && let Some((answer, _)) = track::find(&flow.other(&packet.key), now) {
        // SAFETY: as above.
        let shown = unsafe { &(*answer).becomes };
        if shown.source == packet.service && shown.source_port == packet.service_port {
            return Known::Yes;
        }
        if packet.is_tcp() {
            return Known::Ambiguous;
        }
    }
    track::forget(&packet.key, flow);
    Known::No
}

/// Enters the connection, if it is to a Service that is known here: the packet's word is not enough to answer as anybody.
#[inline(never)]
fn enter(skb: *mut __sk_buff, now: u64) -> bool {
    let (context, Some(packet)) = (&TcContext::new(skb), packet::again()) else { return false };
    let anywhere = address_flags::FRONTEND | address_flags::NODE_PORTS;
    let found = balance::find(anywhere, &packet.service, packet.service_port, packet.key.protocol as u8);
    let Found::Frontend(frontend) = found else {
        count(counters::DENIED);
        return false;
    };
    let (Some(opening), Some(config)) = (track::opening(), balance::config()) else { return false };
    let asked = FlowKey { destination: packet.service, destination_port: packet.service_port, ..packet.key };
    // SAFETY: what `opening` gave, which nobody else has while this is used.
    let flow = unsafe {
        begin(opening, &packet.key, &asked, &packet.key, frontend.set, now);
        &mut (*opening).flow
    };
    flow.flags = flow_flags::DELIVERED;
    match route::find(context, packet.tos, &packet.key) {
        Route::None => {
            count(counters::UNROUTABLE);
            return false;
        }
        Route::Here => flow.flags |= flow_flags::HOST,
        Route::Out { device, next_hop, mtu } => {
            (flow.device, flow.next_hop, flow.mtu) = (device, next_hop, mtu);
            flow.routed = route::known_since(device, mtu, now);
        }
    }
    // Where the endpoint could not tell it from what the client sent to this node, it gets another port, as there.
    // SAFETY: as above.
    unsafe { track::open(opening) || track::open_from_another_port(opening, config) }
}

#[inline(always)]
fn strip_v4(context: &TcContext, packet: &Packet) -> Option<()> {
    let [first, second] = Option4::of(&packet.service, packet.service_port).words();
    lengthen_v4(context, -(SIZE4 as i32), u64::from(!first) + u64::from(!second))
}

#[inline(always)]
fn strip_v6(context: &TcContext) -> Option<()> {
    let at = context.data() + TRANSPORT6;
    if at + 1 > context.data_end() {
        return None;
    }
    // SAFETY: within the packet, as just checked.
    let next = unsafe { *(at as *const u8) };
    context.resize(TRANSPORT6, -(SIZE6 as i32))?;
    let ip = header_v6(context)?;
    ip.next = next;
    ip.length = u16::from_be(ip.length).wrapping_sub(SIZE6 as u16).to_be();
    Some(())
}

/// [`Hook::resize`] with the header's two lengths and its checksum, which the option itself changes by `gain`.
#[inline(always)]
fn lengthen_v4<H: Hook>(context: &H, difference: i32, gain: u64) -> Option<()> {
    context.resize(TRANSPORT, difference)?;
    let ip = header_v4(context)?;
    let (version, length) = (ip.version, ip.length);
    ip.version = version.wrapping_add((difference / 4) as u8);
    ip.length = u16::from_be(length).wrapping_add(difference as u16).to_be();
    let tos = ip.tos;
    let words = |version: u8, length: u16| {
        let [low, high] = length.to_ne_bytes();
        u32::from_ne_bytes([version, tos, low, high])
    };
    let change = replaced(words(version, length), words(ip.version, ip.length));
    ip.checksum = !fold16(u64::from(!ip.checksum) + change + gain);
    Some(())
}

#[inline(always)]
fn header_v4<H: Hook>(context: &H) -> Option<&mut Ipv4> {
    let data = context.data();
    // SAFETY: within the packet, as is checked first; writable as said in `packet::write`.
    (data + TRANSPORT <= context.data_end()).then(|| unsafe { &mut *((data + ETHERNET) as *mut Ipv4) })
}

#[inline(always)]
fn header_v6<H: Hook>(context: &H) -> Option<&mut Ipv6> {
    let data = context.data();
    // SAFETY: within the packet, as is checked first; writable as said in `packet::write`.
    (data + TRANSPORT6 <= context.data_end()).then(|| unsafe { &mut *((data + ETHERNET) as *mut Ipv6) })
}
