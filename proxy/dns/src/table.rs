//! What the names of the cluster lead to: Services and the ready addresses of their EndpointSlices, kept while objects come
//! and go at a cost that follows the change. Without IO; a copy of nothing that a name does not need.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::service::ServiceInfo;
use crate::slice::{Endpoint, SliceInfo};

/// Everything known of one Service name.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    pub service: Option<ServiceInfo>,
    /// Sorted by slice name. Nearly always one: a map of the standard library takes room for eleven.
    pub slices: Vec<(Box<str>, SliceInfo)>,
}

impl Entry {
    /// Where the slice of this name is, or belongs.
    fn slice(&self, name: &str) -> Result<usize, usize> {
        self.slices.binary_search_by(|(known, _)| (**known).cmp(name))
    }

    /// Its ready endpoints, each with the slice whose ports it has.
    pub fn endpoints(&self) -> impl Iterator<Item = (&SliceInfo, &Endpoint)> {
        self.slices.iter().flat_map(|(_, slice)| slice.endpoints.iter().map(move |endpoint| (slice, endpoint)))
    }
}

/// Services and their endpoints by name and by address.
#[derive(Debug, Default)]
pub struct Table {
    /// By `namespace/name`.
    entries: HashMap<Arc<str>, Entry>,
    /// Slice (`namespace/name`) to the Service it was filed under.
    slice_owners: HashMap<Box<str>, Arc<str>>,
    cluster_ips: BTreeSet<(IpAddr, Arc<str>)>,
    endpoint_ips: BTreeSet<(IpAddr, Arc<str>)>,
    /// How many entries a namespace has.
    namespaces: HashMap<Box<str>, usize>,
    services_listed: bool,
    slices_listed: bool,
    serial: u32,
}

impl Table {
    /// An empty table, whose zone has this serial: seconds since 1970 do, and grow over restarts.
    pub fn new(serial: u32) -> Self {
        Self { serial, ..Self::default() }
    }

    /// Adds or replaces a Service.
    pub fn upsert_service(&mut self, service: &Service) {
        let key = key(service.metadata.namespace.as_deref(), service.metadata.name.as_deref());
        self.put_service(&key, ServiceInfo::of(service));
    }

    /// Removes a Service.
    pub fn remove_service(&mut self, namespace: &str, name: &str) {
        self.put_service(&key(Some(namespace), Some(name)), None);
    }

    /// Adds or replaces an EndpointSlice; it may have changed its Service.
    pub fn upsert_slice(&mut self, slice: &EndpointSlice) {
        let name = slice.metadata.name.as_deref().unwrap_or_default();
        let full = key(slice.metadata.namespace.as_deref(), Some(name));
        let owner = SliceInfo::service_of(slice);
        if let Some(before) = self.slice_owners.get(&*full).filter(|before| Some(&***before) != owner.as_deref()) {
            let before = before.clone();
            self.slice_owners.remove(&*full);
            self.put_slice(&before, name, None);
        }
        if let Some(owner) = owner {
            self.put_slice(&owner, name, Some(SliceInfo::of(slice)));
            let owner = self.intern(&owner);
            self.slice_owners.insert(full.into(), owner);
        }
    }

    /// Removes an EndpointSlice.
    pub fn remove_slice(&mut self, namespace: &str, name: &str) {
        if let Some(owner) = self.slice_owners.remove(&*key(Some(namespace), Some(name))) {
            self.put_slice(&owner, name, None);
        }
    }

    /// A list of Services ended: what it did not bring (`namespace/name`) is gone.
    pub fn services_listed(&mut self, seen: &HashSet<String>) {
        let known = self.entries.iter().filter(|(_, entry)| entry.service.is_some()).map(|(key, _)| key.clone());
        let gone: Vec<_> = known.filter(|key| !seen.contains(&**key)).collect();
        for key in gone {
            self.put_service(&key, None);
        }
        self.services_listed = true;
    }

    /// A list of EndpointSlices ended: what it did not bring (`namespace/name`) is gone.
    pub fn slices_listed(&mut self, seen: &HashSet<String>) {
        let gone: Vec<_> = self.slice_owners.keys().filter(|key| !seen.contains(&***key)).cloned().collect();
        for full in gone {
            if let Some((namespace, name)) = full.split_once('/') {
                self.remove_slice(namespace, name);
            }
        }
        self.slices_listed = true;
    }

    /// Whether a complete list of both kinds came since the start: before that, nobody can say that a name does not exist.
    pub fn is_complete(&self) -> bool {
        self.services_listed && self.slices_listed
    }

    /// The zone's serial: it grows with each change.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// How many Services have a name.
    pub fn services(&self) -> usize {
        self.entries.values().filter(|entry| entry.service.is_some()).count()
    }

    /// Every Service and every EndpointSlice that is known, as `namespace/name`.
    #[cfg(test)]
    pub(crate) fn keys(&self) -> (Vec<String>, Vec<String>) {
        let services = self.entries.iter().filter(|(_, entry)| entry.service.is_some());
        (
            services.map(|(key, _)| key.to_string()).collect(),
            self.slice_owners.keys().map(ToString::to_string).collect(),
        )
    }

    /// How much each index holds.
    #[cfg(test)]
    pub(crate) fn sizes(&self) -> [usize; 5] {
        let namespaces = self.namespaces.values().sum();
        [self.entries.len(), self.slice_owners.len(), self.cluster_ips.len(), self.endpoint_ips.len(), namespaces]
    }

    pub(crate) fn entry(&self, namespace: &str, name: &str) -> Option<&Entry> {
        self.entries.get(&*key(Some(namespace), Some(name)))
    }

    pub(crate) fn has_namespace(&self, namespace: &str) -> bool {
        self.namespaces.contains_key(namespace)
    }

    /// The Service (`namespace/name`) whose own address this is.
    pub(crate) fn with_cluster_ip(&self, address: IpAddr) -> Option<&Arc<str>> {
        range(&self.cluster_ips, address).next()
    }

    /// The Services (`namespace/name`) with an endpoint of this address.
    pub(crate) fn with_endpoint(&self, address: IpAddr) -> impl Iterator<Item = (&Arc<str>, &Entry)> {
        range(&self.endpoint_ips, address).filter_map(|key| Some((key, self.entries.get(key)?)))
    }

    fn put_service(&mut self, key: &str, info: Option<ServiceInfo>) {
        let Some(key) = self.touch(key, info.is_some()) else { return };
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if entry.service != info {
            for address in entry.service.iter().flat_map(ServiceInfo::cluster_ips) {
                self.cluster_ips.remove(&(*address, key.clone()));
            }
            for address in info.iter().flat_map(ServiceInfo::cluster_ips) {
                self.cluster_ips.insert((*address, key.clone()));
            }
            entry.service = info;
            self.serial = self.serial.wrapping_add(1);
        }
        self.forget_if_empty(&key);
    }

    fn put_slice(&mut self, owner: &str, name: &str, info: Option<SliceInfo>) {
        let Some(key) = self.touch(owner, info.is_some()) else { return };
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let place = entry.slice(name);
        if place.ok().map(|at| &entry.slices[at].1) != info.as_ref() {
            let addresses = |info: &SliceInfo| info.endpoints.iter().map(|endpoint| endpoint.address).collect();
            let comes: Vec<IpAddr> = info.as_ref().map(addresses).unwrap_or_default();
            let before = match (place, info) {
                (Ok(at), Some(info)) => Some(std::mem::replace(&mut entry.slices[at].1, info)),
                (Ok(at), None) => Some(entry.slices.remove(at).1),
                (Err(at), Some(info)) => {
                    entry.slices.reserve_exact(1);
                    entry.slices.insert(at, (name.into(), info));
                    None
                }
                (Err(_), None) => None,
            };
            let now: HashSet<IpAddr> = entry.endpoints().map(|(_, endpoint)| endpoint.address).collect();
            for endpoint in before.iter().flat_map(|before| &before.endpoints) {
                if !now.contains(&endpoint.address) {
                    self.endpoint_ips.remove(&(endpoint.address, key.clone()));
                }
            }
            self.endpoint_ips.extend(comes.into_iter().map(|address| (address, key.clone())));
            self.serial = self.serial.wrapping_add(1);
        }
        self.forget_if_empty(&key);
    }

    /// The key of an entry, which is made if it is needed.
    fn touch(&mut self, key: &str, create: bool) -> Option<Arc<str>> {
        if let Some((known, _)) = self.entries.get_key_value(key) {
            return Some(known.clone());
        }
        if !create {
            return None;
        }
        let key: Arc<str> = key.into();
        self.entries.insert(key.clone(), Entry::default());
        *self.namespaces.entry(namespace_of(&key).into()).or_default() += 1;
        Some(key)
    }

    fn intern(&self, key: &str) -> Arc<str> {
        self.entries.get_key_value(key).map_or_else(|| key.into(), |(known, _)| known.clone())
    }

    fn forget_if_empty(&mut self, key: &str) {
        if self.entries.get(key).is_none_or(|entry| entry.service.is_some() || !entry.slices.is_empty()) {
            return;
        }
        self.entries.remove(key);
        let namespace = namespace_of(key);
        if let Some(count) = self.namespaces.get_mut(namespace) {
            *count -= 1;
            if *count == 0 {
                self.namespaces.remove(namespace);
            }
        }
    }
}

/// The names filed under an address, in order.
fn range(set: &BTreeSet<(IpAddr, Arc<str>)>, address: IpAddr) -> impl Iterator<Item = &Arc<str>> {
    // The empty name comes before every other.
    let first: (IpAddr, Arc<str>) = (address, "".into());
    set.range(first..).take_while(move |(ip, _)| *ip == address).map(|(_, key)| key)
}

fn key(namespace: Option<&str>, name: Option<&str>) -> String {
    format!("{}/{}", namespace.unwrap_or_default(), name.unwrap_or_default())
}

fn namespace_of(key: &str) -> &str {
    key.split_once('/').map_or("", |(namespace, _)| namespace)
}
