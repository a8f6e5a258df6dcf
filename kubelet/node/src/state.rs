//! The pod state machine: what is desired (the Pod) and what is seen (the runtime's sandboxes and containers) give the next
//! actions and the status. Pure: no IO, and the clock is an argument, so that a restarted kubelet decides the same from the same
//! records. `plan` decides, `status` reports; `phase`, `conditions` and `containers` are parts of the report.

mod conditions;
mod containers;
mod phase;
mod plan;
pub mod resize;
mod status;

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ResourceRequirements;

pub use phase::is_finished;
pub use plan::{Action, KillReason, plan};
pub use status::{Reporter, report};

use crate::backoff::Backoff;

/// What the runtime has of one pod, newest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    pub sandboxes: Vec<Sandbox>,
    pub containers: Vec<Record>,
}

/// One sandbox of the pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Sandbox {
    pub id: String,
    pub attempt: u32,
    pub ready: bool,
    /// Nanoseconds since 1970.
    pub created_at: i64,
    /// Empty for a pod in the node's network, and while the sandbox is not ready.
    pub ips: Vec<String>,
}

/// What the runtime says a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    Created,
    Running,
    Exited,
    Unknown,
}

/// One container that the runtime knows: one attempt at running a container of the pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub id: String,
    pub name: String,
    pub sandbox: String,
    pub restart_count: u32,
    pub state: RunState,
    /// Nanoseconds since 1970, as all times here; 0 when it has not happened.
    pub created_at: i64,
    pub started_at: i64,
    pub finished_at: i64,
    pub exit_code: i32,
    pub reason: String,
    /// The termination message.
    pub message: String,
    pub image: String,
    pub image_id: String,
    /// The hash of the container's definition that it was made from.
    pub hash: String,
}

impl Record {
    /// When it ended; when it was created if it never ran.
    pub fn ended(&self) -> Timestamp {
        timestamp(if self.finished_at > 0 { self.finished_at } else { self.created_at })
    }
}

#[cfg(test)]
impl Record {
    /// A container that runs since the first moment.
    pub fn running(id: &str, name: &str) -> Self {
        Self {
            id: id.into(),
            name: name.into(),
            sandbox: String::new(),
            restart_count: 0,
            state: RunState::Running,
            created_at: 1,
            started_at: 1,
            finished_at: 0,
            exit_code: 0,
            reason: String::new(),
            message: String::new(),
            image: String::new(),
            image_id: String::new(),
            hash: String::new(),
        }
    }
}

/// Nanoseconds since 1970 as a timestamp.
pub fn timestamp(nanoseconds: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or(Timestamp::UNIX_EPOCH)
}

impl Observed {
    /// The newest sandbox.
    pub fn sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first()
    }

    /// The newest sandbox, when containers can be started in it.
    pub fn ready_sandbox(&self) -> Option<&Sandbox> {
        self.sandbox().filter(|sandbox| sandbox.ready)
    }

    /// The newest container of this name.
    pub fn newest(&self, name: &str) -> Option<&Record> {
        self.containers.iter().find(|record| record.name == name)
    }

    /// The containers that may still run.
    pub fn alive(&self) -> impl Iterator<Item = &Record> {
        self.containers.iter().filter(|record| matches!(record.state, RunState::Running | RunState::Unknown))
    }

    /// Neither containers nor a sandbox are up.
    pub fn is_stopped(&self) -> bool {
        self.alive().next().is_none() && self.sandboxes.iter().all(|sandbox| !sandbox.ready)
    }
}

/// What the probes have said about one running container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The startup probe: `None` before it has said anything final, `Some(false)` when it has given up.
    pub started: Option<bool>,
    pub ready: Option<bool>,
    /// `Some(false)` asks for a restart.
    pub live: Option<bool>,
}

/// Why a container does not run, for `state.waiting`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub reason: String,
    pub message: String,
}

/// What a pod's worker remembers between decisions. Everything here may be lost in a restart of the kubelet.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// By container id.
    pub verdicts: HashMap<String, Verdict>,
    /// By container name: the last start that failed.
    pub waiting: HashMap<String, Waiting>,
    /// By container name: no use to try again before.
    pub holds: HashMap<String, Timestamp>,
    /// By container name.
    pub restarts: Backoff,
    /// By image.
    pub pulls: Backoff,
    /// By image: when the pull last failed, and how.
    pub failed_pulls: HashMap<String, (Timestamp, String)>,
    /// By container name: what the node has given it, which its spec may ask to change.
    pub allocated: HashMap<String, ResourceRequirements>,
    /// By container id: what the runtime was told.
    pub actuated: HashMap<String, ResourceRequirements>,
    /// By id: containers that were stopped to be started with other resources, whatever they end with.
    pub resize_kills: HashSet<String>,
    /// A change of resources that waits, and why.
    pub resize_pending: Option<Waiting>,
    /// What the runtime says against a change.
    pub resize_error: Option<String>,
    /// The pod was ended by the kubelet itself: `status.reason` and `status.message`.
    pub ended_by_kubelet: Option<Waiting>,
}
