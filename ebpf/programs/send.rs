//! `sendmsg(2)` with an address on a UDP socket: a socket's datagrams to one Service keep to one endpoint, as
//! connection tracking would have it, until the endpoint goes or the socket is silent for a while.
//!
//! Minimum kernel version: 5.18 (`bpf_set_retval`).

use aya_ebpf::bindings::BPF_ANY;
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use orlop_ebpf::{Stick, StickKey, counters};

use crate::balance;
use crate::counter;
use crate::maps::STICKS;
use crate::sockaddr::{ALLOW, Call, DENY, Family};
use crate::translate::{self, Destination, Translation};

/// `nf_conntrack_udp_timeout_stream`.
const SILENCE: u64 = 120_000_000_000;

/// IPv4 sockets.
#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(context: SockAddrContext) -> i32 {
    send(&Call::new(context, Family::V4))
}

/// IPv6 sockets, also those that hold a v4-mapped address.
#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(context: SockAddrContext) -> i32 {
    send(&Call::new(context, Family::V6))
}

#[inline(always)]
fn send(call: &Call) -> i32 {
    let (frontend, peer, protocol) = match translate::destination(call) {
        Destination::None => return ALLOW,
        Destination::Unused => return refused(call),
        Destination::Denied => return denied(),
        Destination::Service { frontend, peer, protocol } => (frontend, peer, protocol),
    };
    let key = StickKey { cookie: call.cookie(), peer, zero: 0 };
    let now = balance::now();
    // SAFETY: copied at once; is_member and the set check what an entry reused under us may hold.
    if let Some(stick) = unsafe { STICKS.get(&key) }.copied()
        && stick.set == frontend.set
        && now.saturating_sub(stick.seen) <= SILENCE
        && balance::is_member(stick.set, &stick.backend)
    {
        let _ = STICKS.insert(&key, &Stick { seen: now, ..stick }, u64::from(BPF_ANY));
        call.set(&stick.backend.address, stick.backend.port);
        return ALLOW;
    }
    let Some(backend) = translate::choose(call, &frontend) else {
        return match translate::empty(&frontend) {
            Translation::Drop => denied(),
            _ => refused(call),
        };
    };
    if !call.fits(&backend.address) {
        return ALLOW;
    }
    translate::remember(call, &backend, &peer, protocol);
    let _ = STICKS.insert(&key, &Stick { seen: now, backend, set: frontend.set }, u64::from(BPF_ANY));
    call.set(&backend.address, backend.port);
    counter::count(counters::CONNECTED);
    counter::connection(frontend.set);
    ALLOW
}

#[inline(always)]
fn refused(call: &Call) -> i32 {
    counter::count(counters::REFUSED);
    call.refuse()
}

#[inline(always)]
fn denied() -> i32 {
    counter::count(counters::DENIED);
    DENY
}
