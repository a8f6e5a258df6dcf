//! Reading a TCP or UDP packet and writing its addresses and ports: of IPv4, with or without options, and of IPv6, with
//! or without extension headers.

use core::arch::asm;
use core::mem::size_of;

use aya_ebpf::bindings::{BPF_ANY, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR};
use aya_ebpf::helpers::generated::bpf_l4_csum_replace;
use aya_ebpf::programs::TcContext;
use orlop_ebpf::{Address, FlowKey, FragmentKey, TCP, UDP};

use crate::checksum::{fold16, fold32, replaced};
use crate::direct;
use crate::extension;
use crate::headers::{
    DONT_FRAGMENT, ETH_P_IP, ETH_P_IPV6, ETHERNET, FRAGMENT_OFFSET, Ipv4, Ipv6, MORE_FRAGMENTS, TRANSPORT, TRANSPORT6,
};
use crate::hook::Hook;
use crate::maps::{FRAGMENTS, PACKET};

const FIN: u8 = 1;
const SYN: u8 = 2;
/// The flag of a reset.
pub const RST: u8 = 4;
/// The flag of an acknowledgement.
pub const ACK: u8 = 16;
/// The length of UDP's header.
const UDP_HEADER: u32 = 8;
/// `BPF_F_IPV6` (Linux 6.16): a pseudo header without a checksum of its own around it.
const BPF_F_IPV6: u64 = 1 << 7;

/// How much of a datagram a packet is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// All of it.
    Whole,
    /// The beginning, with the ports.
    First,
    /// The rest.
    Later,
}

/// A TCP or UDP packet.
#[derive(Clone, Copy)]
pub struct Packet {
    /// As it stands.
    pub key: FlowKey,
    /// From the IP header on.
    pub length: u32,
    /// The length of its largest piece on the wire.
    piece: u32,
    identification: u32,
    /// Where its transport header begins.
    transport: u16,
    /// Of UDP zero.
    flags: u8,
    /// How many hops it has left.
    pub ttl: u8,
    /// For routing.
    pub tos: u8,
    /// Its family.
    pub v6: bool,
    /// Whether routers may cut it.
    divisible: bool,
    part: Part,
    /// Whether another node sent it on and says for which Service it was ([`crate::direct`]).
    pub forwarded: bool,
    /// That Service's port and address.
    pub service_port: u16,
    pub service: Address,
}

impl Packet {
    /// Whether it may begin a connection.
    #[inline(always)]
    pub fn opens(&self) -> bool {
        self.part != Part::Later && (!self.is_tcp() || self.flags & (SYN | ACK | RST) == SYN)
    }

    /// Whether it is TCP.
    #[inline(always)]
    pub fn is_tcp(&self) -> bool {
        self.key.protocol == u32::from(TCP)
    }

    /// Whether it ends a direction.
    #[inline(always)]
    pub fn fin(&self) -> bool {
        self.flags & FIN != 0
    }

    /// Where its transport header begins.
    #[inline(always)]
    fn transport(&self) -> usize {
        within(usize::from(self.transport))
    }

    /// Whether nothing stands between its IP header and its transport header.
    #[inline(always)]
    pub fn is_plain(&self) -> bool {
        usize::from(self.transport) == if self.v6 { TRANSPORT6 } else { TRANSPORT }
    }

    /// Whether it is a whole datagram, or a segment of a stream.
    #[inline(always)]
    pub fn is_whole(&self) -> bool {
        self.part == Part::Whole
    }

    /// Lets the fragments that follow a first one know its ports. Those that overtake it are left to the stack.
    #[inline(always)]
    pub fn remember(&self) {
        if self.part == Part::First {
            let _ = FRAGMENTS.insert(&self.fragment(), &pair(&self.key), u64::from(BPF_ANY));
        }
    }

    #[inline(always)]
    fn fragment(&self) -> FragmentKey {
        FragmentKey {
            source: self.key.source,
            destination: self.key.destination,
            identification: self.identification,
            protocol: self.key.protocol,
        }
    }

    /// Whether a device with this MTU cannot take it and nobody may cut it.
    #[inline(always)]
    pub fn is_larger_than(&self, mtu: u32) -> bool {
        !self.divisible && self.piece > mtu
    }

    /// Whether a device with this MTU cannot take it, cut or not, with so much more in it.
    #[inline(always)]
    pub fn has_no_room(&self, more: u32, mtu: u32) -> bool {
        self.piece + more > mtu
    }

    /// Counts what was taken from behind its IP header's fixed part.
    #[inline(always)]
    pub fn shorten(&mut self, less: u32) {
        self.transport -= less as u16;
        self.length -= less;
        self.piece -= less;
        self.forwarded = false;
    }

    /// Whether it ends the connection.
    #[inline(always)]
    pub fn reset(&self) -> bool {
        self.flags & RST != 0
    }
}

/// The offset itself: headers end within [`extension::FARTHEST`]. The compiler knows it, and so would leave out the mask
/// by which the verifier learns it.
#[inline(always)]
pub fn within(offset: usize) -> usize {
    let mut offset = offset;
    // SAFETY: changes this register alone.
    unsafe { asm!("{offset} &= {most}", offset = inout(reg) offset, most = const extension::FARTHEST) }
    offset
}

/// Reads the packet, if it is one we could translate.
///
/// What was read is in a map of this CPU, and so forgotten by the verifier: it looks at what follows once, and not for
/// each kind of packet. Nothing interrupts a program on a device for another.
#[inline(always)]
pub fn read<H: Hook>(context: &H) -> Option<&'static Packet> {
    if !fill::<H>(context.raw()) {
        return None;
    }
    again()
}

/// What was read, where that has changed since.
#[inline(always)]
pub fn again() -> Option<&'static Packet> {
    // SAFETY: this CPU's element, which nobody else changes while the program runs.
    PACKET.get_ptr(0).map(|packet| unsafe { &*packet })
}

#[inline(never)]
fn fill<H: Hook>(raw: *mut H::Raw) -> bool {
    // SAFETY: as for `read`.
    let Some(packet) = PACKET.get_ptr_mut(0).map(|packet| unsafe { &mut *packet }) else { return false };
    parse(&H::of(raw), packet).is_some()
}

#[inline(always)]
fn parse<H: Hook>(context: &H, packet: &mut Packet) -> Option<()> {
    // Enough for TCP's flags.
    context.pull(TRANSPORT6 + 20);
    match context.protocol() {
        ETH_P_IP => parse_v4(context, packet)?,
        ETH_P_IPV6 => parse_v6(context, packet)?,
        _ => return None,
    }
    packet.flags = 0;
    packet.forwarded = false;
    if packet.part == Part::Later {
        // SAFETY: copied at once; an entry reused under us is of another datagram, and one fragment goes astray.
        let ports = unsafe { *FRAGMENTS.get(&packet.fragment())? };
        (packet.key.source_port, packet.key.destination_port) = (ports as u16, (ports >> 16) as u16);
        return Some(());
    }
    let at = context.data() + packet.transport();
    let end = context.data_end();
    if at + 8 > end {
        return None;
    }
    // SAFETY: just checked.
    [packet.key.source_port, packet.key.destination_port] = unsafe { *(at as *const [u16; 2]) };
    let mut header = UDP_HEADER;
    if packet.is_tcp() {
        if at + 20 > end {
            return None;
        }
        // SAFETY: just checked.
        let [offset, flags] = unsafe { *((at + 12) as *const [u8; 2]) };
        packet.flags = flags;
        header = u32::from(offset >> 4) * 4;
    }
    let segment = context.segment();
    if segment != 0 {
        packet.piece = u32::from(packet.transport) - ETHERNET as u32 + header + segment;
    }
    if !packet.is_plain() && packet.opens() {
        let (at, end) = (context.data(), context.data_end());
        let service =
            if packet.v6 { direct::read_v6(at + TRANSPORT6, end) } else { direct::read_v4(at + TRANSPORT, end) };
        if let Some((address, port)) = service {
            (packet.forwarded, packet.service, packet.service_port) = (true, address, port);
        }
    }
    Some(())
}

#[inline(always)]
fn parse_v4<H: Hook>(context: &H, packet: &mut Packet) -> Option<()> {
    let (data, end) = (context.data(), context.data_end());
    if data + TRANSPORT > end {
        return None;
    }
    // SAFETY: the header lies within the packet, as just checked.
    let ip = unsafe { &*((data + ETHERNET) as *const Ipv4) };
    let [ttl, protocol] = ip.ttl_protocol.to_ne_bytes();
    if ip.size() == 0 || protocol != TCP && protocol != UDP {
        return None;
    }
    packet.v6 = false;
    packet.key.source = Address::v4(ip.source);
    packet.key.destination = Address::v4(ip.destination);
    packet.key.protocol = u32::from(protocol);
    packet.length = u32::from(u16::from_be(ip.length));
    packet.identification = u32::from(ip.identification);
    packet.transport = (ETHERNET + ip.size()) as u16;
    (packet.ttl, packet.tos) = (ttl, ip.tos);
    packet.piece = packet.length;
    packet.divisible = ip.fragment & DONT_FRAGMENT == 0;
    packet.part = match (ip.fragment & FRAGMENT_OFFSET != 0, ip.fragment & MORE_FRAGMENTS != 0) {
        (true, _) => Part::Later,
        (false, true) => Part::First,
        (false, false) => Part::Whole,
    };
    Some(())
}

#[inline(always)]
fn parse_v6<H: Hook>(context: &H, packet: &mut Packet) -> Option<()> {
    let (data, end) = (context.data(), context.data_end());
    if data + TRANSPORT6 > end {
        return None;
    }
    // SAFETY: the header lies within the packet, as just checked.
    let ip = unsafe { &*((data + ETHERNET) as *const Ipv6) };
    packet.v6 = true;
    packet.key.source = Address { words: ip.source };
    packet.key.destination = Address { words: ip.destination };
    packet.key.protocol = u32::from(ip.next);
    packet.length = u32::from(u16::from_be(ip.length)) + size_of::<Ipv6>() as u32;
    packet.transport = TRANSPORT6 as u16;
    (packet.ttl, packet.tos) = (ip.hops, 0);
    packet.piece = packet.length;
    packet.divisible = false;
    packet.part = Part::Whole;
    if ip.next == TCP || ip.next == UDP {
        return Some(());
    }
    let chain = context.extensions(TRANSPORT6, ip.next)?;
    if chain.protocol() != TCP && chain.protocol() != UDP {
        return None;
    }
    packet.key.protocol = u32::from(chain.protocol());
    packet.transport = chain.end() as u16;
    packet.identification = chain.identification();
    if chain.is_later() {
        packet.part = Part::Later;
        return Some(());
    }
    if chain.is_first() {
        packet.part = Part::First;
    }
    context.pull(chain.end() + 20);
    Some(())
}

/// Gives the packet other addresses and ports, with its checksums, and takes `hops` from its time to live.
/// None when it is no longer as it was read.
#[inline(always)]
pub fn write(context: &TcContext, packet: &Packet, new: &FlowKey, hops: u8) -> Option<()> {
    let old = &packet.key;
    let addresses = if packet.v6 { write_v6(context, old, new, hops) } else { write_v4(context, old, new, hops) }?;
    if packet.part == Part::Later {
        return Some(());
    }
    let transport = packet.transport();
    let at = context.data() + transport;
    if at + 8 > context.data_end() {
        return None;
    }
    // SAFETY: within the packet, as just checked; the verifier has the packet made writable before the program runs.
    unsafe { *(at as *mut [u16; 2]) = [new.source_port, new.destination_port] };
    let (offset, mangled) = if packet.is_tcp() { (16, 0) } else { (6, u64::from(BPF_F_MARK_MANGLED_0)) };
    let offset = (transport + offset) as u32;
    let ports = u64::from(fold32(replaced(pair(old), pair(new))));
    let addresses = u64::from(fold32(addresses));
    let flags = u64::from(BPF_F_PSEUDO_HDR) | mangled;
    let skb = context.skb.skb;
    // The pseudo header's part is apart: of a checksum that the device will complete it is the only one that counts.
    // SAFETY: the context is the one this program was called with.
    unsafe {
        // A kernel that does not know the flag says so and changes nothing.
        if !packet.v6 || bpf_l4_csum_replace(skb, offset, 0, addresses, flags | BPF_F_IPV6) != 0 {
            bpf_l4_csum_replace(skb, offset, 0, addresses, flags);
        }
        bpf_l4_csum_replace(skb, offset, 0, ports, mangled);
    }
    Some(())
}

/// Writes addresses and time to live, and gives what the transport's checksum gains by it.
#[inline(always)]
pub fn write_v4<H: Hook>(context: &H, old: &FlowKey, new: &FlowKey, hops: u8) -> Option<u64> {
    let data = context.data();
    if data + TRANSPORT > context.data_end() {
        return None;
    }
    let (source, destination) = (new.source.words[3], new.destination.words[3]);
    let addresses = replaced(old.source.words[3], source) + replaced(old.destination.words[3], destination);
    // SAFETY: within the packet, as just checked; writable as said in `write`.
    let ip = unsafe { &mut *((data + ETHERNET) as *mut Ipv4) };
    let before = ip.ttl_protocol;
    let [ttl, protocol] = before.to_ne_bytes();
    ip.ttl_protocol = u16::from_ne_bytes([ttl - hops, protocol]);
    let sum = addresses + u64::from(!before) + u64::from(ip.ttl_protocol) + u64::from(!ip.checksum);
    ip.checksum = !fold16(sum);
    (ip.source, ip.destination) = (source, destination);
    Some(addresses)
}

/// [`write_v4`] for IPv6.
#[inline(always)]
pub fn write_v6<H: Hook>(context: &H, old: &FlowKey, new: &FlowKey, hops: u8) -> Option<u64> {
    let data = context.data();
    if data + TRANSPORT6 > context.data_end() {
        return None;
    }
    // SAFETY: within the packet, as just checked; writable as said in `write`.
    let ip = unsafe { &mut *((data + ETHERNET) as *mut Ipv6) };
    ip.hops -= hops;
    (ip.source, ip.destination) = (new.source.words, new.destination.words);
    Some(readdressed(&old.source, &new.source) + readdressed(&old.destination, &new.destination))
}

/// What a checksum gains when an address becomes another.
#[inline(always)]
pub fn readdressed(old: &Address, new: &Address) -> u64 {
    let (old, new) = (&old.words, &new.words);
    replaced(old[0], new[0]) + replaced(old[1], new[1]) + replaced(old[2], new[2]) + replaced(old[3], new[3])
}

/// Both ports, the source in the low half.
#[inline(always)]
pub fn pair(key: &FlowKey) -> u32 {
    u32::from(key.source_port) | u32::from(key.destination_port) << 16
}
