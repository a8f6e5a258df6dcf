//! What can stop a kubelet, and what can stop one pod.

use std::path::PathBuf;

/// A failure that ends the kubelet. Failures of a pod never do: they are reported in its status and events.
#[derive(Debug, thiserror::Error)]
pub enum KubeletError {
    /// A folder of the kubelet cannot be made.
    #[error("cannot create {}: {source}", path.display())]
    Directory {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The port of the HTTP API is taken or forbidden.
    #[error("cannot listen on port {port} for the kubelet's API: {source}")]
    Listen {
        /// The port.
        port: u16,
        /// Why not.
        source: std::io::Error,
    },
    /// The configuration makes no sense.
    #[error("invalid configuration: {0}")]
    Configuration(String),
}

/// A failure to prepare something for a pod, in words for its events.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PodError {
    /// A volume is not ready: event `FailedMount`.
    #[error("MountVolume.SetUp failed for volume {volume:?} : {message}")]
    Volume { volume: String, message: String },
    /// A container's definition cannot be resolved: waiting reason `CreateContainerConfigError`.
    #[error("{0}")]
    ContainerConfig(String),
    /// The API server could not be asked.
    #[error("{0}")]
    Api(String),
    /// The runtime refused.
    #[error(transparent)]
    Cri(#[from] orlop_cri::CriError),
    /// A file of the pod cannot be made.
    #[error("{what}: {message}")]
    File { what: String, message: String },
}

impl PodError {
    pub fn file(what: impl std::fmt::Display, error: impl std::fmt::Display) -> Self {
        Self::File { what: what.to_string(), message: error.to_string() }
    }
}
