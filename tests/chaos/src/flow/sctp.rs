//! The first two packets of SCTP associations.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, Socket, Type};

use super::{PATIENCE, parse};
use crate::sctp::{Packet, refused, socket};

/// Which association of this process is the next: their ports must differ, since a raw socket has none of its own.
static NEXT: AtomicU32 = AtomicU32::new(0);
const FIRST_PORT: u32 = 20_000;
const PORTS: u32 = 9_000;
const RAW: i32 = 3;

/// An INIT, and the INIT ACK. Nothing here loses any but the proxy: there is no second try.
pub(super) fn short(to: SocketAddr) -> io::Result<(String, String)> {
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    let source_port = FIRST_PORT + process::id().wrapping_mul(977).wrapping_add(count) % PORTS;
    let init = Packet::init(source_port as u16, to.port(), count << 8 | 1);
    let (socket, errors) = (socket(to.ip())?, errors(to.ip())?);
    // Connected, so that answers of other addresses are not heard.
    socket.connect((to.ip(), 0))?;
    socket.set_nonblocking(true)?;
    loop {
        match socket.send(&init.bytes()) {
            // A raw socket hears of the refusals of all others.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
            _ => return answer(&socket, &errors, to, &init),
        }
    }
}

/// A socket that gets every ICMP message of a family.
fn errors(family: IpAddr) -> io::Result<UdpSocket> {
    let (domain, protocol) = match family {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::from(RAW), Some(protocol))?;
    socket.set_nonblocking(true)?;
    Ok(OwnedFd::from(socket).into())
}

fn answer(socket: &UdpSocket, errors: &UdpSocket, to: SocketAddr, init: &Packet) -> io::Result<(String, String)> {
    let deadline = Instant::now() + PATIENCE;
    let mut buffer = [0; 2048];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let wait = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        poll(&mut [socket, errors].map(|one| PollFd::new(one.as_fd(), PollFlags::POLLIN)), wait)?;
        while let Ok(read) = errors.recv(&mut buffer) {
            if refused(to.ip(), &buffer[..read]) == Some((init.source_port, init.port)) {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
        }
        // A failure is another's refusal, or there is nothing more.
        while let Ok(read) = socket.recv(&mut buffer) {
            let Some(packet) = Packet::read(to.ip(), &buffer[..read]) else { continue };
            let ours = (packet.port, packet.verification) == (init.source_port, init.tag);
            match (packet.cookie, packet.sound) {
                (Some(_), _) if ours && packet.source_port != to.port() => {
                    return Err(io::Error::other(format!("the answer came from port {}", packet.source_port)));
                }
                (Some(_), false) if ours => return Err(io::Error::other("the answer has a wrong checksum")),
                (Some(cookie), true) if ours => return parse(&cookie),
                _ => {}
            }
        }
    }
}
