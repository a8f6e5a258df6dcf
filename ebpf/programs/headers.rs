//! The headers of the packets we read and write, and where they are.

use core::mem::size_of;

/// Where the IP header begins.
pub const ETHERNET: usize = size_of::<Ethernet>();
/// Where the transport header of an IPv4 packet without options begins.
pub const TRANSPORT: usize = ETHERNET + size_of::<Ipv4>();
/// Where that of an IPv6 packet without extension headers begins.
pub const TRANSPORT6: usize = ETHERNET + size_of::<Ipv6>();
/// What `protocol` of a packet's context says of IPv4.
pub const ETH_P_IP: u32 = 0x0800_u16.to_be() as u32;
/// And of IPv6.
pub const ETH_P_IPV6: u32 = 0x86dd_u16.to_be() as u32;
/// IP version 4, no options.
pub const PLAIN_HEADER: u8 = 0x45;
/// IP version 6, no class, no flow label.
pub const PLAIN_HEADER6: u32 = 0x6000_0000_u32.to_be();
/// Routers must not cut it.
pub const DONT_FRAGMENT: u16 = 0x4000_u16.to_be();
/// More fragments follow.
pub const MORE_FRAGMENTS: u16 = 0x2000_u16.to_be();
/// Where in its datagram a fragment begins.
pub const FRAGMENT_OFFSET: u16 = 0x1fff_u16.to_be();
/// The protocol number.
pub const ICMP: u8 = 1;
/// The protocol number.
pub const ICMPV6: u8 = 58;

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

impl Ipv4 {
    /// How long it is with its options; zero when it is no IPv4 header.
    #[inline(always)]
    pub fn size(&self) -> usize {
        if self.version >> 4 == 4 && self.version & 15 >= 5 { usize::from(self.version & 15) * 4 } else { 0 }
    }
}

/// An IPv6 header.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Ipv6 {
    /// Version, traffic class and flow label.
    pub version: u32,
    pub length: u16,
    pub next: u8,
    pub hops: u8,
    pub source: [u32; 4],
    pub destination: [u32; 4],
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

/// The header of an ICMP or ICMPv6 error.
#[repr(C)]
pub struct Icmp {
    pub kind: u8,
    pub code: u8,
    pub checksum: u16,
    pub rest: u32,
}
