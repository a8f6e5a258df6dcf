//! An EndpointSlice reduced to what the plan needs of it.

use std::net::IpAddr;

use k8s_openapi::api::discovery::v1::{Endpoint as SliceEndpoint, EndpointSlice};

use crate::{Candidate, Endpoint, Family, Protocol};

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
}

/// A slice, compact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SliceInfo {
    pub ports: Box<[SlicePort]>,
    pub addresses: Box<[SliceAddress]>,
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
            })
        };
        Self { ports: ports.collect(), addresses: slice.endpoints.iter().flatten().filter_map(address).collect() }
    }

    /// The candidates of one family for the Service port of this name and protocol.
    pub fn candidates<'a>(
        &'a self,
        name: &'a str,
        protocol: Protocol,
        family: Family,
    ) -> impl Iterator<Item = Candidate> + 'a {
        let ports = self.ports.iter().filter(move |port| port.protocol == protocol && *port.name == *name);
        ports.flat_map(move |port| {
            self.addresses.iter().filter(move |a| Family::of(a.address) == family).map(|a| Candidate {
                endpoint: Endpoint { address: a.address, port: port.port, local: a.local },
                ready: a.ready,
                serving: a.serving,
                terminating: a.terminating,
            })
        })
    }
}
