//! What the maps should hold, and the steps from what they held before.
//!
//! Pure: no kernel here. A change costs what changed: an endpoint that comes or goes writes its own slot, at most one
//! other, and the count. Slots are arranged so that every reader at every moment finds a living endpoint.

use std::collections::{BTreeSet, HashMap, HashSet};

use orlop_ebpf::{
    Address, Backend, BackendKey, FlowKey, Frontend, FrontendKey, MemberKey, SourceRange, address_flags, frontend_flags,
};

use crate::Error;
use crate::ids::Ids;
use crate::maglev;
use crate::steps::Steps;

/// What a frontend should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// `frontend_flags` but for those that follow from the fields below.
    pub flags: u32,
    /// Seconds of ClientIP affinity, zero is none.
    pub affinity: u32,
    /// Its endpoints.
    pub backends: Vec<Backend>,
    /// Those for callers outside the cluster, under externalTrafficPolicy Local.
    pub local: Option<Vec<Backend>>,
    /// Which of all these are on this node.
    pub here: HashSet<Backend>,
    /// Admitted sources: prefix over the mapped address, and network.
    pub ranges: Option<Vec<(u32, Address)>>,
    /// Whether its address is a cluster IP.
    pub cluster_ip: bool,
}

/// A frontend as the table has it.
#[derive(Clone, Copy, Debug)]
struct Entry {
    value: Frontend,
    cluster_ip: bool,
}

/// How many frontends an address has.
#[derive(Clone, Copy, Debug, Default)]
struct Uses {
    all: u32,
    cluster_ip: u32,
}

/// The desired content of the maps.
#[derive(Debug, Default)]
pub struct Table {
    frontends: HashMap<FrontendKey, Entry>,
    sets: HashMap<u32, Vec<Backend>>,
    /// Members that are on this node.
    here: HashSet<MemberKey>,
    ranges: HashMap<u32, BTreeSet<SourceRange>>,
    uses: HashMap<Address, Uses>,
    node: HashMap<Address, u32>,
    ids: Ids,
    lookups: Lookups,
}

/// Which sets have a Maglev table, how large, and how many rows there is room for in all.
#[derive(Debug, Default)]
struct Lookups {
    sizes: HashMap<u32, u32>,
    used: usize,
    room: usize,
}

impl Lookups {
    /// Gives a set of so many endpoints its table, if it is to have one and there is room; the sizes before and after.
    fn fit(&mut self, set: u32, wanted: bool, endpoints: usize) -> (u32, u32) {
        let before = self.sizes.remove(&set).unwrap_or(0);
        self.used -= maglev::rows_of(before);
        let size = if wanted { maglev::size(endpoints) } else { 0 };
        let rows = maglev::rows_of(size);
        if size == 0 || self.used + rows > self.room {
            if size != 0 && self.room != 0 {
                tracing::warn!(set, endpoints, "no room for another Maglev table: its flows get endpoints by chance");
            }
            return (before, 0);
        }
        self.used += rows;
        self.sizes.insert(set, size);
        (before, size)
    }
}

impl Table {
    /// Whether, and in how many rows, sets of frontends that are reached from outside have Maglev tables; before the first
    /// frontend is put.
    pub fn set_lookups(&mut self, room: usize) {
        self.lookups.room = room;
    }

    /// A table that keeps the set numbers and slots found in the kernel, as far as they make sense.
    pub fn adopt(frontends: &[(FrontendKey, Frontend)], mut sets: HashMap<u32, Vec<Backend>>) -> Self {
        let mut table = Self::default();
        for (key, value) in frontends {
            let numbers = [Some(value.set), (value.flags & frontend_flags::LOCAL != 0).then_some(value.local_set)];
            if numbers.iter().flatten().any(|set| table.ids.is_used(*set)) {
                continue;
            }
            for set in numbers.into_iter().flatten() {
                table.ids.claim(set);
                table.sets.insert(set, sets.remove(&set).unwrap_or_default());
            }
            table.frontends.insert(*key, Entry { value: *value, cluster_ip: false });
            // Whether it is a cluster IP comes with the plan; until then it counts as a frontend only.
            table.uses.entry(key.address).or_default().all += 1;
        }
        table
    }

    /// Every frontend.
    pub fn keys(&self) -> impl Iterator<Item = &FrontendKey> {
        self.frontends.keys()
    }

    /// Every frontend with the sets that are its own.
    pub fn sets(&self) -> impl Iterator<Item = (&FrontendKey, impl Iterator<Item = u32>)> {
        self.frontends.iter().map(|(key, entry)| {
            let local = (entry.value.flags & frontend_flags::LOCAL != 0).then_some(entry.value.local_set);
            (key, std::iter::once(entry.value.set).chain(local))
        })
    }

    /// The set by which a packet was given an endpoint, if it could be now.
    pub fn set_of(&self, packet: &FlowKey, backend: &Backend) -> Option<u32> {
        let key =
            |address| FrontendKey { address, port: packet.destination_port, protocol: packet.protocol as u8, zero: 0 };
        let destination = packet.destination;
        let node_ports = self.node.get(&destination).is_some_and(|flags| flags & address_flags::NODE_PORTS != 0);
        let exact = self.frontends.get(&key(destination));
        let entry = exact.or_else(|| self.frontends.get(&key(destination.any())).filter(|_| node_ports))?;
        let local = (entry.value.flags & frontend_flags::LOCAL != 0).then_some(entry.value.local_set);
        let serves = |set: &u32| self.sets.get(set).is_some_and(|backends| backends.contains(backend));
        local.into_iter().chain([entry.value.set]).find(serves)
    }

    /// How many frontends there are.
    pub fn len(&self) -> usize {
        self.frontends.len()
    }

    /// Makes a frontend what it should be.
    pub fn put(&mut self, key: FrontendKey, service: &Service, steps: &mut Steps) -> Result<(), Error> {
        let before = self.frontends.get(&key).copied();
        let mut flags = service.flags;
        let set = match before {
            Some(entry) => entry.value.set,
            None => self.ids.take()?,
        };
        let before_local = before.filter(|e| e.value.flags & frontend_flags::LOCAL != 0).map(|e| e.value.local_set);
        let local_set = match (&service.local, before_local) {
            (Some(_), Some(set)) => set,
            (Some(_), None) => self.ids.take()?,
            (None, _) => 0,
        };
        self.arrange(set, &service.backends, !service.cluster_ip, &service.here, steps);
        if let Some(local) = &service.local {
            flags |= frontend_flags::LOCAL;
            self.arrange(local_set, local, !service.cluster_ip, &service.here, steps);
        } else if let Some(gone) = before_local {
            self.dissolve(gone, steps);
        }
        if service.ranges.is_some() {
            flags |= frontend_flags::SOURCE_RANGES;
        }
        self.admit(set, service.ranges.as_deref().unwrap_or_default(), steps);

        let value = Frontend { set, local_set, flags, affinity: service.affinity };
        if before.is_none_or(|entry| entry.value != value) {
            steps.frontends.set.push((key, value));
        }
        self.frontends.insert(key, Entry { value, cluster_ip: service.cluster_ip });
        let uses = self.uses.entry(key.address).or_default();
        uses.all += u32::from(before.is_none());
        uses.cluster_ip += u32::from(service.cluster_ip);
        uses.cluster_ip -= u32::from(before.is_some_and(|entry| entry.cluster_ip));
        steps.touched.insert(key.address);
        Ok(())
    }

    /// Removes a frontend.
    pub fn remove(&mut self, key: &FrontendKey, steps: &mut Steps) {
        let Some(entry) = self.frontends.remove(key) else { return };
        steps.frontends.gone.push(*key);
        self.dissolve(entry.value.set, steps);
        if entry.value.flags & frontend_flags::LOCAL != 0 {
            self.dissolve(entry.value.local_set, steps);
        }
        if let Some(uses) = self.uses.get_mut(&key.address) {
            uses.all -= 1;
            uses.cluster_ip -= u32::from(entry.cluster_ip);
            if uses.all == 0 {
                self.uses.remove(&key.address);
            }
        }
        steps.touched.insert(key.address);
    }

    /// Sets which addresses are the node's: `address_flags::NODE` and `NODE_PORTS`.
    pub fn set_node(&mut self, node: HashMap<Address, u32>, steps: &mut Steps) {
        steps.touched.extend(self.node.keys().chain(node.keys()));
        self.node = node;
    }

    /// Turns the touched addresses into steps; numbers given up before this call may be used again after it.
    pub fn finish(&mut self, steps: &mut Steps) {
        for address in std::mem::take(&mut steps.touched) {
            match self.address_flags(&address) {
                0 => steps.addresses.gone.push(address),
                flags => steps.addresses.set.push((address, flags)),
            }
        }
        self.ids.settle();
    }

    /// Everything the maps should hold, as steps from nothing.
    pub fn render(&self) -> Steps {
        let mut steps = Steps::default();
        steps.frontends.set = self.frontends.iter().map(|(key, entry)| (*key, entry.value)).collect();
        for (set, backends) in &self.sets {
            let table = self.lookups.sizes.get(set).copied().unwrap_or(0);
            steps.grow(*set, backends, &self.here, table);
        }
        steps.ranges.set = self.ranges.values().flatten().map(|range| (*range, 0)).collect();
        let addresses: HashSet<&Address> = self.uses.keys().chain(self.node.keys()).collect();
        steps.addresses.set =
            addresses.into_iter().map(|a| (*a, self.address_flags(a))).filter(|(_, f)| *f != 0).collect();
        steps
    }

    fn address_flags(&self, address: &Address) -> u32 {
        let mut flags = self.node.get(address).copied().unwrap_or(0);
        if let Some(uses) = self.uses.get(address) {
            flags |= address_flags::FRONTEND;
            if uses.cluster_ip > 0 {
                flags |= address_flags::CLUSTER_IP;
            }
        }
        flags
    }

    /// Makes a set hold exactly `desired`, moving as little as possible, and have a table if that is wanted.
    fn arrange(&mut self, set: u32, desired: &[Backend], looked_up: bool, here: &HashSet<Backend>, steps: &mut Steps) {
        let (table_before, table) = self.lookups.fit(set, looked_up, desired.len());
        let slots = self.sets.entry(set).or_insert_with(|| {
            // A fresh number: its count may be another's old one until it is written.
            steps.fresh.insert(set);
            steps.total(set);
            Vec::new()
        });
        let wanted: HashSet<&Backend> = desired.iter().collect();
        let present: HashSet<Backend> = slots.iter().copied().collect();
        let mut added = desired.iter().filter(|backend| !present.contains(backend));
        let before = slots.len();
        let rows_before = if table_before > 0 { maglev::rows(slots) } else { Vec::new() };
        let mut vacant = Vec::new();
        let members = &mut self.here;
        let mut join = |backend: &Backend, is_new: bool, steps: &mut Steps| {
            let (key, is_here) = (MemberKey { set, backend: *backend }, here.contains(backend));
            let changed = if is_here { members.insert(key) } else { members.remove(&key) };
            if is_new || changed {
                steps.member(key, is_here);
            }
        };
        let mut gone = Vec::new();
        for (slot, place) in slots.iter_mut().enumerate() {
            if wanted.contains(place) {
                join(place, false, steps);
                continue;
            }
            steps.member_gone(set, *place);
            gone.push(*place);
            match added.next() {
                Some(backend) => {
                    *place = *backend;
                    steps.slot(set, slot, *backend);
                    join(backend, true, steps);
                }
                None => vacant.push(slot),
            }
        }
        for backend in added {
            steps.slot(set, slots.len(), *backend);
            join(backend, true, steps);
            slots.push(*backend);
        }
        for backend in gone {
            self.here.remove(&MemberKey { set, backend });
        }
        for slot in vacant.into_iter().rev() {
            slots.swap_remove(slot);
            if let Some(moved) = slots.get(slot) {
                steps.slot(set, slot, *moved);
            }
        }
        for slot in slots.len()..before {
            steps.slot_gone(set, slot);
        }
        steps.table(set, &rows_before, &if table > 0 { maglev::rows(slots) } else { Vec::new() });
        if slots.len() != before || table != table_before || steps.fresh.remove(&set) {
            steps.count(set, slots.len(), table);
        }
    }

    /// Empties a set and gives its number back.
    fn dissolve(&mut self, set: u32, steps: &mut Steps) {
        self.admit(set, &[], steps);
        let (table, _) = self.lookups.fit(set, false, 0);
        steps.rows.gone.extend((0..maglev::rows_of(table)).map(|row| BackendKey { set, slot: row as u32 }));
        for (slot, backend) in self.sets.remove(&set).unwrap_or_default().into_iter().enumerate() {
            steps.slot_gone(set, slot);
            steps.member_gone(set, backend);
            self.here.remove(&MemberKey { set, backend });
        }
        steps.total_gone(set);
        steps.emptied.push(set);
        self.ids.give(set);
    }

    /// Makes the admitted sources of a set exactly `desired`.
    fn admit(&mut self, set: u32, desired: &[(u32, Address)], steps: &mut Steps) {
        if desired.is_empty() && !self.ranges.contains_key(&set) {
            return;
        }
        let desired: BTreeSet<_> = desired
            .iter()
            .map(|(prefix, address)| SourceRange { prefix: 32 + prefix, set, address: *address })
            .collect();
        let before = self.ranges.remove(&set).unwrap_or_default();
        steps.ranges.set.extend(desired.difference(&before).map(|range| (*range, 0)));
        steps.ranges.gone.extend(before.difference(&desired));
        if !desired.is_empty() {
            self.ranges.insert(set, desired);
        }
    }
}
