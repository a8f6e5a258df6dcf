//! Reading an IPv4 packet and writing its addresses and ports.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{BPF_ANY, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR};
use aya_ebpf::helpers::generated::{bpf_l4_csum_replace, bpf_skb_pull_data};
use aya_ebpf::programs::TcContext;
use orlop_ebpf::{FlowKey, FragmentKey, TCP, UDP};

use crate::checksum::{fold16, fold32, replaced};
use crate::headers::{
    DONT_FRAGMENT, ETH_P_IP, ETHERNET, FRAGMENT_OFFSET, Ipv4, MORE_FRAGMENTS, PLAIN_HEADER, TRANSPORT,
};
use crate::maps::FRAGMENTS;

const FIN: u8 = 1;
const SYN: u8 = 2;
/// The flag of a reset.
pub const RST: u8 = 4;
/// The flag of an acknowledgement.
pub const ACK: u8 = 16;

/// The length of UDP's header.
const UDP_HEADER: u32 = 8;

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

/// A TCP or UDP packet over IPv4.
#[derive(Clone, Copy)]
pub struct Packet {
    /// As it stands.
    pub key: FlowKey,
    /// Of UDP zero.
    flags: u8,
    /// How many hops it has left.
    pub ttl: u8,
    /// For routing.
    pub tos: u8,
    part: Part,
    identification: u16,
    /// The length of its largest piece on the wire, zero if routers may cut it.
    uncut: u32,
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

    /// Lets the fragments that follow a first one know its ports. Those that overtake it are left to the stack.
    #[inline(always)]
    pub fn remember(&self) {
        if self.part == Part::First {
            let key = fragment_key(self.key.source, self.key.destination, self.identification, self.key.protocol);
            let _ = FRAGMENTS.insert(&key, &pair(&self.key), u64::from(BPF_ANY));
        }
    }

    /// Whether a device with this MTU cannot take it and nobody may cut it.
    #[inline(always)]
    pub fn is_larger_than(&self, mtu: u32) -> bool {
        self.uncut > mtu
    }

    /// Whether it ends the connection.
    #[inline(always)]
    pub fn reset(&self) -> bool {
        self.flags & RST != 0
    }
}

#[inline(always)]
fn fragment_key(source: u32, destination: u32, identification: u16, protocol: u32) -> FragmentKey {
    FragmentKey { source, destination, identification, protocol: protocol as u16 }
}

/// Reads the packet, if it is one we could translate. Those with options are left to the stack.
#[inline(always)]
pub fn read(context: &TcContext) -> Option<Packet> {
    // SAFETY: the context is the one this program was called with.
    if unsafe { (*context.skb.skb).protocol } != u32::from(ETH_P_IP) {
        return None;
    }
    // Enough for TCP's flags; UDP packets may end before.
    if context.data() + TRANSPORT + 8 > context.data_end() {
        // SAFETY: as above; packet pointers are read afresh below.
        unsafe { bpf_skb_pull_data(context.as_ptr().cast(), (TRANSPORT + 20) as u32) };
    }
    let (data, end) = (context.data(), context.data_end());
    if data + TRANSPORT > end {
        return None;
    }
    // SAFETY: the header lies within the packet, as just checked.
    let ip = unsafe { &*((data + ETHERNET) as *const Ipv4) };
    let [ttl, protocol] = ip.ttl_protocol.to_ne_bytes();
    if ip.version != PLAIN_HEADER || protocol != TCP && protocol != UDP {
        return None;
    }
    let mut key = FlowKey {
        source: ip.source,
        destination: ip.destination,
        source_port: 0,
        destination_port: 0,
        protocol: u32::from(protocol),
    };
    let part = match (ip.fragment & FRAGMENT_OFFSET != 0, ip.fragment & MORE_FRAGMENTS != 0) {
        (true, _) => Part::Later,
        (false, true) => Part::First,
        (false, false) => Part::Whole,
    };
    let uncut = if ip.fragment & DONT_FRAGMENT != 0 { u32::from(u16::from_be(ip.length)) } else { 0 };
    let mut packet = Packet { key, flags: 0, ttl, tos: ip.tos, part, identification: ip.identification, uncut };
    if part == Part::Later {
        let fragment = fragment_key(key.source, key.destination, packet.identification, key.protocol);
        // SAFETY: copied at once; an entry reused under us is of another datagram, and one fragment goes astray.
        let ports = unsafe { *FRAGMENTS.get(&fragment)? };
        (packet.key.source_port, packet.key.destination_port) = (ports as u16, (ports >> 16) as u16);
        return Some(packet);
    }
    if data + TRANSPORT + 8 > end {
        return None;
    }
    // SAFETY: just checked.
    [key.source_port, key.destination_port] = unsafe { *((data + TRANSPORT) as *const [u16; 2]) };
    packet.key = key;
    let mut header = UDP_HEADER;
    if protocol == TCP {
        if data + TRANSPORT + 20 > end {
            return None;
        }
        // SAFETY: just checked.
        let [offset, flags] = unsafe { *((data + TRANSPORT + 12) as *const [u8; 2]) };
        packet.flags = flags;
        header = u32::from(offset >> 4) * 4;
    }
    // SAFETY: the context is the one this program was called with.
    let segment = unsafe { (*context.skb.skb).gso_size };
    if packet.uncut != 0 && segment != 0 {
        packet.uncut = (TRANSPORT - ETHERNET) as u32 + header + segment;
    }
    Some(packet)
}

/// Gives the packet other addresses and ports, with its checksums, and takes `hops` from its time to live.
/// None when it is no longer as it was read.
#[inline(always)]
pub fn write(context: &TcContext, packet: &Packet, new: &FlowKey, hops: u8) -> Option<()> {
    let (data, end) = (context.data(), context.data_end());
    if data + TRANSPORT > end {
        return None;
    }
    let old = &packet.key;
    let addresses = replaced(old.source, new.source) + replaced(old.destination, new.destination);
    let ports = replaced(pair(old), pair(new));
    // SAFETY: within the packet, as just checked; the verifier has the packet made writable before the program runs.
    unsafe {
        let ip = &mut *((data + ETHERNET) as *mut Ipv4);
        let before = ip.ttl_protocol;
        let [ttl, protocol] = before.to_ne_bytes();
        ip.ttl_protocol = u16::from_ne_bytes([ttl - hops, protocol]);
        let sum = addresses + u64::from(!before) + u64::from(ip.ttl_protocol) + u64::from(!ip.checksum);
        ip.checksum = !fold16(sum);
        ip.source = new.source;
        ip.destination = new.destination;
    }
    if packet.part == Part::Later {
        return Some(());
    }
    if data + TRANSPORT + 8 > end {
        return None;
    }
    // SAFETY: within the packet, as just checked.
    unsafe { *((data + TRANSPORT) as *mut [u16; 2]) = [new.source_port, new.destination_port] };
    let (offset, mangled) = if packet.is_tcp() { (16, 0) } else { (6, u64::from(BPF_F_MARK_MANGLED_0)) };
    let offset = (TRANSPORT + offset) as u32;
    let skb = context.skb.skb;
    // The pseudo header's part is apart: of a checksum that the device will complete it is the only one that counts.
    // SAFETY: the context is the one this program was called with.
    unsafe {
        bpf_l4_csum_replace(skb, offset, 0, u64::from(fold32(addresses)), u64::from(BPF_F_PSEUDO_HDR) | mangled);
        bpf_l4_csum_replace(skb, offset, 0, u64::from(fold32(ports)), mangled);
    }
    Some(())
}

/// Both ports, the source in the low half.
#[inline(always)]
pub fn pair(key: &FlowKey) -> u32 {
    u32::from(key.source_port) | u32::from(key.destination_port) << 16
}
