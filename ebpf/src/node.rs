//! What the programs must know of their node.

use crate::Address;
use crate::plain::plain;

/// Bits of [`Config::flags`].
pub mod config_flags {
    /// It is known who of IPv4 is outside the pod network: some cluster CIDR is, or devices tell.
    pub const STRANGERS_V4: u32 = 1;
    /// Who of IPv6 is.
    pub const STRANGERS_V6: u32 = 2;
    /// Devices tell, by `device_flags::PODS`, and not addresses.
    pub const BY_DEVICE: u32 = 4;
    /// Another backend serves: flows that have begun go on, no other does.
    pub const RETIRED: u32 = 8;
    /// Endpoints on other nodes answer clients of TCP directly.
    pub const DIRECT_TCP: u32 = 32;
    /// And those of UDP.
    pub const DIRECT_UDP: u32 = 64;
}

/// The one element of `CONFIG`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The cookie of the node's network namespace.
    pub netns: u64,
    /// [`config_flags`].
    pub flags: u32,
    /// First source port that masquerading gives, host order.
    pub port_min: u32,
    /// How many follow it.
    pub port_count: u32,
    /// Once retired: how many datagrams of sockets had been counted ([`counters::TALKED`]) when that was last looked at.
    pub talked: u32,
    /// The IPv4 address that the node's own traffic has and that stands in for a device without one.
    pub v4: Address,
    /// The IPv6 one.
    pub v6: Address,
}

plain!(Config { netns: u64, flags: u32, port_min: u32, port_count: u32, talked: u32, v4: Address, v6: Address });

impl Config {
    /// The node's address of the same family as another; unspecified when it has none.
    #[inline(always)]
    pub const fn address(&self, other: &Address) -> Address {
        if other.is_v4() { self.v4 } else { self.v6 }
    }
}

/// Bits of the values of `ADDRESSES`.
pub mod address_flags {
    /// The kernel delivers it locally.
    pub const NODE: u32 = 1;
    /// NodePorts answer on it.
    pub const NODE_PORTS: u32 = 2;
    /// Some frontend has it.
    pub const FRONTEND: u32 = 4;
    /// It is a cluster IP: ports no Service has refuse.
    pub const CLUSTER_IP: u32 = 8;
    /// It is a loopback address: a process of the node's own namespace means this node by it, nobody else does.
    pub const LOOPBACK: u32 = 16;
}

/// A cluster CIDR in its longest-prefix-match map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    /// The prefix length of the (mapped) address.
    pub prefix: u32,
    /// The network.
    pub address: Address,
}

plain!(Cidr { prefix: u32, address: Address });

/// Bits of [`Device::flags`].
pub mod device_flags {
    /// What arrives there is from the pod network.
    pub const PODS: u32 = 1;
    /// It sends frames that XDP redirects to it (`NETDEV_XDP_ACT_NDO_XMIT`).
    pub const TAKES_FRAMES: u32 = 2;
    /// Packets may arrive at its other end at once, which is in another network namespace: a pod's cable.
    pub const HANDS_OVER: u32 = 4;
}

/// A device of the node, by its index: the addresses that packets masqueraded out of it get.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Those of IPv4; unspecified when it has none.
    pub v4: Address,
    /// Those of IPv6.
    pub v6: Address,
    /// [`device_flags`].
    pub flags: u32,
}

plain!(Device { v4: Address, v6: Address, flags: u32 });

impl Device {
    /// Its address of the same family as another.
    #[inline(always)]
    pub const fn address(&self, other: &Address) -> Address {
        if other.is_v4() { self.v4 } else { self.v6 }
    }
}

/// Indices into `COUNTERS`.
pub mod counters {
    /// Connections translated at a device.
    pub const OPENED: u32 = 0;
    /// Connections translated at a socket.
    pub const CONNECTED: u32 = 1;
    /// Refused for lack of an endpoint.
    pub const REFUSED: u32 = 2;
    /// Dropped because every source port towards an endpoint is taken.
    pub const EXHAUSTED: u32 = 3;
    /// Dropped by loadBalancerSourceRanges or for a Local policy without a local endpoint.
    pub const DENIED: u32 = 4;
    /// Packets that a route told to drop.
    pub const UNROUTABLE: u32 = 5;
    /// Packets translated at a device.
    pub const TRANSLATED: u32 = 6;
    /// Packets larger than the way, whose senders were told.
    pub const TOO_BIG: u32 = 7;
    /// Datagrams of sockets sent on to their endpoints after retirement.
    pub const TALKED: u32 = 8;
    /// Packets among those translated that the stack never saw (XDP).
    pub const EARLY: u32 = 9;
    /// How many there are.
    pub const LEN: u32 = 10;
}
