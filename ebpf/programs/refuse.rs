//! Answering in another's place: what a host with a closed port would say, or a router before a narrow way; sent back
//! from the address the packet was for.

use core::mem::size_of;

use aya_ebpf::bindings::{TC_ACT_SHOT, bpf_adj_room_mode::BPF_ADJ_ROOM_MAC};
use aya_ebpf::helpers::generated::{bpf_l4_csum_replace, bpf_redirect, bpf_skb_adjust_room, bpf_skb_change_tail};
use aya_ebpf::programs::TcContext;

use crate::checksum::{fold16, fold32, replaced, sum};
use crate::headers::{ETHERNET, Ethernet, ICMP, Icmp, Ipv4, PLAIN_HEADER, TRANSPORT, Tcp};
use crate::packet::{ACK, Packet, RST};

const UDP_HEADER: usize = 8;
const TTL: u8 = 64;
/// ICMP's type and codes (RFC 792).
const DESTINATION_UNREACHABLE: u8 = 3;
const PORT_UNREACHABLE: u8 = 3;
const FRAGMENTATION_NEEDED: u8 = 4;

/// What comes before the quote of an ICMP error.
const ROOM: usize = size_of::<Ipv4>() + size_of::<Icmp>();
/// What an ICMP error quotes of the packet it is about: the kernel cuts nothing off before the end of a checksum that is
/// left to the device, and TCP's is far into its header.
const UDP_QUOTE: usize = size_of::<Ipv4>() + UDP_HEADER;
const TCP_QUOTE: usize = size_of::<Ipv4>() + size_of::<Tcp>();
/// An ICMP error behind the IPv4 header, as words for its checksum.
const UDP_WORDS: usize = (size_of::<Icmp>() + UDP_QUOTE) / 4;
const TCP_WORDS: usize = (size_of::<Icmp>() + TCP_QUOTE) / 4;

/// Turns the packet around as its refusal.
#[inline(always)]
pub fn refuse(context: &TcContext, packet: &Packet) -> i32 {
    send_back(context, if packet.is_tcp() { reset(context) } else { unreachable_udp(context, PORT_UNREACHABLE, 0) })
}

/// Tells the sender which size the way has room for (RFC 1191).
#[inline(always)]
pub fn too_big(context: &TcContext, packet: &Packet, mtu: u32) -> i32 {
    let (code, mtu) = (FRAGMENTATION_NEEDED, mtu.to_be());
    let answer = match packet.is_tcp() {
        true => unreachable::<TCP_QUOTE, TCP_WORDS>(context, code, mtu),
        false => unreachable_udp(context, code, mtu),
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
fn reset(context: &TcContext) -> Option<()> {
    let (data, end) = (context.data(), context.data_end());
    if data + TRANSPORT + size_of::<Tcp>() > end {
        return None;
    }
    // SAFETY: the headers lie within the packet, as just checked, and apart.
    let (ethernet, ip, tcp) = unsafe {
        (&mut *(data as *mut Ethernet), &mut *((data + ETHERNET) as *mut Ipv4), &mut *((data + TRANSPORT) as *mut Tcp))
    };
    core::mem::swap(&mut ethernet.source, &mut ethernet.destination);
    core::mem::swap(&mut ip.source, &mut ip.destination);
    let [_, protocol] = ip.ttl_protocol.to_ne_bytes();
    let ttl_protocol = u16::from_ne_bytes([TTL, protocol]);
    ip.checksum = !fold16(u64::from(!ip.checksum) + u64::from(!ip.ttl_protocol) + u64::from(ttl_protocol));
    ip.ttl_protocol = ttl_protocol;

    core::mem::swap(&mut tcp.source, &mut tcp.destination);
    let acknowledgement = u32::from_be(tcp.sequence).wrapping_add(1).to_be();
    let [offset, _] = tcp.offset_flags.to_ne_bytes();
    let offset_flags = u16::from_ne_bytes([offset, RST | ACK]);
    let change = replaced(tcp.sequence, 0)
        + replaced(tcp.acknowledgement, acknowledgement)
        + replaced(u32::from(tcp.offset_flags), u32::from(offset_flags));
    (tcp.sequence, tcp.acknowledgement, tcp.offset_flags) = (0, acknowledgement, offset_flags);
    // SAFETY: the context is the one this program was called with.
    unsafe { bpf_l4_csum_replace(context.skb.skb, (TRANSPORT + 16) as u32, 0, u64::from(fold32(change)), 0) };
    Some(())
}

#[inline(always)]
fn unreachable_udp(context: &TcContext, code: u8, rest: u32) -> Option<()> {
    unreachable::<UDP_QUOTE, UDP_WORDS>(context, code, rest)
}

/// A packet becomes the ICMP error that quotes it.
#[inline(always)]
fn unreachable<const QUOTE: usize, const WORDS: usize>(context: &TcContext, code: u8, rest: u32) -> Option<()> {
    let skb = context.skb.skb;
    // SAFETY: the context is the one this program was called with; packet pointers are read afresh below.
    let resized = unsafe {
        bpf_skb_change_tail(skb, (ETHERNET + QUOTE) as u32, 0) == 0
            && bpf_skb_adjust_room(skb, ROOM as i32, BPF_ADJ_ROOM_MAC, 0) == 0
    };
    let (data, end) = (context.data(), context.data_end());
    if !resized || data + ETHERNET + ROOM + QUOTE > end {
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
    *icmp = Icmp { kind: DESTINATION_UNREACHABLE, code, checksum: 0, rest };
    // SAFETY: both are within the packet, and made of words.
    unsafe {
        ip.checksum = !fold16(sum(&*((data + ETHERNET) as *const [u32; size_of::<Ipv4>() / 4])));
        icmp.checksum = !fold16(sum(&*((data + TRANSPORT) as *const [u32; WORDS])));
    }
    Some(())
}
