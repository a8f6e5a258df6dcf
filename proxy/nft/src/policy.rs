//! Policies: what happens to a packet between finding its group and choosing an endpoint, as chains that Services share.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use ipnet::IpNet;
use orlop_plan::{Family, Masquerade, Target};
use sha2::{Digest, Sha256};

use crate::expr::{Address, Expr, Verdict};
use crate::layout::registers::{ADDRESS, CHOICE, COUNT, COUNTED, ENDPOINT, ENDPOINT_ADDRESS, FRONTEND, GROUP, MEMBER};
use crate::layout::{self, Chain, LABEL, address_registers, find_group, lookup, source_is_local};
use crate::pods::Pods;

/// Everything of a target that is not its endpoints. Few distinct ones exist in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    masquerade: Masquerade,
    local: bool,
    affinity: Option<u32>,
    sources: Option<Arc<[IpNet]>>,
}

/// What distinguishes chains of one endpoint count, and the second part of `balance`'s key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Variant {
    /// Balance over the group's local half.
    pub local: bool,
    /// Seconds of ClientIP affinity; 0 for none.
    pub affinity: u32,
}

impl Variant {
    /// The number in the map's key.
    pub const fn number(self) -> u32 {
        (self.affinity << 1) | self.local as u32
    }
}

impl Policy {
    pub fn of(target: &Target) -> Self {
        Self {
            masquerade: target.masquerade,
            local: target.local.is_some(),
            affinity: target.affinity_seconds.map(|seconds| seconds.clamp(1, 86_400)),
            sources: target.source_ranges.clone(),
        }
    }

    /// The variants its packets may be balanced by.
    pub fn variants(&self) -> impl Iterator<Item = Variant> {
        let locals: &[bool] = if self.local { &[false, true] } else { &[false] };
        locals.iter().map(|local| self.variant(*local))
    }

    /// The variant that a group, or its local half, is balanced by.
    pub fn variant(&self, local: bool) -> Variant {
        Variant { local, affinity: self.affinity.unwrap_or(0) }
    }

    /// The name of its chain.
    pub fn chain_name(&self) -> String {
        let mut name = match (self.local, self.masquerade) {
            (true, _) => "policy-local".to_string(),
            (false, Masquerade::Never) => "policy-keep".to_string(),
            (false, Masquerade::Outside) => "policy-outside".to_string(),
            (false, Masquerade::Always) => "policy-masquerade".to_string(),
        };
        if let Some(seconds) = self.affinity {
            let _ = write!(name, "-affinity-{seconds}");
        }
        if let Some(sources) = &self.sources {
            let mut hash = Sha256::new();
            sources.iter().for_each(|range| hash.update(format!("{range} ")));
            name.push_str("-from-");
            for byte in hash.finalize().iter().take(8) {
                let _ = write!(name, "{byte:02x}");
            }
        }
        name
    }

    /// Its chains, the one it is entered by last.
    pub fn chains(&self, family: Family, pods: &Pods) -> Vec<Chain> {
        let Some(sources) = &self.sources else {
            return vec![Chain::new(self.chain_name(), self.rules(family, pods))];
        };
        let admitted = Self { sources: None, ..self.clone() };
        let inner = admitted.chain_name();
        let mut rules: Vec<_> = sources.iter().map(|range| from_range(range, &inner)).collect();
        rules.push(vec![Expr::Verdict(Verdict::Drop)]);
        let mut chains = admitted.chains(family, pods);
        chains.push(Chain::new(self.chain_name(), rules));
        chains
    }

    fn rules(&self, family: Family, pods: &Pods) -> Vec<Vec<Expr>> {
        let affinity = self.affinity.unwrap_or(0);
        let everywhere = Variant { local: false, affinity };
        let mut rules = Vec::new();
        if self.local {
            rules.push([source_is_local(), pods.mark_for_masquerade()].concat());
            for guard in [Some(source_is_local()), pods.is_pod()].into_iter().flatten() {
                rules.extend(balance(family, everywhere).into_iter().map(|rule| [guard.clone(), rule].concat()));
            }
            rules.extend(balance(family, Variant { local: true, affinity }));
            return rules;
        }
        match self.masquerade {
            Masquerade::Never => {}
            Masquerade::Outside => {
                rules.extend(pods.is_stranger().map(|guard| [guard, pods.mark_for_masquerade()].concat()))
            }
            Masquerade::Always => rules.push(pods.mark_for_masquerade()),
        }
        rules.extend(balance(family, everywhere));
        rules
    }
}

/// Rules that send a packet to the chain of its group's endpoint count; a remembered client goes first.
fn balance(family: Family, variant: Variant) -> Vec<Vec<Expr>> {
    let mut rules = Vec::new();
    if variant.affinity > 0 {
        for way in find_group(family) {
            let client = Expr::LoadAddress { which: Address::Source, to: CHOICE };
            let mut rule = [way, half(variant)].concat();
            // What nft believes to be the copy of the group.
            rule.extend([Expr::LoadProtocol { to: MEMBER }, Expr::LoadDestinationPort { to: MEMBER + 1 }]);
            rule.push(client.clone());
            rule.extend(endpoint(family, layout::AFFINITY));
            rule.extend(still_member());
            rule.extend([client, remember(variant), dnat(family)]);
            rules.push(rule);
        }
    }
    for way in find_group(family) {
        let mut rule = [way, half(variant)].concat();
        rule.push(Expr::LoadDestinationPort { to: COUNT });
        rule.extend(lookup(layout::COUNTS, GROUP, COUNTED));
        rule.push(Expr::Load { to: COUNT + 1, value: variant.number().to_ne_bytes().to_vec() });
        rule.push(Expr::VerdictMap { map: layout::BALANCE, from: COUNT });
        rules.push(rule);
    }
    rules
}

/// The chain that chooses among `count` endpoints.
pub(crate) fn count_chain(family: Family, count: u32, variant: Variant) -> Chain {
    let choose = |way: Vec<Expr>| {
        let mut rule = [way, half(variant)].concat();
        rule.push(Expr::Random { to: CHOICE, modulus: count });
        rule.extend(endpoint(family, layout::ENDPOINTS));
        rule
    };
    let mut rules = Vec::new();
    if variant.affinity > 0 {
        for way in find_group(family) {
            let mut rule = choose(way);
            rule.push(Expr::LoadAddress { which: Address::Source, to: CHOICE });
            rule.push(label());
            // An endpoint that is none any more may still be remembered, and would not be replaced.
            rule.push(Expr::Forget { map: layout::AFFINITY, key: GROUP, value: ENDPOINT });
            rule.extend([remember(variant), dnat(family)]);
            rules.push(rule);
        }
    }
    // Also where a client could not be remembered because the map is full.
    rules.extend(find_group(family).into_iter().map(|way| [choose(way), vec![dnat(family)]].concat()));
    Chain::new(count_chain_name(count, variant), rules)
}

/// Loads the endpoint that a map has for the group and what follows it.
fn endpoint(family: Family, map: &'static str) -> Vec<Expr> {
    let port = ENDPOINT_ADDRESS + address_registers(family);
    let mut rule = vec![
        Expr::LoadAddress { which: Address::Destination, to: ENDPOINT_ADDRESS },
        Expr::LoadDestinationPort { to: port },
    ];
    rule.extend(lookup(map, GROUP, ENDPOINT));
    rule
}

/// The name of [`count_chain`]'s chain.
pub(crate) fn count_chain_name(count: u32, variant: Variant) -> String {
    let local = if variant.local { "-local" } else { "" };
    match variant.affinity {
        0 => format!("to-{count}{local}"),
        seconds => format!("to-{count}{local}-affinity-{seconds}"),
    }
}

/// Turns a group into its local half: the lowest bit of the id's first byte. It begins with the label, for nft's sake.
fn half(variant: Variant) -> Vec<Expr> {
    if !variant.local {
        return Vec::new();
    }
    const { assert!(GROUP == FRONTEND + 1) };
    let mask = vec![0xff, 0xff, 0xff, 0xff, 0xfe, 0xff, 0xff, 0xff];
    vec![Expr::Bitwise { from: FRONTEND, to: FRONTEND, mask, xor: vec![0, 0, 0, 0, 1, 0, 0, 0] }]
}

/// Goes on only if the endpoint is one of the group's; the client's address is overwritten.
fn still_member() -> [Expr; 3] {
    const { assert!(GROUP == FRONTEND + 1 && ENDPOINT == MEMBER + 2) };
    // The label comes along, for nft's sake.
    let copy = Expr::Bitwise { from: FRONTEND, to: MEMBER - 1, mask: vec![0xff; 12], xor: vec![0; 12] };
    [copy, label(), Expr::InSet { set: layout::MEMBERS, from: MEMBER, inverted: false }]
}

/// Writes an endpoint's label over what nft takes for nothing.
fn label() -> Expr {
    Expr::Load { to: ENDPOINT, value: LABEL.to_ne_bytes().to_vec() }
}

fn remember(variant: Variant) -> Expr {
    Expr::Remember { map: layout::AFFINITY, key: GROUP, value: ENDPOINT, seconds: variant.affinity }
}

fn dnat(family: Family) -> Expr {
    Expr::Dnat { address: ENDPOINT_ADDRESS, port: ENDPOINT_ADDRESS + address_registers(family) }
}

fn from_range(range: &IpNet, chain: &str) -> Vec<Expr> {
    let bytes = |address: std::net::IpAddr| match address {
        std::net::IpAddr::V4(ip) => ip.octets().to_vec(),
        std::net::IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let mask = bytes(range.netmask());
    vec![
        Expr::LoadAddress { which: Address::Source, to: ADDRESS },
        Expr::Bitwise { from: ADDRESS, to: ADDRESS, xor: vec![0; mask.len()], mask },
        Expr::Compare { from: ADDRESS, equal: true, value: bytes(range.network()) },
        Expr::Verdict(Verdict::Goto(chain.into())),
    ]
}

/// Numbers of policies as they stand in the frontends' values, learned from the kernel or given out anew.
#[derive(Default)]
pub(crate) struct PolicyNumbers {
    by_name: BTreeMap<String, u32>,
}

impl PolicyNumbers {
    /// Takes over a number that the kernel already has.
    pub fn learn(&mut self, name: &str, number: u32) {
        self.by_name.insert(name.into(), number);
    }

    pub fn forget(&mut self, name: &str) {
        self.by_name.remove(name);
    }

    /// The number of a known policy.
    pub fn get(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// Gives a policy the lowest free number.
    pub fn assign(&mut self, name: &str) -> u32 {
        let mut number = 1;
        while self.by_name.values().any(|taken| *taken == number) {
            number += 1;
        }
        self.by_name.insert(name.into(), number);
        number
    }
}
