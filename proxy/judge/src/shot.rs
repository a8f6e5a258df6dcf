//! One packet of a case: the first of a flow, by one of the ways into the node.

use std::fmt;
use std::net::IpAddr;

use orlop_plan::{Family, Origin, Packet, Protocol};

use crate::world;

/// How a packet enters the node's service handling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// A process of the node sends it.
    Node,
    /// It comes in on the uplink.
    Uplink,
    /// It comes from a pod of the node.
    Pod(usize),
}

impl Way {
    /// The device it comes in on.
    pub fn device(self) -> Option<&'static str> {
        match self {
            Self::Node => None,
            Self::Uplink => Some(world::UPLINK),
            Self::Pod(index) => world::POD_DEVICES.get(index).copied(),
        }
    }
}

/// A packet to send; its source port is the sender's choice and nobody else's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Shot {
    /// How it comes in.
    pub way: Way,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Destination port.
    pub port: u16,
}

impl Shot {
    /// As the specification sees it.
    pub fn packet(&self) -> Packet<'static> {
        Packet {
            source: self.source,
            destination: self.destination,
            protocol: self.protocol,
            port: self.port,
            origin: if self.way == Way::Node { Origin::Node } else { Origin::Device },
            device: self.way.device(),
        }
    }

    /// Its family.
    pub const fn family(&self) -> Family {
        Family::of(self.destination)
    }
}

impl fmt::Debug for Shot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { way, source, destination, protocol, port } = self;
        write!(f, "{protocol} {source} -> {destination} port {port}, {way:?}")
    }
}
