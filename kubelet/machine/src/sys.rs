//! The few system calls that safe wrappers do not offer: a process that holds new namespaces until they are pinned, a child that enters
//! namespaces and cgroups before it runs its program, and a mount tree carried to another place.
//!
//! Safety: after `fork` in a program with several threads only async-signal-safe calls are allowed until `exec` or `_exit`.
//! Both children here use nothing but raw system calls on values made before the fork: no allocation, no lock, no panic.
//! The mount calls pass C strings and descriptors that outlive the call.
#![allow(unsafe_code)]

use nix::sched::CloneFlags;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// A process that does nothing but keep namespaces alive; dropped, it ends.
pub(crate) struct Holder(Pid);

impl Holder {
    /// Starts a process that joins `groups` (open `cgroup.procs` files), then makes the namespaces `flags`.
    /// A cgroup namespace made this way has those groups as its roots.
    pub(crate) fn start(groups: &[File], flags: CloneFlags) -> io::Result<Self> {
        let fds: Vec<RawFd> = groups.iter().map(AsRawFd::as_raw_fd).collect();
        let (mut reader, writer) = io::pipe()?;
        let flags = flags.bits();
        // SAFETY: see the module's argument; the child never returns from this block.
        let pid = match unsafe { libc::fork() } {
            -1 => return Err(io::Error::last_os_error()),
            0 => unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                let mut errno = 0;
                for &fd in &fds {
                    if libc::write(fd, c"0".as_ptr().cast(), 1) != 1 {
                        errno = *libc::__errno_location();
                    }
                }
                if errno == 0 && libc::unshare(flags) != 0 {
                    errno = *libc::__errno_location();
                }
                libc::write(writer.as_raw_fd(), (&raw const errno).cast(), size_of::<libc::c_int>());
                if errno != 0 {
                    libc::_exit(1);
                }
                loop {
                    libc::pause();
                }
            },
            pid => Self(Pid::from_raw(pid)),
        };
        drop(writer);
        let mut answer = [0; size_of::<libc::c_int>()];
        reader.read_exact(&mut answer)?;
        match libc::c_int::from_ne_bytes(answer) {
            0 => Ok(pid),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    /// The path of one of its namespaces.
    pub(crate) fn namespace(&self, name: &str) -> String {
        format!("/proc/{}/ns/{name}", self.0)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGKILL);
        let _ = waitpid(self.0, None);
    }
}

/// What a child does between fork and exec.
#[derive(Default)]
pub(crate) struct Entry {
    /// Open `cgroup.procs` files to join.
    pub groups: Vec<File>,
    /// Namespaces to enter, in this order.
    pub namespaces: Vec<(OwnedFd, CloneFlags)>,
    /// Descriptors that the program keeps, under their numbers.
    pub keep: Vec<OwnedFd>,
    /// Begin a session of its own, away from the person's terminal.
    pub new_session: bool,
}

impl Entry {
    /// Makes the child of `command` enter.
    pub(crate) fn apply(self, command: &mut Command) {
        let enter = move || {
            for group in &self.groups {
                // SAFETY: a write of one byte from static memory to an open descriptor.
                check(unsafe { libc::write(group.as_raw_fd(), c"0".as_ptr().cast(), 1) } == 1)?;
            }
            for (namespace, flag) in &self.namespaces {
                // SAFETY: setns takes numbers only.
                check(unsafe { libc::setns(namespace.as_raw_fd(), flag.bits()) } == 0)?;
            }
            for fd in &self.keep {
                // SAFETY: clears close-on-exec of an open descriptor.
                check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) } == 0)?;
            }
            if self.new_session {
                // SAFETY: setsid takes nothing; a child that was just forked leads no group.
                check(unsafe { libc::setsid() } != -1)?;
            }
            Ok(())
        };
        // SAFETY: see the module's argument: `enter` makes system calls only, on values made before the fork.
        unsafe { command.pre_exec(enter) };
    }
}

fn check(ok: bool) -> io::Result<()> {
    if ok { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A copy of the mounts below a path, attached nowhere yet.
pub(crate) struct DetachedTree(OwnedFd);

impl DetachedTree {
    /// Copies the mount tree at `path` (`open_tree(2)`, Linux 5.2).
    pub(crate) fn copy(path: &Path) -> io::Result<Self> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_RECURSIVE as libc::c_uint;
        // SAFETY: the path outlives the call; a descriptor that is returned is new and ours.
        let fd = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
        check(fd >= 0)?;
        // SAFETY: as above.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }))
    }

    /// Attaches the copy at `path` (`move_mount(2)`, Linux 5.2).
    pub(crate) fn attach(self, path: &Path) -> io::Result<()> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: both strings outlive the call.
        let done = unsafe {
            libc::syscall(
                libc::SYS_move_mount,
                self.0.as_raw_fd(),
                c"".as_ptr(),
                libc::AT_FDCWD,
                path.as_ptr(),
                libc::MOVE_MOUNT_F_EMPTY_PATH,
            )
        };
        check(done == 0)
    }
}

/// Takes over a listening socket that the process was started with.
pub(crate) fn inherited_listener(fd: RawFd) -> io::Result<std::net::TcpListener> {
    // SAFETY: asks about a number; a closed descriptor is an error, not undefined.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } == 0)?;
    // SAFETY: the descriptor is open, and by contract with the parent (`--listen-fd`) nobody else in this process uses it.
    let listener = unsafe { std::net::TcpListener::from_raw_fd(fd) };
    listener.set_nonblocking(true)?;
    Ok(listener)
}
