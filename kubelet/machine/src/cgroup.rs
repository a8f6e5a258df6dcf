//! Control groups of the machines: cgroup2 (always, for the BPF hooks and for killing) and the v1 controllers where the host has them.
//!
//! A machine's daemons are leaves of its cgroup2 group, so "is it running" and "kill it" are questions to the kernel.
//! On a host with cgroup2 only, the controllers are delegated to the machine's group and its containers live there as well.

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A v1 hierarchy as the host has it mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct V1 {
    /// Where.
    pub mount: PathBuf,
    /// Its controllers or its name, as mount takes them: `cpu,cpuacct`, `name=systemd`.
    pub controllers: String,
}

/// The v1 hierarchies of this host; none on pure cgroup2.
pub(crate) fn v1_hierarchies() -> Result<Vec<V1>> {
    Ok(parse_v1(&fs::read_to_string("/proc/self/mountinfo").context("reading the mount table")?))
}

fn parse_v1(mountinfo: &str) -> Vec<V1> {
    const FLAGS: [&str; 6] = ["rw", "ro", "noprefix", "clone_children", "xattr", "cpuset_v2_mode"];
    let mut found: Vec<V1> = Vec::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let (left, right): (Vec<_>, Vec<_>) = (left.split(' ').collect(), right.split(' ').collect());
        let (Some(mount), Some(&"cgroup"), Some(options)) = (left.get(4), right.first(), right.get(2)) else {
            continue;
        };
        let controllers: Vec<_> =
            options.split(',').filter(|o| !FLAGS.contains(o) && !o.starts_with("release_agent=")).collect();
        let v1 = V1 { mount: PathBuf::from(mount), controllers: controllers.join(",") };
        if !v1.controllers.is_empty() && !found.iter().any(|f| f.controllers == v1.controllers) {
            found.push(v1);
        }
    }
    found
}

impl V1 {
    /// Makes the group, able to hold processes, and opens its list of processes.
    pub(crate) fn create(&self, name: &str) -> Result<File> {
        let dir = self.mount.join(name);
        make(&dir)?;
        if self.controllers.split(',').any(|c| c == "cpuset") {
            // A fresh v1 cpuset is empty and takes no process.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let all = fs::read_to_string(self.mount.join(file)).with_context(|| format!("reading {file}"))?;
                fs::write(dir.join(file), all.trim()).with_context(|| format!("setting {file} of {name}"))?;
            }
        }
        procs(&dir)
    }

    /// The groups directly below the root whose names `ours` accepts.
    pub(crate) fn groups(&self, ours: impl Fn(&str) -> bool) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.mount).into_iter().flatten().flatten();
        entries.filter(|e| e.file_name().to_str().is_some_and(&ours) && e.path().is_dir()).map(|e| e.path()).collect()
    }
}

/// Makes a group; one that is there already is fine.
pub(crate) fn make(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("making control group {}", dir.display()))
}

/// Opens the group's list of processes, to join it.
pub(crate) fn procs(dir: &Path) -> Result<File> {
    let path = dir.join("cgroup.procs");
    File::options().write(true).open(&path).with_context(|| format!("opening {}", path.display()))
}

/// Lets the group's children have every controller that the group has: on hybrid hosts cgroup2 has none, and this does nothing.
pub(crate) fn delegate(dir: &Path) -> Result<()> {
    let path = dir.join("cgroup.controllers");
    let controllers = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    for controller in controllers.split_whitespace() {
        // One that is refused (cpu with realtime processes in the root, for one) is refused alone.
        if let Err(error) = fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}")) {
            tracing::warn!(group = %dir.display(), controller, %error, "controller cannot be delegated");
        }
    }
    Ok(())
}

/// Whether anything runs in the cgroup2 group or below.
pub(crate) fn populated(dir: &Path) -> bool {
    fs::read_to_string(dir.join("cgroup.events")).is_ok_and(|events| events.lines().any(|line| line == "populated 1"))
}

/// Kills everything in a cgroup2 group and below, and waits until it is dead. A group that is not there is fine.
pub(crate) fn kill_all(dir: &Path) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while populated(dir) {
        // Linux 5.14; before it, process by process until nothing is left that could fork.
        if fs::write(dir.join("cgroup.kill"), "1").is_err() {
            kill_listed(dir);
        }
        if Instant::now() > deadline {
            bail!("processes in {} do not die: {:?}", dir.display(), pids(dir));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Kills every process that the group or one below lists: the way for v1 groups.
pub(crate) fn kill_listed(dir: &Path) {
    for pid in pids(dir) {
        let _ = kill(pid, Signal::SIGKILL);
    }
}

fn pids(dir: &Path) -> Vec<Pid> {
    let mut found: Vec<Pid> = fs::read_to_string(dir.join("cgroup.procs"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.parse().ok())
        .filter(|pid| *pid > 1)
        .map(Pid::from_raw)
        .collect();
    for child in children(dir) {
        found.extend(pids(&child));
    }
    found
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

/// Removes a group and all below, which must be empty of processes or about to be.
pub(crate) fn remove(dir: &Path) -> Result<()> {
    for child in children(dir) {
        remove(&child)?;
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match fs::remove_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // A process that was just killed leaves its group a moment later.
            Err(_) if Instant::now() < deadline => {
                kill_listed(dir);
                std::thread::sleep(Duration::from_millis(5));
            }
            done => return done.with_context(|| format!("removing control group {}", dir.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_read_from_the_mount_table_once_each() {
        let table = "\
30 23 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd
33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
34 30 0:27 / /elsewhere rw - cgroup cgroup rw,cpu,cpuacct";
        let v1 = |mount: &str, controllers: &str| V1 { mount: mount.into(), controllers: controllers.into() };
        assert_eq!(
            parse_v1(table),
            [v1("/sys/fs/cgroup/cpu,cpuacct", "cpu,cpuacct"), v1("/sys/fs/cgroup/systemd", "name=systemd")]
        );
    }
}
