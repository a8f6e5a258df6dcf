//! What can go wrong at the start; later, a client gets a response code.

use std::net::SocketAddr;

/// Why cluster DNS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster's domain is no domain name.
    #[error("{0:?} is no domain name; the cluster's domain is usually cluster.local")]
    Domain(String),
    /// An address is taken, or not this machine's.
    #[error("listening for DNS on {protocol} {address}: {source}")]
    Listen {
        /// udp or tcp.
        protocol: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
}
