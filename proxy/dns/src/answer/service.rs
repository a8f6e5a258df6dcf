//! What a name of the cluster leads to, and the records that come of it.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use hickory_proto::rr::rdata::SRV;
use hickory_proto::rr::{Name, RData, RecordType};

use super::{Asking, Reply};
use crate::Table;
use crate::question::{Asked, Part};
use crate::service::{Port, ServiceInfo};
use crate::slice::{Endpoint, SliceInfo, dashed};
use crate::table::Entry;

/// What all SRV records of an answer weigh together.
const WEIGHT: usize = 100;

/// What a name leads to.
pub(super) enum Found<'a> {
    /// There is no such name.
    Absent,
    /// There is, with nothing in it.
    Empty,
    /// The name with the specification's version.
    Version,
    /// An ExternalName.
    Alias(&'a str),
    /// Addresses without ports.
    Addresses(Vec<IpAddr>),
    /// A Service's own addresses, and those of its ports that were asked for.
    Cluster { namespace: &'a str, service: &'a str, addresses: &'a [IpAddr], ports: Vec<&'a Port> },
    /// Endpoints, each with a port that was asked for.
    Endpoints { namespace: &'a str, service: &'a str, endpoints: Vec<(&'a Endpoint, &'a Port)> },
}

impl<'a> Found<'a> {
    pub fn of(table: &'a Table, asked: &Asked<'a>) -> Self {
        match *asked {
            Asked::Node => Self::Empty,
            // A pod's name holds in every namespace, so every namespace has a node in the tree.
            Asked::Namespace { namespace, pods } if pods || table.has_namespace(namespace) => Self::Empty,
            Asked::Namespace { .. } | Asked::Nothing | Asked::NameServer => Self::Absent,
            Asked::Version => Self::Version,
            Asked::Pod { address } => pod(address).map_or(Self::Absent, |ip| Self::Addresses(vec![ip])),
            Asked::Service { namespace, service, part } => match table.entry(namespace, service) {
                Some(entry) => Self::of_entry(entry, namespace, service, part),
                None => Self::Absent,
            },
        }
    }

    fn of_entry(entry: &'a Entry, namespace: &'a str, service: &'a str, part: Part<'a>) -> Self {
        let port = if let Part::Port(name, protocol) = part { Some((name, protocol)) } else { None };
        match (&entry.service, part) {
            (None, _) => Self::Absent,
            (Some(ServiceInfo::External(target)), Part::All) => Self::Alias(target),
            (Some(ServiceInfo::External(_)), _) => Self::Absent,
            (Some(ServiceInfo::Cluster { addresses, ports }), Part::All | Part::Port(..)) => {
                let ports: Vec<&Port> = ports.iter().filter(|p| p.is(port)).collect();
                if ports.is_empty() {
                    return Self::Absent;
                }
                Self::Cluster { namespace, service, addresses, ports }
            }
            (Some(ServiceInfo::Headless), Part::All | Part::Port(..)) => {
                Self::of_endpoints(entry.endpoints(), namespace, service, port)
            }
            (Some(_), Part::Endpoint(label)) => {
                let address = address_of(label);
                let endpoints = entry.endpoints().filter(|(_, endpoint)| match &endpoint.hostname {
                    Some(hostname) => hostname.eq_ignore_ascii_case(label),
                    None => Some(endpoint.address) == address && dashed(endpoint.address) == label,
                });
                Self::of_endpoints(endpoints, namespace, service, None)
            }
        }
    }

    fn of_endpoints(
        endpoints: impl Iterator<Item = (&'a SliceInfo, &'a Endpoint)>,
        namespace: &'a str,
        service: &'a str,
        port: Option<(&str, &str)>,
    ) -> Self {
        let endpoints: Vec<_> = endpoints
            .flat_map(|(slice, endpoint)| {
                slice.ports.iter().filter(move |p| p.is(port)).map(move |port| (endpoint, port))
            })
            .collect();
        // A headless Service without endpoints has no name: so do clients tell it from one that is only of another family.
        if endpoints.is_empty() { Self::Absent } else { Self::Endpoints { namespace, service, endpoints } }
    }

    /// The addresses of one family, each once; none if there is no such name.
    pub fn addresses(&self, kind: RecordType, turn: usize) -> Option<Vec<IpAddr>> {
        let mut seen = HashSet::new();
        let wanted = |ip: &IpAddr| ip.is_ipv4() == (kind == RecordType::A);
        let mut addresses: Vec<IpAddr> = match self {
            // Other names with this text but another type are absent too, as in CoreDNS.
            Self::Absent | Self::Version | Self::Alias(_) => return None,
            Self::Empty => Vec::new(),
            Self::Addresses(addresses) => addresses.iter().copied().filter(wanted).collect(),
            Self::Cluster { addresses, .. } => addresses.iter().copied().filter(wanted).collect(),
            Self::Endpoints { endpoints, .. } => {
                let all = endpoints.iter().map(|(endpoint, _)| endpoint.address).filter(wanted);
                all.filter(|ip| seen.insert(*ip)).collect()
            }
        };
        if addresses.len() > 1 {
            let turn = turn % addresses.len();
            addresses.rotate_left(turn);
        }
        Some(addresses)
    }

    /// SRV records, and the addresses of their targets beside them.
    pub fn targets(&self, asking: &Asking<'_>, name: &Name, suffix: &Name, reply: &mut Reply) {
        let mut seen = HashSet::new();
        let mut add = |count: usize, labels: &[&str], port: &Port, address: IpAddr, reply: &mut Reply| {
            let Some(number) = port.number else { return };
            let labels = labels.iter().map(|label| label.as_bytes());
            let Ok(target) = Name::from_labels(labels.chain(suffix.iter())) else { return };
            // Everything in the cluster weighs the same; a record weighs one at least.
            let weight = u16::try_from(WEIGHT / count).unwrap_or(1).max(1);
            if seen.insert((target.clone(), Err(number))) {
                reply.answers.push(asking.zone.record(name, RData::SRV(SRV::new(0, weight, number, target.clone()))));
            }
            if seen.insert((target.clone(), Ok(address))) {
                reply.additionals.push(asking.zone.address(&target, address));
            }
        };
        match self {
            Self::Cluster { namespace, service, addresses, ports } => {
                let count = ports.len() * addresses.len();
                for (port, address) in ports.iter().flat_map(|port| addresses.iter().map(move |ip| (port, ip))) {
                    add(count, &[service, namespace, "svc"], port, *address, reply);
                }
            }
            Self::Endpoints { namespace, service, endpoints } => {
                for (endpoint, port) in endpoints {
                    let labels = [&*endpoint.label(), service, namespace, "svc"];
                    add(endpoints.len(), &labels, port, endpoint.address, reply);
                }
            }
            Self::Absent | Self::Empty | Self::Version | Self::Alias(_) | Self::Addresses(_) => {}
        }
    }
}

impl Asking<'_> {
    /// The names and addresses of this server: those of the Service that leads to where it listens, or else `ns.dns`.
    pub fn name_servers(&self, suffix: &Name) -> Vec<(Name, IpAddr)> {
        let named = |labels: &[&str], address| {
            let labels = labels.iter().map(|label| label.as_bytes());
            Some((Name::from_labels(labels.chain(suffix.iter())).ok()?, address))
        };
        let mut servers = Vec::new();
        for listen in &self.zone.listen {
            for (key, entry) in self.table.with_endpoint(listen.ip()).filter(|(_, entry)| leads_to(entry, *listen)) {
                let Some((namespace, service)) = key.split_once('/') else { continue };
                let own = entry.service.iter().flat_map(ServiceInfo::cluster_ips);
                servers.extend(own.filter_map(|address| named(&[service, namespace, "svc"], *address)));
            }
        }
        if servers.is_empty() {
            servers.extend(self.zone.listen.iter().filter_map(|listen| named(&["ns", "dns"], listen.ip())));
        }
        servers.dedup();
        servers
    }
}

/// Whether this address and port is an endpoint: others on the node have the same address.
fn leads_to(entry: &Entry, listen: SocketAddr) -> bool {
    entry.endpoints().any(|(slice, endpoint)| {
        endpoint.address == listen.ip() && slice.ports.iter().any(|port| port.number == Some(listen.port()))
    })
}

/// The address that a pod's name tells: four numbers with single dashes are IPv4, everything else IPv6.
fn pod(label: &str) -> Option<IpAddr> {
    if label.matches('-').count() == 3 && !label.contains("--") {
        label.replace('-', ".").parse().ok()
    } else {
        label.replace('-', ":").parse().ok()
    }
}

/// The address behind an endpoint's label, if it is one.
fn address_of(label: &str) -> Option<IpAddr> {
    pod(label).or_else(|| pod(label.strip_suffix('0')?))
}
