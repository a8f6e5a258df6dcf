//! A TUN device: what a process writes has arrived on the device, what leaves by the device is read.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

/// `TUNSETIFF`
const SET_DEVICE: libc::Ioctl = 0x4004_54ca;
/// `IFF_TUN | IFF_NO_PI`
const PLAIN_IP: libc::c_short = 0x1001;

/// A device that is there as long as this value.
pub struct Tun(File);

impl Tun {
    /// Makes a device in this thread's network namespace.
    pub fn new(name: &str) -> Self {
        let open = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun");
        let file = open.expect("opening /dev/net/tun: run as root, with the tun module");
        // SAFETY: all-zero bytes are a valid `ifreq`.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = PLAIN_IP;
        // SAFETY: the descriptor is open, and TUNSETIFF reads and writes one `ifreq`, which lives until after the call.
        let result = unsafe { libc::ioctl(file.as_raw_fd(), SET_DEVICE, &raw mut request) };
        assert_eq!(result, 0, "making the device {name}: {}", std::io::Error::last_os_error());
        Self(file)
    }

    /// Lets a packet arrive.
    pub fn send(&self, packet: &[u8]) {
        let written = (&self.0).write(packet).expect("writing to a TUN device");
        assert_eq!(written, packet.len());
    }

    /// A packet that left, if there is one.
    pub fn receive<'a>(&self, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
        let read = (&self.0).read(buffer).ok()?;
        Some(&buffer[..read])
    }
}
