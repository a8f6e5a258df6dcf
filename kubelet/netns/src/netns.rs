//! One network namespace, held by a descriptor: made, pinned, entered by a thread, let go.

use crate::{Error, Net, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

/// A network namespace that lives at least as long as this value.
#[derive(Debug, Clone)]
pub struct NetNs {
    file: Arc<File>,
}

impl NetNs {
    /// Opens a pinned namespace, or `/proc/PID/ns/net`.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(format!("opening network namespace {}", path.display())))?;
        Ok(Self { file: Arc::new(file) })
    }

    /// The namespace of the calling thread.
    pub fn current() -> Result<Self> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// Makes a namespace and pins it at `path` by a bind mount, as `ip netns add` does. A pin that is there already is an error.
    pub fn create(path: &Path) -> Result<Self> {
        let doing = format!("making network namespace {}", path.display());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(Error::io(doing.clone()))?;
        }
        File::options().write(true).create_new(true).open(path).map_err(Error::io(doing.clone()))?;
        let made = in_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            mount(Some("/proc/thread-self/ns/net"), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        });
        match made.and_then(|inner| inner.map_err(io::Error::from)) {
            Ok(()) => Self::open(path),
            Err(error) => {
                let _ = fs::remove_file(path);
                Err(Error::io(doing)(error))
            }
        }
    }

    /// Makes a namespace that nothing pins: it ends with this value and with whatever runs inside.
    pub fn anonymous() -> Result<Self> {
        let doing = "making a network namespace";
        in_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|e| Error::io(doing)(e.into()))?;
            Self::current()
        })
        .map_err(Error::io(doing))?
    }

    /// Removes the pin at `path`, whether or not it is still a mount. What is gone already is no error.
    pub fn unpin(path: &Path) -> Result<()> {
        while umount2(path, MntFlags::MNT_DETACH).is_ok() {}
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io(format!("removing network namespace {}", path.display()))(error))
            }
            _ => Ok(()),
        }
    }

    /// Runs `work` in a thread of its own inside the namespace.
    ///
    /// `/proc/sys/net` and sockets opened by `work` are the namespace's; mounts and everything else are the caller's.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let doing = "entering a network namespace";
        in_thread(|| setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET).map(|()| work()))
            .and_then(|inner| inner.map_err(io::Error::from))
            .map_err(Error::io(doing))
    }

    /// Opens an rtnetlink socket inside the namespace; the calling runtime drives it.
    pub async fn connect(&self) -> Result<Net> {
        let runtime = tokio::runtime::Handle::current();
        let (connection, handle, _) = self
            .run(|| {
                let _guard = runtime.enter();
                rtnetlink::new_connection()
            })?
            .map_err(Error::io("opening a netlink socket"))?;
        tokio::spawn(connection);
        Ok(Net::new(handle))
    }

    /// Writes sysctls (`net/ipv4/ip_forward`, …) of the namespace.
    pub fn sysctl(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.run(|| {
            for (name, value) in settings {
                let path = Path::new("/proc/sys").join(name);
                fs::write(&path, value).map_err(Error::io(format!("setting {name} to {value}")))?;
            }
            Ok(())
        })?
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A thread whose namespaces die with it; a panic inside is passed on.
fn in_thread<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".into()).spawn_scoped(scope, work)?;
        thread.join().map_err(|panic| std::panic::resume_unwind(panic))
    })
}
