//! One family's table: what we know the kernel holds, and the steps that bring it to the plan.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use orlop_plan::{
    Change, Endpoint, Family, Frontend, FrontendAddress, FrontendKind, Masquerade, Plan, Protocol, Target, WhenEmpty,
};

use crate::Error;
use crate::element::{self, Element};
use crate::group::{Group, GroupId, count_of, place};
use crate::layout::{self, COUNT_DROP, COUNT_REJECT};
use crate::netlink::{Netlink, Transaction};
use crate::pods::Pods;
use crate::policy::{Policy, PolicyNumbers, Variant, count_chain, count_chain_name};
use crate::ruleset::Writer;

mod adopt;

/// Sets in the order in which elements are added, so that what is referred to is there first; removal goes backwards.
const ORDER: [&str; 10] = [
    layout::LEAVING,
    layout::MEMBERS,
    layout::ENDPOINTS,
    layout::COUNTS,
    layout::HAIRPIN,
    layout::CLUSTER_IPS,
    layout::NODE_PORT_GROUPS,
    layout::GROUPS,
    layout::NODE_PORTS,
    layout::FRONTENDS,
];

/// With more endpoints than this, they are not counted: counters make a load half as long again, and listing them makes
/// every other change wait.
const COUNTED_AT_MOST: usize = 10_000;

/// The state of one table.
pub(crate) struct Table {
    family: Family,
    /// Whether a loopback address may be translated: only where the kernel then routes it.
    loopback: bool,
    /// How pods are told from strangers.
    pods: Pods,
    /// Whether the kernel has the table and the rest of this struct describes it.
    adopted: bool,
    groups: HashMap<GroupId, Group>,
    /// How many slots the groups have together.
    endpoints: usize,
    policies: PolicyNumbers,
    /// `balance`'s keys: endpoint counts and variants that have a chain.
    balanced: BTreeSet<(u32, Variant)>,
    /// Variants that some policy uses.
    variants: BTreeSet<Variant>,
    cluster_ips: HashSet<IpAddr>,
    /// Local endpoint addresses by how many slots hold them.
    hairpins: HashMap<IpAddr, u32>,
    /// Frontends in `leaving` whose flows have not been looked for yet, and those whose flows have.
    leaving: HashSet<Frontend>,
    left: HashSet<Frontend>,
}

/// What a transaction adds to and takes from each set.
#[derive(Default)]
struct Edits {
    add: BTreeMap<&'static str, Vec<Element>>,
    delete: BTreeMap<&'static str, Vec<Element>>,
}

impl Edits {
    fn add(&mut self, set: &'static str, element: Element) {
        self.add.entry(set).or_default().push(element);
    }

    fn delete(&mut self, set: &'static str, element: Element) {
        self.delete.entry(set).or_default().push(element);
    }

    /// Replaces a value; nothing if it is the same.
    fn replace(&mut self, set: &'static str, old: Option<Element>, new: Option<Element>) {
        if old == new {
            return;
        }
        old.into_iter().for_each(|old| self.delete(set, old));
        new.into_iter().for_each(|new| self.add(set, new));
    }

    fn write(&self, writer: &mut Writer<'_>, plan: &Plan, counted: bool) {
        for set in ORDER.iter().rev() {
            writer.delete_elements(set, self.delete.get(set).map_or(&[], Vec::as_slice));
        }
        for set in ORDER {
            let elements = self.add.get(set).map_or(&[][..], Vec::as_slice);
            match set {
                layout::FRONTENDS | layout::NODE_PORTS => writer.add_frontends(set, elements, plan),
                layout::ENDPOINTS if counted => writer.add_counted(set, elements),
                _ => writer.add_elements(set, elements),
            }
        }
    }
}

/// The endpoints a group must get.
struct Wanted<'a> {
    endpoints: &'a [Endpoint],
    when_empty: WhenEmpty,
    roundabout: bool,
    affinity: bool,
}

/// The number of the netlink family.
pub(crate) const fn family_number(family: Family) -> u8 {
    match family {
        Family::V4 => layout::IPV4,
        Family::V6 => layout::IPV6,
    }
}

/// The groups a target leads to: its own and, under a Local policy, the local half.
fn groups_of<'a>(frontend: &Frontend, target: &'a Target) -> Vec<(GroupId, Wanted<'a>)> {
    let id = GroupId::of(&target.name, target.kind, frontend.protocol, frontend.family());
    // A remote pod that reaches a Service by this node keeps its address under a Local policy, and may reach itself.
    let roundabout = target.kind != FrontendKind::ClusterIp && !always_masqueraded(target);
    let (when_empty, affinity) = (target.when_empty, target.affinity_seconds.is_some());
    let wanted = |endpoints: &'a [Endpoint]| Wanted { endpoints, when_empty, roundabout, affinity };
    let mut groups = vec![(id, wanted(&target.endpoints))];
    groups.extend(target.local.iter().map(|local| (id.local(), wanted(local))));
    groups
}

fn always_masqueraded(target: &Target) -> bool {
    target.local.is_none() && target.masquerade == Masquerade::Always
}

/// The map that has a frontend's policy, and the one that has its group.
pub(crate) const fn maps_of(frontend: &Frontend) -> (&'static str, &'static str) {
    match frontend.address {
        FrontendAddress::Ip(_) => (layout::FRONTENDS, layout::GROUPS),
        FrontendAddress::NodePort(_) => (layout::NODE_PORTS, layout::NODE_PORT_GROUPS),
    }
}

fn cluster_ip(frontend: &Frontend, target: Option<&Target>) -> Option<IpAddr> {
    match frontend.address {
        FrontendAddress::Ip(ip) if target?.kind == FrontendKind::ClusterIp => Some(ip),
        _ => None,
    }
}

impl Table {
    /// A table of which nothing is known yet: [`Table::adopt`] comes first.
    pub fn new(family: Family, loopback: bool) -> Self {
        Self {
            family,
            loopback,
            pods: Pods::default(),
            adopted: false,
            groups: HashMap::new(),
            endpoints: 0,
            policies: PolicyNumbers::default(),
            balanced: BTreeSet::new(),
            variants: BTreeSet::new(),
            cluster_ips: HashSet::new(),
            hairpins: HashMap::new(),
            leaving: HashSet::new(),
            left: HashSet::new(),
        }
    }

    /// Whether [`Table::sync`] may be called.
    pub const fn is_adopted(&self) -> bool {
        self.adopted
    }

    /// Applies the changes of this family; gives how many netlink messages that took.
    pub fn sync(&mut self, netlink: &mut Netlink, plan: &Plan, changes: &[Change]) -> Result<usize, Error> {
        let mut transaction = Transaction::default();
        let mut edits = Edits::default();
        let mut wanted: BTreeMap<GroupId, Option<Wanted<'_>>> = BTreeMap::new();
        let family = self.family;
        for change in changes.iter().filter(|change| change.frontend.family() == family) {
            self.edit_frontend(&mut transaction, &mut edits, plan, change);
            for (id, _) in change.before.iter().flat_map(|before| groups_of(&change.frontend, before)) {
                let group = self.group(id);
                // What the kernel holds is not what was thought: the agent compares everything again.
                group.references = group.references.checked_sub(1).ok_or(Error::Miscounted(change.frontend))?;
                wanted.entry(id).or_default();
            }
            for after in change.after.iter() {
                let policy = Policy::of(after);
                for (id, want) in groups_of(&change.frontend, after) {
                    let count = count_of(want.endpoints.len(), want.when_empty);
                    self.ensure_balance(&mut transaction, count, policy.variant(id.is_local()));
                    self.group(id).references += 1;
                    wanted.insert(id, Some(want));
                }
            }
        }
        for (id, want) in wanted {
            self.edit_group(&mut edits, id, want);
        }
        let mut writer = Writer { transaction: &mut transaction, family: family_number(self.family) };
        for frontend in &self.left {
            edits.delete(layout::LEAVING, element::leaving(frontend));
        }
        edits.write(&mut writer, plan, self.counts_endpoints());
        let messages = transaction.len();
        if !transaction.is_empty() {
            netlink.commit(transaction)?;
        }
        self.left.clear();
        Ok(messages)
    }

    /// Whether new endpoints get counters, and counters are read.
    pub const fn counts_endpoints(&self) -> bool {
        self.endpoints <= COUNTED_AT_MOST
    }

    /// Whether an endpoint is chosen for every flow of a group, and none remembered.
    pub fn chooses(&self, group: GroupId) -> bool {
        self.groups.get(&group).is_some_and(|group| !group.affinity)
    }

    /// Frontends that left and whose conntrack entries must go.
    pub const fn leaving(&self) -> &HashSet<Frontend> {
        &self.leaving
    }

    /// No flow to these of the leaving frontends is left: the next transaction forgets them.
    pub fn cleaned(&mut self, which: impl Fn(&Frontend) -> bool) {
        self.left.extend(self.leaving.extract_if(which));
    }

    fn group(&mut self, id: GroupId) -> &mut Group {
        self.groups.entry(id).or_default()
    }

    fn edit_frontend(&mut self, transaction: &mut Transaction, edits: &mut Edits, plan: &Plan, change: &Change) {
        let frontend = &change.frontend;
        let element = |table: &Self, target: &Target| {
            Some(element::frontend(frontend, table.policies.get(&Policy::of(target).chain_name())?))
        };
        let group = |target: &Target| {
            element::group(frontend, GroupId::of(&target.name, target.kind, frontend.protocol, frontend.family()))
        };
        let old = change.before.as_ref().and_then(|before| element(self, before));
        if let Some(after) = &change.after {
            self.ensure_policy(transaction, &Policy::of(after));
        }
        let new = change.after.as_ref().and_then(|after| element(self, after));
        let (policies, groups) = maps_of(frontend);
        edits.replace(policies, old, new);
        edits.replace(groups, change.before.as_deref().map(group), change.after.as_deref().map(group));
        if change.after.is_none() && frontend.protocol != Protocol::Sctp && self.leaving.insert(*frontend) {
            self.left.remove(frontend);
            edits.add(layout::LEAVING, element::leaving(frontend));
        }
        if let Some(ip) = cluster_ip(frontend, change.after.as_deref()) {
            if self.cluster_ips.insert(ip) {
                edits.add(layout::CLUSTER_IPS, element::address(ip));
            }
        } else if let Some(ip) = cluster_ip(frontend, change.before.as_deref())
            && !plan.is_cluster_ip(ip)
            && self.cluster_ips.remove(&ip)
        {
            edits.delete(layout::CLUSTER_IPS, element::address(ip));
        }
    }

    /// Brings a group to the wanted endpoints; without frontends it goes.
    fn edit_group(&mut self, edits: &mut Edits, id: GroupId, want: Option<Wanted<'_>>) {
        let Some(group) = self.groups.get(&id) else { return };
        let (slots, count) = match (&want, group.references) {
            (_, 0) => (Vec::new(), None),
            (Some(want), _) => {
                (place(&group.slots, want.endpoints), Some(count_of(want.endpoints.len(), want.when_empty)))
            }
            // Another frontend still leads here and nothing was said of its endpoints: they stay.
            (None, _) => return,
        };
        let (old_slots, old_count, references) = (group.slots.clone(), group.count, group.references);
        let had_affinity = group.affinity;
        self.endpoints = self.endpoints + slots.len() - old_slots.len();
        for index in 0..old_slots.len().max(slots.len()) {
            let at = |slots: &[Endpoint]| slots.get(index).map(|slot| element::endpoint(id, index as u32, slot));
            edits.replace(layout::ENDPOINTS, at(&old_slots), at(&slots));
        }
        let number = |count: Option<u32>| count.map(|count| element::count(id, count));
        edits.replace(layout::COUNTS, number(old_count), number(count));
        let (roundabout, affinity) = want.map_or((false, false), |want| (want.roundabout, want.affinity));
        let members = |has: bool, slots: &[Endpoint]| -> BTreeSet<Element> {
            slots.iter().filter(|_| has).map(|endpoint| element::member(id, endpoint)).collect()
        };
        let (old_members, new_members) = (members(had_affinity, &old_slots), members(affinity, &slots));
        old_members.difference(&new_members).for_each(|gone| edits.delete(layout::MEMBERS, *gone));
        new_members.difference(&old_members).for_each(|new| edits.add(layout::MEMBERS, *new));
        let new = Group { references, slots: slots.into(), count, roundabout, affinity };
        let new_hairpins: Vec<IpAddr> = new.hairpins().collect();
        let old = if count.is_some() { self.groups.insert(id, new) } else { self.groups.remove(&id) };
        self.count_hairpins(edits, &old.unwrap_or_default(), &new_hairpins);
    }

    fn count_hairpins(&mut self, edits: &mut Edits, old: &Group, new: &[IpAddr]) {
        for address in new {
            let users = self.hairpins.entry(*address).or_default();
            *users += 1;
            if *users == 1 {
                edits.add(layout::HAIRPIN, element::hairpin(*address));
            }
        }
        for address in old.hairpins() {
            let Some(users) = self.hairpins.get_mut(&address) else { continue };
            *users -= 1;
            if *users == 0 {
                self.hairpins.remove(&address);
                edits.delete(layout::HAIRPIN, element::hairpin(address));
            }
        }
    }

    /// Creates a policy's chains and its number, unless it has them.
    fn ensure_policy(&mut self, transaction: &mut Transaction, policy: &Policy) {
        let name = policy.chain_name();
        if self.policies.get(&name).is_some() {
            return;
        }
        let mut writer = Writer { transaction, family: family_number(self.family) };
        for chain in policy.chains(self.family, &self.pods) {
            // An inner chain may be there already as a policy of its own; its rules follow from its name.
            if self.policies.get(&chain.name).is_none() {
                writer.new_chain(&chain);
                writer.flush_chain(&chain.name);
                writer.add_rules(&chain);
                let number = self.policies.assign(&chain.name);
                writer.verdict(true, layout::POLICIES, element::policy_key(number), &chain.name);
            }
        }
        for variant in policy.variants() {
            if self.variants.insert(variant) {
                for count in [COUNT_REJECT, COUNT_DROP] {
                    self.ensure_balance(transaction, count, variant);
                }
            }
        }
    }

    /// Creates the chain for an endpoint count, unless it is there.
    fn ensure_balance(&mut self, transaction: &mut Transaction, count: u32, variant: Variant) {
        if !self.balanced.insert((count, variant)) {
            return;
        }
        let mut writer = Writer { transaction, family: family_number(self.family) };
        let key = element::balance_key(count, variant);
        match count {
            COUNT_REJECT => writer.verdict(true, layout::BALANCE, key, "refuse"),
            COUNT_DROP => writer.verdict(true, layout::BALANCE, key, "discard"),
            _ => {
                let chain = count_chain(self.family, count, variant);
                writer.new_chain(&chain);
                writer.flush_chain(&chain.name);
                writer.add_rules(&chain);
                writer.verdict(true, layout::BALANCE, key, &count_chain_name(count, variant));
            }
        }
    }
}
