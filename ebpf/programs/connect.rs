//! `connect(2)`: a connection to a Service becomes one to an endpoint before the first packet exists.
//!
//! Minimum kernel version: 5.18 (`bpf_set_retval`).

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use orlop_ebpf::counters;

use crate::counter;
use crate::sockaddr::{ALLOW, Call, DENY, Family};
use crate::translate::{Translation, translate};

/// IPv4 sockets.
#[cgroup_sock_addr(connect4)]
pub fn connect4(context: SockAddrContext) -> i32 {
    connect(&Call::new(context, Family::V4))
}

/// IPv6 sockets, also those that hold a v4-mapped address.
#[cgroup_sock_addr(connect6)]
pub fn connect6(context: SockAddrContext) -> i32 {
    connect(&Call::new(context, Family::V6))
}

#[inline(always)]
fn connect(call: &Call) -> i32 {
    match translate(call) {
        Translation::None => ALLOW,
        Translation::Refuse => {
            counter::count(counters::REFUSED);
            call.refuse()
        }
        Translation::Drop => {
            counter::count(counters::DENIED);
            DENY
        }
        Translation::To { backend, set } => {
            call.set(&backend.address, backend.port);
            counter::count(counters::CONNECTED);
            counter::connection(set, &backend);
            ALLOW
        }
    }
}
