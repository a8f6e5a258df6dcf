//! What a socket's destination becomes.

use orlop_ebpf::{Address, Backend, Connection, Frontend, Peer, address_flags, frontend_flags};

use crate::balance::{self, Found, How};
use crate::sockaddr::Call;
use crate::talk;

/// What to do with a call.
pub enum Translation {
    /// Leave it alone.
    None,
    /// Fail as a closed port does.
    Refuse,
    /// Fail: a policy forbids it.
    Drop,
    /// Send it to an endpoint.
    To {
        /// The endpoint.
        backend: Backend,
        /// The set it is from.
        set: u32,
    },
}

/// Whose destination a call has.
pub enum Destination {
    /// Nobody's.
    None,
    /// A cluster IP without that port.
    Unused,
    /// A Service's that does not admit the caller.
    Denied,
    /// A Service's.
    Service {
        /// Which.
        frontend: Frontend,
        /// As the application knows it.
        peer: Peer,
    },
}

/// What loadBalancerSourceRanges say to a call.
enum Admission {
    Admitted,
    Denied,
    /// Not known here.
    ByDevice,
}

/// Looks the call's destination up.
#[inline(always)]
pub fn destination(call: &Call) -> Destination {
    let Some(protocol) = call.protocol() else { return Destination::None };
    let address = call.address();
    let known = balance::address(&address);
    if known == 0 || known & address_flags::LOOPBACK != 0 && !call.is_nodes() {
        return Destination::None;
    }
    let peer = Peer { address, port: call.port(), zero: 0 };
    match balance::find(known, &address, peer.port, protocol) {
        Found::Nothing => Destination::None,
        Found::UnusedPort => Destination::Unused,
        Found::Frontend(frontend) => match admission(call, &frontend) {
            Admission::Admitted => Destination::Service { frontend, peer },
            Admission::Denied => Destination::Denied,
            Admission::ByDevice => Destination::None,
        },
    }
}

/// Whether loadBalancerSourceRanges admit the call. Its source is not chosen yet: a process of the node will have the
/// address that its socket is bound to, or the node's. A pod's packets are left to the device they arrive on, which
/// sees where they come from.
#[inline(always)]
fn admission(call: &Call, frontend: &Frontend) -> Admission {
    if frontend.flags & frontend_flags::SOURCE_RANGES == 0 {
        return Admission::Admitted;
    }
    let Some(config) = balance::config().filter(|config| call.netns() == config.netns) else {
        return Admission::ByDevice;
    };
    let bound = call.bound();
    let source = if bound.is_any() { config.address(&call.address()) } else { bound };
    if balance::admits(frontend, &source) { Admission::Admitted } else { Admission::Denied }
}

/// Chooses an endpoint for a frontend on behalf of the call's network namespace.
#[inline(always)]
pub fn choose(call: &Call, frontend: &Frontend) -> Option<Backend> {
    if frontend.affinity == 0 {
        return balance::choose(frontend.set);
    }
    let netns = call.netns();
    let client = Address { words: [netns as u32, (netns >> 32) as u32, 0, 0] };
    balance::choose_for(frontend.set, frontend.affinity, client, How::Random)
}

/// What an empty set means.
#[inline(always)]
pub fn empty(frontend: &Frontend) -> Translation {
    if frontend.flags & frontend_flags::DROP_WHEN_EMPTY != 0 { Translation::Drop } else { Translation::Refuse }
}

/// The whole of it for a call that makes a connection.
#[inline(always)]
pub fn translate(call: &Call) -> Translation {
    let (frontend, peer) = match destination(call) {
        Destination::None => return Translation::None,
        Destination::Unused => return Translation::Refuse,
        Destination::Denied => return Translation::Drop,
        Destination::Service { frontend, peer } => (frontend, peer),
    };
    let Some(backend) = choose(call, &frontend) else { return empty(&frontend) };
    if !call.fits(&backend.address) {
        return Translation::None;
    }
    let connection = Connection { since: talk::now(), backend, peer, set: frontend.set, established: 0 };
    if !call.remember(&connection) {
        // The kernel has no memory for it. A pod's packets are translated by the device they arrive on.
        return if call.is_nodes() { Translation::Drop } else { Translation::None };
    }
    Translation::To { backend, set: frontend.set }
}
