//! An EndpointSlice reduced to what names need: addresses that are ready, their hostnames, the ports.

use std::net::IpAddr;

use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::service::Port;

/// Names the Service a slice belongs to.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// One ready address. Whether it counts as ready although its pod is not (`publishNotReadyAddresses`), the controller
/// that wrote the slice has decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub address: IpAddr,
    pub hostname: Option<Box<str>>,
}

impl Endpoint {
    /// The label below the Service's name: the endpoint's hostname, or its address with dashes.
    pub fn label(&self) -> String {
        match &self.hostname {
            Some(hostname) => hostname.to_string(),
            None => dashed(self.address),
        }
    }
}

/// An address as a label: `10-244-0-5`, `fd00--5`; a label cannot end with a dash.
pub(crate) fn dashed(address: IpAddr) -> String {
    let mut label = address.to_string().replace(['.', ':'], "-");
    if label.ends_with('-') {
        label.push('0');
    }
    label
}

/// A slice, compact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SliceInfo {
    pub ports: Box<[Port]>,
    pub endpoints: Box<[Endpoint]>,
}

impl SliceInfo {
    /// `namespace/service` that a slice belongs to.
    pub fn service_of(slice: &EndpointSlice) -> Option<String> {
        let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME).filter(|name| !name.is_empty())?;
        Some(format!("{}/{name}", slice.metadata.namespace.as_deref().unwrap_or_default()))
    }

    pub fn of(slice: &EndpointSlice) -> Self {
        let ports = slice.ports.iter().flatten();
        let ports = ports.filter_map(|p| Port::of(p.name.as_deref(), p.protocol.as_deref(), p.port));
        let ready = slice.endpoints.iter().flatten().filter(|endpoint| {
            // Unknown is to be taken for ready, says the API.
            endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
        });
        let endpoints = ready.flat_map(|endpoint| {
            let hostname = endpoint.hostname.as_deref().filter(|hostname| !hostname.is_empty());
            let addresses = endpoint.addresses.iter().filter_map(|address| address.parse().ok());
            addresses.map(move |address| Endpoint { address, hostname: hostname.map(Into::into) })
        });
        Self { ports: Port::list(ports), endpoints: endpoints.collect() }
    }
}
