//! Which kinds of cases have been judged: every policy, way and outcome, in each family and protocol.

use std::collections::BTreeMap;

use orlop_plan::{DetectLocal, Family, Frontend, FrontendKind, Plan, Protocol};

use crate::{Shot, Way};

const OUTCOMES: [&str; 6] = ["dropped", "refused", "passed", "forwarded", "masqueraded", "hairpin"];
const WAYS: [&str; 3] = ["from the node", "from the uplink", "from a pod"];
const PODS: [&str; 4] = ["pods by CIDR", "pods unknown", "pods by bridge", "pods by prefix"];
const POLICIES: [&str; 12] = [
    "ClusterIp",
    "ClusterIp with affinity",
    "NodePort",
    "NodePort with affinity",
    "NodePort with Local",
    "ExternalIp",
    "ExternalIp with affinity",
    "ExternalIp with Local",
    "LoadBalancer",
    "LoadBalancer with affinity",
    "LoadBalancer with Local",
    "LoadBalancer with source ranges",
];

/// A kind of case.
type Cell = (String, Family, Protocol);

/// Counts of judged packets.
#[derive(Debug, Default)]
pub struct Coverage {
    cells: BTreeMap<Cell, usize>,
    judged: usize,
}

impl Coverage {
    /// Counts one packet whose outcome was right.
    pub fn count(&mut self, plan: &Plan, shot: &Shot, outcome: &str) {
        self.judged += 1;
        let mut labels = vec![outcome.to_string(), way(shot).into(), pods(plan, shot.family()).into()];
        let exact = plan.get(&Frontend::ip(shot.destination, shot.protocol, shot.port));
        let node_port = Frontend::node_port(shot.family(), shot.protocol, shot.port);
        let target = exact.or_else(|| plan.get(&node_port).filter(|_| plan.node.answers_node_ports(shot.destination)));
        if let Some(target) = target {
            let kind: FrontendKind = target.kind;
            labels.push(format!("{kind:?}"));
            let features = [
                (target.affinity_seconds.is_some(), "affinity"),
                (target.local.is_some(), "Local"),
                (target.source_ranges.is_some(), "source ranges"),
            ];
            let named = features.iter().filter(|(has, _)| *has).map(|(_, name)| format!("{kind:?} with {name}"));
            labels.extend(named);
        }
        for label in labels {
            *self.cells.entry((label, shot.family(), shot.protocol)).or_default() += 1;
        }
    }

    /// How many packets were judged.
    pub const fn judged(&self) -> usize {
        self.judged
    }

    /// Kinds of cases that never came, of the families and protocols that a judge can judge.
    pub fn missing(&self, families: &[Family], protocols: &[Protocol]) -> Vec<String> {
        let mut missing = Vec::new();
        for label in OUTCOMES.iter().chain(&WAYS).chain(&PODS).chain(&POLICIES) {
            for family in families {
                for protocol in protocols {
                    if !self.cells.contains_key(&(label.to_string(), *family, *protocol)) {
                        missing.push(format!("{label}, {protocol} over {family:?}"));
                    }
                }
            }
        }
        missing
    }
}

fn way(shot: &Shot) -> &'static str {
    match shot.way {
        Way::Node => WAYS[0],
        Way::Uplink => WAYS[1],
        Way::Pod(_) => WAYS[2],
    }
}

fn pods(plan: &Plan, family: Family) -> &'static str {
    match &plan.node.detect_local {
        DetectLocal::Cidrs(cidrs) if cidrs.iter().any(|cidr| Family::of(cidr.addr()) == family) => PODS[0],
        DetectLocal::Cidrs(_) => PODS[1],
        DetectLocal::Bridge(_) => PODS[2],
        DetectLocal::InterfacePrefix(_) => PODS[3],
    }
}
