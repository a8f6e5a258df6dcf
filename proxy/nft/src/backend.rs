//! The [`Backend`] of this crate: both families' tables and conntrack behind one socket.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use orlop_plan::{
    Backend, BackendError, Change, Changes, Counters, Endpoint, Family, FlowFilter, Flows, Frontend, Held, Plan,
    Protocol, Reconciled, Target,
};

use crate::conntrack::Scope;
use crate::netlink::{Netlink, Transaction};
use crate::ruleset::{Writer, table_exists};
use crate::table::{Table, family_number};
use crate::{Error, conntrack, counters, flows, held};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// With more changes than this, a look at each protocol's flows is cheaper than a look for each: every look walks the buckets
/// of the whole machine's conntrack table, 13 ms for the 262,144 of a large one, whatever it asks for.
const MAX_LOOKS: usize = 2;
/// Whether packets with loopback addresses may leave and enter by other devices; we read it, and never set it.
const ROUTE_LOCALNET: &str = "/proc/sys/net/ipv4/conf/all/route_localnet";

/// Programs nftables in the network namespace of the thread that opened it.
pub struct NftBackend {
    netlink: Netlink,
    tables: [Table; 2],
    messages: usize,
    /// Whether the kernel routes 127.0.0.0/8 like any other addresses.
    route_localnet: bool,
    /// Whether conntrack is left alone.
    keeps_flows: bool,
    /// Looks at conntrack that nobody has heard of yet.
    reconciled: Vec<Reconciled>,
}

impl NftBackend {
    /// Opens the netlink socket. Nothing is changed before the first [`Backend::resync`].
    pub fn open() -> Result<Self, Error> {
        let netlink = Netlink::open()?;
        let route_localnet = std::fs::read_to_string(ROUTE_LOCALNET).is_ok_and(|value| value.trim() == "1");
        let tables = FAMILIES.map(|family| Table::new(family, route_localnet && family == Family::V4));
        Ok(Self { netlink, tables, messages: 0, route_localnet, keeps_flows: false, reconciled: Vec::new() })
    }

    /// Beside another backend, which takes over what this one serves no more: its flows go on to their end.
    #[must_use]
    pub fn keeping_flows(mut self) -> Self {
        self.keeps_flows = true;
        self
    }

    /// How many netlink messages the last [`Backend::sync`] took.
    pub const fn messages(&self) -> usize {
        self.messages
    }

    /// Deletes the flows that lead nowhere. Never fails a sync: the tables are right, and the next resync looks again.
    fn clean_conntrack(&mut self, plan: &Plan, family: Family, scopes: &[Scope]) {
        let table = &mut self.tables[family as usize];
        if self.keeps_flows {
            return table.cleaned();
        }
        let (start, mut deleted) = (Instant::now(), 0);
        for scope in scopes {
            match conntrack::clean(&mut self.netlink, family, *scope, plan, table.leaving()) {
                Ok(count) => deleted += count,
                Err(error) => return tracing::warn!(%error, ?family, "cannot clean conntrack entries"),
            }
        }
        table.cleaned();
        // Somebody who never asks must not make it grow.
        self.reconciled.truncate(MAX_LOOKS);
        self.reconciled.push(Reconciled { family, took: start.elapsed(), deleted });
        if deleted > 0 {
            tracing::info!(deleted, ?family, "deleted stale conntrack entries");
        }
    }
}

/// The flows that changes can have left on an endpoint that is none any more, or on none: as many looks as frontends
/// that changed so, or one look at everything where those are many.
fn stranded(changes: &[Change], family: Family) -> Vec<Scope> {
    let of_family = |change: &&Change| change.frontend.family() == family;
    let mut scopes: Vec<Scope> = changes.iter().filter(of_family).filter_map(look).collect();
    if scopes.len() > MAX_LOOKS {
        let is_of = |scope: &Scope, wanted| matches!(scope, Scope::To(frontend, _) if frontend.protocol == wanted);
        scopes = whole(|protocol| scopes.iter().any(|scope| is_of(scope, protocol)));
    }
    scopes
}

/// One look for each protocol that is concerned.
fn whole(concerned: impl Fn(Protocol) -> bool) -> Vec<Scope> {
    let looks = [(Protocol::Udp, Scope::Datagrams), (Protocol::Tcp, Scope::Connecting)];
    looks.into_iter().filter(|(protocol, _)| concerned(*protocol)).map(|(_, scope)| scope).collect()
}

/// Which flows a change can have left behind.
fn look(change: &Change) -> Option<Scope> {
    if change.frontend.protocol == Protocol::Sctp {
        return None;
    }
    let all = Some(Scope::To(change.frontend, None));
    let (Some(before), Some(after)) = (&change.before, &change.after) else { return all };
    if before.endpoints.is_empty() || before.local.is_some() != after.local.is_some() {
        return all;
    }
    let serves = |target: &Target, endpoint: &Endpoint| {
        let sets = [Some(&target.endpoints), target.local.as_ref()];
        sets.into_iter().flatten().any(|set| set.serves(endpoint.address, endpoint.port))
    };
    let old = before.endpoints.iter().chain(before.local.iter().flat_map(|local| local.iter()));
    let mut lost: Vec<(IpAddr, u16)> =
        old.filter(|endpoint| !serves(after, endpoint)).map(|endpoint| (endpoint.address, endpoint.port)).collect();
    lost.sort_unstable();
    lost.dedup();
    match lost[..] {
        [] => None,
        [one] => Some(Scope::To(change.frontend, Some(one))),
        _ => all,
    }
}

impl Backend for NftBackend {
    fn mode(&self) -> &'static str {
        "nftables"
    }

    fn sync(&mut self, plan: &Plan, changes: &Changes) -> Result<(), BackendError> {
        if changes.node.is_some() {
            return self.resync(plan);
        }
        self.messages = 0;
        for (table, family) in self.tables.iter_mut().zip(FAMILIES) {
            if !changes.frontends.iter().any(|change| change.frontend.family() == family) {
                continue;
            }
            self.messages += if table.is_adopted() {
                table.sync(&mut self.netlink, plan, &changes.frontends)?
            } else {
                table.adopt(&mut self.netlink, plan)?
            };
        }
        for family in FAMILIES {
            let scopes = stranded(&changes.frontends, family);
            if !scopes.is_empty() {
                self.clean_conntrack(plan, family, &scopes);
            }
        }
        Ok(())
    }

    fn resync(&mut self, plan: &Plan) -> Result<(), BackendError> {
        self.messages = 0;
        for table in &mut self.tables {
            self.messages += table.adopt(&mut self.netlink, plan)?;
        }
        for family in FAMILIES {
            let leaving = self.tables[family as usize].leaving().iter();
            let frontends = plan.frontends.keys().chain(leaving).filter(|frontend| frontend.family() == family);
            let protocols: BTreeSet<Protocol> = frontends.map(|frontend| frontend.protocol).collect();
            self.clean_conntrack(plan, family, &whole(|protocol| protocols.contains(&protocol)));
        }
        Ok(())
    }

    fn cleanup(&mut self) -> Result<(), BackendError> {
        for (table, family) in self.tables.iter_mut().zip(FAMILIES) {
            let number = family_number(family);
            if table_exists(&mut self.netlink, number)? {
                let mut transaction = Transaction::default();
                Writer { transaction: &mut transaction, family: number }.delete_table();
                self.netlink.commit(transaction)?;
            }
            *table = Table::new(family, self.route_localnet && family == Family::V4);
        }
        Ok(())
    }

    fn counters(&mut self) -> Result<Counters, BackendError> {
        let mut all = Counters::default();
        for (table, family) in self.tables.iter().zip(FAMILIES) {
            if table.is_adopted() && table_exists(&mut self.netlink, family_number(family))? {
                let listed = table.counts_endpoints();
                counters::read(&mut self.netlink, family, listed, |group| table.chooses(group), &mut all)?;
            }
        }
        Ok(all)
    }

    fn held(&mut self, frontend: &Frontend) -> Result<Option<Held>, BackendError> {
        Ok(held::read(&mut self.netlink, frontend)?)
    }

    fn reconciled(&mut self) -> Vec<Reconciled> {
        std::mem::take(&mut self.reconciled)
    }

    fn flows(&mut self, wanted: &FlowFilter) -> Result<Flows, BackendError> {
        Ok(flows::read(&mut self.netlink, wanted)?)
    }

    fn limits(&self) -> Vec<String> {
        let mut limits = vec![
            "NodePorts do not answer on ::1: the kernel takes an answer to ::1 from the loopback device only"
                .to_string(),
        ];
        if !self.route_localnet {
            let text = "NodePorts do not answer on 127.0.0.0/8: net.ipv4.conf.all.route_localnet is 0";
            limits.push(text.to_string());
        }
        limits
    }
}
