//! What the log and the snapshots are made of: little-endian records, many to a frame. A record of the log is one transaction or
//! one step of a lease's life; replaying them in order gives the store again.

use bytes::Bytes;

use crate::{Event, KeyValue, LeaseId, Revision};

/// A decoded record.
#[derive(Debug, PartialEq)]
pub(crate) enum Record {
    /// The changes of one revision.
    Txn { revision: Revision, changes: Vec<Change> },
    /// A lease was granted.
    Grant { id: LeaseId, ttl: i64 },
    /// A lease is gone; the deletion of its keys is a transaction of its own before this one, in the same frame.
    Revoke { id: LeaseId },
    /// History before this revision was forgotten.
    Compact { revision: Revision },
    /// First record of a snapshot: its keys are as of `floor`, transactions up to now follow them.
    Base { floor: Revision, compacted: Revision },
    /// A key of a snapshot.
    Key(KeyValue),
    /// Last record of a snapshot.
    End { revision: Revision, next_lease: LeaseId },
}

/// A change of one key within a transaction.
#[derive(Debug, PartialEq)]
pub(crate) enum Change {
    Put { key: Bytes, value: Bytes, lease: LeaseId },
    Delete { key: Bytes },
}

const TXN: u8 = 1;
const GRANT: u8 = 2;
const REVOKE: u8 = 3;
const COMPACT: u8 = 4;
const BASE: u8 = 5;
const KEY: u8 = 6;
const END: u8 = 7;
const PUT: u8 = 1;
const DELETE: u8 = 2;

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn put_numbers(out: &mut Vec<u8>, numbers: &[i64]) {
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

pub(crate) fn encode_txn(out: &mut Vec<u8>, revision: Revision, events: &[Event]) {
    out.push(TXN);
    put_numbers(out, &[revision]);
    out.extend_from_slice(&(events.len() as u32).to_le_bytes());
    for event in events {
        if event.deleted {
            out.push(DELETE);
            put_bytes(out, &event.kv.key);
        } else {
            out.push(PUT);
            put_bytes(out, &event.kv.key);
            put_bytes(out, &event.kv.value);
            put_numbers(out, &[event.kv.lease]);
        }
    }
}

pub(crate) fn encode_grant(out: &mut Vec<u8>, id: LeaseId, ttl: i64) {
    out.push(GRANT);
    put_numbers(out, &[id, ttl]);
}

pub(crate) fn encode_revoke(out: &mut Vec<u8>, id: LeaseId) {
    out.push(REVOKE);
    put_numbers(out, &[id]);
}

pub(crate) fn encode_compact(out: &mut Vec<u8>, revision: Revision) {
    out.push(COMPACT);
    put_numbers(out, &[revision]);
}

pub(crate) fn encode_base(out: &mut Vec<u8>, floor: Revision, compacted: Revision) {
    out.push(BASE);
    put_numbers(out, &[floor, compacted]);
}

pub(crate) fn encode_key(out: &mut Vec<u8>, kv: &KeyValue) {
    out.push(KEY);
    put_bytes(out, &kv.key);
    put_bytes(out, &kv.value);
    put_numbers(out, &[kv.create_revision, kv.mod_revision, kv.version, kv.lease]);
}

pub(crate) fn encode_end(out: &mut Vec<u8>, revision: Revision, next_lease: LeaseId) {
    out.push(END);
    put_numbers(out, &[revision, next_lease]);
}

/// Reads records off a frame's body.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(body: &'a [u8]) -> Self {
        Self(body)
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    fn count(&mut self) -> Option<usize> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?) as usize)
    }

    fn number(&mut self) -> Option<i64> {
        Some(i64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    /// Copied: a slice would keep the whole file in memory for as long as one value of it lives.
    fn bytes(&mut self) -> Option<Bytes> {
        let len = self.count()?;
        Some(Bytes::copy_from_slice(self.take(len)?))
    }

    fn change(&mut self) -> Option<Change> {
        match self.byte()? {
            PUT => Some(Change::Put { key: self.bytes()?, value: self.bytes()?, lease: self.number()? }),
            DELETE => Some(Change::Delete { key: self.bytes()? }),
            _ => None,
        }
    }

    fn record(&mut self) -> Option<Record> {
        Some(match self.byte()? {
            TXN => {
                let revision = self.number()?;
                let count = self.count()?;
                Record::Txn { revision, changes: (0..count).map(|_| self.change()).collect::<Option<_>>()? }
            }
            GRANT => Record::Grant { id: self.number()?, ttl: self.number()? },
            REVOKE => Record::Revoke { id: self.number()? },
            COMPACT => Record::Compact { revision: self.number()? },
            BASE => Record::Base { floor: self.number()?, compacted: self.number()? },
            KEY => Record::Key(KeyValue {
                key: self.bytes()?,
                value: self.bytes()?,
                create_revision: self.number()?,
                mod_revision: self.number()?,
                version: self.number()?,
                lease: self.number()?,
            }),
            END => Record::End { revision: self.number()?, next_lease: self.number()? },
            _ => return None,
        })
    }
}

impl Iterator for Reader<'_> {
    type Item = Result<Record, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let record = self.record().ok_or("a record that this version cannot read");
        if record.is_err() {
            self.0 = &[];
        }
        Some(record)
    }
}
