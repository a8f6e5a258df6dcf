//! One network namespace of a bed.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use orlop_netns::NetNs;

/// A namespace with loopback up, in which addresses serve at once.
pub(super) struct Space {
    netns: NetNs,
    path: PathBuf,
}

impl Space {
    /// Makes and pins it.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let space = Self { netns: NetNs::create(path)?, path: path.to_owned() };
        let soon = ["default", "all"].map(|which| format!("net/ipv6/conf/{which}/accept_dad"));
        space.netns.sysctl(&soon.each_ref().map(|name| (name.as_str(), "0")))?;
        space.ip(&["link set lo up".into()])?;
        Ok(space)
    }

    /// Runs something inside.
    pub(super) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        Ok(self.netns.run(work)?)
    }

    /// Makes it a router, and one that tells each caller of each refusal: a kernel keeps most to itself.
    pub(super) fn forward(&self) -> Result<()> {
        Ok(self.netns.sysctl(&[
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv6/conf/all/forwarding", "1"),
            ("net/ipv4/icmp_ratemask", "0"),
            ("net/ipv6/icmp/ratelimit", "0"),
            // An address may go without taking those of its network with it.
            ("net/ipv4/conf/all/promote_secondaries", "1"),
        ])?)
    }

    /// Lays a cable: device `here` in this namespace, device `there` in the other, both up.
    pub(super) fn cable(&self, here: &str, other: &Self, there: &str) -> Result<()> {
        let target = other.path.display();
        self.ip(&[
            format!("link add {here} type veth peer name {there} netns {target}"),
            format!("link set {here} up"),
        ])?;
        other.ip(&[format!("link set {there} up")])
    }

    /// Runs lines of `ip -batch`.
    pub(super) fn ip(&self, lines: &[String]) -> Result<()> {
        let text = lines.join("\n");
        let output = self.run(|| {
            let mut command = Command::new("ip");
            command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
            let mut child = command.spawn().context("running ip: install iproute2")?;
            child.stdin.take().context("it has an input")?.write_all(text.as_bytes())?;
            anyhow::Ok(child.wait_with_output()?)
        })??;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ip in {}: {said}\n{text}", self.path.display());
        Ok(())
    }
}
