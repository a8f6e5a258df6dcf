//! The test bed: a machine is a network namespace with its own mounts, cgroup, containerd and agents.
//!
//! [`up`] builds a cluster of machines, [`down`] leaves nothing of it, [`outside`] runs a command on the network beside the machines.
//! All that is known about a running cluster is asked of the kernel (pinned namespaces, cgroup membership) and never remembered:
//! no pid is stored, so none can be stale. The root network namespace is never changed: cables between machines are made in a switch
//! namespace, and what the person's loopback serves are listening sockets that were opened there and handed on.

mod address;
mod argv;
mod cgroup;
mod containerd;
mod daemon;
mod down;
mod keys;
mod layout;
mod mounts;
mod network;
mod node;
mod options;
mod outside;
mod preflight;
mod progress;
mod publish;
mod ready;
mod spaces;
mod sys;
mod up;

pub use down::down;
pub use options::{DownOptions, Options, Roots};
pub use outside::outside;
pub use publish::{Published, publish};
pub use up::up;
