//! The headers of the packets we read and write, and where they are.

use core::mem::size_of;

/// Where the IP header begins.
pub const ETHERNET: usize = size_of::<Ethernet>();
/// Where the transport header begins.
pub const TRANSPORT: usize = ETHERNET + size_of::<Ipv4>();
/// What `protocol` of a packet's context says of IPv4.
pub const ETH_P_IP: u16 = 0x0800_u16.to_be();
/// IP version 4, no options.
pub const PLAIN_HEADER: u8 = 0x45;
/// Routers must not cut it.
pub const DONT_FRAGMENT: u16 = 0x4000_u16.to_be();
/// More fragments follow.
pub const MORE_FRAGMENTS: u16 = 0x2000_u16.to_be();
/// Where in its datagram a fragment begins.
pub const FRAGMENT_OFFSET: u16 = 0x1fff_u16.to_be();
/// The protocol number.
pub const ICMP: u8 = 1;

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

/// The header of an ICMP error.
#[repr(C)]
pub struct Icmp {
    pub kind: u8,
    pub code: u8,
    pub checksum: u16,
    pub rest: u32,
}
