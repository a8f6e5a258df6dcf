//! The store: etcd's semantics behind one trait, and the embedded implementation.
//!
//! One global revision; transactions compare `mod_revision`; range reads at a revision with paging; watch from a
//! revision; compaction; leases. What a [`Store`] acknowledged survives `kill -9` and power loss.
//! Only the API server talks to it. Semantics: etcd v3 `rpc.proto`/`kv.proto`.
//!
//! # How [`Embedded`] works
//! A change goes through one thread (`commit`), which runs what is waiting against the state in memory, appends it to the log as one
//! frame, syncs once, and then publishes the state, wakes the watches concerned and answers. The state (`index`) is a persistent map:
//! a read takes the published one and needs no lock, so it never waits for the disk, and it never sees what is not durable.
//!
//! # What is in its directory
//! - `log-N`: a segment; a header, then frames numbered from N. A frame holds the records of one group commit under one CRC.
//!   Zeros may follow the last: they are written ahead, so that a sync has nothing to tell the file system's journal.
//! - `snapshot-N`: everything in the frames before N: the keys as of the compaction, and each transaction since. Log and snapshots
//!   before it are deleted.
//! - `snapshot.tmp`: a snapshot that is being written. `lock`: held while the store is open.
//!
//! A frame is written only after the one before it was synced. So at open only the last frame may be torn, and then it is short or
//! lacks whole sectors: it was never acknowledged, and is cut off. Anything else that does not match its checksum is
//! [`StoreError::Corrupt`], and nothing is changed. The syncs that this rests on are listed in [`disk::SyncPoint`].
//!
//! # When the disk fails
//! After the first write or sync that fails, every write is refused with [`StoreError::Storage`] and every watch ends, because what
//! the disk holds is unknown then; reads go on. Opening the store again (restarting the server) finds everything that was
//! acknowledged. A snapshot that fails is only logged and tried again later.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), orlop_store::StoreError> {
//! # let directory = std::env::temp_dir().join(format!("orlop-store-example-{}", std::process::id()));
//! use orlop_store::{Compare, Embedded, KeyRange, Op, Options, RangeRequest, Store, Txn};
//!
//! let store = Embedded::open(&directory, Options::default())?;
//! let create = Txn {
//!     compare: vec![Compare::ModRevision("/registry/pods/default/web".into(), 0)],
//!     success: vec![Op::Put { key: "/registry/pods/default/web".into(), value: "{}".into(), lease: 0 }],
//!     failure: vec![],
//! };
//! assert!(store.txn(create.clone()).await?.succeeded);
//! assert!(!store.txn(create).await?.succeeded, "it exists already");
//! let pods = store.range(RangeRequest::now(KeyRange::prefix("/registry/pods/"))).await?;
//! assert_eq!((pods.count, pods.revision), (1, 2));
//! # drop(store); let _ = std::fs::remove_dir_all(directory); Ok(())
//! # }
//! ```

mod chain;
mod commit;
pub mod disk;
mod embedded;
mod frame;
mod index;
mod lease;
mod log;
mod options;
mod record;
mod retention;
mod snapshot;
mod state;
mod txn;
mod watch;

use std::ops::Bound;

use async_trait::async_trait;
use bytes::Bytes;

pub use embedded::Embedded;
pub use options::{Options, Stats};

/// The store's global counter: it grows by one with each transaction that changes something. The first write is revision 2,
/// as in etcd, so that 0 can mean "unset" and 1 "empty store".
pub type Revision = i64;

/// A lease's identity; 0 means "no lease".
pub type LeaseId = i64;

/// One key with the value it had at some revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The whole key, for example `/registry/pods/default/web-0`.
    pub key: Bytes,
    /// The value's bytes, shared and never copied.
    pub value: Bytes,
    /// The revision at which the key was created.
    pub create_revision: Revision,
    /// The revision of the last change.
    pub mod_revision: Revision,
    /// How often the key was written since it was created; the first write is 1.
    pub version: i64,
    /// The lease that the key hangs on, or 0.
    pub lease: LeaseId,
}

/// A half-open range of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// First key of the range.
    pub start: Bytes,
    /// First key after the range; `None` means "only `start`".
    pub end: Option<Bytes>,
}

impl KeyRange {
    /// Exactly one key.
    pub fn one(key: impl Into<Bytes>) -> Self {
        Self { start: key.into(), end: None }
    }

    /// Every key that begins with `prefix`; an empty prefix is every key.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let start = prefix.into();
        let mut end = start.to_vec();
        while let Some(last) = end.pop() {
            if last < 0xff {
                end.push(last + 1);
                return Self { start, end: Some(end.into()) };
            }
        }
        // etcd writes "to the end of the keyspace" as a range end of one zero byte.
        Self { start, end: Some(Bytes::from_static(b"\0")) }
    }

    /// Whether `key` lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            None => self.start == key,
            Some(end) if end.as_ref() == b"\0" => key >= self.start.as_ref(),
            Some(end) => key >= self.start.as_ref() && key < end.as_ref(),
        }
    }

    /// Whether no key can lie in the range.
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.as_ref() != b"\0" && *end <= self.start)
    }

    /// The range as bounds of an ordered map.
    pub fn bounds(&self) -> (Bound<Bytes>, Bound<Bytes>) {
        let end = match &self.end {
            None => Bound::Included(self.start.clone()),
            Some(end) if end.as_ref() == b"\0" => Bound::Unbounded,
            Some(end) => Bound::Excluded(end.clone()),
        };
        (Bound::Included(self.start.clone()), end)
    }
}

/// A read of a range.
#[derive(Debug, Clone)]
pub struct RangeRequest {
    /// Which keys.
    pub range: KeyRange,
    /// As of which revision; 0 means now.
    pub revision: Revision,
    /// At most so many; 0 means all.
    pub limit: usize,
    /// Only count, return no keys.
    pub count_only: bool,
}

impl RangeRequest {
    /// All of `range` as it is now.
    pub fn now(range: KeyRange) -> Self {
        Self { range, revision: 0, limit: 0, count_only: false }
    }
}

/// The answer to a [`RangeRequest`].
#[derive(Debug, Clone, Default)]
pub struct RangeResponse {
    /// In key order.
    pub kvs: Vec<KeyValue>,
    /// How many keys the range holds, also beyond `limit`.
    pub count: usize,
    /// Whether `limit` cut the answer.
    pub more: bool,
    /// The store's revision when the read was done (not the revision read at).
    pub revision: Revision,
}

/// A condition of a transaction.
#[derive(Debug, Clone)]
pub enum Compare {
    /// The key's `mod_revision` equals this; 0 means "the key does not exist".
    ModRevision(Bytes, Revision),
}

/// One step of a transaction.
#[derive(Debug, Clone)]
pub enum Op {
    /// Read.
    Range(RangeRequest),
    /// Write one key.
    Put {
        /// The key.
        key: Bytes,
        /// The value.
        value: Bytes,
        /// The lease it hangs on; 0 is none.
        lease: LeaseId,
    },
    /// Delete a range of keys.
    Delete(KeyRange),
}

/// What one [`Op`] did.
#[derive(Debug, Clone)]
pub enum OpResponse {
    /// Answer of [`Op::Range`].
    Range(RangeResponse),
    /// [`Op::Put`] is done.
    Put,
    /// How many keys [`Op::Delete`] removed, and what they were.
    Delete(Vec<KeyValue>),
}

/// If every comparison holds, run `success`, else `failure`; all of it at one revision.
#[derive(Debug, Clone, Default)]
pub struct Txn {
    /// Conditions, all of which must hold.
    pub compare: Vec<Compare>,
    /// Steps when they hold.
    pub success: Vec<Op>,
    /// Steps when they do not.
    pub failure: Vec<Op>,
}

/// The answer to a [`Txn`]. It is given only after what was written is durable.
#[derive(Debug, Clone)]
pub struct TxnResponse {
    /// Whether the comparisons held.
    pub succeeded: bool,
    /// One answer per step that was run.
    pub responses: Vec<OpResponse>,
    /// The store's revision after the transaction.
    pub revision: Revision,
}

/// A change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The key after the change; for a deletion the value is empty and `mod_revision` is the deletion's.
    pub kv: KeyValue,
    /// What it was before, `None` if it was created (etcd's `prev_kv`).
    pub prev: Option<KeyValue>,
    /// Whether the key was deleted.
    pub deleted: bool,
}

/// What a watch delivers: each batch holds whole revisions, in order, none twice.
#[derive(Debug, Clone)]
pub enum WatchBatch {
    /// Changes of one or more consecutive revisions.
    Events(Vec<Event>),
    /// Nothing up to and including this revision is still to come (etcd's progress notification).
    Progress(Revision),
}

/// A running watch; dropping it ends it. It begins with the past that was asked for, then a [`WatchBatch::Progress`], then what
/// happens; more progress comes from time to time. It ends by itself with [`StoreError::Compacted`], [`StoreError::Slow`] or
/// [`StoreError::Storage`] as its last item.
pub type WatchStream = futures::stream::BoxStream<'static, Result<WatchBatch, StoreError>>;

/// Why the store refused.
#[derive(Debug, thiserror::Error, Clone)]
pub enum StoreError {
    /// The revision is older than the last compaction.
    #[error("mvcc: required revision has been compacted (compacted at {compacted}, now {current})")]
    Compacted {
        /// The compaction's revision.
        compacted: Revision,
        /// The store's revision.
        current: Revision,
    },
    /// The revision lies in the future.
    #[error("mvcc: required revision {asked} is a future revision (now {current})")]
    Future {
        /// What was asked for.
        asked: Revision,
        /// The store's revision.
        current: Revision,
    },
    /// A watcher fell so far behind that it was cut off; it must list again.
    #[error("watcher is too slow and was cut off")]
    Slow,
    /// No such lease.
    #[error("lease {0} not found")]
    LeaseNotFound(LeaseId),
    /// The disk failed or is full: nothing was acknowledged, and the store takes no more writes until it is reopened.
    #[error("storage failed while {doing}: {reason}")]
    Storage {
        /// What was being done.
        doing: &'static str,
        /// The operating system's words.
        reason: String,
    },
    /// A transaction would change one key twice, which etcd refuses as well.
    #[error("etcdserver: duplicate key given in txn request: {0:?}")]
    DuplicateKey(Bytes),
    /// What is on the disk is damaged in a way that no crash explains; nothing was changed. Restore the directory from a copy.
    #[error("{file} is damaged at byte {offset}: {reason}; restore the store's directory from a copy")]
    Corrupt {
        /// The file in the store's directory.
        file: String,
        /// Where in the file.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// Another process has the store open.
    #[error("{0} is in use by another process")]
    Locked(String),
    /// A request over the size limit.
    #[error("request is too large: {size} bytes, at most {limit}")]
    TooLarge {
        /// Bytes asked for.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
}

/// etcd's semantics. Every implementation passes one contract test suite.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Reads a range.
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, StoreError>;
    /// Runs a transaction; returns once it is durable.
    async fn txn(&self, txn: Txn) -> Result<TxnResponse, StoreError>;
    /// Watches a range for every change with a revision of at least `start`; 0 means "from now on". A `start` that is already
    /// compacted is refused here or as the stream's first item.
    async fn watch(&self, range: KeyRange, start: Revision) -> Result<WatchStream, StoreError>;
    /// Forgets the history before `revision`; reads and watches from before it fail with [`StoreError::Compacted`].
    async fn compact(&self, revision: Revision) -> Result<(), StoreError>;
    /// Grants a lease of `ttl_seconds`; keys put under it vanish when it expires.
    async fn lease_grant(&self, ttl_seconds: i64) -> Result<LeaseId, StoreError>;
    /// Renews a lease; returns its time to live in seconds.
    async fn lease_keep_alive(&self, id: LeaseId) -> Result<i64, StoreError>;
    /// Revokes a lease and deletes its keys.
    async fn lease_revoke(&self, id: LeaseId) -> Result<(), StoreError>;
    /// Asks that every running watch deliver a [`WatchBatch::Progress`] of at least the revision as of this call.
    async fn request_progress(&self) -> Result<(), StoreError>;
    /// The store's revision now.
    async fn revision(&self) -> Result<Revision, StoreError>;
}
