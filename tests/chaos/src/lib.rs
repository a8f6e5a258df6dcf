//! The service proxy under traffic: what callers notice while it is killed, restarted, switched between modes and kept busy.
//!
//! Callers and servers are processes of `orlop-traffic` inside a real cluster ([`Traffic`] on a node, in a pod, outside; [`Pod`] finds
//! the places): they belong to the node's cgroup and network namespace, as everybody whom the proxy serves. Each exchange of bytes
//! becomes one [`Exchange`]; tests judge these, and nothing here knows how the proxy works inside. Services have no selector: [`Objects`]
//! writes their EndpointSlices, so that endpoints come and go as fast as the API server takes them. What `up` has no network for
//! (IPv6, SCTP) is walked in a [`Bed`]: the same traffic between namespaces, with proxies alone and objects written by hand.

mod another;
mod bed;
mod exchange;
mod flow;
mod objects;
mod pod;
mod program;
mod sctp;
mod server;
mod traffic;

pub use another::another_build;
pub use bed::{Api, Bed, BedPod};
pub use exchange::{Exchange, now};
pub use flow::Kind;
pub use objects::{Objects, slice};
pub use pod::{PODS, Pod, pods};
pub use program::main;
pub use traffic::{Ground, Place, Traffic};
