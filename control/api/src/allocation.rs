//! Cluster IPs and node ports: given out, kept over updates, given back.
//!
//! There is no allocation state of its own that could go wrong: what is taken is what the stored Services say, followed through
//! the cache, plus what requests in flight have reserved. A claim belongs to a Service's uid, so a Service that is deleted and
//! created anew under the same name cannot lose its claims to the old one's deletion.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use serde_json::Value;

use crate::cache::{Cache, Change, ChangeKind, Observer};
use crate::object::{Object, meta};

mod pick;
mod service;

pub use service::keep_allocated;

/// The first address of a range, which is the API server's own.
pub fn first_address(cidr: &IpNet) -> IpAddr {
    pick::nth(cidr, 1)
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
    cidr: IpNet,
    ports: RangeInclusive<u16>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// By stored Services.
    taken: HashMap<Claim, Arc<str>>,
    /// By requests that have not written their Service yet.
    pending: HashMap<Claim, Arc<str>>,
    services: HashMap<Arc<str>, Stored>,
    /// The newest change of a Service that the cache told of.
    seen: i64,
}

/// What a stored Service claims, as of a revision.
#[derive(Debug)]
struct Stored {
    revision: i64,
    claims: Vec<Claim>,
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
        !others(&self.taken) && !self.pending.contains_key(&claim)
    }

    /// A Service as of `revision` holds exactly these claims. Older news than what is known are ignored.
    fn store(&mut self, uid: &Arc<str>, revision: i64, claims: Vec<Claim>) {
        if self.services.get(uid).is_some_and(|known| known.revision > revision) {
            return;
        }
        self.release(uid);
        for claim in &claims {
            self.taken.entry(*claim).or_insert_with(|| uid.clone());
        }
        self.services.insert(uid.clone(), Stored { revision, claims });
    }

    fn upsert(&mut self, object: &Object) {
        let value = object.value();
        self.store(&meta(&value, "uid").into(), object.revision, claims(&value));
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
    /// Of an address range and a port range.
    pub fn new(cidr: IpNet, ports: RangeInclusive<u16>) -> Self {
        Self { cidr, ports, state: Arc::default() }
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
        let Some(services) = caches.iter().find(|c| c.resource.storage == "services/specs") else { return };
        let (objects, latest) = services.snapshot();
        let mut state = self.lock();
        state.taken.clear();
        state.services.clear();
        state.seen = latest;
        for object in objects.values() {
            state.upsert(object);
        }
    }

    fn changed(&self, cache: &Cache, change: &Change) {
        if cache.resource.storage != "services/specs" {
            return;
        }
        // Under one lock: between the two, a commit would not know whether to store.
        let mut state = self.lock();
        state.seen = change.revision;
        match &change.kind {
            ChangeKind::Created(object) | ChangeKind::Updated { object, .. } => state.upsert(object),
            ChangeKind::Deleted(object) => state.release(meta(&object.value(), "uid")),
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
    let ports = spec["ports"].as_array().into_iter().flatten().map(|p| &p["nodePort"]);
    for port in
        ports.chain([&spec["healthCheckNodePort"]]).filter_map(Value::as_u64).filter_map(|p| u16::try_from(p).ok())
    {
        if port != 0 && !claims.contains(&Claim::Port(port)) {
            claims.push(Claim::Port(port));
        }
    }
    claims
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::Catalog;

    #[test]
    fn a_write_that_ended_a_service_takes_nothing_back() {
        let allocator = Allocator::new("10.96.0.0/24".parse().unwrap(), 30000..=30010);
        let catalog = Catalog::builtin();
        let resource = catalog.get("", "v1", "services").unwrap();
        let mut service = json!({
            "metadata": {"name": "s", "uid": "u"}, "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.7"},
        });
        let written = allocator.allocate(resource, &mut service, None).unwrap();
        written.commit(5);
        assert!(!allocator.lock().taken.is_empty());
        // The last finalizer goes: the cache tells of the deletion at revision 6 before the request itself gets there.
        let ended = allocator.allocate(resource, &mut service.clone(), Some(&service)).unwrap();
        allocator.lock().release("u");
        allocator.lock().seen = 6;
        ended.commit(6);
        let state = allocator.lock();
        assert!(state.taken.is_empty() && state.services.is_empty() && state.pending.is_empty(), "{state:?}");
    }
}
