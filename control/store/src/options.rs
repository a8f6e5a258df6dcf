//! How an embedded store behaves ([`Options`]) and what it holds ([`Stats`]). Every option bounds something: memory, disk or delay.

use std::time::Duration;

use crate::Revision;

/// Bounds of an embedded store.
#[derive(Debug, Clone)]
pub struct Options {
    /// History older than this is forgotten (kube-apiserver compacts etcd every 5 minutes).
    pub keep_time: Duration,
    /// At most so many revisions of history are kept, however young they are.
    pub keep_revisions: u64,
    /// At most about so many bytes of keys and values are kept as history, however young they are.
    pub keep_bytes: u64,
    /// Size at which a log segment is closed and the next begun. A snapshot is taken, and the segments before it are deleted, once
    /// the log has grown by this much or by the size of the last snapshot, whichever is more.
    pub segment_bytes: u64,
    /// Largest transaction, in bytes of keys and values (etcd's `--max-request-bytes`).
    pub max_request_bytes: usize,
    /// A watcher with more undelivered events than this is cut off.
    pub watch_buffer_events: usize,
    /// A watcher with more undelivered bytes than this is cut off.
    pub watch_buffer_bytes: usize,
    /// How often a quiet watch is told its progress.
    pub progress_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            keep_time: Duration::from_secs(300),
            keep_revisions: 100_000,
            keep_bytes: 128 << 20,
            segment_bytes: 64 << 20,
            max_request_bytes: 1536 << 10,
            watch_buffer_events: 16 << 10,
            watch_buffer_bytes: 64 << 20,
            progress_interval: Duration::from_secs(5),
        }
    }
}

/// What an embedded store holds; for metrics, cheap to ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// The newest durable revision.
    pub revision: Revision,
    /// The oldest revision that can be read.
    pub compacted: Revision,
    /// Keys that exist now.
    pub keys: usize,
    /// Bytes of the keys and values that exist now.
    pub bytes: u64,
    /// Revisions of history that a watch can start from.
    pub history_revisions: usize,
    /// Bytes of keys and values in the history.
    pub history_bytes: u64,
    /// Bytes of log since the last snapshot.
    pub log_bytes: u64,
    /// Bytes of the last snapshot.
    pub snapshot_bytes: u64,
    /// Leases that live.
    pub leases: usize,
    /// Running watches.
    pub watchers: usize,
}
