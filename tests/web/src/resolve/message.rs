//! DNS messages, as little of them as asking takes.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{SystemTime, UNIX_EPOCH};

pub const NO_ERROR: u8 = 0;
pub const NX_DOMAIN: u8 = 3;

const KINDS: &[(&str, u16)] =
    &[("A", 1), ("NS", 2), ("CNAME", 5), ("SOA", 6), ("PTR", 12), ("TXT", 16), ("AAAA", 28), ("SRV", 33)];
const HEADER: usize = 12;
/// A name has no more labels; pointers in circles end here.
const JUMPS: usize = 128;

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub code: u8,
    pub truncated: bool,
    /// `TYPE value`.
    pub lines: Vec<String>,
}

/// A type's number.
pub fn kind(text: &str) -> Option<u16> {
    KINDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, number)| *number)
}

/// The bytes of a question that wants recursion.
pub fn question(name: &str, kind: u16) -> Option<Vec<u8>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let id = (now.subsec_nanos() >> 4) as u16;
    let mut bytes = Vec::new();
    for word in [id, 0x0100, 1, 0, 0, 0] {
        bytes.extend(word.to_be_bytes());
    }
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).ok().filter(|length| *length < 64)?);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(kind.to_be_bytes());
    bytes.extend(1_u16.to_be_bytes());
    Some(bytes)
}

/// Reads an answer.
pub fn answer(bytes: &[u8]) -> Option<Answer> {
    let flags = word(bytes, 2)?;
    let (questions, answers) = (word(bytes, 4)?, word(bytes, 6)?);
    let mut at = HEADER;
    for _ in 0..questions {
        at = name(bytes, at)?.1 + 4;
    }
    let mut lines = Vec::new();
    for _ in 0..answers {
        at = name(bytes, at)?.1;
        let (kind, length) = (word(bytes, at)?, usize::from(word(bytes, at + 8)?));
        let data = at + 10;
        lines.extend(line(bytes, kind, data, length));
        at = data + length;
    }
    Some(Answer { code: (flags & 0xf) as u8, truncated: flags & 0x0200 != 0, lines })
}

fn line(bytes: &[u8], kind: u16, at: usize, length: usize) -> Option<String> {
    let data = bytes.get(at..at + length)?;
    let value = match kind {
        1 => Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).to_string(),
        28 => Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).to_string(),
        2 | 5 | 6 | 12 => name(bytes, at)?.0,
        16 => String::from_utf8_lossy(data.get(1..)?).into_owned(),
        33 => {
            let numbers = [word(bytes, at)?, word(bytes, at + 2)?, word(bytes, at + 4)?].map(|n| n.to_string());
            format!("{} {}", numbers.join(" "), name(bytes, at + 6)?.0)
        }
        _ => return None,
    };
    let name = KINDS.iter().find(|(_, number)| *number == kind)?.0;
    Some(format!("{name} {value}"))
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// A name, and where what follows it begins.
fn name(bytes: &[u8], start: usize) -> Option<(String, usize)> {
    let (mut text, mut at, mut end) = (String::new(), start, None);
    for _ in 0..JUMPS {
        let length = usize::from(*bytes.get(at)?);
        if length >= 0xc0 {
            end.get_or_insert(at + 2);
            at = usize::from(word(bytes, at)? & 0x3fff);
        } else if length == 0 {
            return Some((text, end.unwrap_or(at + 1)));
        } else {
            text.push_str(&String::from_utf8_lossy(bytes.get(at + 1..at + 1 + length)?));
            text.push('.');
            at += 1 + length;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_through_its_pointers() {
        let mut bytes = question("a.b.", 1).unwrap();
        bytes[2..8].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 2]);
        bytes.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 30, 0, 4, 1, b'c', 0xc0, 14]);
        bytes.extend([0xc0, 33, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4, 10, 96, 0, 1]);
        let read = answer(&bytes).unwrap();
        assert_eq!((read.code, read.truncated), (NO_ERROR, false));
        assert_eq!(read.lines, ["CNAME c.b.", "A 10.96.0.1"]);
        for length in 0..bytes.len() {
            let _ = answer(&bytes[..length]);
        }
    }
}
