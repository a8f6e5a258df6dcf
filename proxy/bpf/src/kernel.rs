//! What the maps hold now.

use std::collections::{HashMap, HashSet};

use orlop_ebpf::maglev::Row;
use orlop_ebpf::{Address, Backend, BackendKey, Frontend, FrontendKey, MemberKey, Set, SourceRange, Tally};

use crate::Error;
use crate::maps::Maps;
use crate::steps::Steps;
use crate::table::Table;

/// A copy of the maps that follow the plan.
#[derive(Debug)]
pub struct Held {
    frontends: Vec<(FrontendKey, Frontend)>,
    addresses: Vec<(Address, u32)>,
    counts: HashMap<u32, Set>,
    backends: Vec<(BackendKey, Backend)>,
    rows: Vec<(BackendKey, Row)>,
    members: Vec<(MemberKey, Tally)>,
    ranges: Vec<(SourceRange, u32)>,
}

impl Held {
    /// Reads them.
    pub fn read(maps: &Maps) -> Result<Self, Error> {
        let counts = maps.sets.dump()?.into_iter().filter(|(_, set)| set.count != 0).collect();
        Ok(Self {
            frontends: maps.frontends.dump()?,
            addresses: maps.addresses.dump()?,
            counts,
            backends: maps.backends.dump()?,
            rows: maps.maglev.dump()?,
            members: maps.members.dump()?,
            ranges: maps.source_ranges.dump()?,
        })
    }

    /// Whether no address means anything to the programs.
    pub fn is_idle(&self) -> bool {
        self.addresses.is_empty()
    }

    /// A table that goes on from here.
    pub fn table(&self) -> Table {
        let mut slots: HashMap<u32, Vec<Option<Backend>>> =
            self.counts.iter().map(|(set, value)| (*set, vec![None; (value.count as usize).min(65_536)])).collect();
        for (key, backend) in &self.backends {
            if let Some(place) = slots.get_mut(&key.set).and_then(|slots| slots.get_mut(key.slot as usize)) {
                *place = Some(*backend);
            }
        }
        Table::adopt(&self.frontends, slots.into_iter().map(|(set, slots)| (set, whole(slots))).collect())
    }

    /// [`Self::table`] where nothing is held yet, with the set numbers that another build gave.
    pub fn table_after(&self, other: &[(FrontendKey, Frontend)]) -> Table {
        if self.frontends.is_empty() { Table::adopt(other, HashMap::new()) } else { self.table() }
    }

    /// The steps from here to what `table` wants.
    pub fn steps_to(self, table: &Table) -> Steps {
        let mut steps = table.render();
        steps.frontends.less_held(self.frontends);
        steps.addresses.less_held(self.addresses);
        steps.backends.less_held(self.backends);
        steps.rows.less_held(self.rows);
        steps.members.less_alike(self.members, |tally| tally.local);
        steps.ranges.less_held(self.ranges);
        let mut counts = self.counts;
        steps.counts.retain(|(set, value)| counts.remove(set).unwrap_or_default() != *value);
        steps.emptied = counts.into_keys().collect();
        steps
    }
}

/// A set with holes or doubles is arranged anew from what is left of it.
fn whole(slots: Vec<Option<Backend>>) -> Vec<Backend> {
    let mut seen = HashSet::new();
    slots.into_iter().flatten().filter(|backend| seen.insert(*backend)).collect()
}
