//! What must be there before anything is touched, and what to do when it is not.

use crate::options::Options;
use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, unshare};
use std::path::Path;

const TOOLS: [&str; 4] = ["containerd", "containerd-shim-runc-v2", "ctr", "runc"];

/// Fails with advice unless machines can be made here.
pub(crate) fn check(options: &Options) -> Result<()> {
    options.validate()?;
    privileges()?;
    let missing: Vec<_> = TOOLS.iter().filter(|tool| !options.bin().join(tool).is_file()).copied().collect();
    ensure!(
        missing.is_empty(),
        "{} not found in {}: run `cargo xtask setup`, or name their folder with --tools-dir",
        missing.join(", "),
        options.bin().display()
    );
    if !options.machines_only {
        let archives = crate::containerd::archives(&options.images_dir).unwrap_or_default();
        ensure!(
            !archives.is_empty(),
            "no image archive in {}: run `cargo xtask image`, or name their folder with --images-dir",
            options.images_dir.display()
        );
    }
    cgroup2()
}

/// Fails unless this process may make namespaces.
pub(crate) fn privileges() -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "machines are made of namespaces and cgroups: run this as root (sudo)");
    let tried = std::thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)).join();
    match tried {
        Ok(Ok(())) => Ok(()),
        Ok(Err(errno)) => Err(errno)
            .context("making a namespace is refused although this is root: in a container, start it with --privileged"),
        Err(_) => bail!("the thread that tries to make a namespace panicked"),
    }
}

fn cgroup2() -> Result<()> {
    let filesystems = std::fs::read_to_string("/proc/filesystems").context("reading /proc/filesystems")?;
    ensure!(
        filesystems.lines().any(|line| line.ends_with("cgroup2")),
        "this kernel has no cgroup2: Linux 5.14 or later is needed, with CONFIG_CGROUPS"
    );
    ensure!(Path::new("/sys/fs/cgroup").is_dir(), "/sys/fs/cgroup is missing: mount the control groups first");
    Ok(())
}
