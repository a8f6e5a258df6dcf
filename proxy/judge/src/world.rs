//! The little world that cases play in: a node with two pods, and everything else behind its uplink.

use std::net::IpAddr;

use orlop_plan::{Endpoint, Family};

/// Parses what this module writes down.
fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED))
}

fn all(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| ip(text)).collect()
}

/// The device to everything that is not on the node.
pub const UPLINK: &str = "eth0";
/// The pods' devices, in the order of [`pods`].
pub const POD_DEVICES: [&str; 2] = ["pod0", "pod1"];
/// Ports of Services on addresses of their own.
pub const PORTS: [u16; 2] = [80, 81];
/// NodePorts.
pub const NODE_PORTS: [u16; 2] = [30_001, 30_002];

/// The node's addresses, the primary one first.
pub fn node(family: Family) -> Vec<IpAddr> {
    match family {
        Family::V4 => all(&["172.30.0.11", "172.30.0.99"]),
        Family::V6 => all(&["fd00:172::11", "fd00:172::99"]),
    }
}

/// The node's pods.
pub fn pods(family: Family) -> [IpAddr; 2] {
    match family {
        Family::V4 => [ip("10.244.1.5"), ip("10.244.1.6")],
        Family::V6 => [ip("fd00:244:1::5"), ip("fd00:244:1::6")],
    }
}

/// The pod network of the cluster.
pub fn pod_network(family: Family) -> &'static str {
    match family {
        Family::V4 => "10.244.0.0/16",
        Family::V6 => "fd00:244::/32",
    }
}

/// A pod of another node that is an endpoint, one that is none, and hosts that are no pods.
pub fn remote(family: Family) -> [IpAddr; 4] {
    match family {
        Family::V4 => [ip("10.244.2.5"), ip("10.244.2.77"), ip("172.30.0.200"), ip("8.8.8.8")],
        Family::V6 => [ip("fd00:244:2::5"), ip("fd00:244:2::77"), ip("fd00:172::200"), ip("2001:db8::8")],
    }
}

/// Where Services' endpoints may be.
pub fn endpoints(family: Family) -> Vec<Endpoint> {
    let [first, second] = pods(family);
    let far = remote(family)[0];
    let elsewhere = match family {
        Family::V4 => ip("192.168.7.7"),
        Family::V6 => ip("fd00:168::7"),
    };
    [(first, 8080, true), (second, 8080, true), (far, 8080, false), (far, 8081, false), (elsewhere, 9000, false)]
        .map(|(address, port, local)| Endpoint { address, port, local })
        .into()
}

/// Cluster IPs of Services.
pub fn cluster_ips(family: Family) -> [IpAddr; 2] {
    match family {
        Family::V4 => [ip("10.96.0.10"), ip("10.96.0.11")],
        Family::V6 => [ip("fd00:96::10"), ip("fd00:96::11")],
    }
}

/// An external IP and a load balancer's.
pub fn external_ips(family: Family) -> [IpAddr; 2] {
    match family {
        Family::V4 => [ip("203.0.113.1"), ip("203.0.113.2")],
        Family::V6 => [ip("2001:db8:113::1"), ip("2001:db8:113::2")],
    }
}

/// An address that is nobody's.
pub fn nobody(family: Family) -> IpAddr {
    match family {
        Family::V4 => ip("9.9.9.9"),
        Family::V6 => ip("2001:db8:9::9"),
    }
}

/// `loadBalancerSourceRanges` to draw from.
pub fn source_ranges(family: Family) -> [&'static str; 3] {
    match family {
        Family::V4 => ["10.244.0.0/16", "172.30.0.0/25", "8.8.8.8/32"],
        Family::V6 => ["fd00:244::/32", "fd00:172::/120", "2001:db8::8/128"],
    }
}
