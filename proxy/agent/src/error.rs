//! Why an agent cannot start or go on. What can be retried is retried instead.

use std::io;
use std::net::SocketAddr;

/// An error that ends the agent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address to serve on is taken or not ours.
    #[error("serving {what} on {address}: {source}")]
    Listen {
        /// Health or metrics.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// Cluster DNS cannot be served.
    #[error("cluster DNS: {0}")]
    Dns(#[from] orlop_dns::Error),
    /// No backend can be opened at all.
    #[error("no way to program the kernel: {0}")]
    Backend(orlop_plan::BackendError),
    /// The thread that programs the kernel cannot start, or died.
    #[error("the backend's thread: {0}")]
    Thread(String),
}
