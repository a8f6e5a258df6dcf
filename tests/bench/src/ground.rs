//! A piece of ground to measure on: a thread with a network namespace, a bpffs and a cgroup of its own, all gone with it.
//! [`Host`] is another machine beside it: a network namespace lived in by one more thread.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};

use anyhow::{Context as _, Result, anyhow};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// What the measured code may use.
pub struct Ground {
    /// A bpffs.
    pub bpf: PathBuf,
    /// An empty cgroup2 group.
    pub cgroup: PathBuf,
    _directory: tempfile::TempDir,
}

/// Runs `work` there.
pub fn on<T: Send>(work: impl FnOnce(&Ground) -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let ground = Ground::make()?;
            let result = work(&ground);
            let _ = fs::remove_dir(&ground.cgroup);
            result
        });
        thread.join().map_err(|_| anyhow!("the measuring thread panicked"))?
    })
}

impl Ground {
    fn make() -> Result<Self> {
        let flags = CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET;
        unshare(flags).context("making namespaces: run as root")?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        let directory = tempfile::tempdir()?;
        let at = |name: &str, kind: &str| -> Result<PathBuf> {
            let path = directory.path().join(name);
            fs::create_dir(&path)?;
            mount(Some(kind), &path, Some(kind), MsFlags::empty(), None::<&str>)
                .with_context(|| format!("mounting {kind}"))?;
            Ok(path)
        };
        let (bpf, hierarchy) = (at("bpf", "bpf")?, at("cgroup", "cgroup2")?);
        // A sysfs shows the devices of the network namespace it was mounted in.
        mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), None::<&str>).context("mounting sysfs")?;
        let cgroup = hierarchy.join("orlop-bench");
        make_directory(&cgroup)?;
        Ok(Self { bpf, cgroup, _directory: directory })
    }

    /// Makes every connection of this process one that programs at the group see, while `work` runs.
    pub fn inside<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let root = self.cgroup.parent().unwrap_or(&self.cgroup);
        let join = |group: &Path| fs::write(group.join("cgroup.procs"), std::process::id().to_string());
        join(&self.cgroup).with_context(|| format!("joining {}", self.cgroup.display()))?;
        let result = work();
        join(root).with_context(|| format!("leaving {}", self.cgroup.display()))?;
        result
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// A machine of its own, with nothing but a network namespace.
pub struct Host {
    jobs: Sender<Job>,
    namespace: PathBuf,
}

impl Host {
    /// A namespace with loopback up.
    pub fn new() -> Result<Self> {
        let (jobs, queue) = channel::<Job>();
        std::thread::spawn(move || queue.into_iter().for_each(|job| job()));
        let mut host = Self { jobs, namespace: PathBuf::new() };
        host.namespace = host.run(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace: run as root")?;
            ip("link set lo up")?;
            Ok(format!("/proc/{}/task/{}/ns/net", std::process::id(), nix::unistd::gettid()).into())
        })?;
        Ok(host)
    }

    /// Runs something there.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let (result, wait) = channel();
        let job = move || drop(result.send(job()));
        self.jobs.send(Box::new(job)).map_err(|_| anyhow!("the host's thread is gone"))?;
        wait.recv().map_err(|_| anyhow!("the host's thread panicked"))?
    }

    /// Lays a cable from device `here` of this thread's namespace to `there`, whose address and way out are given.
    pub fn cable(&self, here: &str, there: &'static str, address: &'static str, gateway: &'static str) -> Result<()> {
        let namespace = self.namespace.display();
        ip(&format!("link add {here} type veth peer name {there} netns {namespace}"))?;
        ip(&format!("link set {here} up"))?;
        self.run(move || {
            ip(&format!("addr add {address} dev {there}"))?;
            ip(&format!("link set {there} up"))?;
            ip(&format!("route add default via {gateway} dev {there} onlink"))
        })
    }
}

/// Runs `ip` in this thread's namespace.
pub fn ip(arguments: &str) -> Result<()> {
    orlop_conformance::stdout(Command::new("ip").args(arguments.split_whitespace())).map(drop)
}

fn make_directory(path: &Path) -> Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("making {}", path.display()))
        }
        _ => Ok(()),
    }
}
