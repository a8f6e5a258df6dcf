//! Loading the programs and keeping them attached.
//!
//! Every link is pinned under a name that says what it is attached to. A link that is there gets the new program
//! (`BPF_LINK_UPDATE`), so that an upgrade leaves no moment without one; a link whose cgroup or device is gone is
//! replaced. A program that is already running is not loaded a second time: pinned programs are compared by their tag.
//! On devices of kernels without TCX, filters of the clsact qdisc stand in for links.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use aya::programs::{CgroupSock, CgroupSockAddr, SchedClassifier, SockOps, Xdp};
use aya::{Ebpf, EbpfLoader};

use crate::clsact::{self, Direction};
use crate::object::object;
use crate::pins::{self, Pins};
use crate::{Error, rtnetlink, sizes, sys};

/// A hook: the program's name in the object and the kernel's `bpf_attach_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    name: &'static str,
    attach_type: u32,
}

const RELEASE: &str = "release";
const ESTABLISHED: &str = "established";

/// The socket hooks, answers before questions: a socket that is translated is always translated back.
pub const SOCKET_HOOKS: [Hook; 10] = [
    Hook { name: RELEASE, attach_type: 34 },
    Hook { name: "getpeername4", attach_type: 29 },
    Hook { name: "getpeername6", attach_type: 30 },
    Hook { name: "recvmsg4", attach_type: 19 },
    Hook { name: "recvmsg6", attach_type: 20 },
    Hook { name: ESTABLISHED, attach_type: 3 },
    Hook { name: "sendmsg4", attach_type: 14 },
    Hook { name: "sendmsg6", attach_type: 15 },
    Hook { name: "connect4", attach_type: 10 },
    Hook { name: "connect6", attach_type: 11 },
];

/// The device hooks.
pub const DEVICE_HOOKS: [Hook; 2] =
    [Hook { name: "tc_egress", attach_type: 47 }, Hook { name: "tc_ingress", attach_type: 46 }];

/// The hook in a device's driver.
const DRIVER_HOOK: Hook = Hook { name: "xdp_ingress", attach_type: 37 };

/// The maps whose values are in sockets.
const SOCKET_MAPS: [&str; 2] = ["SOCKET_CONNECTIONS", "SOCKET_TALKS"];

/// The loaded programs.
#[derive(Debug)]
pub struct Programs {
    pins: Pins,
    programs: Vec<Program>,
    /// Whether devices take links; until one refuses.
    tcx: AtomicBool,
}

#[derive(Debug)]
struct Program {
    hook: Hook,
    fd: OwnedFd,
    /// The kernel's number of it.
    id: u32,
}

impl Programs {
    /// Loads them, the one for drivers if that is wanted, over the maps that are pinned or fresh ones.
    pub fn load(pins: &Pins, tcx: bool, drivers: bool) -> Result<Self, Error> {
        // Nothing in them depends on this kernel's types: reading its BTF would only take time and 20 MiB.
        let mut loader = EbpfLoader::new();
        loader.btf(None).default_map_pin_directory(&pins.maps);
        for name in SOCKET_MAPS {
            loader.map_pin_path(name, pins.maps.join(name));
        }
        for (name, entries) in sizes::of_this_machine() {
            loader.map_max_entries(name, entries);
        }
        let mut ebpf = loader.load(object()?).map_err(load_error("maps"))?;
        let mut programs = Vec::new();
        for hook in SOCKET_HOOKS.into_iter().chain(DEVICE_HOOKS).chain(drivers.then_some(DRIVER_HOOK)) {
            let fd = running_or_new(pins, &mut ebpf, hook)?;
            let info = sys::program_info(fd.as_fd()).map_err(Error::bpf(format!("look at program {}", hook.name)))?;
            programs.push(Program { hook, fd, id: info.id });
        }
        Ok(Self { pins: pins.clone(), programs, tcx: AtomicBool::new(tcx) })
    }

    /// Attaches the socket hooks to a cgroup, whose identifier is its inode's number.
    pub fn attach_to_cgroup(&self, cgroup: BorrowedFd<'_>, inode: u64) -> Result<(), Error> {
        use std::os::fd::AsRawFd;
        for hook in SOCKET_HOOKS {
            self.attach(hook, &format!("{}-{inode:x}", hook.name), cgroup.as_raw_fd().cast_unsigned())?;
        }
        // An earlier agent may have served another group.
        let ours = format!("-{inode:x}");
        for name in self.pins.link_names()? {
            if SOCKET_HOOKS.iter().any(|hook| name.starts_with(hook.name)) && !name.ends_with(&ours) {
                pins::remove(&self.pins.links.join(name))?;
            }
        }
        Ok(())
    }

    /// Attaches the device hooks to a device.
    pub fn attach_to_device(&self, index: u32) -> Result<(), Error> {
        for hook in DEVICE_HOOKS {
            let name = device_link(hook, index);
            if self.tcx.load(Ordering::Relaxed) {
                match self.attach(hook, &name, index) {
                    Err(Error::Bpf { source, .. }) if source.raw_os_error() == Some(libc::EINVAL) => {
                        tracing::info!("this kernel has no TCX: using clsact filters");
                        self.tcx.store(false, Ordering::Relaxed);
                    }
                    other => {
                        other?;
                        continue;
                    }
                }
            }
            let program = self.program(hook)?;
            clsact::attach(index, direction(hook), program.fd.as_fd(), hook.name)
                .map_err(Error::bpf(format!("attach filter {name}")))?;
        }
        Ok(())
    }

    /// Attaches the hook to a device's driver.
    pub fn attach_to_driver(&self, index: u32) -> Result<(), Error> {
        self.attach(DRIVER_HOOK, &device_link(DRIVER_HOOK, index), index)
    }

    /// Detaches it from all but these.
    pub fn keep_drivers(&self, keep: impl Fn(u32) -> bool) -> Result<(), Error> {
        for name in self.pins.link_names()? {
            let index = name.strip_prefix(DRIVER_HOOK.name).and_then(|rest| rest.strip_prefix('-')?.parse().ok());
            if index.is_some_and(|index| !keep(index)) {
                pins::remove(&self.pins.links.join(name))?;
            }
        }
        Ok(())
    }

    /// Forgets the links of devices that are gone.
    pub fn keep_devices(&self, exists: impl Fn(u32) -> bool) -> Result<(), Error> {
        for name in self.pins.link_names()? {
            let index = DEVICE_HOOKS
                .iter()
                .find_map(|hook| name.strip_prefix(hook.name)?.strip_prefix('-'))
                .and_then(|index| index.parse().ok());
            if index.is_some_and(|index| !exists(index)) {
                pins::remove(&self.pins.links.join(name))?;
            }
        }
        Ok(())
    }

    fn program(&self, hook: Hook) -> Result<&Program, Error> {
        self.programs.iter().find(|program| program.hook == hook).ok_or(Error::OutOfDate)
    }

    fn attach(&self, hook: Hook, name: &str, target: u32) -> Result<(), Error> {
        let program = self.program(hook)?;
        let path = self.pins.links.join(name);
        if let Ok(link) = sys::open_pin(&path) {
            // Most of the time it is as it should be, and a replacement waits for every reader on the machine.
            if sys::link_info(link.as_fd()).is_ok_and(|link| link.program == program.id && link.is_attached(target)) {
                return Ok(());
            }
            match sys::link_update(link.as_fd(), program.fd.as_fd()) {
                Ok(()) => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => pins::remove(&path)?,
                Err(error) => return Err(Error::bpf(format!("replace program of link {name}"))(error)),
            }
        }
        // While another build's programs are still attached, new connections are ours.
        let flags = match hook {
            DRIVER_HOOK => sys::BY_DRIVER,
            hook if DEVICE_HOOKS.contains(&hook) => sys::FIRST,
            _ => 0,
        };
        let link = sys::link_create(program.fd.as_fd(), target, hook.attach_type, flags)
            .map_err(Error::bpf(format!("attach {name}")))?;
        sys::pin(link.as_fd(), &path).map_err(Error::bpf(format!("pin link {name}")))
    }
}

/// Removes the filters of this network namespace's devices that stand in for links.
pub fn detach_filters() -> Result<(), Error> {
    for device in rtnetlink::devices()?.into_keys() {
        for hook in DEVICE_HOOKS {
            let name = device_link(hook, device);
            clsact::detach(device, direction(hook)).map_err(Error::bpf(format!("detach filter {name}")))?;
        }
    }
    Ok(())
}

fn direction(hook: Hook) -> Direction {
    if hook.name == "tc_ingress" { Direction::Ingress } else { Direction::Egress }
}

fn device_link(hook: Hook, index: u32) -> String {
    format!("{}-{index}", hook.name)
}

/// The pinned program when it is the same as ours, else ours, pinned in its place.
fn running_or_new(pins: &Pins, ebpf: &mut Ebpf, hook: Hook) -> Result<OwnedFd, Error> {
    let new = load(ebpf, hook)?;
    let path = pins.programs.join(hook.name);
    if let Some(running) = same(&path, new.as_fd()) {
        return Ok(running);
    }
    pins::remove(&path)?;
    sys::pin(new.as_fd(), &path).map_err(Error::bpf(format!("pin program {}", hook.name)))?;
    Ok(new)
}

fn same(path: &Path, new: BorrowedFd<'_>) -> Option<OwnedFd> {
    let running = sys::open_pin(path).ok()?;
    let tag = |program| sys::program_info(program).ok().map(|info| info.tag);
    (tag(running.as_fd())? == tag(new)?).then_some(running)
}

fn load(ebpf: &mut Ebpf, hook: Hook) -> Result<OwnedFd, Error> {
    let program = ebpf.program_mut(hook.name).ok_or(Error::OutOfDate)?;
    let (fd, info) = if DEVICE_HOOKS.iter().any(|device| device.name == hook.name) {
        let program: &mut SchedClassifier = program.try_into().map_err(load_error(hook.name))?;
        program.load().map_err(load_error(hook.name))?;
        (program.fd().map_err(load_error(hook.name))?.as_fd().try_clone_to_owned(), program.info())
    } else if hook == DRIVER_HOOK {
        let program: &mut Xdp = program.try_into().map_err(load_error(hook.name))?;
        program.load().map_err(load_error(hook.name))?;
        (program.fd().map_err(load_error(hook.name))?.as_fd().try_clone_to_owned(), program.info())
    } else if hook.name == RELEASE {
        let program: &mut CgroupSock = program.try_into().map_err(load_error(hook.name))?;
        program.load().map_err(load_error(hook.name))?;
        (program.fd().map_err(load_error(hook.name))?.as_fd().try_clone_to_owned(), program.info())
    } else if hook.name == ESTABLISHED {
        let program: &mut SockOps = program.try_into().map_err(load_error(hook.name))?;
        program.load().map_err(load_error(hook.name))?;
        (program.fd().map_err(load_error(hook.name))?.as_fd().try_clone_to_owned(), program.info())
    } else {
        let program: &mut CgroupSockAddr = program.try_into().map_err(load_error(hook.name))?;
        program.load().map_err(load_error(hook.name))?;
        (program.fd().map_err(load_error(hook.name))?.as_fd().try_clone_to_owned(), program.info())
    };
    let verified = info.ok().and_then(|info| info.verified_instruction_count());
    tracing::debug!(program = hook.name, verified, "loaded");
    fd.map_err(load_error(hook.name))
}

fn load_error<E: std::error::Error + Send + Sync + 'static>(program: &str) -> impl FnOnce(E) -> Error {
    let program = program.to_owned();
    move |source| Error::Load { program, source: Box::new(source) }
}
