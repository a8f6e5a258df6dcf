//! What a socket's destination becomes.

use aya_ebpf::bindings::BPF_ANY;
use orlop_ebpf::{Address, Backend, Frontend, Peer, SocketFlowKey, address_flags, frontend_flags};

use crate::balance::{self, Found};
use crate::maps::PEERS;
use crate::sockaddr::Call;

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
    /// A Service's.
    Service {
        /// Which.
        frontend: Frontend,
        /// As the application knows it.
        peer: Peer,
        /// TCP or UDP.
        protocol: u8,
    },
}

/// Looks the call's destination up.
#[inline(always)]
pub fn destination(call: &Call) -> Destination {
    let Some(protocol) = call.protocol() else { return Destination::None };
    let address = call.address();
    let known = balance::address(&address) | loopback(call, &address);
    if known == 0 {
        return Destination::None;
    }
    let peer = Peer { address, port: call.port(), zero: 0 };
    match balance::find(known, &address, peer.port, protocol) {
        Found::Nothing => Destination::None,
        Found::UnusedPort => Destination::Unused,
        Found::Frontend(frontend) => Destination::Service { frontend, peer, protocol },
    }
}

/// NodePorts answer on the loopback address too, for callers in the node's own namespace: a pod's loopback is its own.
#[inline(always)]
fn loopback(call: &Call, address: &Address) -> u32 {
    let v4 = address.is_v4() && address.words[3].to_be() >> 24 == 127;
    let v6 = address.words == [0, 0, 0, 1_u32.to_be()];
    match balance::config() {
        Some(config) if (v4 || v6) && call.netns() == config.netns => address_flags::NODE_PORTS,
        _ => 0,
    }
}

/// Chooses an endpoint for a frontend on behalf of the call's network namespace.
#[inline(always)]
pub fn choose(call: &Call, frontend: &Frontend) -> Option<Backend> {
    if frontend.affinity == 0 {
        return balance::choose(frontend.set);
    }
    let netns = call.netns();
    let client = Address { words: [netns as u32, (netns >> 32) as u32, 0, 0] };
    balance::choose_for(frontend.set, frontend.affinity, client)
}

/// What an empty set means.
#[inline(always)]
pub fn empty(frontend: &Frontend) -> Translation {
    if frontend.flags & frontend_flags::DROP_WHEN_EMPTY != 0 { Translation::Drop } else { Translation::Refuse }
}

/// Remembers which Service the endpoint stands for, so that the socket's peer is the Service.
#[inline(always)]
pub fn remember(call: &Call, backend: &Backend, peer: &Peer, protocol: u8) {
    let key = SocketFlowKey { cookie: call.cookie(), backend: *backend, protocol: u32::from(protocol) };
    // A table that is full of others costs the application the Service's address as its peer, not its connection.
    let _ = PEERS.insert(&key, peer, u64::from(BPF_ANY));
}

/// The whole of it for a call that makes a connection.
#[inline(always)]
pub fn translate(call: &Call) -> Translation {
    let (frontend, peer, protocol) = match destination(call) {
        Destination::None => return Translation::None,
        Destination::Unused => return Translation::Refuse,
        Destination::Service { frontend, peer, protocol } => (frontend, peer, protocol),
    };
    let Some(backend) = choose(call, &frontend) else { return empty(&frontend) };
    if !call.fits(&backend.address) {
        return Translation::None;
    }
    remember(call, &backend, &peer, protocol);
    Translation::To { backend, set: frontend.set }
}
