//! `up`, `down`, `outside`, `publish`: the flags of the test bed.

use std::convert::Infallible;
use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use orlop_machine::{DownOptions, Options, Published, Roots};

/// Flags of `orlop up`.
#[derive(Args)]
pub struct Up {
    /// The cluster's name: several can run side by side, with different --api-port.
    #[arg(long, default_value = "orlop")]
    name: String,
    /// How many machines.
    #[arg(long, default_value_t = 1)]
    nodes: u32,
    /// ebpf or nftables; none leaves Services, and cluster DNS with them, to another proxy (`orlop manifest proxy`).
    #[arg(long, default_value = "ebpf", value_parser = ["ebpf", "nftables", "none"])]
    proxy_mode: String,
    /// How eBPF chooses an endpoint for a packet from outside: random, or maglev (on every node alike).
    #[arg(long, default_value = "random", value_parser = ["random", "maglev"])]
    ebpf_selection: String,
    /// How eBPF sends a packet from outside to an endpoint on another node: snat, dsr, or hybrid (dsr for TCP alone).
    #[arg(long, default_value = "snat", value_parser = ["snat", "dsr", "hybrid"])]
    ebpf_forwarding: String,
    /// Whether eBPF translates in devices' drivers. The machines' cables are virtual: native takes them, best-effort does not.
    #[arg(long, default_value = "disabled", value_parser = ["disabled", "native", "best-effort"])]
    ebpf_xdp: String,
    /// vxlan or host-gw.
    #[arg(long, default_value = "vxlan", value_parser = ["vxlan", "host-gw"])]
    overlay: String,
    /// Serve these NodePorts on 127.0.0.1.
    #[arg(long, value_delimiter = ',')]
    publish: Vec<u16>,
    /// The API server's port on 127.0.0.1.
    #[arg(long, default_value_t = 6443)]
    api_port: u16,
    /// How long a machine may be silent before its pods get no more connections, as 1200ms or 40s.
    #[arg(long, default_value = "1200ms", value_parser = crate::flags::duration)]
    node_monitor_grace_period: Duration,
    /// How the person calls this command, for the lines that say what to try.
    #[arg(long, hide = true, default_value = "orlop")]
    called_as: String,
    /// A folder with bin/containerd, ctr, containerd-shim-runc-v2, runc and nft.
    #[arg(long, env = "ORLOP_TOOLS", default_value = "/usr")]
    tools_dir: PathBuf,
    /// A folder with image archives (*.tar) that every machine gets.
    #[arg(long, env = "ORLOP_IMAGES", default_value = "/usr/share/orlop/images")]
    images_dir: PathBuf,
}

/// Flags of `orlop down`.
#[derive(Args)]
pub struct Down {
    /// The cluster's name.
    #[arg(long, default_value = "orlop")]
    name: String,
    /// Keep its data for the next `up`.
    #[arg(long)]
    keep_data: bool,
}

/// Flags of `orlop outside`.
#[derive(Args)]
pub struct Outside {
    /// The cluster's name.
    #[arg(long, default_value = "orlop")]
    name: String,
    /// On this node instead of beside all of them.
    #[arg(long)]
    node: Option<u32>,
    /// The command.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<OsString>,
}

/// Flags of `orlop publish`.
#[derive(Args)]
pub struct Publish {
    /// The node's address.
    #[arg(long)]
    to: Ipv4Addr,
    /// Ports there.
    #[arg(long)]
    port: Vec<u16>,
    /// Inherited listening sockets, in the ports' order.
    #[arg(long)]
    listen_fd: Vec<RawFd>,
}

/// Starts a cluster.
pub async fn up(flags: Up) -> Result<()> {
    let options = Options {
        name: flags.name,
        nodes: flags.nodes,
        proxy_mode: flags.proxy_mode,
        ebpf_selection: flags.ebpf_selection,
        ebpf_forwarding: flags.ebpf_forwarding,
        ebpf_xdp: flags.ebpf_xdp,
        overlay: flags.overlay,
        publish: flags.publish,
        api_port: flags.api_port,
        called_as: flags.called_as,
        node_monitor_grace_period: flags.node_monitor_grace_period,
        ..Options::new(flags.tools_dir, flags.images_dir)?
    };
    let named = if options.name == "orlop" { String::new() } else { format!(" --name {}", options.name) };
    let hint =
        format!("what was started stays: repeat `{0} up{named}`, or end it with `{0} down{named}`", options.called_as);
    let record = options.roots.run.join(&options.name).join("cluster.json");
    let result = orlop_machine::up(options).await;
    result.map_err(|error| if record.is_file() { anyhow!("{error:#}\n{hint}") } else { error })
}

/// Ends a cluster.
pub fn down(flags: Down) -> Result<()> {
    orlop_machine::down(&DownOptions { name: flags.name, keep_data: flags.keep_data, roots: Roots::default() })
}

/// Becomes a command beside the cluster.
pub fn outside(flags: Outside) -> Result<()> {
    let never: Infallible = orlop_machine::outside(&flags.name, flags.node, &flags.command, &Roots::default())?;
    match never {}
}

/// Forwards published ports.
pub async fn publish(flags: Publish) -> Result<()> {
    orlop_machine::publish(&Published::pairs(flags.to, &flags.port, &flags.listen_fd)?).await?;
    bail!("every forwarder ended")
}
