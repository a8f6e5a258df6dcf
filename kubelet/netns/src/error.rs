//! What failed, said with the object it was done to.

use std::io;

/// A namespace or rtnetlink step that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call or a file.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done, to what.
        doing: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// An rtnetlink request.
    #[error("{doing}: {source}")]
    Netlink {
        /// What was being done, to what.
        doing: String,
        /// The kernel's answer.
        source: rtnetlink::Error,
    },
    /// A device that had to be there is not.
    #[error("no network device {0}")]
    NoDevice(String),
}

/// The result of a namespace or rtnetlink step.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Wraps an [`io::Error`] (or an errno) with what was being done.
    pub fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    /// Wraps an rtnetlink error with what was being done.
    pub fn netlink(doing: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Netlink { doing, source }
    }

    /// The kernel's errno, where there is one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Io { source, .. } => source.raw_os_error(),
            Self::Netlink { source, .. } => errno(source),
            Self::NoDevice(_) => None,
        }
    }
}

/// The errno inside an rtnetlink error.
pub(crate) fn errno(error: &rtnetlink::Error) -> Option<i32> {
    match error {
        rtnetlink::Error::NetlinkError(message) => Some(-message.raw_code()),
        _ => None,
    }
}
