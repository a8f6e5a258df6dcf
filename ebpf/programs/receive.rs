//! `recvmsg(2)` on a UDP socket: the datagram's source becomes the Service it was sent to.
//!
//! Minimum kernel version: 5.2.

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use orlop_ebpf::Backend;

use crate::sockaddr::{ALLOW, Call, Family};
use crate::talk;

/// IPv4 sockets.
#[cgroup_sock_addr(recvmsg4)]
pub fn recvmsg4(context: SockAddrContext) -> i32 {
    restore(&Call::new(context, Family::V4))
}

/// IPv6 sockets.
#[cgroup_sock_addr(recvmsg6)]
pub fn recvmsg6(context: SockAddrContext) -> i32 {
    restore(&Call::new(context, Family::V6))
}

/// Puts the Service's address where an endpoint's is, if this socket reached the endpoint through a Service.
#[inline(always)]
fn restore(call: &Call) -> i32 {
    let backend = Backend { address: call.address(), port: call.port(), zero: 0 };
    let peer = match call.connection() {
        Some(connection) if connection.backend == backend => Some(connection.peer),
        _ => talk::asked(call, &backend),
    };
    if let Some(peer) = peer {
        call.set(&peer.address, peer.port);
    }
    ALLOW
}
