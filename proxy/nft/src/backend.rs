//! The [`Backend`] of this crate: both families' tables and conntrack behind one socket.

use std::collections::HashSet;

use orlop_plan::{Backend, BackendError, Changes, Family, Frontend, Plan, Protocol, Target};

use crate::conntrack::Scope;
use crate::netlink::{Netlink, Transaction};
use crate::ruleset::{Writer, table_exists};
use crate::table::{Table, family_number};
use crate::{Error, conntrack};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// Whether packets with loopback addresses may leave and enter by other devices; we read it, and never set it.
const ROUTE_LOCALNET: &str = "/proc/sys/net/ipv4/conf/all/route_localnet";

/// Programs nftables in the network namespace of the thread that opened it.
pub struct NftBackend {
    netlink: Netlink,
    tables: [Table; 2],
    messages: usize,
    /// Whether the kernel routes 127.0.0.0/8 like any other addresses.
    route_localnet: bool,
}

impl NftBackend {
    /// Opens the netlink socket. Nothing is changed before the first [`Backend::resync`].
    pub fn open() -> Result<Self, Error> {
        let netlink = Netlink::open()?;
        let route_localnet = std::fs::read_to_string(ROUTE_LOCALNET).is_ok_and(|value| value.trim() == "1");
        let tables = FAMILIES.map(|family| Table::new(family, route_localnet && family == Family::V4));
        Ok(Self { netlink, tables, messages: 0, route_localnet })
    }

    /// How many netlink messages the last [`Backend::sync`] took.
    pub const fn messages(&self) -> usize {
        self.messages
    }

    fn clean_conntrack(&mut self, plan: &Plan, removed: &HashSet<Frontend>, family: Family, scope: Scope) {
        // Never fails a sync: the tables are right, and the next resync looks again.
        match conntrack::clean(&mut self.netlink, family, scope, plan, removed) {
            Ok(0) => {}
            Ok(deleted) => tracing::info!(deleted, ?family, "deleted stale conntrack entries"),
            Err(error) => tracing::warn!(%error, ?family, "cannot clean conntrack entries"),
        }
    }
}

/// Whether a change can leave flows on an endpoint that is none any more, or on none.
fn strands_flows(before: Option<&Target>, after: Option<&Target>) -> bool {
    let Some(after) = after else { return before.is_some() };
    let Some(before) = before else { return true };
    let sets = |target: &Target| [Some(target.endpoints.clone()), target.local.clone()];
    let lost = sets(before).into_iter().zip(sets(after)).any(|(old, new)| {
        let serves = |e: &orlop_plan::Endpoint| new.as_ref().is_some_and(|new| new.serves(e.address, e.port));
        old.iter().flat_map(|old| old.iter()).any(|endpoint| !serves(endpoint))
    });
    lost || before.endpoints.is_empty()
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
            let stranding: Vec<_> = changes
                .frontends
                .iter()
                .filter(|change| change.frontend.family() == family && change.frontend.protocol != Protocol::Sctp)
                .filter(|change| strands_flows(change.before.as_deref(), change.after.as_deref()))
                .collect();
            if !stranding.is_empty() {
                let udp = stranding.iter().any(|change| change.frontend.protocol == Protocol::Udp);
                let removed = stranding.iter().filter(|change| change.after.is_none()).map(|c| c.frontend).collect();
                self.clean_conntrack(plan, &removed, family, if udp { Scope::All } else { Scope::Connecting });
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
            let mut protocols = plan.frontends.keys().filter(|f| f.family() == family).map(|f| f.protocol).peekable();
            if protocols.peek().is_some() {
                let udp = protocols.any(|protocol| protocol == Protocol::Udp);
                let scope = if udp { Scope::All } else { Scope::Connecting };
                self.clean_conntrack(plan, &HashSet::new(), family, scope);
            }
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
