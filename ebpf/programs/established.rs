//! A connection of a socket is established: how long did it take?
//!
//! Minimum kernel version: 5.2 (socket storage).

use aya_ebpf::bindings::BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB;
use aya_ebpf::helpers::generated::bpf_sk_storage_get;
use aya_ebpf::macros::sock_ops;
use aya_ebpf::programs::SockOpsContext;
use orlop_ebpf::Connection;

use crate::counter;
use crate::maps::SOCKET_CONNECTIONS;
use crate::talk;

/// Every turn of a TCP connection; of interest is one.
#[sock_ops]
pub fn established(context: SockOpsContext) -> u32 {
    const GO_ON: u32 = 1;
    if context.op() != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB {
        return GO_ON;
    }
    // SAFETY: the context is the one this program was called with; the helper takes the map's address, and no value to
    // begin with.
    let connection = unsafe {
        let socket = (*context.ops).__bindgen_anon_2.sk;
        if socket.is_null() {
            return GO_ON;
        }
        let map = (&raw const SOCKET_CONNECTIONS).cast_mut().cast();
        bpf_sk_storage_get(map, socket.cast(), core::ptr::null_mut(), 0).cast::<Connection>().as_mut()
    };
    if let Some(connection) = connection.filter(|connection| connection.established == 0) {
        counter::handshake(connection.set, &connection.backend, talk::now() - connection.since);
        connection.established = 1;
    }
    GO_ON
}
