//! `getpeername(2)`: the application sees the Service it asked for.
//!
//! Minimum kernel version: 5.8.

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use orlop_ebpf::Backend;

use crate::sockaddr::{ALLOW, Call, Family};

/// IPv4 sockets.
#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4(context: SockAddrContext) -> i32 {
    restore(&Call::new(context, Family::V4))
}

/// IPv6 sockets.
#[cgroup_sock_addr(getpeername6)]
pub fn getpeername6(context: SockAddrContext) -> i32 {
    restore(&Call::new(context, Family::V6))
}

#[inline(always)]
fn restore(call: &Call) -> i32 {
    let backend = Backend { address: call.address(), port: call.port(), zero: 0 };
    if let Some(connection) = call.connection().filter(|connection| connection.backend == backend) {
        call.set(&connection.peer.address, connection.peer.port);
    }
    ALLOW
}
