//! The write-ahead log: segments of frames. [`open`] finds the newest snapshot, replays the segments after it and leaves a log that
//! can be appended to. A torn end is cut off; anything else that is wrong is [`StoreError::Corrupt`].

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Instant;

use crate::StoreError;
use crate::disk::{Disk, DiskFile, SyncPoint};
use crate::frame::{self, FILE_HEADER, Frame, Frames};
use crate::record::Reader;
use crate::snapshot;
use crate::state::State;

const MAGIC: &[u8; 8] = b"ORLOPLOG";
/// Zeros that are written ahead of the frames, at most; half of them are used up before there are more.
const AHEAD: u64 = 1 << 20;

/// The end of the log, where frames are appended.
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    file: Box<dyn DiskFile>,
    salt: u64,
    /// Number of the next frame.
    next: u64,
    segment_bytes: u64,
    /// Bytes of all segments since the last snapshot.
    bytes: u64,
    /// Where the zeros after the last frame end, counted as `segment_bytes` is.
    extended: u64,
}

/// An open log and what was in it.
pub(crate) struct Opened {
    pub(crate) log: Log,
    pub(crate) state: State,
    pub(crate) snapshot_bytes: u64,
}

pub(crate) fn failed(doing: &'static str) -> impl Fn(io::Error) -> StoreError {
    move |error| StoreError::Storage { doing, reason: error.to_string() }
}

pub(crate) fn name(first_frame: u64) -> String {
    format!("log-{first_frame:016x}")
}

/// The frame number in a segment's name.
pub(crate) fn parse_name(name: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_prefix("log-")?, 16).ok()
}

fn corrupt(file: String, offset: usize, reason: &str) -> StoreError {
    StoreError::Corrupt { file, offset: offset as u64, reason: reason.to_owned() }
}

impl Log {
    /// Number of the next frame.
    pub(crate) fn next_frame(&self) -> u64 {
        self.next
    }

    pub(crate) fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// Bytes of all segments since the last snapshot.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A snapshot replaced the first so many bytes.
    pub(crate) fn forget(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Writes a frame and makes it durable. After an error nothing may be appended any more: what the disk holds is unknown.
    pub(crate) fn append(&mut self, frame: &mut Frame) -> Result<(), StoreError> {
        self.file.append(frame.seal(self.salt, self.next)).map_err(failed("writing the log"))?;
        self.file.sync(SyncPoint::LogFrame).map_err(failed(SyncPoint::LogFrame.doing()))?;
        self.next += 1;
        self.segment_bytes += frame.len() as u64;
        self.bytes += frame.len() as u64;
        Ok(())
    }

    /// Writes zeros ahead of the frames to come, when there are few; not beyond `segment_bytes`, where a segment is to end.
    pub(crate) fn prepare(&mut self, segment_bytes: u64) -> Result<(), StoreError> {
        let end = (self.segment_bytes + AHEAD).min(segment_bytes);
        if self.extended.saturating_sub(self.segment_bytes) < AHEAD / 2 && self.extended < end {
            self.file.extend(self.extended.max(self.segment_bytes)..end).map_err(failed("writing ahead of the log"))?;
            self.extended = end;
        }
        Ok(())
    }

    /// Begins a new segment, unless the present one is still empty.
    pub(crate) fn rotate(&mut self) -> Result<(), StoreError> {
        if self.segment_bytes > FILE_HEADER as u64 {
            let bytes = self.bytes;
            *self = create(self.disk.clone(), self.next)?;
            self.bytes += bytes;
        }
        Ok(())
    }
}

fn create(disk: Arc<dyn Disk>, first_frame: u64) -> Result<Log, StoreError> {
    let salt = frame::new_salt();
    let doing = || failed("creating a log segment");
    let mut file = disk.create(&name(first_frame)).map_err(doing())?;
    file.append(&frame::file_header(MAGIC, salt, first_frame)).map_err(doing())?;
    file.sync(SyncPoint::SegmentHeader).map_err(failed(SyncPoint::SegmentHeader.doing()))?;
    disk.sync_dir(SyncPoint::SegmentEntry).map_err(failed(SyncPoint::SegmentEntry.doing()))?;
    let bytes = FILE_HEADER as u64;
    Ok(Log { disk, file, salt, next: first_frame, segment_bytes: bytes, bytes, extended: bytes })
}

/// The last segment as replay found it.
struct Tail {
    name: String,
    salt: u64,
    len: usize,
    /// Where good data ends; less than `len` if zeros follow or the end is torn.
    end: usize,
    torn: bool,
    /// What was written last: the last frame, or the file's header.
    last: (usize, Vec<u8>),
}

/// Opens the log in a directory, or begins one.
pub(crate) fn open(disk: Arc<dyn Disk>) -> Result<Opened, StoreError> {
    let now = Instant::now();
    let names = disk.list().map_err(failed("listing the store's directory"))?;
    let newest = names.iter().filter_map(|name| snapshot::parse_name(name)).max();
    let (mut state, snapshot_bytes) = match newest {
        Some(number) => snapshot::load(&*disk, number, now)?,
        None => (State::new(), 0),
    };
    let start = newest.unwrap_or(0);
    let mut segments: Vec<u64> =
        names.iter().filter_map(|name| parse_name(name)).filter(|first| *first >= start).collect();
    segments.sort_unstable();

    let mut next = start;
    let mut bytes = 0;
    let mut tail: Option<Tail> = None;
    for (position, first) in segments.iter().enumerate() {
        if *first != next {
            return Err(corrupt(name(next), 0, "the segment is missing"));
        }
        let newest_segment = position + 1 == segments.len();
        match replay(&*disk, *first, newest_segment, &mut next, &mut state, now)? {
            Some(found) => {
                bytes += found.end as u64;
                tail = Some(found);
            }
            // Only ever the newest: its creator died before the header was durable, and nothing was written after it.
            None => disk.remove(&name(*first)).map_err(failed("removing an unfinished log segment"))?,
        }
    }
    let log = match tail {
        Some(tail) => resume(disk.clone(), &tail, next, bytes)?,
        None if newest.is_some() => return Err(corrupt(name(start), 0, "the segment is missing")),
        None => create(disk.clone(), 0)?,
    };
    snapshot::remove_replaced(&*disk, start)?;
    state.finish(now);
    Ok(Opened { log, state, snapshot_bytes })
}

/// Applies a segment's records; `None` if even its header is torn.
fn replay(
    disk: &dyn Disk,
    first: u64,
    newest: bool,
    next: &mut u64,
    state: &mut State,
    now: Instant,
) -> Result<Option<Tail>, StoreError> {
    let file = name(first);
    let mut data = Vec::new();
    disk.read(&file).and_then(|mut source| source.read_to_end(&mut data)).map_err(failed("reading a log segment"))?;
    let salt = match frame::read_file_header(&data, MAGIC, first) {
        Ok(salt) => salt,
        Err(_) if newest && data.len() <= FILE_HEADER && frame::may_be_torn(&data, 0, FILE_HEADER) => return Ok(None),
        Err(reason) => return Err(corrupt(file, 0, reason)),
    };
    let mut frames = Frames::new(&data, salt, first);
    let mut last = 0..FILE_HEADER;
    loop {
        let at = frames.at;
        let Some(body) = frames.next(&file)? else { break };
        for record in Reader::new(body) {
            record.and_then(|record| state.apply(record, now)).map_err(|reason| corrupt(file.clone(), at, reason))?;
        }
        last = at..frames.at;
    }
    // What was written ahead. How many frames there were the next segment's number tells.
    let torn = data[frames.at..].iter().any(|byte| *byte != 0);
    if torn && !newest {
        return Err(corrupt(file, frames.at, "the segment is cut off, and another follows it"));
    }
    *next = frames.number;
    let last = (last.start, data[last].to_vec());
    Ok(Some(Tail { name: file, salt, len: data.len(), end: frames.at, torn, last }))
}

/// Makes a log that was found durable and ready to be appended to.
fn resume(disk: Arc<dyn Disk>, tail: &Tail, next: u64, bytes: u64) -> Result<Log, StoreError> {
    let doing = || failed("mending the end of the log");
    let mut file = disk.open(&tail.name).map_err(doing())?;
    if tail.torn {
        tracing::warn!(file = tail.name, from = tail.end, to = tail.len, "cut off a torn write at the end of the log");
    }
    if tail.end < tail.len {
        file.truncate(tail.end as u64).map_err(doing())?;
    }
    // Everything before was synced when it was written. The last write may only be in the page cache, even marked clean there
    // after a sync that failed; written again it is dirty, and the sync means something.
    file.overwrite(tail.last.0 as u64, &tail.last.1).map_err(doing())?;
    file.sync(SyncPoint::OpenTail).map_err(failed(SyncPoint::OpenTail.doing()))?;
    disk.sync_dir(SyncPoint::OpenEntry).map_err(failed(SyncPoint::OpenEntry.doing()))?;
    let end = tail.end as u64;
    Ok(Log { disk, file, salt: tail.salt, next, segment_bytes: end, bytes, extended: end })
}
