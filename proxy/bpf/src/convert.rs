//! The plan's words in the ABI's.

use std::net::IpAddr;

use orlop_ebpf::{Address, Backend, FrontendKey, config_flags, frontend_flags};
use orlop_plan::{
    Endpoint, EndpointSet, Family, Frontend, FrontendAddress, FrontendKind, Masquerade, NodeFacts, Protocol, Target,
    WhenEmpty,
};

use crate::table::Service;

/// An address as the maps hold it.
pub fn address(ip: IpAddr) -> Address {
    match ip {
        IpAddr::V4(ip) => Address::from_octets(ip.to_ipv6_mapped().octets()),
        IpAddr::V6(ip) => Address::from_octets(ip.octets()),
    }
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
        ranges,
        cluster_ip: target.kind == FrontendKind::ClusterIp,
    }
}

/// A prefix length counted over the mapped address.
pub fn mapped_prefix(ip: IpAddr, prefix: u8) -> u32 {
    u32::from(prefix) + if ip.is_ipv4() { 96 } else { 0 }
}

/// Which families have a known cluster CIDR.
pub fn cidr_flags(node: &NodeFacts) -> u32 {
    node.detect_local.cidrs().iter().fold(0, |flags, cidr| {
        flags | if cidr.addr().is_ipv4() { config_flags::CIDRS_V4 } else { config_flags::CIDRS_V6 }
    })
}

fn backends(endpoints: &EndpointSet) -> Vec<Backend> {
    endpoints.iter().map(backend).collect()
}

fn backend(endpoint: &Endpoint) -> Backend {
    Backend { address: address(endpoint.address), port: endpoint.port.to_be(), zero: 0 }
}
