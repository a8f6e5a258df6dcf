//! An EndpointSlice reduced to what the plan needs of it.

use std::net::IpAddr;

use k8s_openapi::api::discovery::v1::{Endpoint as SliceEndpoint, EndpointSlice};

use crate::{Candidate, Endpoint, Family, Hint, Protocol};

/// Names the Service a slice belongs to.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A resolved port of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlicePort {
    pub name: Box<str>,
    pub protocol: Protocol,
    pub port: u16,
}

/// One endpoint of a slice, whatever the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SliceAddress {
    address: IpAddr,
    local: bool,
    ready: bool,
    serving: bool,
    terminating: bool,
    node_hint: Hint,
    /// Which of [`SliceInfo::zones`]; [`NO_ZONES`] for none.
    zones: u16,
}

/// An endpoint without `hints.forZones`.
const NO_ZONES: u16 = u16::MAX;

/// A slice, compact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SliceInfo {
    pub ports: Box<[SlicePort]>,
    pub addresses: Box<[SliceAddress]>,
    /// The distinct values of `hints.forZones`: which one is ours is decided late, for a Node may change its zone.
    zones: Box<[Box<[Box<str>]>]>,
}

impl SliceInfo {
    /// `namespace/service` a slice belongs to.
    pub fn service_of(slice: &EndpointSlice) -> Option<String> {
        let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME).filter(|name| !name.is_empty())?;
        Some(format!("{}/{name}", slice.metadata.namespace.as_deref().unwrap_or_default()))
    }

    /// The compact form as seen from the node of this name; FQDN slices have no addresses.
    pub fn of(slice: &EndpointSlice, node: &str) -> Self {
        let ports = slice.ports.iter().flatten().filter_map(|port| {
            Some(SlicePort {
                name: port.name.as_deref().unwrap_or_default().into(),
                protocol: Protocol::from_name(port.protocol.as_deref())?,
                port: u16::try_from(port.port?).ok().filter(|p| *p != 0)?,
            })
        });
        let family = match slice.address_type.as_str() {
            "IPv4" => Some(Family::V4),
            "IPv6" => Some(Family::V6),
            _ => None,
        };
        let mut zones: Vec<Box<[Box<str>]>> = Vec::new();
        let address = |endpoint: &SliceEndpoint| {
            // Kubernetes defines the first address only; the others are undefined and every proxy ignores them.
            let address: IpAddr = endpoint.addresses.first()?.parse().ok()?;
            if Some(Family::of(address)) != family {
                return None;
            }
            let conditions = endpoint.conditions.as_ref();
            Some(SliceAddress {
                address,
                local: endpoint.node_name.as_deref() == Some(node),
                ready: conditions.and_then(|c| c.ready).unwrap_or(true),
                serving: conditions.and_then(|c| c.serving).unwrap_or(true),
                terminating: conditions.and_then(|c| c.terminating).unwrap_or(false),
                node_hint: node_hint(endpoint, node),
                zones: zone_hint(endpoint, &mut zones),
            })
        };
        let addresses = slice.endpoints.iter().flatten().filter_map(address).collect();
        Self { ports: ports.collect(), addresses, zones: zones.into() }
    }

    /// The addresses of this node that are ready, if the slice has any port.
    pub fn local_ready(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.addresses.iter().filter(|a| a.local && a.ready && !self.ports.is_empty()).map(|a| a.address)
    }

    /// The candidates of one family for the Service port of this name and protocol, as seen from a zone.
    pub fn candidates<'a>(
        &'a self,
        name: &'a str,
        protocol: Protocol,
        family: Family,
        zone: Option<&'a str>,
    ) -> impl Iterator<Item = Candidate> + 'a {
        let ports = self.ports.iter().filter(move |port| port.protocol == protocol && *port.name == *name);
        ports.flat_map(move |port| {
            self.addresses.iter().filter(move |a| Family::of(a.address) == family).map(move |a| Candidate {
                endpoint: Endpoint { address: a.address, port: port.port, local: a.local },
                ready: a.ready,
                serving: a.serving,
                terminating: a.terminating,
                node_hint: a.node_hint,
                zone_hint: self.zones.get(usize::from(a.zones)).map_or(Hint::Absent, |zones| {
                    let ours = zone.is_some_and(|zone| zones.iter().any(|hinted| **hinted == *zone));
                    if ours { Hint::Here } else { Hint::Elsewhere }
                }),
            })
        })
    }
}

fn node_hint(endpoint: &SliceEndpoint, node: &str) -> Hint {
    match endpoint.hints.as_ref().and_then(|hints| hints.for_nodes.as_deref()) {
        None | Some([]) => Hint::Absent,
        Some(nodes) if nodes.iter().any(|hinted| hinted.name == node) => Hint::Here,
        Some(_) => Hint::Elsewhere,
    }
}

/// Where in `known` the endpoint's zones are; they are added if they are new.
fn zone_hint(endpoint: &SliceEndpoint, known: &mut Vec<Box<[Box<str>]>>) -> u16 {
    let hinted = endpoint.hints.as_ref().and_then(|hints| hints.for_zones.as_deref()).unwrap_or_default();
    if hinted.is_empty() {
        return NO_ZONES;
    }
    let same = |zones: &[Box<str>]| zones.iter().map(|z| &**z).eq(hinted.iter().map(|z| z.name.as_str()));
    let index = known.iter().position(|zones| same(zones)).unwrap_or_else(|| {
        known.push(hinted.iter().map(|zone| zone.name.as_str().into()).collect());
        known.len() - 1
    });
    // A slice has at most 1,000 endpoints.
    u16::try_from(index).unwrap_or(NO_ZONES)
}
