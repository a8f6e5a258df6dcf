//! Services: frontends, endpoint sets and their members.

use crate::Address;
use crate::plain::plain;

/// What a packet must carry to be a Service's. A NodePort is keyed by the unspecified address of its family.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrontendKey {
    /// Destination address.
    pub address: Address,
    /// Destination port, network order.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub zero: u8,
}

plain!(FrontendKey { address: Address, port: u16, protocol: u8, zero: u8 });

/// Bits of [`Frontend::flags`].
pub mod frontend_flags {
    /// Every caller gets this node's address as its source.
    pub const MASQUERADE_ALWAYS: u32 = 1;
    /// Callers outside the cluster CIDRs do.
    pub const MASQUERADE_OUTSIDE: u32 = 2;
    /// Callers outside the cluster use [`super::Frontend::local_set`] (externalTrafficPolicy Local).
    pub const LOCAL: u32 = 4;
    /// An empty set means silence instead of a refusal.
    pub const DROP_WHEN_EMPTY: u32 = 8;
    /// Only callers in `SOURCE_RANGES` under this frontend's set are admitted (loadBalancerSourceRanges).
    pub const SOURCE_RANGES: u32 = 16;
    /// Callers outside the cluster may be answered by endpoints directly (a NodePort, load balancer or external IP).
    pub const EXTERNAL: u32 = 32;
}

/// The policy of a frontend and where its endpoints are.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frontend {
    /// Its endpoint set.
    pub set: u32,
    /// The set for callers outside the cluster, with [`frontend_flags::LOCAL`].
    pub local_set: u32,
    /// [`frontend_flags`].
    pub flags: u32,
    /// ClientIP affinity in seconds; zero is none.
    pub affinity: u32,
}

plain!(Frontend { set: u32, local_set: u32, flags: u32, affinity: u32 });

/// An endpoint set: slots `0..count` of `BACKENDS` hold its members.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// How many members.
    pub count: u32,
    /// How many places its table in `MAGLEV` has; zero when there is none, and devices choose by chance.
    pub table: u32,
}

plain!(Set { count: u32, table: u32 });

/// One slot of a set.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendKey {
    /// The set.
    pub set: u32,
    /// From zero.
    pub slot: u32,
}

plain!(BackendKey { set: u32, slot: u32 });

/// An endpoint.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Backend {
    /// Its address.
    pub address: Address,
    /// Its port, network order.
    pub port: u16,
    /// Zero.
    pub zero: u16,
}

plain!(Backend { address: Address, port: u16, zero: u16 });

/// Asks whether an endpoint is (still) a member of a set; the value is what was counted of it. The unspecified endpoint
/// ([`MemberKey::total`]) stands for all that the set ever had.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberKey {
    /// The set.
    pub set: u32,
    /// The endpoint.
    pub backend: Backend,
}

plain!(MemberKey { set: u32, backend: Backend });

impl MemberKey {
    /// The key of a set's totals.
    #[inline(always)]
    pub const fn total(set: u32) -> Self {
        let address = Address { words: [0; 4] };
        Self { set, backend: Backend { address, port: 0, zero: 0 } }
    }
}

/// What was counted of an endpoint or a set.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Connections, from sockets and at devices.
    pub connections: u64,
    /// Packets at devices, both ways.
    pub packets: u64,
    /// Their bytes, from the IP header on.
    pub bytes: u64,
    /// Connections of sockets that were established.
    pub handshakes: u64,
    /// How long that took them, in nanoseconds.
    pub handshake_time: u64,
    /// Not counted: 1 if the endpoint is on this node.
    pub local: u64,
}

plain!(Tally { connections: u64, packets: u64, bytes: u64, handshakes: u64, handshake_time: u64, local: u64 });

/// Who a client is to ClientIP affinity: an address, or for sockets the cookie of their network namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AffinityClient {
    /// The client's address; for a socket the halves of its namespace's cookie in words 0 and 1, the rest zero.
    pub client: Address,
    /// The set.
    pub set: u32,
}

plain!(AffinityClient { client: Address, set: u32 });

/// Which endpoint a client had last.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AffinityEntry {
    /// When, in nanoseconds of the monotonic clock.
    pub seen: u64,
    /// Which.
    pub backend: Backend,
    /// Zero.
    pub zero: u32,
}

plain!(AffinityEntry { seen: u64, backend: Backend, zero: u32 });

/// The key of a source range in its longest-prefix-match map; the set's 32 bits come first and always match whole.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceRange {
    /// 32 plus the prefix length of the (mapped) address.
    pub prefix: u32,
    /// The frontend's set.
    pub set: u32,
    /// The network.
    pub address: Address,
}

plain!(SourceRange { prefix: u32, set: u32, address: Address });
