//! The writes that bring the maps from one state to another, in the order in which no packet sees half of it.

use std::collections::HashSet;
use std::hash::Hash;

use orlop_ebpf::maglev::Row;
use orlop_ebpf::{Address, Backend, BackendKey, Frontend, FrontendKey, MemberKey, Plain, Set, SourceRange, Tally};

use crate::Error;
use crate::maglev;
use crate::maps::Maps;

/// Elements of one map to set and to remove.
#[derive(Debug, Clone)]
pub struct Edits<K, V> {
    /// To set.
    pub set: Vec<(K, V)>,
    /// To remove.
    pub gone: Vec<K>,
}

impl<K, V> Default for Edits<K, V> {
    fn default() -> Self {
        Self { set: Vec::new(), gone: Vec::new() }
    }
}

impl<K: Plain + Eq + Hash, V: Plain + PartialEq> Edits<K, V> {
    /// Takes away what a map holds already, and removes what it holds beyond that.
    pub fn less_held(&mut self, held: Vec<(K, V)>) {
        let mut held: std::collections::HashMap<K, V> = held.into_iter().collect();
        self.set.retain(|(key, value)| held.remove(key).as_ref() != Some(value));
        self.gone = held.into_keys().collect();
    }

    /// [`Self::less_held`] for values that are the kernel's own business but for this much of them.
    pub fn less_alike<T: PartialEq>(&mut self, held: Vec<(K, V)>, ours: impl Fn(&V) -> T) {
        let mut held: std::collections::HashMap<K, V> = held.into_iter().collect();
        self.set.retain(|(key, value)| held.remove(key).as_ref().map(&ours) != Some(ours(value)));
        self.gone = held.into_keys().collect();
    }

    fn len(&self) -> usize {
        self.set.len() + self.gone.len()
    }
}

/// All of it.
#[derive(Debug, Default, Clone)]
pub struct Steps {
    /// `FRONTENDS`.
    pub frontends: Edits<FrontendKey, Frontend>,
    /// `ADDRESSES`.
    pub addresses: Edits<Address, u32>,
    /// `BACKENDS`.
    pub backends: Edits<BackendKey, Backend>,
    /// `MAGLEV`.
    pub rows: Edits<BackendKey, Row>,
    /// `MEMBERS`.
    pub members: Edits<MemberKey, Tally>,
    /// `SOURCE_RANGES`.
    pub ranges: Edits<SourceRange, u32>,
    /// `SETS`: counts of sets in use.
    pub counts: Vec<(u32, Set)>,
    /// `SETS`: those whose last frontend went.
    pub emptied: Vec<u32>,
    /// Addresses whose flags may have changed.
    pub touched: HashSet<Address>,
    /// Sets that are new to the table.
    pub fresh: HashSet<u32>,
}

impl Steps {
    /// Writes a slot.
    pub fn slot(&mut self, set: u32, slot: usize, backend: Backend) {
        self.backends.set.push((BackendKey { set, slot: slot as u32 }, backend));
    }

    /// Removes a slot.
    pub fn slot_gone(&mut self, set: u32, slot: usize) {
        self.backends.gone.push(BackendKey { set, slot: slot as u32 });
    }

    /// Adds a member.
    pub fn member(&mut self, key: MemberKey, is_here: bool) {
        self.members.set.push((key, Tally { local: is_here.into(), ..Tally::default() }));
    }

    /// Removes a member.
    pub fn member_gone(&mut self, set: u32, backend: Backend) {
        self.members.gone.push(MemberKey { set, backend });
    }

    /// Begins to count what a set does.
    pub fn total(&mut self, set: u32) {
        self.members.set.push((MemberKey::total(set), Tally::default()));
    }

    /// Ends it.
    pub fn total_gone(&mut self, set: u32) {
        self.members.gone.push(MemberKey::total(set));
    }

    /// Sets a count, and the size of the table.
    pub fn count(&mut self, set: u32, count: usize, table: u32) {
        self.counts.push((set, Set { count: count as u32, table }));
    }

    /// Brings a set's table from one state to another.
    pub fn table(&mut self, set: u32, before: &[Row], after: &[Row]) {
        let key = |row: usize| BackendKey { set, slot: row as u32 };
        let changed = after.iter().enumerate().filter(|(number, row)| before.get(*number) != Some(*row));
        self.rows.set.extend(changed.map(|(number, row)| (key(number), *row)));
        self.rows.gone.extend((after.len()..before.len()).map(key));
    }

    /// Fills an empty set, with a table of this size.
    pub fn grow(&mut self, set: u32, backends: &[Backend], here: &HashSet<MemberKey>, table: u32) {
        for (slot, backend) in backends.iter().enumerate() {
            self.slot(set, slot, *backend);
            let key = MemberKey { set, backend: *backend };
            self.member(key, here.contains(&key));
        }
        self.total(set);
        if table > 0 {
            self.table(set, &[], &maglev::rows(backends));
        }
        self.count(set, backends.len(), table);
    }

    /// How many elements it writes.
    pub fn len(&self) -> usize {
        self.frontends.len()
            + self.addresses.len()
            + self.backends.len()
            + self.rows.len()
            + self.members.len()
            + self.ranges.len()
            + self.counts.len()
            + self.emptied.len()
    }

    /// Writes it all. Endpoints exist before a count or a table covers them, sets before a frontend points to them, frontends
    /// before their address makes other ports refuse; and the other way round.
    pub fn apply(&self, maps: &Maps) -> Result<(), Error> {
        maps.source_ranges.update_each(&self.ranges.set)?;
        maps.backends.update(&self.backends.set)?;
        maps.maglev.update(&self.rows.set)?;
        maps.members.update(&self.members.set)?;
        maps.sets.update(&self.counts)?;
        maps.frontends.update(&self.frontends.set)?;
        maps.addresses.update(&self.addresses.set)?;

        maps.addresses.delete(&self.addresses.gone)?;
        maps.frontends.delete(&self.frontends.gone)?;
        maps.sets.update(&self.emptied.iter().map(|set| (*set, Set::default())).collect::<Vec<_>>())?;
        maps.members.delete(&self.members.gone)?;
        maps.maglev.delete(&self.rows.gone)?;
        maps.backends.delete(&self.backends.gone)?;
        maps.source_ranges.delete_each(&self.ranges.gone)
    }
}
