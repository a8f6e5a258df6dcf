//! The connection table of packets translated at devices, of both families.
//!
//! Each connection has two entries, one for the packets of each direction as they arrive; the value says what such a
//! packet becomes. Turned around, a value is the key of the other direction ([`FlowKey::answer`]), but for what comes from
//! the node it was sent to ([`flow_flags::DELIVERED`]).

use crate::Address;
use crate::plain::plain;

/// A packet as it arrives. Network order throughout.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// IP protocol number.
    pub protocol: u32,
}

plain!(FlowKey { source: Address, destination: Address, source_port: u16, destination_port: u16, protocol: u32 });

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

/// A datagram that comes in fragments.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FragmentKey {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// What its fragments have in common.
    pub identification: u32,
    /// IP protocol number.
    pub protocol: u32,
}

plain!(FragmentKey { source: Address, destination: Address, identification: u32, protocol: u32 });

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
    /// The endpoint is on another node, which answers the client directly: only the client's packets pass here, and say
    /// which Service they were sent to.
    pub const DIRECT: u32 = 128;
    /// Another node sent the client's packets on as [`DIRECT`]: they arrive as the endpoint's, while the answers become
    /// the Service's.
    pub const DELIVERED: u32 = 256;
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
    /// The largest packet that device takes; zero when unknown.
    pub mtu: u32,
    /// The next hop, of either family; or the link addresses ([`Address::link`]) with which packets arrive at the device's other
    /// end.
    pub next_hop: Address,
    /// The last packet, in nanoseconds of the monotonic clock.
    pub seen: u64,
    /// When the route was last looked up.
    pub routed: u64,
    /// The first packet.
    pub opened: u64,
    /// Packets so far.
    pub packets: u64,
    /// And their bytes, from the IP header on.
    pub bytes: u64,
    /// How many of the packets the endpoint's tally has.
    pub told_packets: u64,
    /// And of the bytes.
    pub told_bytes: u64,
}

plain!(Flow {
    becomes: FlowKey,
    set: u32,
    flags: u32,
    device: u32,
    mtu: u32,
    next_hop: Address,
    seen: u64,
    routed: u64,
    opened: u64,
    packets: u64,
    bytes: u64,
    told_packets: u64,
    told_bytes: u64,
});

const SECOND: u64 = 1_000_000_000;
/// `nf_conntrack_tcp_timeout_established` as kube-proxy sets it.
const ESTABLISHED: u64 = 86_400 * SECOND;
/// Both sides have said FIN, or one a reset: the port may be given again after this.
const CLOSED: u64 = 10 * SECOND;
/// One side has said FIN: `nf_conntrack_tcp_timeout_close_wait` as kube-proxy sets it.
const CLOSING: u64 = 3_600 * SECOND;
/// No answer yet: `nf_conntrack_tcp_timeout_syn_sent` and `nf_conntrack_udp_timeout`.
const UNANSWERED: [u64; 2] = [120 * SECOND, 30 * SECOND];
/// `nf_conntrack_udp_timeout_stream`.
const STREAM: u64 = 120 * SECOND;
const FINS: u32 = flow_flags::CLIENT_FIN | flow_flags::SERVER_FIN;

impl Flow {
    /// Whether it is the answering direction's.
    #[inline(always)]
    pub const fn is_reply(&self) -> bool {
        self.flags & flow_flags::REPLY != 0
    }

    /// Whether it is closed, or has been silent for too long.
    #[inline(always)]
    pub fn is_expired(&self, now: u64) -> bool {
        now.saturating_sub(self.seen) > self.timeout()
    }

    /// How long it is kept if no packet comes, in nanoseconds.
    #[inline(always)]
    pub fn remaining(&self, now: u64) -> u64 {
        self.timeout().saturating_sub(now.saturating_sub(self.seen))
    }

    /// Whether nothing more is to come but what closing brings.
    #[inline(always)]
    pub const fn is_closed(&self) -> bool {
        self.flags & flow_flags::RESET != 0 || self.flags & FINS == FINS
    }

    /// The key of the other direction's entry, of an entry with this key.
    #[inline(always)]
    pub const fn other(&self, key: &FlowKey) -> FlowKey {
        let answers = flow_flags::DELIVERED | flow_flags::REPLY;
        let mut other = self.becomes.answer();
        if self.flags & answers == answers {
            (other.destination, other.destination_port) = (key.source, key.source_port);
        }
        other
    }

    #[inline(always)]
    const fn timeout(&self) -> u64 {
        let tcp = self.becomes.protocol == crate::TCP as u32;
        if self.is_closed() {
            CLOSED
        } else if self.flags & flow_flags::ANSWERED == 0 {
            if tcp { UNANSWERED[0] } else { UNANSWERED[1] }
        } else if !tcp {
            STREAM
        } else if self.flags & FINS != 0 {
            CLOSING
        } else {
            ESTABLISHED
        }
    }
}
