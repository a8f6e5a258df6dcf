//! `recvmsg(2)` on a UDP socket: the datagram's source becomes the Service it was sent to.
//!
//! Minimum kernel version: 5.2.

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use orlop_ebpf::{Backend, SocketFlowKey};

use crate::maps::PEERS;
use crate::sockaddr::{ALLOW, Call, Family};

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
pub fn restore(call: &Call) -> i32 {
    let Some(protocol) = call.protocol() else { return ALLOW };
    let backend = Backend { address: call.address(), port: call.port(), zero: 0 };
    let key = SocketFlowKey { cookie: call.cookie(), backend, protocol: u32::from(protocol) };
    // SAFETY: copied at once; an entry reused under us belongs to another socket, whose key this one is not.
    if let Some(peer) = unsafe { PEERS.get(&key) }.copied() {
        call.set(&peer.address, peer.port);
    }
    ALLOW
}
