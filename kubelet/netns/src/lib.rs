//! Network namespaces, and rtnetlink steps inside them that may be repeated.
//!
//! A process never changes its own namespace here: work that must happen inside one runs in a thread that enters it and ends.
//! A netlink socket belongs to the namespace in which it was opened, so [`NetNs::connect`] gives a [`Net`] that any task may use.

mod error;
mod net;
mod netns;
mod offload;

pub use error::{Error, Result};
pub use net::Net;
pub use netns::NetNs;
pub use offload::Offload;
