//! The map ABI: keys and values of every BPF map, shared by the kernel programs and the proxy.
//!
//! Every type is `repr(C)`, copied as bytes and has no implicit padding (checked at compile time). Addresses and ports
//! are kept as they stand in a packet, in network byte order; an IPv4 address is kept as `::ffff:a.b.c.d` except in the
//! connection table of IPv4 packets. [`ABI_HASH`] covers these files and the map definitions: pins live under it, so
//! that two builds share a directory only when they agree on every byte. What outlives a change is said map by map, by
//! [`Plain::LAYOUT`]; layouts of earlier builds that are still understood are in [`old`].
#![no_std]

mod address;
mod flow;
mod hash;
pub mod maglev;
mod node;
pub mod old;
mod plain;
mod service;
mod socket;

pub use address::Address;
pub use flow::{Flow, FlowKey, FragmentKey, flow_flags};
pub use hash::{ABI_HASH, fold};
pub use node::{Cidr, Config, Device, address_flags, config_flags, counters, device_flags};
pub use plain::Plain;
pub use service::{
    AffinityClient, AffinityEntry, Backend, BackendKey, Frontend, FrontendKey, MemberKey, Set, SourceRange, Tally,
    frontend_flags,
};
pub use socket::{AnswerKey, Connection, Peer, TALKS, Talk, TalkKey, Talks};

/// The IP protocol number of TCP.
pub const TCP: u8 = 6;
/// The IP protocol number of UDP.
pub const UDP: u8 = 17;
