//! A piece of ground to measure on: a thread with a network namespace, a bpffs and a cgroup of its own, all gone with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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

    /// Loads a ruleset with the `nft` program.
    pub fn nft(&self, ruleset: &Path) -> Result<()> {
        orlop_conformance::stdout(Command::new("nft").arg("-f").arg(ruleset)).map(drop)
    }
}

fn make_directory(path: &Path) -> Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("making {}", path.display()))
        }
        _ => Ok(()),
    }
}
