//! Which devices the network namespace has, and word when that changes.
//!
//! The socket belongs to the network namespace of the thread that opened it.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use crate::Error;

const RTNLGRP_LINK: u32 = 1;
const RTNLGRP_IPV4_IFADDR: u32 = 5;
const RTNLGRP_IPV6_IFADDR: u32 = 9;

/// Devices by index.
pub type Devices = BTreeMap<u32, Device>;

/// What is to be known of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// The name under which the stack sees its packets: of a bridge's port, the bridge's.
    pub name: String,
    /// Whether it is one end of a virtual cable.
    pub veth: bool,
    /// Whether nothing stands between its two ends, which are in two network namespaces: no queue that makes packets wait, no
    /// bridge.
    pub straight: bool,
    /// The addresses that packets masqueraded out of it should get.
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
}

/// Lists every device with Ethernet headers but loopback.
pub fn devices() -> Result<Devices, Error> {
    let mut devices = Devices::new();
    let (mut bridges, mut ports) = (BTreeMap::new(), Vec::new());
    dump(RouteNetlinkMessage::GetLink(LinkMessage::default()), |message| {
        let RouteNetlinkMessage::NewLink(link) = message else { return };
        let index = link.header.index;
        let mut device = Device::default();
        let (mut elsewhere, mut between) = (false, false);
        for attribute in link.attributes {
            match attribute {
                LinkAttribute::IfName(name) => device.name = name,
                LinkAttribute::Controller(bridge) => {
                    between = true;
                    ports.push((index, bridge));
                }
                LinkAttribute::LinkNetNsId(_) => elsewhere = true,
                LinkAttribute::Qdisc(kind) => between |= kind != "noqueue",
                LinkAttribute::LinkInfo(infos) if infos.contains(&LinkInfo::Kind(InfoKind::Veth)) => {
                    device.veth = true;
                }
                LinkAttribute::LinkInfo(infos) if infos.contains(&LinkInfo::Kind(InfoKind::Bridge)) => {
                    bridges.insert(index, device.name.clone());
                }
                _ => {}
            }
        }
        device.straight = device.veth && elsewhere && !between;
        if link.header.link_layer_type == LinkLayerType::Ether && !link.header.flags.contains(LinkFlags::Loopback) {
            devices.insert(index, device);
        }
    })
    .map_err(Error::Netlink)?;
    for (port, bridge) in ports {
        if let (Some(device), Some(name)) = (devices.get_mut(&port), bridges.get(&bridge)) {
            device.name.clone_from(name);
        }
    }
    dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()), |message| {
        if let RouteNetlinkMessage::NewAddress(message) = message
            && let Some(device) = devices.get_mut(&message.header.index)
        {
            match usable(&message) {
                Some(IpAddr::V4(address)) => device.v4 = device.v4.or(Some(address)),
                Some(IpAddr::V6(address)) => device.v6 = device.v6.or(Some(address)),
                None => {}
            }
        }
    })
    .map_err(Error::Netlink)?;
    Ok(devices)
}

/// The address, if it is one the kernel itself would masquerade to. Of IPv6, `Secondary` says that it is temporary.
fn usable(message: &AddressMessage) -> Option<IpAddr> {
    let unfit = AddressHeaderFlags::Secondary | AddressHeaderFlags::Tentative | AddressHeaderFlags::Deprecated;
    if message.header.scope != AddressScope::Universe || message.header.flags.intersects(unfit) {
        return None;
    }
    let find = |local: bool| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(address) if local => Some(*address),
            AddressAttribute::Address(address) if !local => Some(*address),
            _ => None,
        })
    };
    // Without a peer, an address of IPv6 is not called local.
    find(true).or_else(|| find(false).filter(IpAddr::is_ipv6))
}

/// Hears of changes to devices and their addresses.
pub struct Changes(Socket);

impl Changes {
    /// Begins to listen.
    pub fn subscribe() -> Result<Self, Error> {
        let subscribe = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.add_membership(RTNLGRP_LINK)?;
            socket.add_membership(RTNLGRP_IPV4_IFADDR)?;
            socket.add_membership(RTNLGRP_IPV6_IFADDR)?;
            socket.set_non_blocking(true)?;
            Ok(socket)
        };
        subscribe().map(Self).map_err(Error::Netlink)
    }

    /// Forgets what was heard: the next listing says it all. What was lost for lack of room was heard too.
    pub fn drain(&self) -> io::Result<()> {
        loop {
            match self.0.recv_from_full() {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn dump(request: RouteNetlinkMessage, each: impl FnMut(RouteNetlinkMessage)) -> io::Result<()> {
    talk(request, NLM_F_DUMP | NLM_F_REQUEST, each)
}

/// Sends a request and takes its answers, until they end or one acknowledges it.
pub fn talk(request: RouteNetlinkMessage, flags: u16, mut each: impl FnMut(RouteNetlinkMessage)) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut message = NetlinkMessage::from(request);
    message.header.flags = flags;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    loop {
        let (answer, _) = socket.recv_from_full()?;
        let mut rest = &answer[..];
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            let length = (message.header.length as usize).next_multiple_of(4);
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => {
                    return if error.code.is_none() { Ok(()) } else { Err(error.to_io()) };
                }
                NetlinkPayload::InnerMessage(message) => each(message),
                _ => {}
            }
            rest = rest.get(length.max(16)..).unwrap_or_default();
        }
    }
}
