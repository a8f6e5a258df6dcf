//! `sendmsg(2)` with an address on a UDP socket: a socket's datagrams to one Service keep to one endpoint, as
//! connection tracking would have it, until the endpoint goes or the socket is silent for a while.
//!
//! Minimum kernel version: 5.18 (`bpf_set_retval`).

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use orlop_ebpf::{Backend, Frontend, Peer, Talk, config_flags, counters};

use crate::balance;
use crate::counter;
use crate::sockaddr::{ALLOW, Call, DENY, Family};
use crate::talk;
use crate::translate::{self, Destination, Translation};

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
    let (frontend, peer) = match translate::destination(call) {
        Destination::None => return go_on(call),
        Destination::Unused => return refused(call),
        Destination::Denied => return denied(),
        Destination::Service { frontend, peer } => (frontend, peer),
    };
    let now = talk::now();
    if let Some(talk) = talk::find(call, &peer, now)
        && balance::is_member(frontend.set, &talk.backend)
    {
        // Said anew with each datagram: of two Services at one endpoint, its answers are the last one's. The Service's set may
        // have another number than when the talk began: an agent that makes the maps anew gives numbers anew.
        talk::remember(call, &Talk { seen: now, set: frontend.set, ..talk });
        call.set(&talk.backend.address, talk.backend.port);
        return ALLOW;
    }
    let Some(backend) = choose(call, &frontend, &peer, now) else {
        return match translate::empty(&frontend) {
            Translation::Drop => denied(),
            _ => refused(call),
        };
    };
    if !call.fits(&backend.address) {
        return ALLOW;
    }
    if !talk::remember(call, &Talk { seen: now, peer, backend, set: frontend.set, zero: 0 }) {
        // The kernel has no memory for it. A pod's packets are translated by the device they arrive on.
        return if call.is_nodes() { denied() } else { ALLOW };
    }
    call.set(&backend.address, backend.port);
    counter::count(counters::CONNECTED);
    counter::connection(frontend.set, &backend);
    ALLOW
}

/// An endpoint, if possible one by which the socket speaks to no other Service: whose answers would they be?
#[inline(always)]
fn choose(call: &Call, frontend: &Frontend, peer: &Peer, now: u64) -> Option<Backend> {
    let backend = translate::choose(call, frontend)?;
    if talk::is_ambiguous(call, peer, &backend, now) { translate::choose(call, frontend) } else { Some(backend) }
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

/// No Service's address: or one that another backend serves now, where this socket has an endpoint from us.
#[inline(always)]
fn go_on(call: &Call) -> i32 {
    if !balance::config().is_some_and(|config| config.flags & config_flags::RETIRED != 0) {
        return ALLOW;
    }
    let (peer, now) = (Peer { address: call.address(), port: call.port(), zero: 0 }, talk::now());
    if let Some(talk) = talk::find(call, &peer, now)
        && balance::is_member(talk.set, &talk.backend)
    {
        talk::remember(call, &Talk { seen: now, ..talk });
        call.set(&talk.backend.address, talk.backend.port);
        counter::count(counters::TALKED);
    }
    ALLOW
}
