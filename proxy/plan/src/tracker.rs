//! Keeps the plan while objects come and go, at a cost that follows the change and not the cluster.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::service::{Port, ServiceInfo};
use crate::slice::SliceInfo;
use crate::{
    Candidate, Census, Family, Frontend, FrontendKind, HealthCheck, Locality, Masquerade, NodeFacts, Plan,
    ServicePortName, Target, WhenEmpty, select,
};

/// How many Service ports of one family have endpoints, but none here where their traffic policy wants one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoLocalEndpoints {
    /// By internalTrafficPolicy.
    pub internal: u64,
    /// By externalTrafficPolicy.
    pub external: u64,
}

/// Everything known of one Service.
#[derive(Default)]
struct Entry {
    service: Option<ServiceInfo>,
    /// Sorted by slice name. Nearly always one: a map of the standard library takes room for eleven.
    slices: Vec<(Box<str>, SliceInfo)>,
    /// The frontends it has in the plan, to take away what it no longer claims.
    claimed: Box<[Frontend]>,
    /// Its share of [`Tracker::no_local_endpoints`].
    no_local: [NoLocalEndpoints; 2],
}

impl Entry {
    /// Where the slice of this name is, or belongs.
    fn slice(&self, name: &str) -> Result<usize, usize> {
        self.slices.binary_search_by(|(known, _)| (**known).cmp(name))
    }

    /// Every endpoint of one port and family, as a node sees them.
    fn candidates(&self, port: &Port, family: Family, node: &NodeFacts) -> Vec<Candidate> {
        let slices = self.slices.iter().map(|(_, slice)| slice);
        let of = |slice| SliceInfo::candidates(slice, &port.name, port.protocol, family, node.zone.as_deref());
        slices.flat_map(of).collect()
    }

    /// What its health check port is to answer.
    fn health_check(&self) -> Option<HealthCheck> {
        let port = self.service.as_ref()?.health_check?;
        let mut addresses: Vec<_> = self.slices.iter().flat_map(|(_, slice)| slice.local_ready()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let local_v4 = addresses.iter().filter(|ip| ip.is_ipv4()).count();
        Some(HealthCheck { port, local_v4, local_v6: addresses.len() - local_v4 })
    }
}

/// Takes Kubernetes objects, keeps compact forms of them, and gives the [`Plan`].
///
/// The plan depends only on the objects, never on the order in which they came: two Services that claim one frontend
/// are settled by name, the first in order wins, and the other takes over when the winner goes.
#[derive(Default)]
pub struct Tracker {
    entries: HashMap<Arc<str>, Entry>,
    /// Which Service a slice (`namespace/name`) was last filed under.
    slice_owners: HashMap<Box<str>, Arc<str>>,
    /// Services that lost a frontend to another.
    waiting: HashMap<Frontend, BTreeSet<Arc<str>>>,
    dirty: HashSet<Arc<str>>,
    health_checks: BTreeMap<Arc<str>, HealthCheck>,
    no_local: [NoLocalEndpoints; 2],
    /// The gate `AllowServiceExternalIPs` is closed.
    no_external_ips: bool,
    plan: Plan,
}

impl Tracker {
    /// A tracker for a node, without Services.
    pub fn new(node: NodeFacts) -> Self {
        Self { plan: Plan { node: Arc::new(node), ..Plan::default() }, ..Self::default() }
    }

    /// A tracker that knows no `spec.externalIPs`: the gate `AllowServiceExternalIPs` is closed.
    pub fn without_external_ips(self) -> Self {
        Self { no_external_ips: true, ..self }
    }

    /// Replaces the node facts. The node's name must stay: locality of the endpoints was decided by it.
    pub fn set_node(&mut self, node: NodeFacts) {
        if *self.plan.node != node {
            let decisive = |node: &NodeFacts| {
                let first = [Family::V4, Family::V6].map(|family| node.first_address(family));
                (node.masquerade_all, node.zone.clone(), first)
            };
            if decisive(&self.plan.node) != decisive(&node) {
                self.dirty.extend(self.entries.keys().cloned());
            }
            self.plan.node = Arc::new(node);
        }
    }

    /// Adds or replaces a Service. One that must not be proxied is removed.
    pub fn upsert_service(&mut self, service: &Service) {
        let key = key(service.metadata.namespace.as_deref(), service.metadata.name.as_deref());
        self.put_service(&key, ServiceInfo::of(service, !self.no_external_ips));
    }

    /// Removes a Service.
    pub fn remove_service(&mut self, namespace: &str, name: &str) {
        self.put_service(&key(Some(namespace), Some(name)), None);
    }

    /// Adds or replaces an EndpointSlice; it may have changed its Service.
    pub fn upsert_slice(&mut self, slice: &EndpointSlice) {
        let name = slice.metadata.name.as_deref().unwrap_or_default();
        let full = key(slice.metadata.namespace.as_deref(), Some(name));
        let Some(service) = SliceInfo::service_of(slice) else {
            return self.drop_slice(&full, name, None);
        };
        let info = SliceInfo::of(slice, &self.plan.node.name);
        self.drop_slice(&full, name, Some(&service));
        let owner = self.intern(&service);
        let entry = self.entries.entry(owner.clone()).or_default();
        match entry.slice(name) {
            Ok(at) if entry.slices[at].1 == info => return,
            Ok(at) => entry.slices[at].1 = info,
            Err(at) => {
                entry.slices.reserve_exact(1);
                entry.slices.insert(at, (name.into(), info));
            }
        }
        self.slice_owners.insert(full.into(), owner.clone());
        self.dirty.insert(owner);
    }

    /// Removes an EndpointSlice.
    pub fn remove_slice(&mut self, namespace: &str, name: &str) {
        self.drop_slice(&key(Some(namespace), Some(name)), name, None);
    }

    /// Every Service (`namespace/name`) that is known, for a caller that must find out what vanished while it was away.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter(|(_, entry)| entry.service.is_some()).map(|(key, _)| &**key)
    }

    /// Every EndpointSlice (`namespace/name`) that is known.
    pub fn slices(&self) -> impl Iterator<Item = &str> {
        self.slice_owners.keys().map(|key| &**key)
    }

    /// By Service (`namespace/name`), what its health check port answers; as of the last [`Tracker::plan`].
    pub const fn health_checks(&self) -> &BTreeMap<Arc<str>, HealthCheck> {
        &self.health_checks
    }

    /// How many Service ports a Local policy leaves without endpoints here; as of the last [`Tracker::plan`].
    pub const fn no_local_endpoints(&self, family: Family) -> NoLocalEndpoints {
        self.no_local[family as usize]
    }

    /// How the endpoints of a frontend of the last [`Tracker::plan`] were chosen.
    pub fn census(&self, frontend: &Frontend) -> Option<Census> {
        let name = &self.plan.get(frontend)?.name;
        let entry = self.entries.get(&name.service)?;
        let same = |port: &&Port| port.name == name.port && port.protocol == frontend.protocol;
        let port = entry.service.as_ref()?.ports.iter().find(same)?;
        let mut candidates = entry.candidates(port, frontend.family(), &self.plan.node);
        let selection = select(&mut candidates);
        Some(Census::of(&candidates, &selection))
    }

    /// The plan as of all updates so far: recomputes what they touched. The clone is cheap.
    pub fn plan(&mut self) -> Plan {
        // Services in name order, so that contested frontends settle in few rounds; losers and heirs join the next round.
        while !self.dirty.is_empty() {
            let mut round: Vec<_> = self.dirty.drain().collect();
            round.sort_unstable();
            for key in round {
                self.recompute(&key);
            }
        }
        self.plan.clone()
    }

    fn put_service(&mut self, key: &str, info: Option<ServiceInfo>) {
        if info.is_none() && !self.entries.contains_key(key) {
            return;
        }
        let key = self.intern(key);
        let entry = self.entries.entry(key.clone()).or_default();
        if entry.service != info {
            entry.service = info;
            self.dirty.insert(key.clone());
        }
        self.forget_if_empty(&key);
    }

    /// Takes a slice from the Service it was filed under, unless that is `keep`.
    fn drop_slice(&mut self, full: &str, name: &str, keep: Option<&str>) {
        match self.slice_owners.get(full) {
            Some(owner) if keep != Some(&**owner) => {
                let owner = owner.clone();
                self.slice_owners.remove(full);
                if let Some(entry) = self.entries.get_mut(&owner)
                    && let Ok(at) = entry.slice(name)
                {
                    entry.slices.remove(at);
                }
                self.dirty.insert(owner);
            }
            _ => {}
        }
    }

    fn intern(&self, key: &str) -> Arc<str> {
        self.entries.get_key_value(key).map_or_else(|| key.into(), |(known, _)| known.clone())
    }

    fn forget_if_empty(&mut self, key: &str) {
        if let Some(entry) = self.entries.get(key)
            && entry.service.is_none()
            && entry.slices.is_empty()
            && entry.claimed.is_empty()
            && !self.dirty.contains(key)
        {
            self.entries.remove(key);
        }
    }

    fn recompute(&mut self, key: &Arc<str>) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let mut no_local = [NoLocalEndpoints::default(); 2];
        let wanted = targets(key, entry, &self.plan.node, &mut no_local);
        for (total, (new, old)) in self.no_local.iter_mut().zip(no_local.iter().zip(&entry.no_local)) {
            total.internal = total.internal + new.internal - old.internal;
            total.external = total.external + new.external - old.external;
        }
        entry.no_local = no_local;
        match entry.health_check() {
            Some(check) => self.health_checks.insert(key.clone(), check),
            None => self.health_checks.remove(key),
        };
        let mut claimed: Vec<Frontend> = wanted.iter().map(|(frontend, _)| *frontend).collect();
        claimed.sort_unstable();
        claimed.dedup();
        let before = std::mem::replace(&mut entry.claimed, claimed.clone().into());
        for frontend in before.iter().filter(|f| claimed.binary_search(f).is_err()) {
            self.release(key, frontend);
        }
        for (frontend, target) in wanted {
            self.claim(key, frontend, target);
        }
        self.forget_if_empty(key);
    }

    fn release(&mut self, key: &Arc<str>, frontend: &Frontend) {
        if self.plan.get(frontend).is_some_and(|target| target.name.service == *key) {
            self.plan.frontends.remove(frontend);
            self.dirty.extend(self.waiting.remove(frontend).into_iter().flatten());
        } else if let Some(losers) = self.waiting.get_mut(frontend) {
            losers.remove(key);
            if losers.is_empty() {
                self.waiting.remove(frontend);
            }
        }
    }

    fn claim(&mut self, key: &Arc<str>, frontend: Frontend, target: Target) {
        match self.plan.frontends.get(&frontend) {
            Some(held) if held.name.service < *key => {
                self.waiting.entry(frontend).or_default().insert(key.clone());
            }
            Some(held) if **held == target => {}
            held => {
                let loser = held.map(|held| held.name.service.clone()).filter(|other| other != key);
                if let Some(losers) = self.waiting.get_mut(&frontend) {
                    losers.remove(key);
                }
                if let Some(loser) = loser {
                    self.waiting.entry(frontend).or_default().insert(loser);
                }
                self.plan.frontends.insert(frontend, Arc::new(target));
            }
        }
    }
}

fn key(namespace: Option<&str>, name: Option<&str>) -> String {
    format!("{}/{}", namespace.unwrap_or_default(), name.unwrap_or_default())
}

/// Every frontend a Service claims, in a fixed order; a frontend claimed twice by its own ports is its first port's.
fn targets(
    key: &Arc<str>,
    entry: &Entry,
    node: &NodeFacts,
    no_local: &mut [NoLocalEndpoints; 2],
) -> Vec<(Frontend, Target)> {
    let Some(service) = &entry.service else { return Vec::new() };
    let mut all = Vec::new();
    for port in &service.ports {
        for family in [Family::V4, Family::V6] {
            if service.families().any(|f| f == family) {
                port_targets(key, entry, (service, port, family), node, (&mut all, no_local));
            }
        }
    }
    let mut seen = HashSet::with_capacity(all.len());
    all.retain(|(frontend, _)| seen.insert(*frontend));
    all
}

fn port_targets(
    key: &Arc<str>,
    entry: &Entry,
    (service, port, family): (&ServiceInfo, &Port, Family),
    node: &NodeFacts,
    (all, no_local): (&mut Vec<(Frontend, Target)>, &mut [NoLocalEndpoints; 2]),
) {
    let mut candidates = entry.candidates(port, family, node);
    let selection = select(&mut candidates);
    if selection.any() && selection.local.is_empty() {
        let no_local = &mut no_local[family as usize];
        no_local.internal += u64::from(service.internal == Locality::Local);
        no_local.external += u64::from(service.external == Locality::Local && service.is_external(port));
    }
    let when_empty = if selection.any() { WhenEmpty::Drop } else { WhenEmpty::Reject };
    let name = ServicePortName { service: key.clone(), port: port.name.clone() };
    for (frontend, kind) in service.frontends(port).filter(|(frontend, _)| frontend.family() == family) {
        let external_local = kind != FrontendKind::ClusterIp && service.external == Locality::Local;
        let (endpoints, masquerade) = match kind {
            FrontendKind::ClusterIp if node.masquerade_all => (selection.of(service.internal), Masquerade::Always),
            FrontendKind::ClusterIp => (selection.of(service.internal), Masquerade::Outside),
            _ if external_local => (&selection.cluster, Masquerade::Never),
            _ => (&selection.cluster, Masquerade::Always),
        };
        let balanced = kind == FrontendKind::LoadBalancer;
        let ranges = || service.source_ranges_of(family, node.first_address(family));
        let source_ranges = balanced.then(ranges).flatten();
        let target = Target {
            name: name.clone(),
            kind,
            endpoints: endpoints.clone(),
            local: external_local.then(|| selection.local.clone()),
            masquerade,
            when_empty,
            affinity_seconds: service.affinity_seconds,
            source_ranges,
        };
        all.push((frontend, target));
    }
}
