//! rtnetlink steps inside one namespace, each of which may be repeated: what is there already is left or replaced.

use crate::error::errno;
use crate::{Error, NetNs, Result};
use futures::TryStreamExt;
use ipnet::Ipv4Net;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourFlags, NeighbourState};
use netlink_packet_route::route::RouteScope;
use nix::errno::Errno;
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd};

/// An rtnetlink socket of one namespace.
#[derive(Clone)]
pub struct Net {
    handle: Handle,
}

impl Net {
    pub(crate) fn new(handle: Handle) -> Self {
        Self { handle }
    }

    /// The raw handle, for requests that have no helper here.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The device called `name`, if there is one.
    pub async fn link(&self, name: &str) -> Result<Option<LinkMessage>> {
        match self.handle.link().get().match_name(name.to_string()).execute().try_next().await {
            Ok(link) => Ok(link),
            Err(error) if is(&error, &[Errno::ENODEV, Errno::ENOENT]) => Ok(None),
            Err(error) => Err(Error::netlink(format!("reading device {name}"))(error)),
        }
    }

    /// The index of the device called `name`; an error if there is none.
    pub async fn index(&self, name: &str) -> Result<u32> {
        match self.link(name).await? {
            Some(link) => Ok(link.header.index),
            None => Err(Error::NoDevice(name.to_string())),
        }
    }

    /// Adds a device; `name` is for the error. One of that name that is there already is an error (EEXIST).
    pub async fn add_link(&self, name: &str, link: LinkMessage) -> Result<()> {
        self.handle.link().add(link).execute().await.map_err(Error::netlink(format!("adding device {name}")))
    }

    /// Changes a device; `name` is for the error.
    pub async fn set_link(&self, name: &str, link: LinkMessage) -> Result<()> {
        self.handle.link().set(link).execute().await.map_err(Error::netlink(format!("changing device {name}")))
    }

    /// Brings a device up.
    pub async fn up(&self, name: &str) -> Result<()> {
        let index = self.index(name).await?;
        self.set_link(name, LinkUnspec::new_with_index(index).up().build()).await
    }

    /// Moves a device into another namespace.
    pub async fn move_link(&self, name: &str, to: &NetNs) -> Result<()> {
        let index = self.index(name).await?;
        self.set_link(name, LinkUnspec::new_with_index(index).setns_by_fd(to.as_fd().as_raw_fd()).build()).await
    }

    /// Removes a device; one that is not there is no error.
    pub async fn delete_link(&self, name: &str) -> Result<()> {
        let Some(link) = self.link(name).await? else { return Ok(()) };
        match self.handle.link().del(link.header.index).execute().await {
            Err(error) if !is(&error, &[Errno::ENODEV]) => {
                Err(Error::netlink(format!("removing device {name}"))(error))
            }
            _ => Ok(()),
        }
    }

    /// Gives a device an address.
    pub async fn add_address(&self, name: &str, address: Ipv4Net) -> Result<()> {
        let index = self.index(name).await?;
        let request = self.handle.address().add(index, IpAddr::V4(address.addr()), address.prefix_len());
        match request.execute().await {
            Err(error) if !is(&error, &[Errno::EEXIST]) => {
                Err(Error::netlink(format!("adding address {address} to {name}"))(error))
            }
            _ => Ok(()),
        }
    }

    /// Routes `destination` through a device, by way of `gateway` or, without one, as directly reachable (scope link).
    pub async fn replace_route(&self, destination: Ipv4Net, gateway: Option<Ipv4Addr>, device: &str) -> Result<()> {
        let index = self.index(device).await?;
        let mut route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(destination.network(), destination.prefix_len())
            .output_interface(index);
        route = match gateway {
            Some(gateway) => route.gateway(gateway),
            None => route.scope(RouteScope::Link),
        };
        self.handle
            .route()
            .add(route.build())
            .replace()
            .execute()
            .await
            .map_err(Error::netlink(format!("routing {destination} through {device}")))
    }

    /// Tells a device, for ever, which MAC address `address` has.
    pub async fn replace_neighbour(&self, device: &str, address: Ipv4Addr, mac: &[u8]) -> Result<()> {
        let index = self.index(device).await?;
        self.handle
            .neighbours()
            .add(index, IpAddr::V4(address))
            .link_layer_address(mac)
            .state(NeighbourState::Permanent)
            .flags(NeighbourFlags::empty())
            .replace()
            .execute()
            .await
            .map_err(Error::netlink(format!("setting the neighbour {address} on {device}")))
    }

    /// The MAC address of a device.
    pub async fn mac(&self, name: &str) -> Result<Vec<u8>> {
        let link = self.link(name).await?.ok_or_else(|| Error::NoDevice(name.to_string()))?;
        link.attributes
            .into_iter()
            .find_map(|attribute| match attribute {
                LinkAttribute::Address(mac) => Some(mac),
                _ => None,
            })
            .ok_or_else(|| Error::NoDevice(format!("{name} with a MAC address")))
    }
}

fn is(error: &rtnetlink::Error, expected: &[Errno]) -> bool {
    errno(error).is_some_and(|code| expected.contains(&Errno::from_raw(code)))
}
