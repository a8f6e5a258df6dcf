//! What can go wrong between the plan and the kernel.

use std::io;
use std::path::PathBuf;

/// An error of the eBPF backend: what was being done, to what, and why it failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This binary carries no programs.
    #[error("built without eBPF programs: run `cargo xtask build-ebpf` and build again")]
    NotBuilt,
    /// This binary carries programs of another map ABI.
    #[error("the eBPF programs are older than the proxy: run `cargo xtask build-ebpf` and build again")]
    OutOfDate,
    /// The machine lacks something.
    #[error("eBPF mode needs {0}")]
    Missing(String),
    /// The kernel refused the object or a program in it.
    #[error("load eBPF program {program}: {source}")]
    Load {
        /// The program, or `maps`.
        program: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A bpf(2) call failed.
    #[error("{what}: {source}")]
    Bpf {
        /// What was tried, on what.
        what: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A file or directory could not be used.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// rtnetlink failed.
    #[error("rtnetlink: {0}")]
    Netlink(#[source] io::Error),
    /// No thread could be started.
    #[error("start a thread: {0}")]
    Thread(#[source] io::Error),
    /// The plan is larger than the maps.
    #[error("no room for another endpoint set: {0} are in use")]
    Full(u32),
}

impl Error {
    pub(crate) fn bpf(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Bpf { what, source }
    }

    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
