//! What the kernel holds for one frontend, read back element by element along the way a packet takes.

use std::net::IpAddr;

use ipnet::IpNet;
use orlop_plan::{Family, Frontend, Held, Masquerade, WhenEmpty};

use crate::Error;
use crate::element::{self, Bytes, endpoint_of, number_at};
use crate::group::GroupId;
use crate::layout::{self, COUNT_DROP, COUNT_REJECT, TABLE};
use crate::netlink::Netlink;
use crate::ruleset::{self, Written};
use crate::table::{family_number, maps_of};

/// Reads a frontend; none if the kernel has none.
pub(crate) fn read(netlink: &mut Netlink, frontend: &Frontend) -> Result<Option<Held>, Error> {
    let mut reader = Reader { netlink, family: family_number(frontend.family()) };
    reader.frontend(frontend)
}

struct Reader<'a> {
    netlink: &'a mut Netlink,
    family: u8,
}

impl Reader<'_> {
    fn get(&mut self, set: &str, key: &Bytes) -> Result<Option<Bytes>, Error> {
        ruleset::value(self.netlink, self.family, set, key)
    }

    fn frontend(&mut self, frontend: &Frontend) -> Result<Option<Held>, Error> {
        let (policies, groups) = maps_of(frontend);
        let key = element::frontend_key(frontend);
        let policy = self.get(policies, &key)?.and_then(|value| number_at(&value, 4));
        let group = self.get(groups, &key)?.and_then(|value| element::group_at(&value, 4));
        let Some(policy) = policy else { return Ok(None) };
        let version = if frontend.family() == Family::V4 { "ip" } else { "ip6" };
        let mut held = Held::default();
        held.places.push(format!("table {version} {TABLE}, map {policies}: policy {policy}"));
        let chains = ruleset::verdicts(self.netlink, self.family, layout::POLICIES)?;
        match chains.into_iter().find(|(key, _)| *key == element::policy_key(policy)) {
            Some((_, chain)) => self.policy(&chain, &mut held)?,
            None => held.places.push(format!("no chain for policy {policy}: its packets are left alone")),
        }
        let Some(group) = group else {
            held.places.push(format!("map {groups}: nothing, its packets are left alone"));
            return Ok(Some(held));
        };
        held.places.push(format!("map {groups}: {group}"));
        held.endpoints = self.endpoints(group, &mut held)?;
        if held.local.is_some() {
            held.local = Some(self.endpoints(group.local(), &mut held)?);
        }
        Ok(Some(held))
    }

    /// A policy chain says by its name what it does; whether it still does so is told by its rules' tags.
    fn policy(&mut self, chain: &str, held: &mut Held) -> Result<(), Error> {
        let rules = ruleset::rules_of(self.netlink, self.family, chain)?;
        held.places.push(format!("chain {chain}: {} rules", rules.len()));
        if let Some(strange) = rules.iter().find(|rule| !rule.is_as_tagged()) {
            held.places.push(format!("chain {chain}: a rule is not ours or was changed: {:?}", strange.tag));
        }
        let name = chain.strip_prefix("policy-").unwrap_or(chain);
        let (name, from) = name.split_once("-from-").map_or((name, None), |(name, hash)| (name, Some(hash)));
        let (name, affinity) = name.split_once("-affinity-").map_or((name, None), |(name, s)| (name, s.parse().ok()));
        held.affinity_seconds = affinity;
        held.masquerade = match name {
            "local" | "keep" => Some(Masquerade::Never),
            "outside" => Some(Masquerade::Outside),
            "masquerade" => Some(Masquerade::Always),
            _ => None,
        };
        held.local = (name == "local").then(Vec::new);
        held.source_ranges = from.map(|_| rules.iter().filter_map(range_of).collect());
        Ok(())
    }

    fn endpoints(&mut self, group: GroupId, held: &mut Held) -> Result<Vec<(IpAddr, u16)>, Error> {
        let count = self.get(layout::COUNTS, &element::count_key(group))?.and_then(|value| number_at(&value, 4));
        match count {
            None => held.places.push(format!("map {}: nothing of {group}", layout::COUNTS)),
            Some(COUNT_REJECT) => held.when_empty = Some(WhenEmpty::Reject),
            Some(COUNT_DROP) => held.when_empty = Some(WhenEmpty::Drop),
            Some(count) => {
                held.places.push(format!("map {}: {count} endpoints of {group}", layout::COUNTS));
                let mut all = Vec::new();
                for index in 0..count {
                    let key = element::endpoint_key(group, index);
                    match self.get(layout::ENDPOINTS, &key)?.as_ref().and_then(endpoint_of) {
                        Some(endpoint) => all.push(endpoint),
                        None => held.places.push(format!("map {}: {group} lacks {index}", layout::ENDPOINTS)),
                    }
                }
                all.sort_unstable();
                return Ok(all);
            }
        }
        Ok(Vec::new())
    }
}

/// The network that a rule admits.
fn range_of(rule: &Written) -> Option<IpNet> {
    let (mask, network) = rule.masked.as_ref()?;
    IpNet::with_netmask(element::address_of(network)?, element::address_of(mask)?).ok()
}
