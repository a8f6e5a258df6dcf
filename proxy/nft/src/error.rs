//! What can go wrong between this crate and the kernel.

use std::io;

/// An operation on the kernel's netfilter that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The netlink socket cannot be opened or configured.
    #[error("opening a netfilter netlink socket: {0}")]
    Socket(#[source] io::Error),
    /// The thread that looks after conntrack cannot be started.
    #[error("starting a thread: {0}")]
    Thread(#[source] io::Error),
    /// Sending or receiving failed.
    #[error("{doing}: {source}")]
    Transport {
        /// What was being done.
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// A frontend leads to a group of which nothing is known.
    #[error("{0} led to endpoints that were not counted")]
    Miscounted(orlop_plan::Frontend),
    /// The kernel refused a part of a transaction; nothing of it was applied.
    #[error("the kernel refused {what}: {source}")]
    Refused {
        /// The message it refused.
        what: String,
        /// Its answer.
        source: io::Error,
    },
    /// A dump was interrupted by other writers too many times.
    #[error("listing {what}: other programs keep changing the ruleset")]
    Restless {
        /// What was listed.
        what: &'static str,
    },
}
