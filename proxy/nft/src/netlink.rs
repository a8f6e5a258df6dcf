//! The netfilter netlink socket: transactions in, dumps out.
//!
//! The kernel handles a transaction while it is being sent, so that its answers lie in the receive queue when `send`
//! returns. The socket belongs to the network namespace of the thread that opened it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket,
    sockopt,
};

use crate::Error;
use crate::attr::{Attributes, Put};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const HEADER: usize = 16;
/// Header and `struct nfgenmsg`.
const PREAMBLE: usize = HEADER + 4;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// NFNL_SUBSYS_NFTABLES.
const NFTABLES: u16 = 10;
/// A transaction larger than this is split: the kernel copies it into one buffer.
const MAX_TRANSACTION: usize = 16 << 20;
/// What a socket without the right to force its buffer can send.
const UNPRIVILEGED_TRANSACTION: usize = 128 << 10;
/// How often a dump is begun anew when other writers interrupt it.
const DUMP_ATTEMPTS: usize = 20;

/// `NLM_F_*` flags of requests.
pub(crate) mod flags {
    pub const REQUEST: u16 = 1;
    pub const ACK: u16 = 4;
    pub const CREATE: u16 = 0x400;
    pub const EXCL: u16 = 0x200;
    pub const APPEND: u16 = 0x800;
    pub const DUMP: u16 = 0x300;
    pub const DUMP_INTR: u16 = 0x10;
}

/// Writes one nfnetlink message.
pub(crate) fn message(
    out: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    family: u8,
    resource: u16,
    body: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&(flags | flags::REQUEST).to_ne_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&[family, 0]);
    out.extend_from_slice(&resource.to_be_bytes());
    body(out.bytes());
    let length = ((out.len() - start) as u32).to_ne_bytes();
    out[start..start + 4].copy_from_slice(&length);
}

/// Messages that the kernel applies all or none.
#[derive(Default)]
pub(crate) struct Transaction {
    bytes: Vec<u8>,
    /// Where each message starts.
    starts: Vec<usize>,
}

impl Transaction {
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// How many messages it holds.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Adds one nftables message.
    pub fn push(&mut self, kind: u16, flags: u16, family: u8, body: impl FnOnce(&mut Vec<u8>)) {
        self.starts.push(self.bytes.len());
        message(&mut self.bytes, (NFTABLES << 8) | kind, flags, family, 0, body);
    }

    fn end_of(&self, index: usize) -> usize {
        self.starts.get(index + 1).copied().unwrap_or(self.bytes.len())
    }
}

/// An open socket.
pub(crate) struct Netlink {
    socket: OwnedFd,
    buffer: Vec<u8>,
    limit: usize,
    sequence: u32,
}

impl Netlink {
    pub fn open() -> Result<Self, Error> {
        let opened = || -> nix::Result<(OwnedFd, usize)> {
            let kind = (AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC);
            let socket = socket(kind.0, kind.1, kind.2, SockProtocol::NetlinkNetFilter)?;
            bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
            let forced = setsockopt(&socket, sockopt::SndBufForce, &(2 * MAX_TRANSACTION)).is_ok();
            // Best effort: a dump survives a small buffer, it only takes more calls.
            let _ = setsockopt(&socket, sockopt::RcvBufForce, &(4 << 20));
            Ok((socket, if forced { MAX_TRANSACTION } else { UNPRIVILEGED_TRANSACTION }))
        };
        let (socket, limit) = opened().map_err(|e| Error::Socket(e.into()))?;
        Ok(Self { socket, buffer: vec![0; 64 << 10], limit, sequence: 0 })
    }

    /// Applies a transaction. One beyond the socket's limit is applied in several, in order: put what is referred to first.
    pub fn commit(&mut self, mut transaction: Transaction) -> Result<(), Error> {
        let mut first = 0;
        while first < transaction.len() {
            let begin = transaction.starts[first];
            let mut last = first;
            while last + 1 < transaction.len() && transaction.end_of(last + 1) - begin < self.limit {
                last += 1;
            }
            self.commit_part(&mut transaction, first, last)?;
            first = last + 1;
        }
        Ok(())
    }

    fn commit_part(&mut self, transaction: &mut Transaction, first: usize, last: usize) -> Result<(), Error> {
        let (begin, end) = (transaction.starts[first], transaction.end_of(last));
        let base = self.sequence.wrapping_add(1);
        self.sequence = self.sequence.wrapping_add((last - first) as u32 + 3);
        for index in first..=last {
            let at = transaction.starts[index];
            let sequence = base.wrapping_add(1 + (index - first) as u32);
            transaction.bytes[at + 8..at + 12].copy_from_slice(&sequence.to_ne_bytes());
        }
        let flags_at = transaction.starts[last] + 6;
        transaction.bytes[flags_at] |= flags::ACK as u8;
        let mut out = Vec::with_capacity(end - begin + 2 * PREAMBLE);
        message(&mut out, BATCH_BEGIN, 0, 0, NFTABLES, |_| {});
        out[8..12].copy_from_slice(&base.to_ne_bytes());
        out.extend_from_slice(&transaction.bytes[begin..end]);
        let tail = out.len();
        message(&mut out, BATCH_END, 0, 0, NFTABLES, |_| {});
        out[tail + 8..tail + 12].copy_from_slice(&self.sequence.to_ne_bytes());
        self.drain();
        self.send(&out, "sending a transaction")?;
        let message_of = |sequence: u32| {
            let index = sequence.wrapping_sub(base.wrapping_add(1)) as usize + first;
            match transaction.starts.get(index) {
                Some(start) if index <= last => describe(&transaction.bytes[*start..transaction.end_of(index)]),
                _ => "a transaction".to_string(),
            }
        };
        self.answers(&message_of)
    }

    /// Reads the answers of a transaction: an error anywhere means that nothing was applied.
    fn answers(&mut self, message_of: &dyn Fn(u32) -> String) -> Result<(), Error> {
        let mut acknowledged = false;
        loop {
            let read = match recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(read) => read,
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) if acknowledged => return Ok(()),
                Err(e) => return Err(Error::Transport { doing: "reading a transaction's answer", source: e.into() }),
            };
            for (kind, _, sequence, body) in messages(&self.buffer[..read]) {
                let code = body.get(..4).and_then(|b| b.try_into().ok()).map_or(0, i32::from_ne_bytes);
                match (kind, code) {
                    (NLMSG_ERROR, 0) => acknowledged = true,
                    (NLMSG_ERROR, code) => {
                        let source = io::Error::from_raw_os_error(-code);
                        return Err(Error::Refused { what: message_of(sequence), source });
                    }
                    _ => {}
                }
            }
        }
    }

    /// Sends a dump request and gives the bodies (after `struct nfgenmsg`) of the answers to `each`. `restart` is
    /// called before each attempt: answers given so far are void then.
    pub fn dump(
        &mut self,
        what: &'static str,
        request: &[u8],
        mut restart: impl FnMut(),
        mut each: impl FnMut(Attributes<'_>),
    ) -> Result<(), Error> {
        for _ in 0..DUMP_ATTEMPTS {
            restart();
            if self.dump_once(what, request, &mut each)? {
                return Ok(());
            }
        }
        Err(Error::Restless { what })
    }

    /// One attempt; false if it was interrupted by a concurrent change or lost answers.
    fn dump_once(
        &mut self,
        what: &'static str,
        request: &[u8],
        each: &mut impl FnMut(Attributes<'_>),
    ) -> Result<bool, Error> {
        self.drain();
        self.sequence = self.sequence.wrapping_add(1);
        let mut request = request.to_vec();
        request[8..12].copy_from_slice(&self.sequence.to_ne_bytes());
        self.send(&request, what)?;
        let mut consistent = true;
        loop {
            let read = match recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
                Ok(read) => read,
                Err(Errno::EINTR) => continue,
                Err(Errno::ENOBUFS) => return Ok(false),
                Err(e) => return Err(Error::Transport { doing: what, source: e.into() }),
            };
            for (kind, flags, sequence, body) in messages(&self.buffer[..read]) {
                if sequence != self.sequence {
                    continue;
                }
                consistent &= flags & flags::DUMP_INTR == 0;
                match kind {
                    NLMSG_DONE => return Ok(consistent),
                    NLMSG_ERROR => {
                        let code = body.get(..4).and_then(|b| b.try_into().ok()).map_or(0, i32::from_ne_bytes);
                        if code == -(Errno::EINTR as i32) {
                            return Ok(false);
                        }
                        return Err(Error::Refused { what: what.into(), source: io::Error::from_raw_os_error(-code) });
                    }
                    _ => each(Attributes(body.get(4..).unwrap_or_default())),
                }
            }
        }
    }

    /// Sends a single request outside a transaction (conntrack) and reads its acknowledgement.
    pub fn request(&mut self, what: &str, mut request: Vec<u8>) -> Result<(), Error> {
        self.sequence = self.sequence.wrapping_add(1);
        request[8..12].copy_from_slice(&self.sequence.to_ne_bytes());
        request[6] |= flags::ACK as u8;
        self.drain();
        self.send(&request, "sending a request")?;
        self.answers(&|_| what.to_string())
    }

    /// How many answers the socket's buffer surely holds: each takes two pages of it.
    pub const fn answers_at_once(&self) -> usize {
        if self.limit == MAX_TRANSACTION { 200 } else { 12 }
    }

    /// Asks for one object and gives the bodies of the answers to `each`; false if there is none.
    pub fn ask(
        &mut self,
        what: &'static str,
        mut request: Vec<u8>,
        mut each: impl FnMut(Attributes<'_>),
    ) -> Result<bool, Error> {
        self.sequence = self.sequence.wrapping_add(1);
        request[8..12].copy_from_slice(&self.sequence.to_ne_bytes());
        request[6] |= flags::ACK as u8;
        self.drain();
        self.send(&request, what)?;
        loop {
            let read = match recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
                Ok(read) => read,
                Err(Errno::EINTR) => continue,
                Err(e) => return Err(Error::Transport { doing: what, source: e.into() }),
            };
            for (kind, _, sequence, body) in messages(&self.buffer[..read]) {
                if sequence != self.sequence {
                    continue;
                }
                if kind != NLMSG_ERROR {
                    each(Attributes(body.get(4..).unwrap_or_default()));
                    continue;
                }
                let code = body.get(..4).and_then(|b| b.try_into().ok()).map_or(0, i32::from_ne_bytes);
                return match code {
                    0 => Ok(true),
                    code if code == -(Errno::ENOENT as i32) => Ok(false),
                    code => Err(Error::Refused { what: what.into(), source: io::Error::from_raw_os_error(-code) }),
                };
            }
        }
    }

    fn send(&self, bytes: &[u8], doing: &'static str) -> Result<(), Error> {
        loop {
            match send(self.socket.as_raw_fd(), bytes, MsgFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(e) => return Err(Error::Transport { doing, source: e.into() }),
            }
        }
    }

    /// Throws away answers of earlier requests that nobody waits for, an overrun among them.
    fn drain(&mut self) {
        loop {
            match recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(_) | Err(Errno::EINTR | Errno::ENOBUFS) => {}
                Err(_) => return,
            }
        }
    }
}

/// The messages in a received buffer: type, flags, sequence, body after the netlink header.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, u16, u32, &[u8])> {
    std::iter::from_fn(move || {
        let header = bytes.get(..HEADER)?;
        let length = u32::from_ne_bytes(header[..4].try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(header[4..6].try_into().ok()?);
        let flags = u16::from_ne_bytes(header[6..8].try_into().ok()?);
        let sequence = u32::from_ne_bytes(header[8..12].try_into().ok()?);
        let body = bytes.get(HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, flags, sequence, body))
    })
}

/// A message of ours in words, for an error: its verb and the names of what it touches.
fn describe(bytes: &[u8]) -> String {
    const VERBS: [&str; 15] = [
        "new table",
        "get table",
        "delete table",
        "new chain",
        "get chain",
        "delete chain",
        "new rule",
        "get rule",
        "delete rule",
        "new set",
        "get set",
        "delete set",
        "new elements",
        "get elements",
        "delete elements",
    ];
    let verb = bytes.get(4).and_then(|kind| VERBS.get(usize::from(*kind))).unwrap_or(&"message");
    let attributes = Attributes(bytes.get(PREAMBLE..).unwrap_or_default());
    let names: Vec<&str> = [1, 2, 3].into_iter().filter_map(|kind| printable(attributes.get(kind)?)).collect();
    format!("`{verb}` {}", names.join(" "))
}

fn printable(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value.strip_suffix(&[0])?).ok()?;
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())).then_some(text)
}
