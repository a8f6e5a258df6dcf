//! The uplink, found by the node's address, and the VXLAN device on it.

use crate::error::{Error, Result};
use crate::node::Mac;
use futures::TryStreamExt;
use ipnet::Ipv4Net;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{InfoData, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage};
use orlop_netns::Net;
use rtnetlink::{LinkUnspec, LinkVxlan};
use std::net::{IpAddr, Ipv4Addr};

/// flannel's name for it: the interface's number is the VNI.
pub(crate) fn vxlan_name(vni: u32) -> String {
    format!("flannel.{vni}")
}

/// The device that has the node's address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Uplink {
    pub index: u32,
    pub mtu: u32,
    pub address: Ipv4Net,
}

/// Finds the device that has `address`.
pub(crate) async fn uplink(net: &Net, address: Ipv4Addr) -> Result<Uplink> {
    let all = net.handle().address().get().execute();
    let all: Vec<AddressMessage> = all.try_collect().await.map_err(orlop_netns::Error::netlink("reading addresses"))?;
    let found = all.iter().find(|message| message.attributes.contains(&AddressAttribute::Local(IpAddr::V4(address))));
    let Some(found) = found else { return Err(Error::NoUplink(address)) };
    let index = found.header.index;
    let link = net.handle().link().get().match_index(index).execute().try_next().await;
    let link = link.map_err(orlop_netns::Error::netlink("reading the uplink"))?;
    let Some(mtu) = link.as_ref().and_then(mtu) else { return Err(Error::NoUplink(address)) };
    let address = Ipv4Net::new(address, found.header.prefix_len).unwrap_or_else(|_| Ipv4Net::new_assert(address, 32));
    Ok(Uplink { index, mtu, address })
}

fn mtu(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|a| if let LinkAttribute::Mtu(mtu) = a { Some(*mtu) } else { None })
}

/// What the VXLAN device must be.
#[derive(Debug, Clone)]
pub(crate) struct Vxlan {
    pub vni: u32,
    pub port: u16,
    pub uplink: Uplink,
    /// The podCIDR's first address, as flannel has it.
    pub address: Ipv4Addr,
    pub mtu: u32,
    /// What this node announced before, so that others need not learn a new one; the kernel chooses where there is none.
    pub mac: Option<Mac>,
}

/// Makes the device as it must be, leaving one that is right; returns its index and MAC address.
pub(crate) async fn ensure_vxlan(net: &Net, wanted: &Vxlan) -> Result<(u32, Mac)> {
    let name = vxlan_name(wanted.vni);
    let present = net.link(&name).await?;
    if present.as_ref().is_some_and(|link| !matches(link, wanted)) {
        net.delete_link(&name).await?;
    }
    if present.as_ref().is_none_or(|link| !matches(link, wanted)) {
        let mut link = LinkVxlan::new(&name, wanted.vni)
            .dev(wanted.uplink.index)
            .local(wanted.uplink.address.addr())
            .port(wanted.port)
            .learning(false)
            .mtu(wanted.mtu);
        if let Some(mac) = wanted.mac {
            link = link.address(mac.0.to_vec());
        }
        net.add_link(&name, link.build()).await?;
    }
    let index = net.index(&name).await?;
    net.set_link(&name, LinkUnspec::new_with_index(index).mtu(wanted.mtu).up().build()).await?;
    net.add_address(&name, Ipv4Net::from(wanted.address)).await?;
    remove_other_addresses(net, index, wanted.address).await?;
    let mac = <[u8; 6]>::try_from(net.mac(&name).await?.as_slice())
        .map_err(|_| orlop_netns::Error::NoDevice(format!("{name} with an Ethernet address")))?;
    Ok((index, Mac(mac)))
}

/// A Node that was given another podCIDR must not keep the address of the old one.
async fn remove_other_addresses(net: &Net, index: u32, keep: Ipv4Addr) -> Result<()> {
    let all = net.handle().address().get().set_link_index_filter(index).execute();
    let all: Vec<AddressMessage> = all.try_collect().await.map_err(orlop_netns::Error::netlink("reading addresses"))?;
    for message in all {
        let other =
            message.attributes.iter().any(|a| matches!(a, AddressAttribute::Local(IpAddr::V4(ip)) if *ip != keep));
        if other {
            let deleted = net.handle().address().del(message).execute().await;
            deleted.map_err(orlop_netns::Error::netlink("removing an old address of the VXLAN device"))?;
        }
    }
    Ok(())
}

fn matches(link: &LinkMessage, wanted: &Vxlan) -> bool {
    let infos = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    });
    let data = infos.into_iter().flatten().find_map(|info| match info {
        LinkInfo::Data(InfoData::Vxlan(data)) => Some(data),
        _ => None,
    });
    let Some(data) = data else { return false };
    let mac = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(bytes) => <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac),
        _ => None,
    });
    data.contains(&InfoVxlan::Id(wanted.vni))
        && data.contains(&InfoVxlan::Port(wanted.port))
        && data.contains(&InfoVxlan::Link(wanted.uplink.index))
        && data.contains(&InfoVxlan::Local(wanted.uplink.address.addr()))
        && data.contains(&InfoVxlan::Learning(false))
        && (wanted.mac.is_none() || wanted.mac == mac)
}
