//! The plan's words in the ABI's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use orlop_ebpf::{Address, Backend, FrontendKey, config_flags, frontend_flags};
use orlop_plan::{
    DetectLocal, Endpoint, EndpointSet, Family, Frontend, FrontendAddress, FrontendKind, Masquerade, NodeFacts,
    Protocol, Target, WhenEmpty,
};

use crate::table::Service;

/// An address as the maps hold it.
pub fn address(ip: IpAddr) -> Address {
    match ip {
        IpAddr::V4(ip) => Address::from_octets(ip.to_ipv6_mapped().octets()),
        IpAddr::V6(ip) => Address::from_octets(ip.octets()),
    }
}

/// [`address`] turned around.
pub fn ip(address: &Address) -> IpAddr {
    let v6 = Ipv6Addr::from(address.octets());
    if address.is_v4() { v6.to_ipv4_mapped().map_or(v6.into(), IpAddr::V4) } else { v6.into() }
}

/// An endpoint's address and port.
pub fn endpoint(backend: &Backend) -> (IpAddr, u16) {
    (ip(&backend.address), u16::from_be(backend.port))
}

/// The frontend that has a key.
pub fn frontend(key: &FrontendKey) -> Option<Frontend> {
    let address = match ip(&key.address) {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => FrontendAddress::NodePort(Family::V4),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => FrontendAddress::NodePort(Family::V6),
        ip => FrontendAddress::Ip(ip),
    };
    Some(Frontend { address, protocol: Protocol::from_number(key.protocol)?, port: u16::from_be(key.port) })
}

/// A frontend's key; none for SCTP, which has neither sockets nor a cheap checksum: the programs leave it alone.
pub fn key(frontend: &Frontend) -> Option<FrontendKey> {
    let address = match frontend.address {
        FrontendAddress::Ip(ip) => address(ip),
        FrontendAddress::NodePort(Family::V4) => Address::v4(0),
        FrontendAddress::NodePort(Family::V6) => Address::default(),
    };
    match frontend.protocol {
        Protocol::Sctp => None,
        protocol => Some(FrontendKey { address, port: frontend.port.to_be(), protocol: protocol.number(), zero: 0 }),
    }
}

/// What the kernel must hold for a target.
pub fn service(target: &Target) -> Service {
    let mut flags = match target.masquerade {
        Masquerade::Never => 0,
        Masquerade::Outside => frontend_flags::MASQUERADE_OUTSIDE,
        Masquerade::Always => frontend_flags::MASQUERADE_ALWAYS,
    };
    if target.kind != FrontendKind::ClusterIp {
        flags |= frontend_flags::EXTERNAL;
    }
    if target.when_empty == WhenEmpty::Drop {
        flags |= frontend_flags::DROP_WHEN_EMPTY;
    }
    let ranges = target.source_ranges.as_ref().map(|ranges| {
        ranges.iter().map(|range| (mapped_prefix(range.addr(), range.prefix_len()), address(range.network()))).collect()
    });
    Service {
        flags,
        affinity: target.affinity_seconds.unwrap_or(0),
        backends: backends(&target.endpoints),
        local: target.local.as_ref().map(backends),
        here: endpoints(target).filter(|endpoint| endpoint.local).map(backend).collect(),
        ranges,
        cluster_ip: target.kind == FrontendKind::ClusterIp,
    }
}

/// A prefix length counted over the mapped address.
pub fn mapped_prefix(ip: IpAddr, prefix: u8) -> u32 {
    u32::from(prefix) + if ip.is_ipv4() { 96 } else { 0 }
}

/// What the programs know of who is outside the pod network.
pub fn stranger_flags(node: &NodeFacts) -> u32 {
    let flag =
        |cidr: &IpNet| if cidr.addr().is_ipv4() { config_flags::STRANGERS_V4 } else { config_flags::STRANGERS_V6 };
    match &node.detect_local {
        DetectLocal::Cidrs(cidrs) => cidrs.iter().fold(0, |flags, cidr| flags | flag(cidr)),
        DetectLocal::Bridge(_) | DetectLocal::InterfacePrefix(_) => {
            config_flags::STRANGERS_V4 | config_flags::STRANGERS_V6 | config_flags::BY_DEVICE
        }
    }
}

/// All of a target's.
fn endpoints(target: &Target) -> impl Iterator<Item = &Endpoint> {
    target.endpoints.iter().chain(target.local.iter().flat_map(|local| local.iter()))
}

fn backends(endpoints: &EndpointSet) -> Vec<Backend> {
    endpoints.iter().map(backend).collect()
}

/// An endpoint as the maps hold it.
pub fn backend(endpoint: &Endpoint) -> Backend {
    Backend { address: address(endpoint.address), port: endpoint.port.to_be(), zero: 0 }
}
