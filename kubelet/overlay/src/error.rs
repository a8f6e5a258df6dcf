//! What failed, said with the object it was done to.

use std::net::Ipv4Addr;

/// Why the overlay could not be brought to what it should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A namespace or rtnetlink step.
    #[error(transparent)]
    Net(#[from] orlop_netns::Error),
    /// A file.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done, to what.
        doing: String,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The `nft` program refused.
    #[error("nft: {0}")]
    Nft(String),
    /// No device has the node's address.
    #[error("no network device has the node's address {0}: check --node-ip")]
    NoUplink(Ipv4Addr),
    /// The API server refused.
    #[error("{doing}: {source}")]
    Api {
        /// What was being asked.
        doing: String,
        /// Its answer.
        source: Box<kube::Error>,
    },
}

/// The result of an overlay step.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}
