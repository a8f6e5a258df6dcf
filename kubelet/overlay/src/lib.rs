//! The overlay: Node objects become VXLAN or host-gw routes over rtnetlink.
//!
//! Compatible with flannel on the wire and in the API: the same device, VNI and port, the same annotations on the Nodes, so that nodes of both
//! kinds can form one cluster. What must be in the kernel is decided by [`desired`] from values alone; [`Overlay`] makes one network namespace
//! equal to it; [`run`] does that whenever a Node changes and every 30 s, so that what somebody removed comes back.
//! While the API server is away nothing is removed.

mod device;
mod error;
mod files;
mod kernel;
mod nft;
mod node;
mod overlay;
mod plan;
mod run;

pub use error::{Error, Result};
pub use node::{Mac, NodeNet, Unusable, Vtep};
pub use overlay::{Overlay, Settings};
pub use plan::{Desired, Mode, NextHop, desired};
pub use run::{Config, run};
