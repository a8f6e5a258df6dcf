//! What the person asks for.

use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::time::Duration;

/// Where clusters keep their files; the defaults are those of ARCHITECTURE.md.
#[derive(Debug, Clone)]
pub struct Roots {
    /// What survives a reboot, `/var/lib/orlop`.
    pub lib: PathBuf,
    /// What does not, `/run/orlop`.
    pub run: PathBuf,
    /// Where network namespaces are pinned, `/run/netns`, so that `ip netns` lists them.
    pub netns: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self { lib: "/var/lib/orlop".into(), run: "/run/orlop".into(), netns: "/run/netns".into() }
    }
}

/// What `orlop up` is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// The cluster's name: it prefixes namespaces, cgroups and folders.
    pub name: String,
    /// How many machines.
    pub nodes: u32,
    /// `ebpf` or `nftables`, passed on to the node.
    pub proxy_mode: String,
    /// `random` or `maglev`, passed on to the node.
    pub ebpf_selection: String,
    /// `snat`, `dsr` or `hybrid`, passed on to the node.
    pub ebpf_forwarding: String,
    /// `disabled`, `native` or `best-effort`, passed on to the node.
    pub ebpf_xdp: String,
    /// `vxlan` or `host-gw`, passed on to the node.
    pub overlay: String,
    /// NodePorts to serve on the person's 127.0.0.1.
    pub publish: Vec<u16>,
    /// The API server's port on the person's 127.0.0.1.
    pub api_port: u16,
    /// How long a machine may be silent before its pods get no more connections (`--node-monitor-grace-period`). Machines of one kernel
    /// can afford to speak often, so this is far below Kubernetes' 50 s.
    pub node_monitor_grace_period: Duration,
    /// How the person calls this program: `orlop`, or what stands before it.
    pub called_as: String,
    /// Where containerd, its shim, ctr, runc and nft are: in its `bin`, or directly.
    pub tools_dir: PathBuf,
    /// Image archives (`*.tar`) that every machine's containerd gets.
    pub images_dir: PathBuf,
    /// The `orlop` binary that runs as server, node and CNI plugin.
    pub binary: PathBuf,
    /// Where files are kept.
    pub roots: Roots,
    /// Start machines only: no server and no agents. For tests of one room.
    pub machines_only: bool,
}

/// What `orlop down` is asked for.
#[derive(Debug, Clone)]
pub struct DownOptions {
    /// The cluster's name.
    pub name: String,
    /// Keep `/var/lib/orlop/NAME` for the next `up`.
    pub keep_data: bool,
    /// Where files are kept.
    pub roots: Roots,
}

impl Options {
    /// The defaults: one cluster called `orlop` of one node, served by the running binary.
    pub fn new(tools_dir: PathBuf, images_dir: PathBuf) -> Result<Self> {
        Ok(Self {
            name: "orlop".into(),
            nodes: 1,
            proxy_mode: "ebpf".into(),
            ebpf_selection: "random".into(),
            ebpf_forwarding: "snat".into(),
            ebpf_xdp: "disabled".into(),
            overlay: "vxlan".into(),
            publish: Vec::new(),
            api_port: 6443,
            called_as: "orlop".into(),
            node_monitor_grace_period: Duration::from_millis(1200),
            tools_dir,
            images_dir,
            binary: std::env::current_exe().context("finding the running orlop binary")?,
            roots: Roots::default(),
            machines_only: false,
        })
    }

    /// The folder that holds the tools themselves.
    pub(crate) fn bin(&self) -> PathBuf {
        let bin = self.tools_dir.join("bin");
        if bin.is_dir() { bin } else { self.tools_dir.clone() }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        validate_name(&self.name)?;
        ensure!(
            (1..=crate::address::MAX_NODES).contains(&self.nodes),
            "--nodes {}: choose between 1 and {}",
            self.nodes,
            crate::address::MAX_NODES
        );
        ensure!(
            !self.publish.contains(&self.api_port),
            "--publish {}: that is the API server's port; choose another --api-port",
            self.api_port
        );
        for (n, port) in self.publish.iter().enumerate() {
            ensure!((30_000..=32_767).contains(port), "--publish {port}: NodePorts are 30000 to 32767");
            ensure!(!self.publish[..n].contains(port), "--publish {port} is given twice");
        }
        ensure!(
            self.node_monitor_grace_period >= Duration::from_millis(400),
            "--node-monitor-grace-period {:?}: choose 400ms or more, or a busy machine counts as dead",
            self.node_monitor_grace_period
        );
        Ok(())
    }
}

/// A name that can stand in file, namespace and cgroup names.
pub(crate) fn validate_name(name: &str) -> Result<()> {
    let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    ensure!(
        (1..=32).contains(&name.len())
            && name.chars().all(label)
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && !name.ends_with('-'),
        "--name {name:?}: use up to 32 lower-case letters, digits and dashes, beginning with a letter"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::validate_name;

    #[test]
    fn a_name_can_never_leave_its_folder() {
        for name in ["orlop", "a", "two-3"] {
            assert!(validate_name(name).is_ok(), "{name}");
        }
        for name in ["", "..", "a/b", "A", "-a", "a-", "1a", "a b"] {
            assert!(validate_name(name).is_err(), "{name}");
        }
    }
}
