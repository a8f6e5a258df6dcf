//! Makes routes, neighbours and forwarding entries equal to what is desired: reads what is there, changes only the difference.
//!
//! Routes of ours carry a protocol number of their own, so that nobody else's is ever removed; everything on the VXLAN device is ours.

use crate::error::Result;
use crate::node::Mac;
use crate::plan::{Desired, NextHop};
use futures::TryStreamExt;
use ipnet::Ipv4Net;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteProtocol};
use orlop_netns::{Error, Net};
use rtnetlink::RouteMessageBuilder;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// The protocol number of our routes (`ip route` shows `proto 111`); above the kernel's and the well-known daemons'.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(111);

/// Brings the namespace to `desired`, whose device is `device`. Neighbours and forwarding entries are looked at on the VXLAN device only.
pub(crate) async fn sync(net: &Net, desired: &Desired, device: u32, vxlan: Option<u32>) -> Result<usize> {
    let mut changes = 0;
    if let Some(vxlan) = vxlan {
        changes += sync_fdb(net, &desired.fdb, vxlan).await?;
        changes += sync_neighbours(net, &desired.neighbours, vxlan).await?;
    }
    Ok(changes + sync_routes(net, &desired.routes, device).await?)
}

async fn sync_routes(net: &Net, desired: &BTreeMap<Ipv4Net, NextHop>, device: u32) -> Result<usize> {
    let mut present = BTreeMap::new();
    let mut changes = 0;
    let all: Vec<RouteMessage> = net
        .handle()
        .route()
        .get(RouteMessageBuilder::<Ipv4Addr>::new().build())
        .execute()
        .try_collect()
        .await
        .map_err(Error::netlink("reading routes"))?;
    for message in all.into_iter().filter(|message| message.header.protocol == PROTOCOL) {
        let Some(route) = Route::of(&message) else { continue };
        if desired.get(&route.destination).is_some_and(|hop| *hop == route.hop && route.device == device) {
            present.insert(route.destination, ());
        } else if !desired.contains_key(&route.destination) {
            let deleted = net.handle().route().del(message).execute().await;
            deleted.map_err(Error::netlink(format!("removing the route to {}", route.destination)))?;
            changes += 1;
        }
    }
    for (destination, hop) in desired.iter().filter(|(destination, _)| !present.contains_key(*destination)) {
        let mut route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(destination.network(), destination.prefix_len())
            .gateway(hop.gateway)
            .output_interface(device)
            .protocol(PROTOCOL);
        if hop.onlink {
            route = route.onlink();
        }
        let added = net.handle().route().add(route.build()).replace().execute().await;
        added.map_err(Error::netlink(format!("routing {destination} by way of {}", hop.gateway)))?;
        changes += 1;
    }
    Ok(changes)
}

struct Route {
    destination: Ipv4Net,
    hop: NextHop,
    device: u32,
}

impl Route {
    fn of(message: &RouteMessage) -> Option<Self> {
        let (mut destination, mut gateway, mut device) = (Ipv4Addr::UNSPECIFIED, None, None);
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = *address,
                RouteAttribute::Gateway(RouteAddress::Inet(address)) => gateway = Some(*address),
                RouteAttribute::Oif(index) => device = Some(*index),
                _ => {}
            }
        }
        let onlink = message.header.flags.contains(RouteFlags::Onlink);
        Some(Self {
            destination: Ipv4Net::new(destination, message.header.destination_prefix_length).ok()?,
            hop: NextHop { gateway: gateway?, onlink },
            device: device?,
        })
    }
}

async fn sync_neighbours(net: &Net, desired: &BTreeMap<Ipv4Addr, Mac>, device: u32) -> Result<usize> {
    let mut present = Vec::new();
    let mut changes = 0;
    for (message, address, mac) in entries(net, AddressFamily::Inet, device).await? {
        let (Some(address), true) = (address, message.header.state == NeighbourState::Permanent) else { continue };
        if desired.get(&address) == mac.as_ref() {
            present.push(address);
        } else if !desired.contains_key(&address) {
            delete(net, message, &format!("neighbour {address}")).await?;
            changes += 1;
        }
    }
    for (address, mac) in desired.iter().filter(|(address, _)| !present.contains(address)) {
        let request = net.handle().neighbours().add(device, IpAddr::V4(*address)).link_layer_address(&mac.0);
        let added = request.state(NeighbourState::Permanent).replace().execute().await;
        added.map_err(Error::netlink(format!("setting the neighbour {address} to {mac}")))?;
        changes += 1;
    }
    Ok(changes)
}

async fn sync_fdb(net: &Net, desired: &BTreeMap<Mac, Ipv4Addr>, device: u32) -> Result<usize> {
    let mut present = Vec::new();
    let mut changes = 0;
    for (message, address, mac) in entries(net, AddressFamily::Bridge, device).await? {
        let Some(mac) = mac else { continue };
        if desired.contains_key(&mac) && desired.get(&mac) == address.as_ref() {
            present.push(mac);
        } else if !desired.contains_key(&mac) {
            delete(net, message, &format!("forwarding entry {mac}")).await?;
            changes += 1;
        }
    }
    for (mac, address) in desired.iter().filter(|(mac, _)| !present.contains(mac)) {
        let request = net.handle().neighbours().add_bridge(device, &mac.0).destination(IpAddr::V4(*address));
        let request = request.state(NeighbourState::Permanent).flags(NeighbourFlags::Own);
        let added = request.replace().execute().await;
        added.map_err(Error::netlink(format!("forwarding {mac} to {address}")))?;
        changes += 1;
    }
    Ok(changes)
}

type Entry = (NeighbourMessage, Option<Ipv4Addr>, Option<Mac>);

async fn entries(net: &Net, family: AddressFamily, device: u32) -> Result<Vec<Entry>> {
    let all = net.handle().neighbours().get().set_address_family(family).execute();
    let all: Vec<NeighbourMessage> = all.try_collect().await.map_err(Error::netlink("reading neighbours"))?;
    Ok(all.into_iter().filter(|message| message.header.ifindex == device).map(parse).collect())
}

fn parse(message: NeighbourMessage) -> Entry {
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => address = Some(*ip),
            NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => {
                address = <[u8; 4]>::try_from(bytes.as_slice()).ok().map(Ipv4Addr::from);
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac),
            _ => {}
        }
    }
    (message, address, mac)
}

async fn delete(net: &Net, message: NeighbourMessage, what: &str) -> Result<()> {
    let deleted = net.handle().neighbours().del(message).execute().await;
    Ok(deleted.map_err(Error::netlink(format!("removing {what}")))?)
}
