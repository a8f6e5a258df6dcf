//! Where a Service is reached: an address (or every NodePort address), a protocol and a port.

use std::fmt;
use std::net::IpAddr;

/// A transport protocol a Service port can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// `TCP`, the default.
    Tcp,
    /// `UDP`.
    Udp,
    /// `SCTP`.
    Sctp,
}

impl Protocol {
    /// The IP protocol number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// The protocol with this IP protocol number.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            132 => Some(Self::Sctp),
            _ => None,
        }
    }

    /// Kubernetes' name; absent means TCP. Unknown names give `None`.
    pub fn from_name(name: Option<&str>) -> Option<Self> {
        match name {
            None | Some("" | "TCP") => Some(Self::Tcp),
            Some("UDP") => Some(Self::Udp),
            Some("SCTP") => Some(Self::Sctp),
            Some(_) => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

/// An IP family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// The address half of a [`Frontend`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrontendAddress {
    /// A cluster, external or load balancer IP.
    Ip(IpAddr),
    /// Every address of this node that answers NodePorts ([`crate::NodeFacts::node_ports`]).
    NodePort(Family),
}

impl FrontendAddress {
    /// The family a packet to this address has.
    pub const fn family(self) -> Family {
        match self {
            Self::Ip(ip) => Family::of(ip),
            Self::NodePort(family) => family,
        }
    }
}

/// What a packet must carry to be a Service's: the key of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    /// Destination address.
    pub address: FrontendAddress,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Destination port.
    pub port: u16,
}

impl Frontend {
    /// A frontend on one address.
    pub const fn ip(address: IpAddr, protocol: Protocol, port: u16) -> Self {
        Self { address: FrontendAddress::Ip(address), protocol, port }
    }

    /// A frontend on every NodePort address of a family.
    pub const fn node_port(family: Family, protocol: Protocol, port: u16) -> Self {
        Self { address: FrontendAddress::NodePort(family), protocol, port }
    }

    /// The family of its packets.
    pub const fn family(&self) -> Family {
        self.address.family()
    }
}

impl fmt::Display for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            FrontendAddress::Ip(IpAddr::V6(ip)) => write!(f, "{}/[{ip}]:{}", self.protocol, self.port),
            FrontendAddress::Ip(ip) => write!(f, "{}/{ip}:{}", self.protocol, self.port),
            FrontendAddress::NodePort(Family::V4) => write!(f, "{}/<node>:{}", self.protocol, self.port),
            FrontendAddress::NodePort(Family::V6) => write!(f, "{}/[<node>]:{}", self.protocol, self.port),
        }
    }
}
