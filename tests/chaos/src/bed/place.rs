//! What a bed has outside of its processes: pinned namespaces, a bpffs, cgroups. All of it is found again by the bed's name.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use orlop_conformance::{eventually, stdout};
use orlop_netns::NetNs;

const GROUPS: [&str; 3] = ["node1", "node2", "outside"];

/// A bed's places.
pub(super) struct Directory {
    name: String,
    path: PathBuf,
}

impl Directory {
    /// Clears what is there under this name and makes it anew.
    pub(super) fn new(name: &str) -> Result<Self> {
        let directory = Self { name: name.into(), path: super::home(name) };
        directory.clear()?;
        for (kind, at) in [("bpf", directory.bpf()), ("cgroup2", directory.path.join("cgroup"))] {
            fs::create_dir_all(&at).with_context(|| format!("making {}", at.display()))?;
            stdout(std::process::Command::new("mount").args(["-t", kind, kind]).arg(&at))?;
        }
        for part in GROUPS {
            fs::create_dir_all(directory.group(part)).context("making a cgroup: run as root")?;
        }
        Ok(directory)
    }

    /// Its files.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its bpffs.
    pub(super) fn bpf(&self) -> PathBuf {
        self.path.join("bpf")
    }

    /// The cgroup of a node, or of the outside host.
    pub(super) fn group(&self, part: &str) -> PathBuf {
        self.root_group().join(part)
    }

    fn root_group(&self) -> PathBuf {
        self.path.join("cgroup").join(format!("orlop-chaos-{}", self.name))
    }

    /// Where a namespace is pinned.
    pub(super) fn netns(&self, part: &str) -> PathBuf {
        PathBuf::from(format!("/run/netns/chaos-{}-{part}", self.name))
    }

    /// Ends every process and takes everything away; what is not there is fine.
    pub(super) fn clear(&self) -> Result<()> {
        let group = self.root_group();
        if group.exists() {
            fs::write(group.join("cgroup.kill"), "1").context("ending the bed's processes")?;
            eventually("the bed's processes to be gone", Duration::from_secs(10), || {
                let events = fs::read_to_string(group.join("cgroup.events"))?;
                Ok(events.contains("populated 0").then_some(()))
            })?;
            for group in GROUPS.map(|part| self.group(part)).into_iter().chain([group]) {
                let _ = fs::remove_dir(group);
            }
        }
        let pins = fs::read_dir("/run/netns").into_iter().flatten().flatten().map(|entry| entry.path());
        let prefix = format!("chaos-{}-", self.name);
        for pin in pins.filter(|pin| pin.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix))) {
            NetNs::unpin(&pin)?;
        }
        for at in [self.bpf(), self.path.join("cgroup")] {
            // One for each time that it was mounted.
            while nix::mount::umount2(&at, nix::mount::MntFlags::MNT_DETACH).is_ok() {}
        }
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", self.path.display()))
            }
            _ => Ok(()),
        }
    }
}
