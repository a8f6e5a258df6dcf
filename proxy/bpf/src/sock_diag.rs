//! Sockets of a network namespace, over `NETLINK_SOCK_DIAG`: listing them, with what is kept in them, and destroying UDP's.

mod stored;

use std::io;

use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr};
use orlop_ebpf::{Address, Backend, UDP};

pub use stored::Stored;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
/// `1 << TCP_ESTABLISHED`: of UDP, those that are connected.
const CONNECTED: u32 = 1 << 1;
/// `1 << TCP_CLOSE`: the others.
const UNCONNECTED: u32 = 1 << 7;
const HEADER: usize = 16;
/// `struct inet_diag_sockid`, and where it begins in `struct inet_diag_msg`.
const ID: usize = 48;
const ID_AT: usize = 4;
const FAMILIES: [u8; 2] = [libc::AF_INET as u8, libc::AF_INET6 as u8];

/// A connected UDP socket.
#[derive(Clone, Copy, Debug)]
pub struct Connected {
    family: u8,
    id: [u8; ID],
    /// What it is connected to.
    pub to: Backend,
    /// Its own address and port.
    pub from: Backend,
    /// The kernel's number of it.
    pub cookie: u64,
}

/// Asks about the network namespace of the thread that opened it.
pub struct SockDiag(Socket);

impl SockDiag {
    /// Opens the netlink socket.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self(socket))
    }

    /// Every connected UDP socket.
    pub fn connected_udp(&self) -> io::Result<Vec<Connected>> {
        self.udp(CONNECTED)
    }

    /// Every UDP socket that has a port and is not connected: of [`Connected::to`] nothing is to be believed.
    pub fn unconnected_udp(&self) -> io::Result<Vec<Connected>> {
        self.udp(UNCONNECTED)
    }

    fn udp(&self, states: u32) -> io::Result<Vec<Connected>> {
        let mut all = Vec::new();
        for family in FAMILIES {
            self.0.send(&request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, family, states, &[0; ID]), 0)?;
            self.receive(|body| all.extend(parse(body)))?;
        }
        Ok(all)
    }

    /// Destroys a socket: whoever waits on it gets `ECONNABORTED`. One that is gone is fine.
    pub fn destroy(&self, socket: &Connected) -> io::Result<()> {
        self.0.send(&request(SOCK_DESTROY, NLM_F_ACK, socket.family, CONNECTED, &socket.id), 0)?;
        match self.receive(|_| {}) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            other => other,
        }
    }

    /// Takes answers until their end or an acknowledgement.
    fn receive(&self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        loop {
            let (answer, _) = self.0.recv_from_full()?;
            let mut rest = &answer[..];
            while let (Some(length), Some(kind)) = (word(rest, 0), word(rest, 4)) {
                let length = (length as usize).clamp(HEADER, rest.len().max(HEADER));
                let body = rest.get(HEADER..length).unwrap_or_default();
                match (kind & 0xffff) as u16 {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => {
                        return match word(body, 0).map(u32::cast_signed) {
                            Some(0) | None => Ok(()),
                            Some(error) => Err(io::Error::from_raw_os_error(-error)),
                        };
                    }
                    _ => each(body),
                }
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

/// A header and `struct inet_diag_req_v2`.
fn request(kind: u16, flags: u16, family: u8, states: u32, id: &[u8; ID]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + 8 + ID);
    bytes.extend(((HEADER + 8 + ID) as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((flags | NLM_F_REQUEST).to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family, UDP, 0, 0]);
    bytes.extend(states.to_ne_bytes());
    bytes.extend(id);
    bytes
}

/// Reads `struct inet_diag_msg`.
fn parse(body: &[u8]) -> Option<Connected> {
    let family = *body.first()?;
    let id: [u8; ID] = body.get(ID_AT..ID_AT + ID)?.try_into().ok()?;
    let side = |port: usize, at: usize| {
        let words = [word(&id, at)?, word(&id, at + 4)?, word(&id, at + 8)?, word(&id, at + 12)?];
        let address = if family == FAMILIES[0] { Address::v4(words[0]) } else { Address { words } };
        Some(Backend { address, port: u16::from_ne_bytes([id[port], id[port + 1]]), zero: 0 })
    };
    let cookie = u64::from(word(&id, 40)?) | u64::from(word(&id, 44)?) << 32;
    Some(Connected { family, id, to: side(2, 20)?, from: side(0, 4)?, cookie })
}

/// A number of a message.
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_connected_socket_is_listed_and_destroyed_in_a_namespace_of_its_own() {
        std::thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a namespace (root is needed)");
            let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("run ip");
            assert!(up.success());
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            socket.connect("127.0.0.1:53").expect("connect");
            let diag = SockDiag::open().expect("sock_diag");
            let all = diag.connected_udp().expect("a listing");
            let [found] = all.as_slice() else { panic!("{all:?}") };
            assert_eq!(
                (found.to.address, found.to.port),
                (Address::v4(u32::from_ne_bytes([127, 0, 0, 1])), 53_u16.to_be())
            );
            diag.destroy(found).expect("destroy");
            diag.destroy(found).expect("it is gone");
            let error = socket.recv(&mut [0]).expect_err("destroyed");
            assert_eq!(error.raw_os_error(), Some(libc::ECONNABORTED));
        })
        .join()
        .expect("the test");
    }
}
