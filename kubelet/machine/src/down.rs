//! `orlop down`: whatever is left of a cluster goes, found by its name and not by any record.

use crate::layout::Layout;
use crate::options::{DownOptions, validate_name};
use crate::{cgroup, mounts, network, preflight};
use anyhow::{Context, Result, anyhow};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Ends the cluster: processes, namespaces, mounts, cgroups, pins, and its data unless that is kept. May be repeated.
pub fn down(options: &DownOptions) -> Result<()> {
    validate_name(&options.name)?;
    preflight::privileges()?;
    let layout = Layout::new(&options.name, &options.roots);
    let _lock = lock(&layout)?;
    teardown(&layout)?;
    if !options.keep_data {
        remove_dir(&layout.lib())?;
    }
    let _ = fs::remove_file(layout.lock());
    Ok(())
}

/// Removes all that a reboot would remove.
pub(crate) fn teardown(layout: &Layout) -> Result<()> {
    end_processes(layout)?;
    network::remove(layout)?;
    remove_pins(layout)?;
    mounts::unmount_below(&layout.run())?;
    remove_dir(&layout.run())
}

/// Another mount namespace made meanwhile may hold the bpffs: what is pinned there goes now, whoever does.
fn remove_pins(layout: &Layout) -> Result<()> {
    let Ok(entries) = fs::read_dir(layout.bpf()) else { return Ok(()) };
    // A bpffs has files of its own as well; pins are in a folder for each machine.
    for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
        remove_dir(&entry.path())?;
    }
    Ok(())
}

/// Kills by membership: cgroup2 holds all that was started, the v1 groups what may have been moved by a container runtime.
fn end_processes(layout: &Layout) -> Result<()> {
    let v1 = cgroup::v1_hierarchies()?;
    let is_node = |name: &str| layout.part(name).is_some_and(|part| part.starts_with("node"));
    let group = layout.cgroup().join(layout.group());
    if group.is_dir() {
        cgroup::kill_all(&group)?;
    } else {
        kill_unmounted(layout)?;
    }
    for hierarchy in &v1 {
        for group in hierarchy.groups(is_node) {
            cgroup::kill_listed(&group);
            cgroup::remove(&group)?;
        }
    }
    if group.is_dir() {
        cgroup::remove(&group)?;
    }
    Ok(())
}

/// The run directory's mounts are gone, but the groups may not be: looks for them through a mount that lasts as long as this thread.
fn kill_unmounted(layout: &Layout) -> Result<()> {
    mounts::with_private_cgroup2(|root| {
        let group = root.join(layout.group());
        if group.is_dir() {
            cgroup::kill_all(&group)?;
            cgroup::remove(&group)?;
        }
        Ok(())
    })
}

/// Holds off another `up` or `down` of the same cluster.
pub(crate) fn lock(layout: &Layout) -> Result<Flock<File>> {
    let path = layout.lock();
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
    }
    loop {
        let file = File::create(&path).with_context(|| format!("opening {}", path.display()))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
            anyhow!("another `orlop up` or `orlop down` of cluster {} is at work: wait for it", layout.name)
        })?;
        // `down` removes the file at its end: a lock on one that is no longer there would be seen by nobody.
        let held = lock.metadata().with_context(|| format!("reading {}", path.display()))?.ino();
        if fs::metadata(&path).is_ok_and(|there| there.ino() == held) {
            return Ok(lock);
        }
    }
}

fn remove_dir(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", dir.display()))
        }
        _ => Ok(()),
    }
}
