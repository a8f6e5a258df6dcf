//! The connection table of translated IPv4 packets.
//!
//! Each connection has two entries, one for the packets of each direction as they arrive; the value says what such a
//! packet becomes. Turned around, a value is the key of the other direction ([`FlowKey::answer`]).

use crate::plain::plain;

/// A packet as it arrives. Network order throughout.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    /// Source address.
    pub source: u32,
    /// Destination address.
    pub destination: u32,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// IP protocol number.
    pub protocol: u32,
}

plain!(FlowKey { source: u32, destination: u32, source_port: u16, destination_port: u16, protocol: u32 });

impl FlowKey {
    /// The key of the packets that answer this one.
    #[inline(always)]
    pub const fn answer(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol: self.protocol,
        }
    }
}

/// Bits of [`Flow::flags`].
pub mod flow_flags {
    /// These are the packets of the answering direction.
    pub const REPLY: u32 = 1;
    /// The other direction has been seen.
    pub const ANSWERED: u32 = 2;
    /// A FIN of the client passed.
    pub const CLIENT_FIN: u32 = 4;
    /// A FIN of the endpoint passed.
    pub const SERVER_FIN: u32 = 8;
    /// A reset passed.
    pub const RESET: u32 = 16;
    /// The source became an address of this node.
    pub const MASQUERADED: u32 = 32;
    /// The endpoint is an address of this node: packets go up the stack and answers are met at egress.
    pub const HOST: u32 = 64;
}

/// What a packet becomes, and the state of its connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The addresses and ports it gets.
    pub becomes: FlowKey,
    /// The endpoint set it was chosen from.
    pub set: u32,
    /// [`flow_flags`].
    pub flags: u32,
    /// The device it leaves through; zero is the stack of this node.
    pub device: u32,
    /// The next hop, network order.
    pub next_hop: u32,
    /// The last packet, in nanoseconds of the monotonic clock.
    pub seen: u64,
    /// When the route was last looked up.
    pub routed: u64,
    /// Packets so far.
    pub packets: u64,
}

plain!(Flow {
    becomes: FlowKey,
    set: u32,
    flags: u32,
    device: u32,
    next_hop: u32,
    seen: u64,
    routed: u64,
    packets: u64
});
