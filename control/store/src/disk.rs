//! What the store asks of a disk, as a trait, so that a test can put a disk under it which drops, tears and reorders whatever was
//! not synced. Each sync says which [`SyncPoint`] it is: the tests take out each in turn and must then find a loss.

mod directory;

use std::io::{self, Read};
use std::ops::Range;

pub use directory::Directory;

/// Why a sync is done. There is no other sync in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SyncPoint {
    /// A frame of transactions, before they are acknowledged.
    LogFrame,
    /// The header of a new segment, so that a damaged header is never followed by a whole frame.
    SegmentHeader,
    /// The directory entry of a new segment, before anything in it is acknowledged.
    SegmentEntry,
    /// The content of a snapshot, before it is renamed into place.
    SnapshotData,
    /// The rename of a snapshot, before the segments that it replaces are deleted.
    SnapshotEntry,
    /// The end of the log at open: a torn tail is gone and what is about to be shown is really on the disk.
    OpenTail,
    /// Directory entries found at open, whose creator may have died before syncing them.
    OpenEntry,
}

impl SyncPoint {
    /// Every sync point.
    pub const ALL: [Self; 7] = [
        Self::LogFrame,
        Self::SegmentHeader,
        Self::SegmentEntry,
        Self::SnapshotData,
        Self::SnapshotEntry,
        Self::OpenTail,
        Self::OpenEntry,
    ];

    /// What is being done, for an error's text.
    pub fn doing(self) -> &'static str {
        match self {
            Self::LogFrame => "syncing the log",
            Self::SegmentHeader => "syncing a new log segment",
            Self::SegmentEntry => "syncing the directory after creating a log segment",
            Self::SnapshotData => "syncing a snapshot",
            Self::SnapshotEntry => "syncing the directory after renaming a snapshot",
            Self::OpenTail => "syncing the end of the log at open",
            Self::OpenEntry => "syncing the directory at open",
        }
    }
}

/// One flat directory of files.
pub trait Disk: Send + Sync + 'static {
    /// Names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// A file's content from its beginning.
    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>>;
    /// An empty file of that name for writing, in place of any that is there.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    /// An existing file for writing.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    /// Renames a file over any that has the new name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals durable.
    fn sync_dir(&self, point: SyncPoint) -> io::Result<()>;
}

/// A file open for writing.
pub trait DiskFile: Send {
    /// Writes at the end. After an error, part of it may have been written.
    fn append(&mut self, data: &[u8]) -> io::Result<()>;
    /// Writes zeros after the end, durably, without moving the end: a sync of what is then appended there has neither a length nor a
    /// place to record and is no business of the file system's journal, whose commits wait for what others write. Without room for
    /// them there are fewer zeros.
    fn extend(&mut self, zeros: Range<u64>) -> io::Result<()>;
    /// Writes within the file.
    fn overwrite(&mut self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Cuts the file off.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
    /// Makes the file's content and length durable, but not its directory entry.
    fn sync(&mut self, point: SyncPoint) -> io::Result<()>;
}
