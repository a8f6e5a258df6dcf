//! The cable: a veth pair between the node and the pod, with routes and permanent neighbours at both ends.

use crate::command::Request;
use crate::error::{CniError, Result};
use crate::ipam::Attachment;
use crate::result::{Device, GATEWAY, Pair};
use futures::TryStreamExt;
use ipnet::Ipv4Net;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkFlags};
use orlop_netns::{Net, NetNs};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd};

/// Makes the pair, or makes it again where an earlier ADD stopped half-way.
pub(crate) async fn attach(request: &Request, address: Ipv4Addr, mtu: u32) -> Result<Pair> {
    let pod_ns = NetNs::open(&request.netns_path)?;
    let node = NetNs::current()?.connect().await?;
    let pod = pod_ns.connect().await?;
    let host_device = request.attachment.host_device();
    let pod_device = request.attachment.ifname.as_str();

    node.delete_link(&host_device).await?;
    node.add_link(&host_device, pair(&host_device, pod_device, &pod_ns, mtu)).await?;

    let host = Device { mac: node.mac(&host_device).await?, name: host_device };
    let inside = Device { mac: pod.mac(pod_device).await?, name: pod_device.to_string() };
    wire_pod(&pod, &inside.name, address, &host.mac).await?;
    node.up(&host.name).await?;
    node.replace_neighbour(&host.name, address, &inside.mac).await?;
    node.replace_route(Ipv4Net::from(address), None, &host.name).await?;
    Ok(Pair { host, pod: inside })
}

/// Removes the node's end, and the pod's with it. The namespace may be gone already.
pub(crate) async fn detach(attachment: &Attachment) -> Result<()> {
    let node = NetNs::current()?.connect().await?;
    Ok(node.delete_link(&attachment.host_device()).await?)
}

/// Fails unless both ends are up and the pod has its address.
pub(crate) async fn check(request: &Request, address: Ipv4Addr) -> Result<()> {
    let node = NetNs::current()?.connect().await?;
    let pod = NetNs::open(&request.netns_path)?.connect().await?;
    expect_up(&node, &request.attachment.host_device()).await?;
    let index = expect_up(&pod, &request.attachment.ifname).await?;
    let mut addresses = pod.handle().address().get().set_link_index_filter(index).execute();
    while let Some(message) = addresses.try_next().await.map_err(orlop_netns::Error::netlink("reading addresses"))? {
        if message.attributes.contains(&AddressAttribute::Address(IpAddr::V4(address))) {
            return Ok(());
        }
    }
    Err(CniError::Missing(format!("address {address}")))
}

/// The request that makes both ends at once, the pod's already in its namespace.
fn pair(host_device: &str, pod_device: &str, pod_ns: &NetNs, mtu: u32) -> netlink_packet_route::link::LinkMessage {
    let inside = LinkMessageBuilder::<LinkUnspec>::new()
        .name(pod_device)
        .mtu(mtu)
        .setns_by_fd(pod_ns.as_fd().as_raw_fd())
        .build();
    LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .name(host_device)
        .mtu(mtu)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(inside)))
        .build()
}

async fn wire_pod(pod: &Net, device: &str, address: Ipv4Addr, gateway_mac: &[u8]) -> Result<()> {
    pod.up("lo").await?;
    pod.up(device).await?;
    pod.add_address(device, Ipv4Net::from(address)).await?;
    pod.replace_neighbour(device, GATEWAY, gateway_mac).await?;
    pod.replace_route(Ipv4Net::from(GATEWAY), None, device).await?;
    Ok(pod.replace_route(Ipv4Net::default(), Some(GATEWAY), device).await?)
}

async fn expect_up(net: &Net, device: &str) -> Result<u32> {
    match net.link(device).await? {
        Some(link) if link.header.flags.contains(LinkFlags::Up) => Ok(link.header.index),
        Some(_) => Err(CniError::Missing(format!("{device}, which is down"))),
        None => Err(CniError::Missing(device.to_string())),
    }
}
