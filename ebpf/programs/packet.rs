//! Reading an IPv4 packet and writing its addresses and ports.

use core::mem::size_of;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR};
use aya_ebpf::helpers::generated::{bpf_l4_csum_replace, bpf_skb_pull_data};
use aya_ebpf::programs::TcContext;
use orlop_ebpf::{FlowKey, TCP, UDP};

/// Where the IP header begins.
pub const ETHERNET: usize = 14;
/// Where the transport header begins.
pub const TRANSPORT: usize = ETHERNET + size_of::<Ipv4>();
const ETH_P_IP: u16 = 0x0800_u16.to_be();
/// Version 4, no options.
pub const PLAIN_HEADER: u8 = 0x45;
/// More fragments, or a fragment offset.
const FRAGMENT: u16 = 0x3fff_u16.to_be();

const FIN: u8 = 1;
const SYN: u8 = 2;
/// The flag of a reset.
pub const RST: u8 = 4;
/// The flag of an acknowledgement.
pub const ACK: u8 = 16;

/// An Ethernet header.
#[repr(C)]
pub struct Ethernet {
    pub destination: [u16; 3],
    pub source: [u16; 3],
    pub protocol: u16,
}

/// An IPv4 header without options.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Ipv4 {
    pub version: u8,
    pub tos: u8,
    pub length: u16,
    pub identification: u16,
    pub fragment: u16,
    /// Time to live in the first byte, the protocol in the second: one word of the checksum.
    pub ttl_protocol: u16,
    pub checksum: u16,
    pub source: u32,
    pub destination: u32,
}

/// A TCP header without its options.
#[repr(C)]
pub struct Tcp {
    pub source: u16,
    pub destination: u16,
    pub sequence: u32,
    pub acknowledgement: u32,
    /// The header's length in the first byte, flags in the second.
    pub offset_flags: u16,
    pub window: u16,
    pub checksum: u16,
    pub urgent: u16,
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
}

impl Packet {
    /// Whether it may begin a connection.
    #[inline(always)]
    pub fn opens(&self) -> bool {
        !self.is_tcp() || self.flags & (SYN | ACK | RST) == SYN
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

    /// Whether it ends the connection.
    #[inline(always)]
    pub fn reset(&self) -> bool {
        self.flags & RST != 0
    }
}

/// Reads the packet, if it is one we could translate. Options and fragments are left to the stack.
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
    if data + TRANSPORT + 8 > end {
        return None;
    }
    // SAFETY: the header and eight bytes behind it lie within the packet, as just checked.
    let (ip, ports) = unsafe {
        let ip = (data + ETHERNET) as *const Ipv4;
        ((&*ip), &*((data + TRANSPORT) as *const [u16; 2]))
    };
    if ip.version != PLAIN_HEADER || ip.fragment & FRAGMENT != 0 {
        return None;
    }
    let [ttl, protocol] = ip.ttl_protocol.to_ne_bytes();
    let mut flags = 0;
    if protocol == TCP {
        if data + TRANSPORT + 20 > end {
            return None;
        }
        // SAFETY: just checked.
        flags = unsafe { *((data + TRANSPORT + 13) as *const u8) };
    } else if protocol != UDP {
        return None;
    }
    let key = FlowKey {
        source: ip.source,
        destination: ip.destination,
        source_port: ports[0],
        destination_port: ports[1],
        protocol: u32::from(protocol),
    };
    Some(Packet { key, flags, ttl, tos: ip.tos })
}

/// Gives the packet other addresses and ports, with its checksums, and takes `hops` from its time to live.
/// None when it is no longer as it was read.
#[inline(always)]
pub fn write(context: &TcContext, packet: &Packet, new: &FlowKey, hops: u8) -> Option<()> {
    let (data, end) = (context.data(), context.data_end());
    if data + TRANSPORT + 8 > end {
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
        *((data + TRANSPORT) as *mut [u16; 2]) = [new.source_port, new.destination_port];
    }
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

#[inline(always)]
fn pair(key: &FlowKey) -> u32 {
    u32::from(key.source_port) | u32::from(key.destination_port) << 16
}

/// What a checksum gains when a word becomes another.
#[inline(always)]
pub fn replaced(old: u32, new: u32) -> u64 {
    u64::from(!old) + u64::from(new)
}

/// A sum as 32 bits.
#[inline(always)]
pub fn fold32(mut sum: u64) -> u32 {
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum as u32
}

/// A sum as the 16 bits of a checksum.
#[inline(always)]
pub fn fold16(sum: u64) -> u16 {
    let mut sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}
