//! What a device does for the stack, or leaves to it (`SIOCETHTOOL`, linux/ethtool.h).

#![allow(unsafe_code)]

use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;

use nix::libc;

use crate::{Error, NetNs, Result};

/// What may be turned on and off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offload {
    /// Whoever sends may leave checksums unfinished, and segments uncut (`tx`).
    TxChecksum,
    /// What arrives is put together (`gro`); on a virtual cable this is also what lets XDP send to its other end.
    Receive,
}

impl Offload {
    /// `ETHTOOL_STXCSUM`, `ETHTOOL_SGRO`.
    const fn command(self) -> u32 {
        match self {
            Self::TxChecksum => 0x17,
            Self::Receive => 0x2c,
        }
    }
}

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    value: u32,
}

/// `struct ifreq` with a pointer to one.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    value: *mut Value,
    rest: [u64; 2],
}

impl NetNs {
    /// Turns an offload of a device of the namespace on or off.
    pub fn offload(&self, device: &str, offload: Offload, on: bool) -> Result<()> {
        const SIOCETHTOOL: libc::c_ulong = 0x8946;
        let doing = || format!("turning {offload:?} of {device} {}", if on { "on" } else { "off" });
        let mut name = [0; libc::IFNAMSIZ];
        if device.len() >= name.len() {
            return Err(Error::io(doing())(std::io::ErrorKind::InvalidInput.into()));
        }
        name[..device.len()].copy_from_slice(device.as_bytes());
        self.run(|| {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            let mut value = Value { command: offload.command(), value: on.into() };
            let mut request = Request { name, value: &raw mut value, rest: [0; 2] };
            // SAFETY: both are laid out as the kernel's, and outlive the call.
            match unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) } {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        })?
        .map_err(Error::io(doing()))
    }
}

#[cfg(test)]
mod tests {
    use super::Offload;
    use crate::NetNs;

    #[test]
    fn a_device_that_is_not_there_is_named() {
        let namespace = NetNs::anonymous().expect("a network namespace (root is needed)");
        let error = namespace.offload("eth9", Offload::TxChecksum, false).expect_err("no such device");
        assert!(error.to_string().contains("turning TxChecksum of eth9 off"), "{error}");
        assert!(namespace.offload("a-name-that-no-device-can-have", Offload::TxChecksum, false).is_err());
    }
}
