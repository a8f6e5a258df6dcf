//! A machine's daemons: each is one process tree in a cgroup2 group of its own, started when it is missing or when it is not what is wanted.

use crate::cgroup::{self, V1};
use crate::layout::NodeLayout;
use crate::spaces;
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A process to run on a machine.
pub(crate) struct Daemon {
    /// Its cgroup2 group, its log and its record: `containerd`, `server`, `node`, `publish`.
    pub name: &'static str,
    pub program: PathBuf,
    pub args: Vec<OsString>,
    /// Folders put before PATH.
    pub path: Vec<PathBuf>,
}

/// Listening sockets that a daemon keeps.
pub(crate) struct Sockets {
    /// On which ports: a daemon that has others is not what is wanted.
    pub ports: Vec<u16>,
    /// Opens one and says the argument that tells of it.
    pub open: fn(u16) -> Result<(OsString, OwnedFd)>,
}

impl Daemon {
    /// Whether a process of the daemon runs.
    pub(crate) fn running(&self, node: &NodeLayout) -> bool {
        cgroup::populated(&node.cgroup().join(self.name))
    }

    /// Where it writes what it has to say.
    pub(crate) fn log(&self, node: &NodeLayout) -> PathBuf {
        node.run().join(format!("{}.log", self.name))
    }

    /// Leaves the daemon alone if it runs as wanted; otherwise kills what is there and starts it. Says whether it was started.
    pub(crate) fn ensure(&self, node: &NodeLayout, v1: &[V1], sockets: Option<Sockets>) -> Result<bool> {
        let record = node.run().join(format!("{}.started", self.name));
        let mut wanted = self.fingerprint()?;
        if let Some(sockets) = &sockets {
            wanted += &format!(" {:?}", sockets.ports);
        }
        if self.running(node) && fs::read_to_string(&record).is_ok_and(|started| started == wanted) {
            return Ok(false);
        }
        cgroup::kill_all(&node.cgroup().join(self.name))?;
        let sockets = sockets.map_or_else(
            || Ok(Vec::new()),
            |sockets| sockets.ports.into_iter().map(sockets.open).collect::<Result<_>>(),
        )?;
        self.spawn(node, v1, sockets)?;
        fs::write(&record, wanted).with_context(|| format!("writing {}", record.display()))?;
        Ok(true)
    }

    fn spawn(&self, node: &NodeLayout, v1: &[V1], sockets: Vec<(OsString, OwnedFd)>) -> Result<()> {
        let path = self.log(node);
        let log = File::options().create(true).append(true).open(&path);
        let log = log.with_context(|| format!("opening {}", path.display()))?;
        let errors = log.try_clone().with_context(|| format!("opening {}", path.display()))?;
        let mut command = Command::new(&self.program);
        command.args(&self.args).current_dir("/").env("PATH", self.search_path()?);
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        let mut entry = spaces::entry(node, v1, self.name)?;
        for (flag, fd) in sockets {
            command.arg(flag).arg(fd.as_raw_fd().to_string());
            entry.keep.push(fd);
        }
        entry.apply(&mut command);
        // Not waited for: it outlives this process, and what ends meanwhile is reaped by whoever adopts it.
        command.spawn().with_context(|| format!("starting {} on {}", self.program.display(), node.name()))?;
        Ok(())
    }

    fn search_path(&self) -> Result<OsString> {
        let inherited = std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
        let all = self.path.iter().cloned().chain(std::env::split_paths(&inherited));
        std::env::join_paths(all).context("PATH cannot name the tools folder")
    }

    /// The program, exactly this build of it, and its arguments.
    fn fingerprint(&self) -> Result<String> {
        let file = fs::metadata(&self.program).with_context(|| format!("reading {}", self.program.display()))?;
        Ok(format!("{:?} {:?} {} {} {}", self.program, self.args, file.ino(), file.size(), file.mtime_nsec()))
    }
}

/// The end of a log, for a message about why something did not start.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
