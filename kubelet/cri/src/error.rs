//! What a CRI call can fail with.

use tonic::{Code, Status};

/// A failed CRI call: which call, on which object, and what the runtime said.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{call} {object}: {message}")]
pub struct CriError {
    /// The method of the protocol, such as `RunPodSandbox`.
    pub call: &'static str,
    /// What it was called for: an id, an image or a pod.
    pub object: String,
    /// The gRPC status code.
    pub code: Code,
    /// The runtime's own words.
    pub message: String,
}

impl CriError {
    pub(crate) fn new(call: &'static str, object: &str, status: &Status) -> Self {
        Self { call, object: object.to_owned(), code: status.code(), message: status.message().to_owned() }
    }

    /// A call whose result is lost on this side.
    pub fn lost(message: String) -> Self {
        Self { call: "call", object: String::new(), code: Code::Internal, message }
    }

    /// The runtime does not know the object (any more).
    pub fn is_not_found(&self) -> bool {
        self.code == Code::NotFound
    }

    /// The runtime does not have this call: containerd 1.6 has no `GetContainerEvents`.
    pub fn is_unimplemented(&self) -> bool {
        self.code == Code::Unimplemented
    }

    /// The runtime could not be reached: it is down or being restarted.
    pub fn is_unavailable(&self) -> bool {
        self.code == Code::Unavailable
    }

    /// The deadline passed first, ours or the runtime's.
    pub fn is_timeout(&self) -> bool {
        matches!(self.code, Code::DeadlineExceeded | Code::Cancelled)
    }
}
