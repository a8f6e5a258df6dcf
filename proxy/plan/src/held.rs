//! What the kernel really holds for a frontend, and where it differs from the plan.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::{Endpoint, Masquerade, Target, WhenEmpty};

/// One frontend as read back from the kernel. What a backend cannot read is none and is not compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// [`Target::endpoints`].
    pub endpoints: Vec<(IpAddr, u16)>,
    /// [`Target::local`]; none if the frontend has no Local policy in the kernel.
    pub local: Option<Vec<(IpAddr, u16)>>,
    /// [`Target::affinity_seconds`].
    pub affinity_seconds: Option<u32>,
    /// [`Target::source_ranges`]; none if every caller is admitted.
    pub source_ranges: Option<Vec<IpNet>>,
    /// [`Target::masquerade`].
    pub masquerade: Option<Masquerade>,
    /// [`Target::when_empty`].
    pub when_empty: Option<WhenEmpty>,
    /// Where it was found, for a person: one line each.
    pub places: Vec<String>,
}

impl Held {
    /// How this differs from what the plan wants (none: nothing should be there), one line each; empty if it does not.
    pub fn drift(held: Option<&Self>, wanted: Option<&Target>) -> Vec<String> {
        match (held, wanted) {
            (None, None) => Vec::new(),
            (None, Some(target)) => vec![format!("the kernel holds nothing for {}", target.name)],
            (Some(_), None) => vec!["the kernel holds it, but no Service claims it".into()],
            (Some(held), Some(target)) => held.differences(target),
        }
    }

    fn differences(&self, target: &Target) -> Vec<String> {
        let mut all = Vec::new();
        compare_sets("endpoint", &self.endpoints, &target.endpoints, &mut all);
        match (&self.local, &target.local) {
            (Some(held), Some(wanted)) => compare_sets("local endpoint", held, wanted, &mut all),
            (None, None) => {}
            (held, _) => all.push(format!(
                "the kernel {} a Local policy, the plan {}",
                if held.is_some() { "has" } else { "lacks" },
                if held.is_some() { "does not" } else { "has one" }
            )),
        }
        if self.affinity_seconds != target.affinity_seconds {
            let text = |seconds: Option<u32>| seconds.map_or("none".into(), |s| format!("{s} s"));
            let (held, wanted) = (text(self.affinity_seconds), text(target.affinity_seconds));
            all.push(format!("affinity: the kernel has {held}, the plan {wanted}"));
        }
        let ranges = |all: &[IpNet]| IpNet::aggregate(&all.iter().map(IpNet::trunc).collect());
        let held = self.source_ranges.as_deref().map(ranges);
        let wanted = target.source_ranges.as_deref().map(ranges);
        if held != wanted {
            let text = |ranges: Option<Vec<IpNet>>| ranges.map_or("every source".into(), |all| list(&all));
            all.push(format!("admitted sources: the kernel has {}, the plan {}", text(held), text(wanted)));
        }
        if let Some(held) = self.masquerade.filter(|held| *held != target.masquerade) {
            all.push(format!("masquerade: the kernel has {held:?}, the plan {:?}", target.masquerade));
        }
        if let Some(held) = self.when_empty.filter(|held| *held != target.when_empty) {
            all.push(format!("without endpoints: the kernel has {held:?}, the plan {:?}", target.when_empty));
        }
        all
    }
}

fn compare_sets(what: &str, held: &[(IpAddr, u16)], wanted: &[Endpoint], all: &mut Vec<String>) {
    let held: BTreeSet<_> = held.iter().copied().collect();
    let wanted: BTreeSet<_> = wanted.iter().map(|e| (e.address, e.port)).collect();
    let shown = |set: &BTreeSet<(IpAddr, u16)>, other: &BTreeSet<(IpAddr, u16)>| {
        list(&set.difference(other).map(|(ip, port)| std::net::SocketAddr::new(*ip, *port)).collect::<Vec<_>>())
    };
    let (extra, missing) = (shown(&held, &wanted), shown(&wanted, &held));
    if !missing.is_empty() {
        all.push(format!("{what}s missing in the kernel: {missing}"));
    }
    if !extra.is_empty() {
        all.push(format!("{what}s only in the kernel: {extra}"));
    }
}

fn list<T: Display>(all: &[T]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
