//! The namespaces of a machine: made, pinned, entered.

use crate::cgroup::{self, V1};
use crate::layout::NodeLayout;
use crate::mounts;
use crate::sys::{Entry, Holder};
use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::statfs;
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The pinned namespaces, in the order in which they are entered: the mount namespace last, for it changes what paths mean.
const NAMESPACES: [(&str, CloneFlags); 4] = [
    ("cgroup", CloneFlags::CLONE_NEWCGROUP),
    ("uts", CloneFlags::CLONE_NEWUTS),
    ("net", CloneFlags::CLONE_NEWNET),
    ("mnt", CloneFlags::CLONE_NEWNS),
];

/// Linux's NSFS_MAGIC: what statfs says of a pinned namespace.
const NSFS_MAGIC: i64 = 0x6e73_6673;

fn pin_path(node: &NodeLayout, namespace: &str) -> PathBuf {
    if namespace == "net" { node.netns() } else { node.pin(namespace) }
}

/// Whether a namespace is pinned there, and not just a file left behind.
pub(crate) fn is_pinned(path: &Path) -> bool {
    // The field's type differs between C libraries.
    #[allow(clippy::unnecessary_cast)]
    statfs(path).is_ok_and(|fs| fs.filesystem_type().0 as i64 == NSFS_MAGIC)
}

/// Whether all of the machine's namespaces are pinned.
pub(crate) fn intact(node: &NodeLayout) -> bool {
    NAMESPACES.iter().all(|(name, _)| is_pinned(&pin_path(node, name))) && node.cgroup().is_dir()
}

/// Makes and pins the machine's mount, UTS and cgroup namespaces, and builds its view of the disk. Its network namespace is there already.
pub(crate) fn build(node: &NodeLayout, v1: &[V1]) -> Result<()> {
    for dir in [node.run(), node.lib()] {
        fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    }
    cgroup::make(&node.cgroup())?;
    let mut groups = mounts::v1_groups(node, v1)?;
    groups.push(cgroup::procs(&node.cgroup())?);
    {
        let flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWCGROUP;
        let holder =
            Holder::start(&groups, flags).with_context(|| format!("making the namespaces of {}", node.name()))?;
        for namespace in ["mnt", "uts", "cgroup"] {
            mounts::pin(Path::new(&holder.namespace(namespace)), &node.pin(namespace))?;
        }
    }
    // The holder has left the group, which may therefore hand its controllers down (cgroup2's "no internal processes").
    cgroup::delegate(&node.cgroup())?;
    inside(node, || {
        nix::unistd::sethostname(node.name()).context("setting the host name")?;
        mounts::build_view(node, v1)
    })?
}

/// Runs `work` in a thread inside all of the machine's namespaces.
pub(crate) fn inside<T: Send>(node: &NodeLayout, work: impl FnOnce() -> T + Send) -> Result<T> {
    let namespaces = open(node)?;
    let entered = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // A thread that shares its working directory with others may not change its mount namespace.
            unshare(CloneFlags::CLONE_FS)?;
            for (namespace, flag) in &namespaces {
                setns(namespace.as_fd(), *flag)?;
            }
            nix::Result::Ok(work())
        });
        thread.join()
    });
    match entered {
        Ok(done) => done.with_context(|| format!("entering the namespaces of {}", node.name())),
        Err(_) => bail!("the thread inside {} panicked", node.name()),
    }
}

fn open(node: &NodeLayout) -> Result<Vec<(OwnedFd, CloneFlags)>> {
    NAMESPACES
        .iter()
        .map(|(name, flag)| {
            let path = pin_path(node, name);
            let file = File::open(&path).with_context(|| format!("opening namespace {}", path.display()))?;
            Ok((OwnedFd::from(file), *flag))
        })
        .collect()
}

/// How a child becomes a process of the machine, in the cgroup2 group `leaf` below the machine's.
pub(crate) fn entry(node: &NodeLayout, v1: &[V1], leaf: &str) -> Result<Entry> {
    let group = node.cgroup().join(leaf);
    cgroup::make(&group)?;
    let mut groups = mounts::v1_groups(node, v1)?;
    groups.push(cgroup::procs(&group)?);
    Ok(Entry { groups, namespaces: open(node)?, keep: Vec::new(), new_session: true })
}
