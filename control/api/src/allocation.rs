//! Cluster IPs and node ports: given out, kept over updates, given back.
//!
//! Addresses come from the ranges of the server's configuration, one for each IP family, and from every ServiceCIDR that is ready. There is no allocation
//! state of its own that could go wrong: what is taken is what the stored Services say, followed through the cache, plus what
//! requests in flight have reserved. A claim belongs to a Service's uid, so a Service that is deleted and
//! created anew under the same name cannot lose its claims to the old one's deletion. The IPAddress objects are written after
//! the Services, from what is held here ([`keep_addresses`]); one that a user made keeps its address from everybody.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use serde_json::Value;
use tokio::sync::Notify;

use crate::cache::{Cache, Change, ChangeKind, Observer};
use crate::config::ServiceRanges;
use crate::object::{Object, meta};

mod addresses;
mod families;
mod pick;
mod service;

pub use addresses::keep as keep_addresses;
pub use service::keep_ports;

const SERVICES: &str = "services/specs";
const RANGES: &str = "servicecidrs";
const ADDRESSES: &str = "ipaddresses";

/// The first address of a range, which is the API server's own.
pub fn first_address(cidr: &IpNet) -> IpAddr {
    pick::nth(cidr, 1)
}

/// An address's family, as `ipFamilies` names it.
fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// What can be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Claim {
    Ip(IpAddr),
    Port(u16),
}

/// Gives out addresses and ports.
#[derive(Debug, Clone)]
pub struct Allocator {
    ranges: ServiceRanges,
    ports: RangeInclusive<u16>,
    state: Arc<Mutex<State>>,
    /// Told when there are addresses whose objects have to be looked at.
    unsettled: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    /// By stored Services.
    taken: HashMap<Claim, Arc<str>>,
    /// By requests that have not written their Service yet.
    pending: HashMap<Claim, Arc<str>>,
    services: HashMap<Arc<str>, Stored>,
    /// IPAddresses that users made, and the UID of each: nobody else gets these.
    reserved: HashMap<IpAddr, Arc<str>>,
    /// The blocks of each ServiceCIDR that is ready.
    ranges: BTreeMap<String, Vec<IpNet>>,
    /// Addresses that were taken or given back, or whose object changed: that object is looked at.
    unsettled: HashSet<IpAddr>,
    /// The newest change of a Service that the cache told of.
    seen: i64,
}

/// What a stored Service claims, as of a revision.
#[derive(Debug)]
struct Stored {
    revision: i64,
    claims: Vec<Claim>,
    /// Namespace and name of the Service; none before the cache has told of it.
    place: Option<(String, String)>,
}

/// Claims of a Service that is not written yet; given back when dropped without [`Reservation::commit`].
#[derive(Debug)]
#[must_use = "what is not committed is given back"]
pub struct Reservation {
    inner: Option<Inner>,
}

#[derive(Debug)]
struct Inner {
    allocator: Allocator,
    uid: Arc<str>,
    claims: Vec<Claim>,
    kept: Vec<Claim>,
}

impl Reservation {
    /// Of nothing.
    pub fn none() -> Self {
        Self { inner: None }
    }

    /// The Service is written at `revision`: the claims are its own, unless the cache has told of that write already. It may even
    /// have told of the Service's end, when the write was the deletion.
    pub fn commit(mut self, revision: i64) {
        if let Some(inner) = &mut self.inner {
            let all = inner.claims.iter().chain(&inner.kept).copied().collect();
            let mut state = inner.allocator.lock();
            if revision > state.seen {
                state.store(&inner.uid, revision, all);
            }
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            let mut state = inner.allocator.lock();
            for claim in inner.claims {
                state.pending.remove(&claim);
            }
        }
    }
}

impl State {
    fn is_free(&self, claim: Claim, uid: &str) -> bool {
        let others = |holders: &HashMap<Claim, Arc<str>>| holders.get(&claim).is_some_and(|holder| &**holder != uid);
        let reserved = matches!(claim, Claim::Ip(ip) if self.reserved.contains_key(&ip));
        let own = self.taken.get(&claim).is_some_and(|holder| &**holder == uid);
        !others(&self.taken) && !self.pending.contains_key(&claim) && (own || !reserved)
    }

    /// A Service as of `revision` holds exactly these claims. Older news than what is known are ignored.
    fn store(&mut self, uid: &Arc<str>, revision: i64, claims: Vec<Claim>) {
        if self.services.get(uid).is_some_and(|known| known.revision > revision) {
            return;
        }
        let known = self.services.get(uid);
        let place = known.and_then(|known| known.place.clone());
        let before = known.map(|known| known.claims.clone()).unwrap_or_default();
        if before != claims {
            self.unsettle(before.iter().chain(&claims));
        }
        self.release(uid);
        for claim in &claims {
            self.taken.entry(*claim).or_insert_with(|| uid.clone());
        }
        self.services.insert(uid.clone(), Stored { revision, claims, place });
    }

    fn upsert(&mut self, object: &Object) {
        let value = object.value();
        let uid = object.uid.clone();
        let now = claims(&value);
        if self.services.get(&uid).is_none_or(|known| known.place.is_none()) {
            // Only now it is known whose they are.
            self.unsettle(&now);
        }
        self.store(&uid, object.revision, now);
        if let Some(stored) = self.services.get_mut(&uid) {
            stored.place = Some((object.namespace.to_string(), object.name.to_string()));
        }
    }

    fn end(&mut self, object: &Object) {
        self.unsettle(&claims(&object.value()));
        self.release(&object.uid);
    }

    fn unsettle<'a>(&mut self, claims: impl IntoIterator<Item = &'a Claim>) {
        self.unsettled.extend(claims.into_iter().filter_map(|claim| match claim {
            Claim::Ip(ip) => Some(*ip),
            Claim::Port(_) => None,
        }));
    }

    /// A ServiceCIDR as it is now.
    fn range(&mut self, object: &Object) {
        let value = object.value();
        let ready = value["status"]["conditions"]
            .as_array()
            .is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"));
        if ready && meta(&value, "deletionTimestamp").is_empty() {
            let blocks = value["spec"]["cidrs"].as_array().into_iter().flatten();
            let blocks = blocks.filter_map(|block| block.as_str()?.parse().ok()).collect();
            self.ranges.insert(object.name.to_string(), blocks);
        } else {
            self.ranges.remove(&*object.name);
        }
    }

    /// An IPAddress: one that a user made is reserved.
    fn address(&mut self, object: &Object) {
        let value = object.value();
        if let Ok(ip) = object.name.parse()
            && !addresses::is_ours(&value)
        {
            self.reserved.insert(ip, object.uid.clone());
        }
    }

    fn release(&mut self, uid: &str) {
        for claim in self.services.remove(uid).map(|s| s.claims).unwrap_or_default() {
            if self.taken.get(&claim).is_some_and(|holder| &**holder == uid) {
                self.taken.remove(&claim);
            }
        }
    }
}

impl Allocator {
    /// Of address ranges and a port range.
    pub fn new(ranges: ServiceRanges, ports: RangeInclusive<u16>) -> Self {
        Self { ranges, ports, state: Arc::default(), unsettled: Arc::default() }
    }

    /// What keeps the allocator equal to the stored Services.
    pub fn observer(&self) -> Box<dyn Observer> {
        Box::new(self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Allocator {
    fn reset(&self, caches: &[Arc<Cache>]) {
        let find = |storage: &str| caches.iter().find(|c| c.resource.storage == storage).map(|cache| cache.snapshot());
        let Some((services, latest)) = find(SERVICES) else { return };
        let mut state = self.lock();
        state.taken.clear();
        state.services.clear();
        state.reserved.clear();
        state.ranges.clear();
        state.seen = latest;
        for object in services.values() {
            state.upsert(object);
        }
        for object in find(RANGES).iter().flat_map(|(ranges, _)| ranges.values()) {
            state.range(object);
        }
        for object in find(ADDRESSES).iter().flat_map(|(addresses, _)| addresses.values()) {
            state.address(object);
            state.unsettled.extend(object.name.parse::<IpAddr>());
        }
        drop(state);
        self.unsettled.notify_one();
    }

    fn changed(&self, cache: &Cache, change: &Change) {
        let storage = &*cache.resource.storage;
        if ![SERVICES, RANGES, ADDRESSES].contains(&storage) {
            return;
        }
        // Under one lock: between the two, a commit would not know whether to store.
        let mut state = self.lock();
        match (storage, &change.kind) {
            (SERVICES, kind) => {
                state.seen = change.revision;
                match kind {
                    ChangeKind::Created(object) | ChangeKind::Updated { object, .. } => state.upsert(object),
                    ChangeKind::Deleted(object) => state.end(object),
                }
            }
            (RANGES, ChangeKind::Created(object) | ChangeKind::Updated { object, .. }) => state.range(object),
            (RANGES, ChangeKind::Deleted(object)) => drop(state.ranges.remove(&*object.name)),
            (_, ChangeKind::Created(object)) => state.address(object),
            (_, ChangeKind::Updated { object, .. }) => {
                state.address(object);
                state.unsettled.extend(object.name.parse::<IpAddr>());
            }
            (_, ChangeKind::Deleted(object)) => {
                state.reserved.retain(|_, uid| *uid != object.uid);
                state.unsettled.extend(object.name.parse::<IpAddr>());
            }
        }
        if !state.unsettled.is_empty() {
            self.unsettled.notify_one();
        }
    }
}

/// What a Service claims.
fn claims(service: &Value) -> Vec<Claim> {
    let spec = &service["spec"];
    let mut claims = Vec::new();
    let listed = spec["clusterIPs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ips = if listed.is_empty() { std::slice::from_ref(&spec["clusterIP"]) } else { listed };
    claims.extend(ips.iter().filter_map(|ip| ip.as_str()?.parse().ok().map(Claim::Ip)));
    // What a Service of another type says of node ports is nobody's until it is vetted.
    let has_ports = spec["type"] == "NodePort" || spec["type"] == "LoadBalancer";
    let ports = spec["ports"].as_array().into_iter().flatten().filter(|_| has_ports).map(|p| &p["nodePort"]);
    let ports = ports.chain([&spec["healthCheckNodePort"]]).filter_map(Value::as_u64);
    let mut seen = HashSet::new();
    claims.extend(
        ports.filter_map(|p| u16::try_from(p).ok()).filter(|port| *port != 0 && seen.insert(*port)).map(Claim::Port),
    );
    claims
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::Catalog;

    #[test]
    fn a_port_that_nobody_vetted_is_vetted_when_it_is_to_be_opened() {
        let allocator = Allocator::new("10.96.0.0/24".parse().unwrap(), 30000..=30010);
        let catalog = Catalog::builtin();
        let resource = catalog.get("", "v1", "services").unwrap();
        let mut service = json!({"metadata": {"name": "s", "uid": "u"}, "spec": {
            "type": "ExternalName", "externalName": "a.b", "ports": [{"port": 80, "nodePort": 10250}],
        }});
        allocator.allocate(resource, &mut service, None, false).unwrap().commit(1);
        let before = service.clone();
        service["spec"]["type"] = "NodePort".into();
        let refused = allocator.allocate(resource, &mut service, Some(&before), false).err().unwrap();
        assert!(refused.message.contains("provided port is not in the valid range"), "{}", refused.message);
    }

    #[test]
    fn a_write_that_ended_a_service_takes_nothing_back() {
        let allocator = Allocator::new("10.96.0.0/24".parse().unwrap(), 30000..=30010);
        let catalog = Catalog::builtin();
        let resource = catalog.get("", "v1", "services").unwrap();
        let mut service = json!({
            "metadata": {"name": "s", "uid": "u"}, "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"]},
        });
        let written = allocator.allocate(resource, &mut service, None, false).unwrap();
        written.commit(5);
        assert!(!allocator.lock().taken.is_empty());
        // The last finalizer goes: the cache tells of the deletion at revision 6 before the request itself gets there.
        let ended = allocator.allocate(resource, &mut service.clone(), Some(&service), false).unwrap();
        allocator.lock().release("u");
        allocator.lock().seen = 6;
        ended.commit(6);
        let state = allocator.lock();
        assert!(state.taken.is_empty() && state.services.is_empty() && state.pending.is_empty(), "{state:?}");
    }
}
