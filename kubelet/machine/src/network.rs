//! Cables: a switch namespace with a bridge, and from it one veth pair to each machine and to the outside host.
//!
//! A pair is born in the switch namespace with its far end already in the machine's: no device is ever seen by the root namespace.

use crate::address::{OUTSIDE, node, on_switch};
use crate::layout::Layout;
use anyhow::{Context, Result};
use ipnet::Ipv4Net;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth};
use orlop_netns::{Net, NetNs, Offload};
use rtnetlink::{LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};

const BRIDGE: &str = "switch0";

/// What every machine's namespace is set to before anything runs in it.
const NODE_SYSCTLS: [(&str, &str); 3] = [
    ("net/ipv4/ip_forward", "1"),
    // Strict reverse-path filtering drops what comes back another way (DSR, several uplinks).
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
];

/// Makes the cluster's network namespaces and the cables between them.
pub(crate) async fn build(layout: &Layout, nodes: u32) -> Result<()> {
    let switch_ns = NetNs::create(&layout.netns("switch"))?;
    let switch = switch_ns.connect().await?;
    switch.up("lo").await?;
    switch.add_link(BRIDGE, LinkBridge::new(BRIDGE).up().build()).await?;
    let bridge = switch.index(BRIDGE).await?;

    connect(layout, &switch, bridge, "outside", OUTSIDE).await?;
    for n in 1..=nodes {
        let ns = connect(layout, &switch, bridge, &format!("node{n}"), node(n)).await?;
        ns.sysctl(&NODE_SYSCTLS)?;
        let net = ns.connect().await?;
        net.replace_route(Ipv4Net::default(), Some(OUTSIDE), "eth0").await?;
    }
    Ok(())
}

/// Cables behave as wires do: nobody leaves on a packet what hardware is to finish, for XDP forgets that it was left; and what drivers
/// send arrives. Or as cheaply as they can.
pub(crate) fn as_wires(layout: &Layout, nodes: u32, on: bool) -> Result<()> {
    let switch = NetNs::open(&layout.netns("switch"))?;
    NetNs::open(&layout.netns("outside"))?.offload("eth0", Offload::TxChecksum, !on)?;
    for n in 1..=nodes {
        let name = format!("node{n}");
        NetNs::open(&layout.netns(&name))?.offload("eth0", Offload::TxChecksum, !on)?;
        switch.offload(&name, Offload::Receive, on)?;
        // What is put together there is cut again.
        switch.offload(&name, Offload::TxChecksum, !on)?;
    }
    Ok(())
}

async fn connect(layout: &Layout, switch: &Net, bridge: u32, name: &str, address: Ipv4Addr) -> Result<NetNs> {
    let ns = NetNs::create(&layout.netns(name))?;
    let far = LinkMessageBuilder::<LinkUnspec>::new().name("eth0").setns_by_fd(ns.as_fd().as_raw_fd()).build();
    let pair = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .name(name)
        .controller(bridge)
        .up()
        .set_info_data(InfoData::Veth(InfoVeth::Peer(far)))
        .build();
    switch.add_link(name, pair).await?;
    let net = ns.connect().await?;
    net.up("lo").await?;
    net.up("eth0").await?;
    net.add_address("eth0", on_switch(address)).await?;
    Ok(ns)
}

/// Removes every namespace of the cluster, whatever is left of it.
pub(crate) fn remove(layout: &Layout) -> Result<()> {
    let dir = layout.netns_dir();
    let Ok(entries) = std::fs::read_dir(&dir) else { return Ok(()) };
    for entry in entries {
        let entry = entry.with_context(|| format!("reading {}", dir.display()))?;
        if entry.file_name().to_str().is_some_and(|name| layout.part(name).is_some()) {
            NetNs::unpin(&entry.path())?;
        }
    }
    Ok(())
}
