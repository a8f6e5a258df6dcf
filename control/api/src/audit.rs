//! The audit log: who asked for what, when, and what came of it, a line of JSON for each stage of each request that the policy wants
//! written, as kube-apiserver writes it (`apiserver/pkg/audit`). Off unless there are a policy and a path.
//!
//! [`policy`] and [`event`] are pure; a [`Trail`] travels with its request and collects; [`log`] writes in a thread of its own.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::metrics::AuditMetrics;

mod event;
mod file;
mod log;
mod policy;
mod sender;
mod trail;

pub use file::Limits as AuditLimits;
use log::{Log, Output};
pub use policy::Level;
use policy::Policy;
pub use sender::Peer;
pub use trail::{Asked, Trail};

/// Who waits for the log (`--audit-log-mode`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nobody; an event for which there is no room is lost.
    Batch,
    /// Each request, until its event is written or cannot be.
    #[default]
    Blocking,
    /// Likewise, and a request is refused if it cannot be.
    BlockingStrict,
}

/// What is written, and where; nothing by default.
#[derive(Debug, Clone, Default)]
pub struct AuditOptions {
    /// The policy (`--audit-policy-file`).
    pub policy: Option<PathBuf>,
    /// The log (`--audit-log-path`); `-` is standard output.
    pub path: Option<PathBuf>,
    /// When the log's file is set aside and for how long (`--audit-log-maxage`, `-maxbackup`, `-maxsize`).
    pub limits: AuditLimits,
    /// Who waits for it (`--audit-log-mode`).
    pub mode: Mode,
}

/// Why nothing can be written.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The policy is none.
    #[error("loading audit policy file: {0}")]
    Policy(String),
    /// The log cannot be written.
    #[error("the audit log {path}: {error}")]
    Log {
        /// Where it is to be.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

/// The audit log, if there is one.
pub struct Audit(Option<Arc<Active>>);

/// What is needed to write one.
struct Active {
    policy: Policy,
    log: Log,
    metrics: AuditMetrics,
}

impl Audit {
    /// Reads the policy, opens the log and starts to write it. As with kube-apiserver, a bad policy is an error whether or not there is
    /// a log, and either alone writes nothing.
    pub fn open(options: &AuditOptions, metrics: &AuditMetrics) -> Result<Self, AuditError> {
        let policy = options.policy.as_deref().map(read).transpose()?;
        let Some(path) = &options.path else {
            if policy.is_some() {
                tracing::info!("no audit log path provided, no events will be recorded");
            }
            return Ok(Self(None));
        };
        let failed = |error| AuditError::Log { path: path.clone(), error };
        let output = Output::open(path, options.limits).map_err(failed)?;
        let Some(policy) = policy else {
            tracing::info!("no audit policy file provided, no events will be recorded for log backend");
            return Ok(Self(None));
        };
        let log = Log::start(output, options.mode, metrics.clone()).map_err(failed)?;
        Ok(Self(Some(Arc::new(Active { policy, log, metrics: metrics.clone() }))))
    }

    /// Whether anything is written.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins to follow a request of this name.
    pub fn trail(&self, id: Option<&http::HeaderValue>) -> Trail {
        match &self.0 {
            None => Trail::default(),
            Some(active) => Trail::new(active.clone(), id),
        }
    }

    /// Waits until what was left to be written is written.
    pub async fn flush(&self) {
        if let Some(active) = &self.0 {
            active.log.flush().await;
        }
    }
}

fn read(path: &Path) -> Result<Policy, AuditError> {
    let bytes = std::fs::read(path)
        .map_err(|error| AuditError::Policy(format!("failed to read file path {:?}: {error}", path.display())))?;
    let (policy, told) =
        Policy::parse(&bytes).map_err(|why| AuditError::Policy(format!("{why}: from file {}", path.display())))?;
    if !told.is_empty() {
        let why = orlop_schema::decode::strict_decoding_error(&told);
        tracing::warn!("audit policy contains errors, falling back to lenient decoding: {why}");
    }
    Ok(policy)
}
