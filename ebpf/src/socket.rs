//! What the socket hooks remember of a socket.
//!
//! It is kept in the socket itself (`BPF_MAP_TYPE_SK_STORAGE`): no other socket can push it out, and it goes when the
//! socket goes. Only what a socket says to more Services at a time than it has room for is in tables of all sockets.

use crate::plain::plain;
use crate::{Address, Backend};

/// The Service address the application asked for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: Address,
    /// Its port, network order.
    pub port: u16,
    /// Zero.
    pub zero: u16,
}

plain!(Peer { address: Address, port: u16, zero: u16 });

/// What a socket is connected to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// When it was begun, in nanoseconds of the monotonic clock.
    pub since: u64,
    /// The endpoint.
    pub backend: Backend,
    /// The Service it stands for.
    pub peer: Peer,
    /// The set the endpoint is from.
    pub set: u32,
    /// Whether it is established: of TCP alone.
    pub established: u32,
}

plain!(Connection { since: u64, backend: Backend, peer: Peer, set: u32, established: u32 });

/// A Service that an unconnected UDP socket sends to, and the endpoint its datagrams go to while it lives and they keep
/// coming.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Talk {
    /// The last datagram, in nanoseconds of the monotonic clock; zero is an empty place.
    pub seen: u64,
    /// The Service.
    pub peer: Peer,
    /// The endpoint.
    pub backend: Backend,
    /// The set it was chosen from.
    pub set: u32,
    /// Zero.
    pub zero: u32,
}

plain!(Talk { seen: u64, peer: Peer, backend: Backend, set: u32, zero: u32 });

/// How many Services a socket has room for.
pub const TALKS: usize = 8;

/// Everything an unconnected UDP socket says to Services.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Talks {
    /// In no order.
    pub all: [Talk; TALKS],
}

plain!(Talks { all: [Talk; TALKS] });

/// A socket and a Service it has no room for.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TalkKey {
    /// The socket's cookie.
    pub cookie: u64,
    /// The Service.
    pub peer: Peer,
    /// Zero.
    pub zero: u32,
}

plain!(TalkKey { cookie: u64, peer: Peer, zero: u32 });

/// A socket and the endpoint of a Service it has no room for.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerKey {
    /// The socket's cookie.
    pub cookie: u64,
    /// The endpoint.
    pub backend: Backend,
    /// Zero.
    pub zero: u32,
}

plain!(AnswerKey { cookie: u64, backend: Backend, zero: u32 });
