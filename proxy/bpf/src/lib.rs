//! The eBPF backend: makes the pinned BPF maps equal to the plan.
//!
//! The kernel programs (crate `orlop-ebpf`) translate at the socket for callers on the node and at the devices for
//! packets that arrive. All that they read is in maps which this crate fills; maps and links are pinned, so that
//! neither a stop nor a crash nor an upgrade of the agent is noticed by a connection.

mod backend;
mod clsact;
mod conntrack;
mod convert;
mod counters;
mod devices;
mod error;
mod flows;
mod held;
mod ids;
mod inherit;
mod kernel;
mod maglev;
mod map;
mod maps;
mod netdev;
mod netns;
mod object;
mod pins;
mod ports;
mod programs;
mod requirements;
mod retire;
mod rtnetlink;
mod sizes;
mod sock_diag;
mod steps;
mod stranded;
mod sys;
mod table;
mod takeover;

pub use backend::{EbpfBackend, Forwarding, Options, Selection, Xdp, remove};
pub use error::Error;
pub use retire::{retire, retired_flows};
