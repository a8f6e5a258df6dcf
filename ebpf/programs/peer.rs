//! `getpeername(2)`: the application sees the Service it asked for.
//!
//! Minimum kernel version: 5.8.

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;

use crate::receive::restore;
use crate::sockaddr::{Call, Family};

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
