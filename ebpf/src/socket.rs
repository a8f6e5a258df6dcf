//! What the socket hooks remember of a socket.

use crate::plain::plain;
use crate::{Address, Backend};

/// A socket and the endpoint it was sent to.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketFlowKey {
    /// The socket's cookie.
    pub cookie: u64,
    /// The endpoint.
    pub backend: Backend,
    /// IP protocol number.
    pub protocol: u32,
}

plain!(SocketFlowKey { cookie: u64, backend: Backend, protocol: u32 });

/// The Service address the application asked for.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: Address,
    /// Its port, network order.
    pub port: u16,
    /// Zero.
    pub zero: u16,
}

plain!(Peer { address: Address, port: u16, zero: u16 });

/// An unconnected UDP socket and the Service it sends to.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StickKey {
    /// The socket's cookie.
    pub cookie: u64,
    /// The Service.
    pub peer: Peer,
    /// Zero.
    pub zero: u32,
}

plain!(StickKey { cookie: u64, peer: Peer, zero: u32 });

/// The endpoint that socket's datagrams to that Service go to while it lives and they keep coming.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stick {
    /// The last datagram, in nanoseconds of the monotonic clock.
    pub seen: u64,
    /// The endpoint.
    pub backend: Backend,
    /// The set it was chosen from.
    pub set: u32,
}

plain!(Stick { seen: u64, backend: Backend, set: u32 });
