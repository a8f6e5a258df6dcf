//! Black-box conformance: curl and kubectl from outside, on clusters that each test starts and ends.
//!
//! [`Cluster`] is one `orlop up`, ended when it is dropped, and [`Server`] a control plane alone; [`caller`] makes many connections from a network namespace and says who
//! answered; [`fairness`] judges how they were spread. Nothing here knows how a cluster works inside.

pub mod caller;
mod cluster;
mod command;
mod echo;
pub mod fairness;
mod pods;
mod server;
mod wait;

pub use cluster::{Cluster, Wanted};
pub use command::{output, stdout};
pub use echo::echo;
pub use pods::{Pod, Pods};
pub use server::Server;
pub use wait::eventually;
