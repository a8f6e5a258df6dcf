//! `orlop outside`: a command on the network beside the machines, or on a machine's network.

use crate::cgroup;
use crate::layout::Layout;
use crate::options::{Roots, validate_name};
use crate::preflight;
use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::sched::{CloneFlags, setns};
use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Becomes the command `argv` in the outside host's network namespace, or in node `node`'s together with its cgroup2 group, so that the
/// node's socket-level programs apply. Files, terminal and exit code are those of the caller. Returns only to say why it could not.
pub fn outside(name: &str, node: Option<u32>, argv: &[OsString], roots: &Roots) -> Result<Infallible> {
    validate_name(name)?;
    preflight::privileges()?;
    let Some((program, args)) = argv.split_first() else { bail!("name a command to run, after `--`") };
    let layout = Layout::new(name, roots);
    ensure!(layout.cluster_json().is_file(), "cluster {name} is not up: run `orlop up --name {name}` first");
    let (netns, group) = match node {
        Some(n) => (layout.node(n).netns(), layout.node(n).cgroup().join("outside")),
        None => (layout.netns("outside"), layout.cgroup().join(layout.group()).join("outside")),
    };
    let netns = File::open(&netns).with_context(|| match node {
        Some(n) => format!("cluster {name} has no node {n}"),
        None => format!("opening {}", netns.display()),
    })?;
    cgroup::make(&group)?;
    cgroup::procs(&group)?.write_all(b"0").with_context(|| format!("joining {}", group.display()))?;
    setns(netns, CloneFlags::CLONE_NEWNET).context("entering the network namespace")?;
    Err(anyhow!(Command::new(program).args(args).exec()).context(format!("running {}", program.display())))
}
