//! Where a Service's traffic goes: an endpoint, and the sorted, shared set of them.

use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use crate::Family;

/// One backend of a Service port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The pod's (or external) address.
    pub address: IpAddr,
    /// The resolved target port.
    pub port: u16,
    /// Whether it runs on this node.
    pub local: bool,
}

impl Endpoint {
    /// The family of its address.
    pub const fn family(&self) -> Family {
        Family::of(self.address)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            IpAddr::V4(ip) => write!(f, "{ip}:{}", self.port),
            IpAddr::V6(ip) => write!(f, "[{ip}]:{}", self.port),
        }
    }
}

/// Endpoints sorted by address and port, without duplicates; clones share one allocation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointSet(Arc<[Endpoint]>);

impl EndpointSet {
    /// Whether both are the same allocation (and so equal).
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether an endpoint has this address and port.
    pub fn serves(&self, address: IpAddr, port: u16) -> bool {
        self.0.binary_search_by_key(&(address, port), |e| (e.address, e.port)).is_ok()
    }
}

impl Default for EndpointSet {
    fn default() -> Self {
        Self(Arc::new([]))
    }
}

impl Deref for EndpointSet {
    type Target = [Endpoint];
    fn deref(&self) -> &[Endpoint] {
        &self.0
    }
}

impl FromIterator<Endpoint> for EndpointSet {
    fn from_iter<I: IntoIterator<Item = Endpoint>>(endpoints: I) -> Self {
        let mut all: Vec<_> = endpoints.into_iter().collect();
        all.sort_unstable_by_key(|e| (e.address, e.port, !e.local));
        all.dedup_by_key(|e| (e.address, e.port));
        if all.is_empty() { Self::default() } else { Self(all.into()) }
    }
}
