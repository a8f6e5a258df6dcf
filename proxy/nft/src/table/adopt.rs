//! Making a table equal to the plan whatever it holds: after a start, after an error, and now and then.
//!
//! What is right stays untouched, so that a restart disturbs nobody: endpoint slots, policy numbers and remembered clients
//! are learned from the kernel. Only a table of another layout is replaced, in one transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use orlop_plan::{Endpoint, Plan, Protocol};

use super::{Table, Wanted, family_number, groups_of, maps_of};
use crate::Error;
use crate::element::{self, Bytes, Element, endpoint_of, group_of, number_at};
use crate::group::{Group, GroupId, count_of, place};
use crate::layout::{self, COUNT_DROP, COUNT_REJECT, Chain, Data, SETS, fixed_chains};
use crate::netlink::{Netlink, Transaction};
use crate::pods::Pods;
use crate::policy::{Policy, PolicyNumbers, Variant, count_chain, count_chain_name};
use crate::ruleset::{Skeleton, Writer, elements, skeleton, table_exists, tags, values, verdicts};

/// The kernel begins a listing anew for every few hundred elements, so that its cost grows with the square of their
/// number: more endpoints than this are asked for by name, as many as the groups' counts promise.
const LISTED_AT_MOST: usize = 20_000;

/// How a table is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// There is nothing to read.
    Nothing,
    /// What a packet can reach; a large map may keep what nothing leads to.
    Economical,
    /// Every element.
    Thorough,
}

/// Endpoint counts whose chains are made with the table.
const READY_COUNTS: u32 = 8;

/// What the plan wants of a family, before any number or slot is given.
#[derive(Default)]
struct Desired<'a> {
    policies: BTreeMap<String, Policy>,
    variants: BTreeSet<Variant>,
    /// Endpoint counts with the variants that need a chain for them.
    balanced: BTreeSet<(u32, Variant)>,
    /// How many frontends lead to each, what it must hold, and what `counts` must say.
    groups: HashMap<GroupId, (u32, Wanted<'a>, u32)>,
}

impl Table {
    /// Compares the whole table with the plan and repairs the difference; gives how many messages that took. A family the
    /// plan does not use needs no table.
    pub fn adopt(&mut self, netlink: &mut Netlink, plan: &Plan) -> Result<usize, Error> {
        match self.adopt_reading(netlink, plan, Reading::Economical) {
            // Something is there that no count led to.
            Err(Error::Refused { what, source }) => {
                tracing::warn!(%source, "the kernel refused {what}: reading the whole table");
                self.adopt_reading(netlink, plan, Reading::Thorough)
            }
            result => result,
        }
    }

    fn adopt_reading(&mut self, netlink: &mut Netlink, plan: &Plan, reading: Reading) -> Result<usize, Error> {
        let family = family_number(self.family);
        let used = plan.frontends.keys().any(|frontend| frontend.family() == self.family);
        let exists = match table_exists(netlink, family) {
            Ok(exists) => exists,
            Err(_) if !used => false,
            Err(e) => return Err(e),
        };
        let left = std::mem::take(&mut self.left);
        *self = Self { left, pods: Pods::of(&plan.node, self.family), ..Self::new(self.family, self.loopback) };
        if !used && !exists {
            return Ok(0);
        }
        let kernel = if exists { skeleton(netlink, family)? } else { Skeleton::default() };
        let sound = exists && SETS.iter().all(|spec| kernel.has_set(spec, family));
        let kernel = if sound { kernel } else { Skeleton::default() };
        let mut transaction = Transaction::default();
        let mut writer = Writer { transaction: &mut transaction, family };
        if exists && !sound {
            tracing::warn!(?self.family, "replacing a table of another layout");
            writer.delete_table();
        }
        if !sound {
            writer.new_table();
            SETS.iter().zip(1..).for_each(|(spec, id)| writer.new_set(spec, id));
        }
        let desired = self.desired(plan);
        self.repair_chains(netlink, &mut transaction, plan, &kernel, sound, &desired)?;
        let reading = if sound { reading } else { Reading::Nothing };
        self.repair_elements(netlink, &mut transaction, plan, reading, &desired)?;
        let messages = transaction.len();
        if !transaction.is_empty() {
            tracing::debug!(?self.family, messages, "repairing the table");
            netlink.commit(transaction)?;
        }
        self.left.clear();
        self.adopted = true;
        Ok(messages)
    }

    fn desired<'a>(&self, plan: &'a Plan) -> Desired<'a> {
        let mut desired = Desired::default();
        for (frontend, target) in plan.frontends.iter().filter(|(frontend, _)| frontend.family() == self.family) {
            let policy = Policy::of(target);
            desired.variants.extend(policy.variants());
            for (id, want) in groups_of(frontend, target) {
                let count = count_of(want.endpoints.len(), want.when_empty);
                desired.balanced.insert((count, policy.variant(id.is_local())));
                let references = desired.groups.get(&id).map_or(0, |(references, ..)| *references);
                desired.groups.insert(id, (references + 1, want, count));
            }
            desired.policies.entry(policy.chain_name()).or_insert(policy);
        }
        desired
    }

    /// Chains, rules and the verdict maps that lead to them.
    fn repair_chains(
        &mut self,
        netlink: &mut Netlink,
        transaction: &mut Transaction,
        plan: &Plan,
        kernel: &Skeleton,
        sound: bool,
        desired: &Desired<'_>,
    ) -> Result<(), Error> {
        let family = family_number(self.family);
        let mut chains: Vec<Chain> = Vec::new();
        let mut balance: BTreeMap<Bytes, String> = BTreeMap::new();
        for policy in desired.policies.values() {
            chains.extend(policy.chains(self.family, &self.pods));
        }
        chains.sort_by(|a, b| a.name.cmp(&b.name));
        chains.dedup_by(|a, b| a.name == b.name);
        let policy_names: Vec<String> = chains.iter().map(|chain| chain.name.clone()).collect();
        let known_balance = if sound { verdicts(netlink, family, layout::BALANCE)? } else { Vec::new() };
        self.variants = desired.variants.clone();
        let mut balanced = desired.balanced.clone();
        for variant in &self.variants {
            balanced.extend([COUNT_REJECT, COUNT_DROP].map(|count| (count, *variant)));
            // The kernel looks at every element of a map when a new chain looks into it: chains that will surely be
            // needed are made while the maps are empty, and kept.
            let kept = |count: &u32| {
                let key = element::balance_key(*count, *variant);
                !sound || known_balance.iter().any(|(known, _)| *known == key)
            };
            balanced.extend((1..=READY_COUNTS).filter(kept).map(|count| (count, *variant)));
        }
        for (count, variant) in balanced {
            let chain = match count {
                COUNT_REJECT => "refuse".to_string(),
                COUNT_DROP => "discard".to_string(),
                _ => {
                    chains.push(count_chain(self.family, count, variant));
                    count_chain_name(count, variant)
                }
            };
            balance.insert(element::balance_key(count, variant), chain);
            self.balanced.insert((count, variant));
        }
        chains.extend(fixed_chains(self.family, &plan.node.node_ports, self.pods.mark()));

        let known = if sound { verdicts(netlink, family, layout::POLICIES)? } else { Vec::new() };
        let policies = self.number_policies(&known, &policy_names);

        let mut writer = Writer { transaction, family };
        for chain in chains.iter().filter(|chain| !kernel.chains.contains_key(&chain.name)) {
            writer.new_chain(chain);
        }
        for chain in &chains {
            let present = kernel.chains.get(&chain.name).map(|(_, tags)| tags.as_slice()).unwrap_or_default();
            if present != tags(chain, family) {
                if !present.is_empty() {
                    writer.flush_chain(&chain.name);
                }
                writer.add_rules(chain);
            }
        }
        repair_verdicts(&mut writer, layout::POLICIES, &known, &policies);
        repair_verdicts(&mut writer, layout::BALANCE, &known_balance, &balance);
        // What leads nowhere any more; rules first, since they may lead to each other.
        let stale: Vec<&String> =
            kernel.chains.keys().filter(|name| !chains.iter().any(|chain| chain.name == **name)).collect();
        stale.iter().for_each(|name| writer.flush_chain(name));
        stale.iter().for_each(|name| writer.delete_chain(name));
        Ok(())
    }

    /// Gives every policy its number, the kernel's where it has one.
    fn number_policies(&mut self, known: &[(Bytes, String)], names: &[String]) -> BTreeMap<Bytes, String> {
        self.policies = PolicyNumbers::default();
        for (key, chain) in known {
            if let Some(number) = number_at(key, 0) {
                self.policies.learn(chain, number);
            }
        }
        for (_, chain) in known.iter().filter(|(_, chain)| !names.contains(chain)) {
            self.policies.forget(chain);
        }
        let mut map = BTreeMap::new();
        for name in names {
            let number = self.policies.get(name).unwrap_or_else(|| self.policies.assign(name));
            map.insert(element::policy_key(number), name.clone());
        }
        map
    }

    /// Everything else, set by set.
    fn repair_elements(
        &mut self,
        netlink: &mut Netlink,
        transaction: &mut Transaction,
        plan: &Plan,
        reading: Reading,
        desired: &Desired<'_>,
    ) -> Result<(), Error> {
        let family = family_number(self.family);
        let mut known = BTreeMap::new();
        if reading != Reading::Nothing {
            for set in [layout::COUNTS, layout::FRONTENDS, layout::NODE_PORTS, layout::LEAVING] {
                known.insert(set, elements(netlink, family, set)?);
            }
            known.insert(layout::ENDPOINTS, read_endpoints(netlink, family, reading, &known[layout::COUNTS])?);
        }
        self.place_groups(known.get(layout::ENDPOINTS).map_or(&[], Vec::as_slice), desired);
        self.endpoints = self.groups.values().map(|group| group.slots.len()).sum();
        self.recall_leaving(plan, &known);
        let slots = self.groups.iter().flat_map(|(id, group)| {
            group.slots.iter().zip(0..).map(|(slot, index)| element::endpoint(*id, index, slot))
        });
        let mut wanted: Vec<(&'static str, Vec<Element>)> = vec![(layout::ENDPOINTS, slots.collect())];
        let counts = self.groups.iter().filter_map(|(id, group)| Some(element::count(*id, group.count?)));
        wanted.push((layout::COUNTS, counts.collect()));
        self.hairpins.clear();
        for address in self.groups.values().flat_map(Group::hairpins) {
            *self.hairpins.entry(address).or_default() += 1;
        }
        wanted.push((layout::HAIRPIN, self.hairpins.keys().map(|ip| element::hairpin(*ip)).collect()));
        let of_family = |ip: &std::net::IpAddr| orlop_plan::Family::of(*ip) == self.family;
        self.cluster_ips = plan.cluster_ips().filter(of_family).collect();
        wanted.push((layout::CLUSTER_IPS, self.cluster_ips.iter().map(|ip| element::address(*ip)).collect()));
        if let orlop_plan::NodePortAddresses::Only(list) = &plan.node.node_ports {
            let answers = |ip: &&std::net::IpAddr| of_family(ip) && (self.loopback || !ip.is_loopback());
            let list = list.iter().filter(answers).map(|ip| element::address(*ip));
            wanted.push((layout::NODE_IPS, list.collect()));
        }
        wanted.push((layout::PODS, element::networks(plan.node.detect_local.cidrs(), self.family)));
        let mut maps: BTreeMap<&'static str, Vec<Element>> = BTreeMap::new();
        for set in [layout::FRONTENDS, layout::NODE_PORTS, layout::GROUPS, layout::NODE_PORT_GROUPS] {
            maps.insert(set, Vec::new());
        }
        for (frontend, target) in plan.frontends.iter().filter(|(frontend, _)| frontend.family() == self.family) {
            let id = GroupId::of(&target.name, target.kind, frontend.protocol, frontend.family());
            let (policies, groups) = maps_of(frontend);
            maps.entry(groups).or_default().push(element::group(frontend, id));
            if let Some(number) = self.policies.get(&Policy::of(target).chain_name()) {
                maps.entry(policies).or_default().push(element::frontend(frontend, number));
            }
        }
        wanted.extend(maps);
        let loyal = self.groups.iter().filter(|(_, group)| group.affinity);
        let members = loyal.flat_map(|(id, group)| group.slots.iter().map(|slot| element::member(*id, slot)));
        let members: Vec<Element> = members.collect();
        if reading == Reading::Economical && members.len() >= LISTED_AT_MOST {
            // They came and went with the endpoints.
            let present = known.get(layout::ENDPOINTS).map_or(&[][..], Vec::as_slice);
            let mut keys: Vec<Bytes> = present.iter().filter_map(element::member_of).map(|member| member.key).collect();
            keys.extend(members.iter().map(|member| member.key));
            keys.sort_unstable();
            keys.dedup();
            let found = values(netlink, family, layout::MEMBERS, &keys)?;
            let found = keys.into_iter().zip(found).filter_map(|(key, value)| value.map(|value| (key, value)));
            known.insert(layout::MEMBERS, found.map(|(key, value)| Element { key, value, end: false }).collect());
        }
        wanted.push((layout::MEMBERS, members));
        wanted.push((layout::LEAVING, self.leaving.iter().map(element::leaving).collect()));
        let counted = self.counts_endpoints();
        let mut writer = Writer { transaction, family };
        for (set, mut wanted) in wanted {
            wanted.sort_unstable();
            wanted.dedup();
            let present = match known.remove(set) {
                Some(present) => present,
                None if reading == Reading::Nothing => Vec::new(),
                None => elements(netlink, family, set)?,
            };
            repair_set(&mut writer, plan, set, (&present, &wanted), counted);
        }
        Ok(())
    }

    /// Frontends that left without a trace in this process: the kernel still has them, or knows that they are leaving.
    fn recall_leaving(&mut self, plan: &Plan, known: &BTreeMap<&'static str, Vec<Element>>) {
        let family = family_number(self.family);
        let all = |set: &str| known.get(set).into_iter().flatten();
        self.leaving = all(layout::LEAVING).filter_map(|element| element::left(&element.key, family)).collect();
        self.leaving.retain(|frontend| !self.left.contains(frontend));
        let frontends = all(layout::FRONTENDS).chain(all(layout::NODE_PORTS));
        let frontends = frontends.filter_map(|element| element::frontend_of(&element.key, family));
        self.leaving.extend(frontends.filter(|f| f.protocol != Protocol::Sctp && plan.get(f).is_none()));
    }

    /// Learns the slots that endpoints have in the kernel and places the wanted ones.
    fn place_groups(&mut self, present: &[Element], desired: &Desired<'_>) {
        let mut known: HashMap<GroupId, Vec<Endpoint>> = HashMap::new();
        for element in present {
            let (Some(id), Some((address, port))) = (group_of(&element.key), endpoint_of(&element.value)) else {
                continue;
            };
            let slots = known.entry(id).or_default();
            // Sorted by raw bytes of a native number: the index is read, not assumed. A gap ends what can be learned.
            let Some(index) = number_at(&element.key, 8).map(|n| n as usize).filter(|n| *n < present.len()) else {
                continue;
            };
            let blank = Endpoint { address, port: 0, local: false };
            if slots.len() <= index {
                slots.resize(index + 1, blank);
            }
            slots[index] = Endpoint { address, port, local: false };
        }
        self.groups = desired
            .groups
            .iter()
            .map(|(id, (references, want, count))| {
                let old = known.get(id).map(Vec::as_slice).unwrap_or_default();
                let slots = place(old, want.endpoints).into();
                let (roundabout, affinity) = (want.roundabout, want.affinity);
                (*id, Group { references: *references, slots, count: Some(*count), roundabout, affinity })
            })
            .collect();
    }
}

/// The endpoints that the kernel has, sorted.
fn read_endpoints(
    netlink: &mut Netlink,
    family: u8,
    reading: Reading,
    counts: &[Element],
) -> Result<Vec<Element>, Error> {
    let mut keys = Vec::new();
    for element in counts {
        let count = number_at(&element.value, 4).filter(|count| ![COUNT_REJECT, COUNT_DROP].contains(count));
        if let (Some(id), Some(count)) = (group_of(&element.key), count) {
            keys.extend((0..count).map(|index| element::endpoint_key(id, index)));
        }
    }
    if reading == Reading::Thorough || keys.len() < LISTED_AT_MOST {
        return elements(netlink, family, layout::ENDPOINTS);
    }
    let values = values(netlink, family, layout::ENDPOINTS, &keys)?;
    let found =
        keys.into_iter().zip(values).filter_map(|(key, value)| Some(Element { key, value: value?, end: false }));
    let mut all: Vec<Element> = found.collect();
    all.sort_unstable();
    Ok(all)
}

fn repair_verdicts(
    writer: &mut Writer<'_>,
    map: &'static str,
    known: &[(Bytes, String)],
    wanted: &BTreeMap<Bytes, String>,
) {
    for (key, chain) in known.iter().filter(|(key, chain)| wanted.get(key) != Some(chain)) {
        writer.verdict(false, map, *key, chain);
    }
    let present = |key: &Bytes, chain: &String| known.iter().any(|(k, c)| k == key && c == chain);
    for (key, chain) in wanted.iter().filter(|(key, chain)| !present(key, chain)) {
        writer.verdict(true, map, *key, chain);
    }
}

/// Both lists are sorted.
fn repair_set(
    writer: &mut Writer<'_>,
    plan: &Plan,
    set: &'static str,
    (present, wanted): (&[Element], &[Element]),
    counted: bool,
) {
    if SETS.iter().any(|spec| spec.name == set && spec.interval) {
        // Ends of intervals mean nothing alone, and the kernel may list one that nobody added: replaced as a whole.
        let starts = |all: &[Element]| {
            all.iter().filter(|e| e.key.as_slice().iter().any(|b| *b != 0)).copied().collect::<Vec<_>>()
        };
        if starts(present) != starts(wanted) || present.is_empty() {
            if !present.is_empty() {
                writer.flush_set(set);
            }
            writer.add_elements(set, wanted);
        }
        return;
    }
    debug_assert!(SETS.iter().any(|spec| spec.name == set && spec.data != Data::Verdict));
    let missing = |from: &[Element], other: &[Element]| -> Vec<Element> {
        from.iter().filter(|element| other.binary_search(element).is_err()).copied().collect()
    };
    writer.delete_elements(set, &missing(present, wanted));
    let missing_here = missing(wanted, present);
    match set {
        layout::FRONTENDS | layout::NODE_PORTS => writer.add_frontends(set, &missing_here, plan),
        layout::ENDPOINTS if counted => writer.add_counted(set, &missing_here),
        _ => writer.add_elements(set, &missing_here),
    }
}
