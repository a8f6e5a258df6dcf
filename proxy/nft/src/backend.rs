//! The [`Backend`] of this crate: both families' tables and conntrack behind one socket.

use std::collections::BTreeSet;
use std::net::IpAddr;

use orlop_plan::{
    Backend, BackendError, Change, Changes, Counters, Endpoint, Family, FlowFilter, Flows, Frontend, Held, Plan,
    Protocol, Reconciled, Target,
};

use crate::conntrack::Scope;
use crate::netlink::{Netlink, Transaction};
use crate::reconciler::Reconciler;
use crate::ruleset::{Writer, table_exists};
use crate::table::{Table, family_number};
use crate::{Error, counters, flows, held};

/// Both, in the order of their numbers.
pub(crate) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// Whether packets with loopback addresses may leave and enter by other devices; we read it, and never set it.
const ROUTE_LOCALNET: &str = "/proc/sys/net/ipv4/conf/all/route_localnet";

/// Programs nftables in the network namespace of the thread that opened it.
pub struct NftBackend {
    netlink: Netlink,
    tables: [Table; 2],
    messages: usize,
    /// Whether the kernel routes 127.0.0.0/8 like any other addresses.
    route_localnet: bool,
    /// Who deletes the flows that lead nowhere; none where they are left alone.
    reconciler: Option<Reconciler>,
}

impl NftBackend {
    /// Opens the netlink sockets. Nothing is changed before the first [`Backend::resync`].
    pub fn open() -> Result<Self, Error> {
        let netlink = Netlink::open()?;
        let route_localnet = std::fs::read_to_string(ROUTE_LOCALNET).is_ok_and(|value| value.trim() == "1");
        let tables = FAMILIES.map(|family| Table::new(family, route_localnet && family == Family::V4));
        Ok(Self { netlink, tables, messages: 0, route_localnet, reconciler: Some(Reconciler::start()?) })
    }

    /// Beside another backend, which takes over what this one serves no more: its flows go on to their end.
    #[must_use]
    pub fn keeping_flows(mut self) -> Self {
        self.reconciler = None;
        self
    }

    /// How many netlink messages the last [`Backend::sync`] took.
    pub const fn messages(&self) -> usize {
        self.messages
    }

    /// Waits until the flows are deleted that led nowhere after the last [`Backend::sync`] or [`Backend::resync`], which do not
    /// wait for it; but for TCP connections that may be answered yet.
    pub fn settle(&self) {
        if let Some(reconciler) = &self.reconciler {
            reconciler.settle();
        }
    }

    /// Before the kernel is made equal to a plan: flows to its endpoints are safe from now on.
    fn announce(&mut self, plan: &Plan) {
        let Some(reconciler) = &self.reconciler else { return };
        let done = reconciler.announce(plan);
        for (table, frontends) in self.tables.iter_mut().zip(done) {
            table.cleaned(|frontend| frontends.contains(frontend));
        }
    }

    /// After it: has the flows deleted that lead nowhere.
    fn clean(&mut self, family: Family, scopes: Vec<Scope>) {
        let table = &mut self.tables[family as usize];
        match &self.reconciler {
            Some(reconciler) => reconciler.look(family, scopes, table.leaving()),
            None => table.cleaned(|_| true),
        }
    }
}

/// The flows that changes can have left on an endpoint that is none any more, or on none.
fn stranded(changes: &[Change], family: Family) -> Vec<Scope> {
    changes.iter().filter(|change| change.frontend.family() == family).filter_map(look).collect()
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
        self.announce(plan);
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
                self.clean(family, scopes);
            }
        }
        Ok(())
    }

    fn resync(&mut self, plan: &Plan) -> Result<(), BackendError> {
        self.announce(plan);
        self.messages = 0;
        for table in &mut self.tables {
            self.messages += table.adopt(&mut self.netlink, plan)?;
        }
        for family in FAMILIES {
            let leaving = self.tables[family as usize].leaving().iter();
            let frontends = plan.frontends.keys().chain(leaving).filter(|frontend| frontend.family() == family);
            let protocols: BTreeSet<Protocol> = frontends.map(|frontend| frontend.protocol).collect();
            self.clean(family, Scope::whole(|protocol| protocols.contains(&protocol)));
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
        self.reconciler.as_ref().map(Reconciler::reconciled).unwrap_or_default()
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
