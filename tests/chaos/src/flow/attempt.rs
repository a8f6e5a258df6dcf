//! Connecting, so that of what fails it is known between which addresses and ports: those that the kernel's tables, captures and
//! `orlop explain --flow` have.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect as begin, socket};

/// The sockets of this thread's network namespace.
const TABLE: &str = "/proc/thread-self/net/tcp";

/// Connects within a time.
pub(super) fn connect(to: SocketAddr, within: Duration) -> io::Result<TcpStream> {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let stream = TcpStream::from(socket(family, SockType::Stream, flags, None)?);
    match begin(stream.as_raw_fd(), &SockaddrStorage::from(to)) {
        Err(Errno::EINPROGRESS) => wait(&stream, within).map_err(|error| told(error, &stream))?,
        other => other?,
    }
    stream.set_nonblocking(false)?;
    Ok(stream)
}

fn wait(stream: &TcpStream, within: Duration) -> io::Result<()> {
    let timeout = PollTimeout::try_from(within).map_err(io::Error::other)?;
    let mut waiting = [PollFd::new(stream.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut waiting, timeout)? == 0 {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "connection timed out"));
    }
    stream.take_error()?.map_or(Ok(()), Err)
}

/// The error with the connection's two ends: its own, and the other as the kernel has it, which the socket itself is not told where
/// its destination was changed.
pub(super) fn told(error: io::Error, stream: &TcpStream) -> io::Error {
    let Ok(own) = stream.local_addr() else { return error };
    let table = std::fs::read_to_string(TABLE).unwrap_or_default();
    let other = table.lines().find_map(|line| other_end(line, own)).unwrap_or_else(|| "nobody any more".into());
    io::Error::new(error.kind(), format!("{error} [{own} to {other}]"))
}

/// Whither a socket with this address of its own goes, and its state, by a line of the table.
fn other_end(line: &str, own: SocketAddr) -> Option<String> {
    let mut words = line.split_whitespace().skip(1);
    let (from, to, state) = (address(words.next()?)?, address(words.next()?)?, words.next()?);
    (SocketAddr::V4(from) == own).then(|| format!("{to}, state {state}"))
}

/// `0500F40A:1B58` is 10.244.0.5:7000: the address as it lies in memory, the port as a number.
fn address(text: &str) -> Option<SocketAddrV4> {
    let (ip, port) = text.split_once(':')?;
    let ip = Ipv4Addr::from(u32::from_str_radix(ip, 16).ok()?.to_ne_bytes());
    Some(SocketAddrV4::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_failed_connection_tells_its_two_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let stream = connect(to, Duration::from_secs(1)).unwrap();
        let (own, error) = (stream.local_addr().unwrap(), io::ErrorKind::ConnectionReset.into());
        assert_eq!(told(error, &stream).to_string(), format!("connection reset [{own} to {to}, state 01]"));
        drop(listener);
        let refused = connect(to, Duration::from_secs(1)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
