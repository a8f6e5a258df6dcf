//! Snapshots: the keys as of the compaction and every transaction since, in one file, so that the log before it can go and watches
//! from before a restart still find their past. Written beside its name and renamed into place: one that has its name is whole.

use std::io::Read;
use std::time::Instant;

use crate::disk::{Disk, DiskFile, SyncPoint};
use crate::frame::{self, FILE_HEADER, Frame, HEADER, Head};
use crate::index::Index;
use crate::log;
use crate::record::{self, Reader, Record};
use crate::state::State;
use crate::{LeaseId, StoreError};

const MAGIC: &[u8; 8] = b"ORLOPSNP";
const TEMPORARY: &str = "snapshot.tmp";
const FRAME_BYTES: usize = 1 << 20;

/// What a snapshot is made from; cheap to take.
pub(crate) struct Source {
    pub(crate) index: Index,
    pub(crate) grants: Vec<(LeaseId, i64)>,
    pub(crate) last_lease: LeaseId,
    /// Number of the first frame that is not in it; a segment begins there.
    pub(crate) next_frame: u64,
}

pub(crate) fn name(next_frame: u64) -> String {
    format!("snapshot-{next_frame:016x}")
}

/// The frame number in a snapshot's name.
pub(crate) fn parse_name(name: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_prefix("snapshot-")?, 16).ok()
}

struct Writer {
    file: Box<dyn DiskFile>,
    frame: Frame,
    salt: u64,
    number: u64,
    bytes: u64,
}

impl Writer {
    fn flush_over(&mut self, limit: usize) -> std::io::Result<()> {
        if self.frame.len() > limit {
            self.bytes += self.frame.len() as u64;
            self.file.append(self.frame.seal(self.salt, self.number))?;
            self.frame.reset();
            self.number += 1;
        }
        Ok(())
    }
}

/// Writes a snapshot, then deletes the segments and snapshots that it replaces. Gives its size.
pub(crate) fn write(disk: &dyn Disk, source: &Source) -> Result<u64, StoreError> {
    let bytes = write_temporary(disk, source).inspect_err(|_| {
        // Whatever is left of it is removed at the next try or open.
        let _ = disk.remove(TEMPORARY);
    })?;
    disk.rename(TEMPORARY, &name(source.next_frame)).map_err(log::failed("renaming a snapshot"))?;
    disk.sync_dir(SyncPoint::SnapshotEntry).map_err(log::failed(SyncPoint::SnapshotEntry.doing()))?;
    remove_replaced(disk, source.next_frame)?;
    Ok(bytes)
}

fn write_temporary(disk: &dyn Disk, source: &Source) -> Result<u64, StoreError> {
    let failed = || log::failed("writing a snapshot");
    let (index, salt) = (&source.index, frame::new_salt());
    let file = disk.create(TEMPORARY).map_err(failed())?;
    let mut out = Writer { file, frame: Frame::new(), salt, number: 0, bytes: FILE_HEADER as u64 };
    out.file.append(&frame::file_header(MAGIC, salt, source.next_frame)).map_err(failed())?;
    record::encode_base(out.frame.body(), index.floor(), index.compacted());
    for kv in index.all_at(index.floor()) {
        record::encode_key(out.frame.body(), kv);
        out.flush_over(FRAME_BYTES).map_err(failed())?;
    }
    for revised in index.history() {
        record::encode_txn(out.frame.body(), revised.revision, &revised.events);
        out.flush_over(FRAME_BYTES).map_err(failed())?;
    }
    for (id, ttl) in &source.grants {
        record::encode_grant(out.frame.body(), *id, *ttl);
    }
    record::encode_end(out.frame.body(), index.revision(), source.last_lease);
    out.flush_over(HEADER).map_err(failed())?;
    out.file.sync(SyncPoint::SnapshotData).map_err(log::failed(SyncPoint::SnapshotData.doing()))?;
    Ok(out.bytes)
}

/// Deletes what a durable snapshot made superfluous. A deletion that is lost in a crash is done again at open.
pub(crate) fn remove_replaced(disk: &dyn Disk, next_frame: u64) -> Result<(), StoreError> {
    for name in disk.list().map_err(log::failed("listing the store's directory"))? {
        let number = parse_name(&name).or_else(|| log::parse_name(&name));
        if number.is_some_and(|number| number < next_frame) || name == TEMPORARY {
            disk.remove(&name).map_err(log::failed("removing what a snapshot replaced"))?;
        }
    }
    Ok(())
}

/// Reads a snapshot. Gives the state and the file's size.
pub(crate) fn load(disk: &dyn Disk, next_frame: u64, now: Instant) -> Result<(State, u64), StoreError> {
    let file = name(next_frame);
    let mut source = disk.read(&file).map_err(log::failed("reading a snapshot"))?;
    let mut offset = FILE_HEADER as u64;
    let corrupt =
        |offset: u64, reason: &str| StoreError::Corrupt { file: file.clone(), offset, reason: reason.to_owned() };
    let header = fill(&mut *source, FILE_HEADER)?;
    let salt = frame::read_file_header(&header, MAGIC, next_frame).map_err(|reason| corrupt(0, reason))?;
    let mut state = State::new();
    let mut number = 0;
    let mut ended = false;
    loop {
        let header = fill(&mut *source, HEADER)?;
        if header.is_empty() {
            break;
        }
        let head = Head::read(&header, salt)
            .filter(|head| head.number == number)
            .ok_or_else(|| corrupt(offset, "a frame's header does not match its checksum"))?;
        let body = fill(&mut *source, head.len)?;
        if body.len() != head.len || !head.matches(&body, salt) {
            return Err(corrupt(offset, "a frame does not match its checksum"));
        }
        for record in Reader::new(&body) {
            record
                .and_then(|record| restore(&mut state, record, now, &mut ended))
                .map_err(|reason| corrupt(offset, reason))?;
        }
        number += 1;
        offset += (HEADER + head.len) as u64;
    }
    if !ended {
        return Err(corrupt(offset, "the snapshot ends early"));
    }
    Ok((state, offset))
}

fn restore(state: &mut State, record: Record, now: Instant, ended: &mut bool) -> Result<(), &'static str> {
    match record {
        _ if *ended => return Err("a record after the snapshot's last"),
        Record::Base { floor, compacted } => state.index = Index::at_floor(floor, compacted),
        Record::Key(kv) => state.index.restore(kv),
        Record::End { revision, next_lease } => {
            if revision != state.index.revision() {
                return Err("a revision is missing at the snapshot's end");
            }
            state.leases.set_last(next_lease);
            *ended = true;
        }
        other => state.apply(other, now)?,
    }
    Ok(())
}

/// Up to `len` bytes; fewer at the end of the file.
fn fill(source: &mut (dyn Read + Send), len: usize) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    source.take(len as u64).read_to_end(&mut bytes).map_err(log::failed("reading a snapshot"))?;
    Ok(bytes)
}
