//! The end of a socket: nobody looks for it any more.
//!
//! Minimum kernel version: 5.9.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::bpf_get_socket_cookie;
use aya_ebpf::macros::cgroup_sock;
use aya_ebpf::programs::SockContext;
use orlop_ebpf::UDP;

use crate::maps::CONNECTED_UDP;

/// Every socket that is closed.
#[cgroup_sock(sock_release)]
pub fn release(context: SockContext) -> i32 {
    // SAFETY: the context is the one this program was called with, and of a field that it may read.
    let (protocol, cookie) =
        unsafe { ((&raw const (*context.sock).protocol).read_volatile(), bpf_get_socket_cookie(context.as_ptr())) };
    if protocol == u32::from(UDP) {
        let _ = CONNECTED_UDP.remove(&cookie);
    }
    1
}
