//! TCP sockets with what a socket map holds for them. Of UDP's the kernel does not tell it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use orlop_ebpf::{Backend, TCP};

use super::{FAMILIES, HEADER, ID, NLM_F_DUMP, NLM_F_REQUEST, SOCK_DIAG_BY_FAMILY, SockDiag, parse, word};

/// `INET_DIAG_REQ_SK_BPF_STORAGES`, and in it `SK_DIAG_BPF_STORAGE_REQ_MAP_FD`.
const WANTED_STORAGES: u16 = 2;
const WANTED_MAP: u16 = 1;
/// `INET_DIAG_INFO`, and its bit in a request.
const INFO: u16 = 2;
const WITH_INFO: u8 = 1 << (INFO - 1);
/// `INET_DIAG_SK_BPF_STORAGES`, in it `SK_DIAG_BPF_STORAGE`, in that `SK_DIAG_BPF_STORAGE_MAP_VALUE`.
const STORAGES: u16 = 20;
const STORAGE: u16 = 1;
const VALUE: u16 = 3;
/// `struct inet_diag_msg`.
const MESSAGE: usize = 72;

/// A socket.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its own address and port.
    pub from: Backend,
    /// The kernel's number of it.
    pub cookie: u64,
    /// Its state's number (`TCP_ESTABLISHED` is 1).
    pub state: u8,
    /// What it has sent and received.
    pub traffic: Option<Traffic>,
    /// What the map holds for it.
    pub value: Option<Vec<u8>>,
}

/// The parts of `struct tcp_info` that say what passed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// Segments and acknowledged bytes.
    pub sent: (u64, u64),
    /// Segments and bytes.
    pub received: (u64, u64),
    /// How long ago the last packet was.
    pub last: Duration,
}

impl SockDiag {
    /// TCP sockets in some states (a bit for each), from a port in network order (zero: any).
    pub fn stored(&self, states: u32, port: u16, map: BorrowedFd<'_>) -> io::Result<Vec<Stored>> {
        let mut all = Vec::new();
        for family in FAMILIES {
            let mut request = Vec::with_capacity(HEADER + 8 + ID + 12);
            request.extend(((HEADER + 8 + ID + 12) as u32).to_ne_bytes());
            request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
            request.extend((NLM_F_DUMP | NLM_F_REQUEST).to_ne_bytes());
            request.extend([0; 8]);
            request.extend([family, TCP, WITH_INFO, 0]);
            request.extend(states.to_ne_bytes());
            let mut id = [0; ID];
            id[..2].copy_from_slice(&port.to_ne_bytes());
            request.extend(id);
            for (length, kind) in [(12_u16, WANTED_STORAGES), (8, WANTED_MAP)] {
                request.extend(length.to_ne_bytes());
                request.extend(kind.to_ne_bytes());
            }
            request.extend(map.as_raw_fd().to_ne_bytes());
            self.0.send(&request, 0)?;
            self.receive(|body| all.extend(stored(body)))?;
        }
        Ok(all)
    }
}

fn stored(body: &[u8]) -> Option<Stored> {
    let socket = parse(body)?;
    let attributes = body.get(MESSAGE..)?;
    let storage = find(attributes, STORAGES).and_then(|all| find(all, STORAGE));
    Some(Stored {
        from: socket.from,
        cookie: socket.cookie,
        state: *body.get(1)?,
        traffic: find(attributes, INFO).and_then(traffic),
        value: storage.and_then(|storage| find(storage, VALUE)).map(<[u8]>::to_vec),
    })
}

fn traffic(info: &[u8]) -> Option<Traffic> {
    let long = |at: usize| Some(u64::from_ne_bytes(info.get(at..at + 8)?.try_into().ok()?));
    let short = |at: usize| word(info, at);
    let milliseconds = [short(44)?, short(52)?, short(56)?].into_iter().min()?;
    Some(Traffic {
        sent: (short(136)?.into(), long(120)?),
        received: (short(140)?.into(), long(128)?),
        last: Duration::from_millis(milliseconds.into()),
    })
}

/// The value of the first attribute of a kind.
fn find(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    const NESTED: u16 = 1 << 15;
    loop {
        let [a, b, c, d] = word(attributes, 0)?.to_ne_bytes();
        let length = usize::from(u16::from_ne_bytes([a, b])).max(4);
        if u16::from_ne_bytes([c, d]) & !NESTED == kind {
            return attributes.get(4..length);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}
