//! `connect(2)`: a connection to a Service becomes one to an endpoint before the first packet exists.
//!
//! To connect a datagram socket sends nothing, and programs do so only to learn their own address: in a pod that never fails. What
//! the socket sends then is refused, dropped or, if the Service has an endpoint by then, translated by the device it arrives on.
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
        Translation::Refuse | Translation::Drop if call.is_datagram() && !call.is_nodes() => ALLOW,
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
