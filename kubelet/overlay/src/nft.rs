//! Packet filter state of the pod network: masquerade in a table of our own, and a way through a FORWARD chain that drops.

use crate::error::{Error, Result};
use ipnet::Ipv4Net;
use orlop_netns::NetNs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const TABLE: &str = "orlop-overlay";

/// The `nft` program inside one network namespace.
#[derive(Debug)]
pub(crate) struct Nft {
    program: PathBuf,
    ns: NetNs,
    /// How `nft` lists our table as it should be.
    applied: Option<String>,
}

impl Nft {
    pub(crate) fn new(program: PathBuf, ns: NetNs) -> Self {
        Self { program, ns, applied: None }
    }

    /// Makes our table what it must be, if it is not; says whether anything changed.
    pub(crate) fn masquerade(&mut self, cluster: Ipv4Net) -> Result<bool> {
        let listed = self.run(&["list", "table", "ip", TABLE], "").ok();
        if listed.is_some() && listed == self.applied {
            return Ok(false);
        }
        self.run(&["-f", "-"], &ruleset(cluster))?;
        self.applied = Some(self.run(&["list", "table", "ip", TABLE], "")?);
        Ok(true)
    }

    /// Docker and some distributions set FORWARD to drop, and pods are then reachable from their own node only. Where there is such a chain,
    /// pods are let through it; it is left alone otherwise.
    pub(crate) fn open_forward(&self, cluster: Ipv4Net) -> Result<bool> {
        let Ok(chain) = self.run(&["list", "chain", "ip", "filter", "FORWARD"], "") else { return Ok(false) };
        if !chain.contains("policy drop") || chain.contains(TABLE) {
            return Ok(false);
        }
        let rule = |direction: &str| {
            format!("insert rule ip filter FORWARD ip {direction} {cluster} accept comment \"{TABLE}\"\n")
        };
        self.run(&["-f", "-"], &(rule("saddr") + &rule("daddr")))?;
        Ok(true)
    }

    fn run(&self, args: &[&str], input: &str) -> Result<String> {
        let output = self.ns.run(|| spawn(&self.program, args, input))?;
        let output = output.map_err(Error::io(format!("running {}", self.program.display())))?;
        if !output.status.success() {
            return Err(Error::Nft(String::from_utf8_lossy(&output.stderr).trim().to_string()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn spawn(program: &Path, args: &[&str], input: &str) -> std::io::Result<std::process::Output> {
    let mut child =
        Command::new(program).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    child.wait_with_output()
}

/// One transaction: the table is replaced as a whole.
fn ruleset(cluster: Ipv4Net) -> String {
    format!(
        "add table ip {TABLE}
delete table ip {TABLE}
table ip {TABLE} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {cluster} ip daddr != {cluster} ip daddr != 224.0.0.0/4 masquerade
  }}
}}
"
    )
}
