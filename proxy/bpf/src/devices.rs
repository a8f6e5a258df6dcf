//! Programs on every device, followed as devices come and go.
//!
//! Pods' devices appear whenever a pod starts, made by whatever CNI plugin there is; a thread in the node's network
//! namespace gives each one its programs as soon as the kernel speaks of it.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use orlop_ebpf::{Address, Device, device_flags};
use orlop_plan::DetectLocal;

use crate::Error;
use crate::convert::address;
use crate::map::Map;
use crate::programs::Programs;
use crate::rtnetlink::{self, Changes};
use crate::steps::Edits;

/// Keeps the devices of this network namespace covered until it is dropped; the programs stay.
#[derive(Debug)]
pub struct Follower {
    attacher: Arc<Attacher>,
    /// Closed to stop the thread.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Covers the devices that are there, then follows.
    pub fn start(programs: Arc<Programs>, map: Map<u32, Device>, pods: DetectLocal) -> Result<Self, Error> {
        let attacher = Arc::new(Attacher { programs, map, pods: Mutex::new(pods) });
        let changes = Changes::subscribe()?;
        attacher.cover()?;
        let (stop, stopped) = UnixStream::pair().map_err(Error::Netlink)?;
        let follow = attacher.clone();
        let thread = thread::Builder::new()
            .name("ebpf-devices".into())
            .spawn(move || follow.follow(&changes, &stopped))
            .map_err(Error::Thread)?;
        Ok(Self { attacher, stop: Some(stop), thread: Some(thread) })
    }

    /// Compares and repairs now, and knows pods' devices by this from now on.
    pub fn cover(&self, pods: &DetectLocal) -> Result<(), Error> {
        self.attacher.pods.lock().unwrap_or_else(PoisonError::into_inner).clone_from(pods);
        self.attacher.cover()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
struct Attacher {
    programs: Arc<Programs>,
    map: Map<u32, Device>,
    /// How pods' devices are known; held while devices are looked at.
    pods: Mutex<DetectLocal>,
}

impl Attacher {
    /// Every device has its programs and its address, those that are gone have none.
    fn cover(&self) -> Result<(), Error> {
        let pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        let devices = rtnetlink::devices()?;
        let set = devices.iter().map(|(index, found)| (*index, device(found, &pods))).collect();
        let mut edits = Edits { set, gone: Vec::new() };
        edits.less_held(self.map.dump()?);
        self.map.update(&edits.set)?;
        let mut first_error = Ok(());
        for index in devices.keys() {
            match self.programs.attach_to_device(*index) {
                // It went while we looked.
                Err(Error::Bpf { source, .. }) if source.raw_os_error() == Some(libc::ENODEV) => {}
                // One that refuses must not keep the others from being covered.
                other => first_error = first_error.and(other),
            }
        }
        self.programs.keep_devices(|index| devices.contains_key(&index))?;
        self.map.delete(&edits.gone)?;
        first_error
    }

    fn follow(&self, changes: &Changes, stopped: &UnixStream) {
        loop {
            let mut waiting =
                [PollFd::new(changes.as_fd(), PollFlags::POLLIN), PollFd::new(stopped.as_fd(), PollFlags::POLLIN)];
            match poll(&mut waiting, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                Err(error) => return tracing::error!(%error, "no longer following devices"),
                Ok(_) => {}
            }
            if waiting[1].any() == Some(true) {
                return;
            }
            if let Err(error) = changes.drain()
                && error.kind() != ErrorKind::Interrupted
            {
                return tracing::error!(%error, "no longer following devices");
            }
            if let Err(error) = self.cover() {
                tracing::warn!(%error, "eBPF programs on the devices: will be repaired at the next change or resync");
            }
        }
    }
}

fn device(found: &rtnetlink::Device, pods: &DetectLocal) -> Device {
    let by_device = match pods {
        DetectLocal::Cidrs(_) => false,
        DetectLocal::Bridge(name) => found.name == *name,
        DetectLocal::InterfacePrefix(prefix) => found.name.starts_with(prefix.as_str()),
    };
    Device {
        v4: found.v4.map_or(Address::v4(0), |ip| address(ip.into())),
        v6: found.v6.map_or(Address::default(), |ip| address(ip.into())),
        flags: if by_device { device_flags::PODS } else { 0 },
    }
}
