//! Frames: the unit that is on the disk wholly or not at all. One group commit is one frame under one CRC, and a frame is only
//! written after the one before it was synced. So a bad frame with a good one after it is damage, never a crash; and what a crash
//! leaves of the last frame is short or has sectors of zeros, because file systems never show a file other data than its own.

use crc32fast::Hasher;

use crate::StoreError;

/// Bytes before a frame's body: magic, body length, frame number, CRC of the body, CRC of these fields.
pub(crate) const HEADER: usize = 24;
/// Bytes at the beginning of a file: magic, format version, salt, number, CRC.
pub(crate) const FILE_HEADER: usize = 32;
const MAGIC: [u8; 4] = *b"\xf0rlf";
const VERSION: u32 = 1;
const SECTOR: usize = 512;

fn crc(salt: u64, bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    // The salt keeps frames of another file, stored here as somebody's value, from passing for frames of this one.
    hasher.update(&salt.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// A frame being filled.
#[derive(Debug)]
pub(crate) struct Frame(Vec<u8>);

impl Frame {
    pub(crate) fn new() -> Self {
        Self(vec![0; HEADER])
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.len() == HEADER
    }

    /// Bytes of the whole frame so far.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Where records are appended.
    pub(crate) fn body(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// The finished frame's bytes.
    pub(crate) fn seal(&mut self, salt: u64, number: u64) -> &[u8] {
        let body = crc(salt, &self.0[HEADER..]);
        let len = (self.0.len() - HEADER) as u32;
        self.0[..4].copy_from_slice(&MAGIC);
        self.0[4..8].copy_from_slice(&len.to_le_bytes());
        self.0[8..16].copy_from_slice(&number.to_le_bytes());
        self.0[16..20].copy_from_slice(&body.to_le_bytes());
        let header = crc(salt, &self.0[..20]);
        self.0[20..24].copy_from_slice(&header.to_le_bytes());
        &self.0
    }

    /// Empties it for the next use, keeping a reasonable amount of memory.
    pub(crate) fn reset(&mut self) {
        self.0.clear();
        self.0.shrink_to(1 << 20);
        self.0.resize(HEADER, 0);
    }
}

/// A frame's header as read.
pub(crate) struct Head {
    pub(crate) len: usize,
    pub(crate) number: u64,
    body_crc: u32,
}

impl Head {
    /// Reads a header at the beginning of `bytes`; `None` if there is no whole and valid one.
    pub(crate) fn read(bytes: &[u8], salt: u64) -> Option<Self> {
        let fields = bytes.get(..HEADER)?;
        if fields[..4] != MAGIC || u32_at(fields, 20)? != crc(salt, &fields[..20]) {
            return None;
        }
        Some(Self { len: u32_at(fields, 4)? as usize, number: u64_at(fields, 8)?, body_crc: u32_at(fields, 16)? })
    }

    pub(crate) fn matches(&self, body: &[u8], salt: u64) -> bool {
        crc(salt, body) == self.body_crc
    }
}

/// A file's first bytes.
pub(crate) fn file_header(magic: &[u8; 8], salt: u64, number: u64) -> [u8; FILE_HEADER] {
    let mut header = [0; FILE_HEADER];
    header[..8].copy_from_slice(magic);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..20].copy_from_slice(&salt.to_le_bytes());
    header[20..28].copy_from_slice(&number.to_le_bytes());
    let sum = crc(0, &header[..28]);
    header[28..].copy_from_slice(&sum.to_le_bytes());
    header
}

/// Reads a file's first bytes and gives its salt.
pub(crate) fn read_file_header(bytes: &[u8], magic: &[u8; 8], number: u64) -> Result<u64, &'static str> {
    let header = bytes.get(..FILE_HEADER).ok_or("the file's header is cut off")?;
    if u32_at(header, 28) != Some(crc(0, &header[..28])) || header[..8] != *magic {
        return Err("the file's header does not match its checksum");
    }
    if u32_at(header, 8) != Some(VERSION) {
        return Err("the file was written in a format that this version does not know");
    }
    if u64_at(header, 20) != Some(number) {
        return Err("the file's header and name disagree");
    }
    u64_at(header, 12).ok_or("the file's header is cut off")
}

/// A new salt.
pub(crate) fn new_salt() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}

/// Whether a crash while `from..to` was being written can have left these bytes.
pub(crate) fn may_be_torn(data: &[u8], from: usize, to: usize) -> bool {
    if data.len() < to {
        return true;
    }
    let mut at = from;
    while at < to {
        let next = (at / SECTOR + 1) * SECTOR;
        if data[at..next.min(to)].iter().all(|byte| *byte == 0) {
            return true;
        }
        at = next;
    }
    false
}

/// The frames of a segment.
pub(crate) struct Frames<'a> {
    data: &'a [u8],
    salt: u64,
    /// Where the next frame begins; after the end, where good data ends.
    pub(crate) at: usize,
    /// The next frame's number.
    pub(crate) number: u64,
}

impl<'a> Frames<'a> {
    pub(crate) fn new(data: &'a [u8], salt: u64, number: u64) -> Self {
        Self { data, salt, at: FILE_HEADER, number }
    }

    /// The next frame's body; `None` at the end of the file or where a crash tore the last frame.
    pub(crate) fn next(&mut self, file: &str) -> Result<Option<&'a [u8]>, StoreError> {
        let rest = &self.data[self.at..];
        if rest.is_empty() {
            return Ok(None);
        }
        let corrupt = |reason: &str| StoreError::Corrupt {
            file: file.to_owned(),
            offset: self.at as u64,
            reason: reason.to_owned(),
        };
        let region = match Head::read(rest, self.salt) {
            None => HEADER,
            Some(head) if head.number != self.number => return Err(corrupt("a frame is missing")),
            Some(head) => {
                let end = HEADER + head.len;
                if let Some(body) = rest.get(HEADER..end)
                    && head.matches(body, self.salt)
                {
                    self.at += end;
                    self.number += 1;
                    return Ok(Some(body));
                }
                end
            }
        };
        if self.good_frame_after() {
            return Err(corrupt("a frame does not match its checksum, and good ones follow it"));
        }
        if !may_be_torn(self.data, self.at, self.at + region) {
            return Err(corrupt("the last frame does not match its checksum, and no crash leaves it like this"));
        }
        Ok(None)
    }

    fn good_frame_after(&self) -> bool {
        let rest = &self.data[self.at + 1..];
        rest.windows(MAGIC.len()).enumerate().filter(|(_, window)| *window == MAGIC).any(|(at, _)| {
            Head::read(&rest[at..], self.salt).is_some_and(|head| {
                let body = rest.get(at + HEADER..at + HEADER + head.len);
                head.number >= self.number && body.is_some_and(|body| head.matches(body, self.salt))
            })
        })
    }
}
