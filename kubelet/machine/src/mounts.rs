//! Mounts: the cluster's own file systems, a machine's view of the disk, and taking both away.

use crate::cgroup::{self, V1};
use crate::layout::{Layout, NodeLayout};
use crate::sys::DetachedTree;
use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use std::fs;
use std::path::{Path, PathBuf};

/// Where a machine has its cgroup2 hierarchy on a host that has v1 controllers as well.
const CGROUP2_BESIDE_V1: &str = "/run/cgroup2";

/// Mounts the cluster's run directory (a private tmpfs, so that pins in it propagate nowhere), its bpffs and its view of cgroup2.
pub(crate) fn mount_cluster(layout: &Layout) -> Result<()> {
    let run = layout.run();
    fs::create_dir_all(&run).with_context(|| format!("making {}", run.display()))?;
    mount_at("tmpfs", &run, "tmpfs", Some("mode=0755"))?;
    mount(None::<&str>, &run, None::<&str>, MsFlags::MS_PRIVATE, None::<&str>)
        .with_context(|| format!("making {} private", run.display()))?;
    mount_at("bpf", &layout.bpf(), "bpf", Some("mode=0700"))?;
    mount_at("cgroup2", &layout.cgroup(), "cgroup2", None)
}

/// Turns a fresh copy of the host's mounts into the machine's own view. Runs inside the machine's namespaces.
pub(crate) fn build_view(node: &NodeLayout, v1: &[V1]) -> Result<()> {
    let root = Path::new("/");
    let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(None::<&str>, root, None::<&str>, flags, None::<&str>)
        .context("cutting the machine's mounts off the host's")?;

    own_run(node)?;
    // Another tmpfs rather than folders on the host: nothing of a machine shows up in the host's /var/log.
    mount_at("tmpfs", Path::new("/var/log"), "tmpfs", Some("mode=0755"))?;
    bind(&node.lib().join("pods"), Path::new("/var/log/pods"))?;

    // A sysfs shows the devices of the network namespace it was mounted in.
    mount_at("sysfs", Path::new("/sys"), "sysfs", None)?;
    // For what pods pin: a bpffs is a new one with each mount.
    mount_at("bpf", Path::new("/sys/fs/bpf"), "bpf", Some("mode=0700"))?;
    let cgroups = Path::new("/sys/fs/cgroup");
    if v1.is_empty() {
        mount_at("cgroup2", cgroups, "cgroup2", None)?;
    } else {
        mount_at("tmpfs", cgroups, "tmpfs", Some("mode=0755"))?;
        for hierarchy in v1 {
            mount_v1(cgroups, hierarchy)?;
        }
        // For pods that attach programs to it. At /sys/fs/cgroup/unified runc would take it for its own.
        mount_at("cgroup2", Path::new(CGROUP2_BESIDE_V1), "cgroup2", None)?;
    }
    // Within the machine mounts propagate, as on any host: volumes mounted by the kubelet reach containers that ask for it.
    let flags = MsFlags::MS_REC | MsFlags::MS_SHARED;
    mount(None::<&str>, root, None::<&str>, flags, None::<&str>).context("sharing the machine's mounts within it")
}

/// Gives the machine a `/run` of its own, with nothing of the host in it but the cluster's run directory and what `/etc/resolv.conf` points to.
fn own_run(node: &NodeLayout) -> Result<()> {
    let cluster_run = node.cluster.run();
    let tree = DetachedTree::copy(&cluster_run).with_context(|| format!("copying mount {}", cluster_run.display()))?;
    let resolv = fs::canonicalize("/etc/resolv.conf").ok().filter(|path| path.starts_with("/run"));
    let resolv = resolv.and_then(|path| fs::read(&path).ok().map(|text| (path, text)));
    mount_at("tmpfs", Path::new("/run"), "tmpfs", Some("mode=0755"))?;
    fs::create_dir_all(&cluster_run).context("making the machine's /run")?;
    tree.attach(&cluster_run).with_context(|| format!("attaching {} to the machine's /run", cluster_run.display()))?;
    if let Some((path, text)) = resolv {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).context("making the folder of resolv.conf")?;
        }
        fs::write(&path, text).context("copying resolv.conf")?;
    }
    fs::create_dir_all("/run/netns").context("making the machine's /run/netns")
}

fn mount_v1(cgroups: &Path, hierarchy: &V1) -> Result<()> {
    let folder = hierarchy.controllers.strip_prefix("name=").unwrap_or(&hierarchy.controllers);
    mount_at("cgroup", &cgroups.join(folder), "cgroup", Some(&hierarchy.controllers))?;
    if folder.contains(',') {
        for controller in folder.split(',') {
            std::os::unix::fs::symlink(folder, cgroups.join(controller))
                .with_context(|| format!("linking controller {controller}"))?;
        }
    }
    Ok(())
}

/// Binds a directory onto another place, making both where they are missing.
fn bind(from: &Path, to: &Path) -> Result<()> {
    for dir in [from, to] {
        fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    }
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("binding {} to {}", from.display(), to.display()))
}

/// Pins a namespace of a running process by a bind mount.
pub(crate) fn pin(namespace: &Path, path: &Path) -> Result<()> {
    fs::File::create(path).with_context(|| format!("making {}", path.display()))?;
    mount(Some(namespace), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("pinning {} at {}", namespace.display(), path.display()))
}

fn mount_at(source: &str, target: &Path, kind: &str, options: Option<&str>) -> Result<()> {
    if !target.is_dir() {
        fs::create_dir_all(target).with_context(|| format!("making {}", target.display()))?;
    }
    mount(Some(source), target, Some(kind), MsFlags::empty(), options)
        .with_context(|| format!("mounting {kind} at {}", target.display()))
}

/// Unmounts everything at and below `path` in the caller's mount namespace, the last mounted first.
pub(crate) fn unmount_below(path: &Path) -> Result<()> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("reading the mount table")?;
    let mut mounts: Vec<PathBuf> =
        table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape).filter(|m| m.starts_with(path)).collect();
    mounts.reverse();
    for mount in mounts {
        match umount2(&mount, MntFlags::MNT_DETACH) {
            Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
            Err(errno) => return Err(errno).with_context(|| format!("unmounting {}", mount.display())),
        }
    }
    Ok(())
}

/// Shows `work` the cgroup2 hierarchy at a path that only its thread sees.
pub(crate) fn with_private_cgroup2<T: Send>(work: impl FnOnce(&Path) -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS).context("making a mount namespace")?;
            let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).context("making mounts private")?;
            // Any folder serves as the mount point, since nobody else sees the mount; but the one that holds cgroup2 already.
            let at = Path::new("/sys/fs");
            mount_at("cgroup2", at, "cgroup2", None)?;
            work(at)
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Undoes mountinfo's octal escapes (a space is `\040`).
fn unescape(field: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let bytes = field.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let octal = bytes.get(i + 1..i + 4).and_then(|d| std::str::from_utf8(d).ok());
        match octal.and_then(|d| u8::from_str_radix(d, 8).ok()) {
            Some(byte) if bytes[i] == b'\\' => {
                out.push(byte);
                i += 4;
            }
            _ => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

/// The v1 hierarchies that a machine gets, each with its group made; and the lists of processes to join.
pub(crate) fn v1_groups(node: &NodeLayout, v1: &[V1]) -> Result<Vec<fs::File>> {
    v1.iter().map(|hierarchy| cgroup::V1::create(hierarchy, &node.v1_group())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_mount_points_are_read_back() {
        assert_eq!(unescape(r"/a\040b/c"), Path::new("/a b/c"));
        assert_eq!(unescape(r"/plain\"), Path::new(r"/plain\"));
    }
}
