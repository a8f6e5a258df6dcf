//! Listening sockets: our own, and those that a parent opened in another network namespace and left to us.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

use anyhow::{Context as _, Result};

/// Opens a socket of our own.
pub(crate) fn open(address: SocketAddr) -> Result<tokio::net::TcpListener> {
    let listener = TcpListener::bind(address)
        .with_context(|| format!("listening on {address}: is another server running there?"))?;
    adopt(listener)
}

/// Takes over an inherited socket.
pub(crate) fn inherited(fd: RawFd) -> Result<tokio::net::TcpListener> {
    #![allow(unsafe_code)]
    // SAFETY: the parent passed this descriptor for us alone (--listen-fd); nobody else in this process knows of it, so it
    // has one owner from here on. That it is a listening socket is checked by the kernel when it is used.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    adopt(TcpListener::from(fd))
}

fn adopt(listener: TcpListener) -> Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener).context("the listening socket cannot be used")
}
