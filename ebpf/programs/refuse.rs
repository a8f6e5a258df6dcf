//! Answering in another's place: what a host with a closed port would say, or a router before a narrow way; sent back
//! from the address the packet was for. Packets with IP options or extension headers are dropped instead.

use core::mem::size_of;

use aya_ebpf::bindings::{__sk_buff, TC_ACT_SHOT, bpf_adj_room_mode::BPF_ADJ_ROOM_MAC};
use aya_ebpf::helpers::generated::{bpf_l4_csum_replace, bpf_redirect, bpf_skb_adjust_room, bpf_skb_change_tail};
use aya_ebpf::programs::TcContext;

use crate::checksum::{fold16, fold32, replaced, sum};
use crate::headers::{
    ETHERNET, Ethernet, ICMP, ICMPV6, Icmp, Ipv4, Ipv6, PLAIN_HEADER, PLAIN_HEADER6, TRANSPORT, TRANSPORT6, Tcp,
};
use crate::packet::{self, ACK, Packet, RST};

const TTL: u8 = 64;
/// An ICMP error quotes the transport header too, TCP's whole: the kernel cuts nothing off before the end of a checksum
/// that is left to the device.
const UDP_HEADER: usize = 8;
const TCP_HEADER: usize = size_of::<Tcp>();
const V4: usize = size_of::<Ipv4>();
const V6: usize = size_of::<Ipv6>();

/// The words that an ICMP error's checksum covers, with a quote of two headers of these sizes.
const fn words(ip: usize, transport: usize) -> usize {
    (size_of::<Icmp>() + ip + transport) / 4
}

/// What an error says.
struct Message {
    kind: u8,
    code: u8,
    rest: u32,
}

/// Turns the packet in hand around as its refusal.
#[inline(never)]
pub fn refuse(skb: *mut __sk_buff) -> i32 {
    let (context, Some(packet)) = (&TcContext::new(skb), packet::again()) else { return TC_ACT_SHOT };
    if packet.is_plain() && packet.is_tcp() {
        return send_back(context, reset(context, packet.v6));
    }
    // Port unreachable (RFC 792, RFC 4443).
    let (kind, code) = if packet.v6 { (1, 4) } else { (3, 3) };
    complain(context, packet, &Message { kind, code, rest: 0 })
}

/// Tells the sender of the packet in hand which size the way has room for (RFC 1191, RFC 8201).
#[inline(never)]
pub fn too_big(skb: *mut __sk_buff, mtu: u32) -> i32 {
    let (context, Some(packet)) = (&TcContext::new(skb), packet::again()) else { return TC_ACT_SHOT };
    let (kind, code) = if packet.v6 { (2, 0) } else { (3, 4) };
    complain(context, packet, &Message { kind, code, rest: mtu.to_be() })
}

#[inline(always)]
fn complain(context: &TcContext, packet: &Packet, message: &Message) -> i32 {
    if !packet.is_plain() {
        return TC_ACT_SHOT;
    }
    let answer = match (packet.v6, packet.is_tcp()) {
        (false, false) => error_v4::<{ V4 + UDP_HEADER }, { words(V4, UDP_HEADER) }>(context, message),
        (false, true) => error_v4::<{ V4 + TCP_HEADER }, { words(V4, TCP_HEADER) }>(context, message),
        (true, false) => error_v6::<{ V6 + UDP_HEADER }, { words(V6, UDP_HEADER) }>(context, message),
        (true, true) => error_v6::<{ V6 + TCP_HEADER }, { words(V6, TCP_HEADER) }>(context, message),
    };
    send_back(context, answer)
}

#[inline(always)]
fn send_back(context: &TcContext, answer: Option<()>) -> i32 {
    match answer {
        // SAFETY: takes numbers; the context is the one this program was called with.
        Some(()) => unsafe { bpf_redirect((*context.skb.skb).ifindex, 0) as i32 },
        None => TC_ACT_SHOT,
    }
}

/// A SYN becomes the reset that answers it. It keeps its options, which a reset may have.
#[inline(always)]
fn reset(context: &TcContext, v6: bool) -> Option<()> {
    let (data, end) = (context.data(), context.data_end());
    let at = if v6 { TRANSPORT6 } else { TRANSPORT };
    if data + at + size_of::<Tcp>() > end {
        return None;
    }
    // SAFETY: the headers lie within the packet, as just checked, and apart; the IPv6 header is the longer one.
    unsafe {
        let ethernet = &mut *(data as *mut Ethernet);
        core::mem::swap(&mut ethernet.source, &mut ethernet.destination);
        if v6 {
            let ip = &mut *((data + ETHERNET) as *mut Ipv6);
            core::mem::swap(&mut ip.source, &mut ip.destination);
            ip.hops = TTL;
        } else {
            let ip = &mut *((data + ETHERNET) as *mut Ipv4);
            core::mem::swap(&mut ip.source, &mut ip.destination);
            let [_, protocol] = ip.ttl_protocol.to_ne_bytes();
            let ttl_protocol = u16::from_ne_bytes([TTL, protocol]);
            ip.checksum = !fold16(u64::from(!ip.checksum) + u64::from(!ip.ttl_protocol) + u64::from(ttl_protocol));
            ip.ttl_protocol = ttl_protocol;
        }
    }
    // SAFETY: as above.
    let tcp = unsafe { &mut *((data + at) as *mut Tcp) };
    core::mem::swap(&mut tcp.source, &mut tcp.destination);
    let acknowledgement = u32::from_be(tcp.sequence).wrapping_add(1).to_be();
    let [offset, _] = tcp.offset_flags.to_ne_bytes();
    let offset_flags = u16::from_ne_bytes([offset, RST | ACK]);
    let change = replaced(tcp.sequence, 0)
        + replaced(tcp.acknowledgement, acknowledgement)
        + replaced(u32::from(tcp.offset_flags), u32::from(offset_flags));
    (tcp.sequence, tcp.acknowledgement, tcp.offset_flags) = (0, acknowledgement, offset_flags);
    // SAFETY: the context is the one this program was called with.
    unsafe { bpf_l4_csum_replace(context.skb.skb, (at + 16) as u32, 0, u64::from(fold32(change)), 0) };
    Some(())
}

/// Cuts the packet to `quote` bytes behind its Ethernet header and makes `room` before them.
#[inline(always)]
fn make_room(context: &TcContext, quote: usize, room: usize) -> Option<(usize, usize)> {
    let skb = context.skb.skb;
    // SAFETY: the context is the one this program was called with; packet pointers are read afresh below.
    let resized = unsafe {
        bpf_skb_change_tail(skb, (ETHERNET + quote) as u32, 0) == 0
            && bpf_skb_adjust_room(skb, room as i32, BPF_ADJ_ROOM_MAC, 0) == 0
    };
    let (data, end) = (context.data(), context.data_end());
    if resized && data + ETHERNET + room + quote <= end { Some((data, end)) } else { None }
}

/// A packet becomes the ICMP error that quotes it.
#[inline(always)]
fn error_v4<const QUOTE: usize, const WORDS: usize>(context: &TcContext, message: &Message) -> Option<()> {
    const ROOM: usize = V4 + size_of::<Icmp>();
    let (data, end) = make_room(context, QUOTE, ROOM)?;
    if data + ETHERNET + ROOM + QUOTE > end {
        return None;
    }
    // SAFETY: the headers lie within the packet, as just checked, and apart.
    let (ethernet, ip, icmp, quoted) = unsafe {
        (
            &mut *(data as *mut Ethernet),
            &mut *((data + ETHERNET) as *mut Ipv4),
            &mut *((data + TRANSPORT) as *mut Icmp),
            &*((data + ETHERNET + ROOM) as *const Ipv4),
        )
    };
    core::mem::swap(&mut ethernet.source, &mut ethernet.destination);
    *ip = Ipv4 {
        version: PLAIN_HEADER,
        tos: 0,
        length: ((ROOM + QUOTE) as u16).to_be(),
        identification: 0,
        fragment: 0,
        ttl_protocol: u16::from_ne_bytes([TTL, ICMP]),
        checksum: 0,
        source: quoted.destination,
        destination: quoted.source,
    };
    *icmp = Icmp { kind: message.kind, code: message.code, checksum: 0, rest: message.rest };
    // SAFETY: both are within the packet, and made of words.
    unsafe {
        ip.checksum = !fold16(sum(&*((data + ETHERNET) as *const [u32; V4 / 4])));
        icmp.checksum = !fold16(sum(&*((data + TRANSPORT) as *const [u32; WORDS])));
    }
    Some(())
}

/// [`error_v4`] for IPv6, whose checksum covers the addresses.
#[inline(always)]
fn error_v6<const QUOTE: usize, const WORDS: usize>(context: &TcContext, message: &Message) -> Option<()> {
    const ROOM: usize = V6 + size_of::<Icmp>();
    let (data, end) = make_room(context, QUOTE, ROOM)?;
    if data + ETHERNET + ROOM + QUOTE > end {
        return None;
    }
    // SAFETY: the headers lie within the packet, as just checked, and apart.
    let (ethernet, ip, icmp, quoted) = unsafe {
        (
            &mut *(data as *mut Ethernet),
            &mut *((data + ETHERNET) as *mut Ipv6),
            &mut *((data + TRANSPORT6) as *mut Icmp),
            &*((data + ETHERNET + ROOM) as *const Ipv6),
        )
    };
    core::mem::swap(&mut ethernet.source, &mut ethernet.destination);
    *ip = Ipv6 {
        version: PLAIN_HEADER6,
        length: ((WORDS * 4) as u16).to_be(),
        next: ICMPV6,
        hops: TTL,
        source: quoted.destination,
        destination: quoted.source,
    };
    *icmp = Icmp { kind: message.kind, code: message.code, checksum: 0, rest: message.rest };
    let pseudo = sum(&ip.source)
        + sum(&ip.destination)
        + u64::from(((WORDS * 4) as u32).to_be())
        + u64::from(u32::from(ICMPV6).to_be());
    // SAFETY: within the packet, and made of words.
    icmp.checksum = !fold16(pseudo + sum(unsafe { &*((data + TRANSPORT6) as *const [u32; WORDS]) }));
    Some(())
}
