//! Programs on every device, followed as devices come and go.
//!
//! Pods' devices appear whenever a pod starts, made by whatever CNI plugin there is; a thread in the node's network
//! namespace gives each one its programs as soon as the kernel speaks of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use orlop_ebpf::{Address, Device, device_flags};
use orlop_plan::DetectLocal;

use crate::backend::Xdp;
use crate::convert::address;
use crate::map::Map;
use crate::programs::Programs;
use crate::rtnetlink::{self, Changes, Devices};
use crate::steps::Edits;
use crate::{Error, netdev};

/// How long after the last change nobody does anything to a device, in milliseconds.
const SETTLED: u16 = 2_000;

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
    pub fn start(programs: Arc<Programs>, map: Map<u32, Device>, pods: DetectLocal, xdp: Xdp) -> Result<Self, Error> {
        let attacher = Arc::new(Attacher { programs, map, xdp, pods: Mutex::new(pods) });
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
    xdp: Xdp,
    /// How pods' devices are known; held while devices are looked at.
    pods: Mutex<DetectLocal>,
}

impl Attacher {
    /// Every device has its programs and its address, those that are gone have none.
    fn cover(&self) -> Result<(), Error> {
        let pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        let devices = rtnetlink::devices()?;
        let frames = self.cover_drivers(&devices)?;
        let set = devices.iter().map(|(index, found)| {
            let takes_frames = if frames.contains(index) { device_flags::TAKES_FRAMES } else { 0 };
            let device = device(found, &pods);
            (*index, Device { flags: device.flags | takes_frames, ..device })
        });
        let set = set.collect();
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

    /// The drivers of devices that face the world have their program; gives the devices that take frames from them.
    fn cover_drivers(&self, devices: &Devices) -> Result<BTreeSet<u32>, Error> {
        if self.xdp == Xdp::Disabled {
            self.programs.keep_drivers(|_| false)?;
            return Ok(BTreeSet::new());
        }
        let features = match netdev::features() {
            Ok(features) => features,
            Err(error) => {
                tracing::warn!(%error, "what drivers can do is not known (it is from Linux 6.3 on): XDP is not used");
                BTreeMap::new()
            }
        };
        let able = |index: &u32| features.get(index).is_some_and(|features| features.runs_programs());
        let faces_world = |device: &rtnetlink::Device| device.v4.is_some() || device.v6.is_some();
        let wanted: BTreeSet<u32> = devices
            .iter()
            .filter(|(index, device)| able(index) && faces_world(device))
            .filter(|(_, device)| self.xdp == Xdp::Native || !device.veth)
            .map(|(index, _)| *index)
            .collect();
        for index in &wanted {
            if let Err(error) = self.programs.attach_to_driver(*index) {
                tracing::warn!(%error, "packets of this device pass the stack");
            }
        }
        self.programs.keep_drivers(|index| wanted.contains(&index))?;
        if wanted.is_empty() {
            tracing::warn!("XDP is asked for, and no device with an address of this node can");
            return Ok(BTreeSet::new());
        }
        // What a device takes may depend on its own program.
        let now = netdev::features().unwrap_or_default();
        Ok(now.into_iter().filter(|(_, features)| features.takes_frames()).map(|(index, _)| index).collect())
    }

    fn follow(&self, changes: &Changes, stopped: &UnixStream) {
        let mut patience = PollTimeout::NONE;
        loop {
            let mut waiting =
                [PollFd::new(changes.as_fd(), PollFlags::POLLIN), PollFd::new(stopped.as_fd(), PollFlags::POLLIN)];
            match poll(&mut waiting, patience) {
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
            // Of a queue that a new device is given nobody hears: it is looked at once more.
            patience = if waiting[0].any() == Some(true) { SETTLED.into() } else { PollTimeout::NONE };
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
    // With an address of the node's it is the node's own cable to the world, which may lead anywhere.
    let hands_over = found.straight && found.v4.is_none() && found.v6.is_none();
    Device {
        v4: found.v4.map_or(Address::v4(0), |ip| address(ip.into())),
        v6: found.v6.map_or(Address::default(), |ip| address(ip.into())),
        flags: if by_device { device_flags::PODS } else { 0 } | if hands_over { device_flags::HANDS_OVER } else { 0 },
    }
}
