//! Spreading: `spec.topologySpreadConstraints`, and the system's default ones (over hosts and zones, softly) for pods that belong
//! to a Service or a workload.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::TopologySpreadConstraint;
use kube::core::{Expression, Selector, SelectorExt as _};
use orlop_placement::taints;

use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;

const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";
const MISMATCH: &str = "node(s) didn't match pod topology spread constraints";
const MISSING_LABEL: &str = "node(s) didn't match pod topology spread constraints (missing required label)";

struct Constraint {
    key: String,
    max_skew: i32,
    min_domains: i32,
    /// `None` selects nothing.
    selector: Option<Selector>,
    honor_affinity: bool,
    honor_taints: bool,
}

impl Constraint {
    fn new(constraint: &TopologySpreadConstraint, pod: &PodInfo) -> Self {
        let mut selector = constraint.label_selector.clone().and_then(|selector| Selector::try_from(selector).ok());
        for key in constraint.match_label_keys.iter().flatten() {
            let value = labels(pod).and_then(|labels| labels.get(key));
            if let (Some(selector), Some(value)) = (&mut selector, value) {
                selector.extend([Expression::Equal(key.clone(), value.clone())]);
            }
        }
        Self {
            key: constraint.topology_key.clone(),
            max_skew: constraint.max_skew,
            min_domains: constraint.min_domains.unwrap_or(1),
            selector,
            honor_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
            honor_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
        }
    }

    fn default(key: &str, max_skew: i32, selector: &Selector) -> Self {
        Self {
            key: key.to_owned(),
            max_skew,
            min_domains: 1,
            selector: Some(selector.clone()),
            honor_affinity: true,
            honor_taints: false,
        }
    }

    /// Whether a Node's pods count.
    fn includes(&self, pod: &PodInfo, node: &NodeInfo) -> bool {
        (!self.honor_affinity || node.is_demanded(pod))
            && (!self.honor_taints || taints::untolerated(pod.tolerations(), node.taints()).is_none())
    }

    fn selects(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        let empty = BTreeMap::new();
        self.selector.as_ref().is_some_and(|selector| selector.matches(labels.unwrap_or(&empty)))
    }

    /// How many pods like this one a Node has.
    fn count(&self, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let others = node.pods.values().filter(|other| {
            other.namespace() == pod.namespace() && !other.is_terminating() && self.selects(labels(other))
        });
        i64::try_from(others.count()).unwrap_or(i64::MAX)
    }
}

fn labels(pod: &PodInfo) -> Option<&BTreeMap<String, String>> {
    pod.pod.metadata.labels.as_ref()
}

fn constraints(pod: &PodInfo, when: &str) -> Vec<Constraint> {
    let all = pod.spec().and_then(|spec| spec.topology_spread_constraints.as_deref()).unwrap_or_default();
    all.iter().filter(|c| c.when_unsatisfiable == when).map(|c| Constraint::new(c, pod)).collect()
}

fn has_all_keys(node: &NodeInfo, constraints: &[Constraint]) -> bool {
    constraints.iter().all(|constraint| node.label(&constraint.key).is_some())
}

/// The constraints that forbid (`DoNotSchedule`).
pub(crate) struct Hard {
    constraints: Vec<Constraint>,
    /// For each constraint, how many pods each of its domains has.
    domains: Vec<HashMap<String, i64>>,
}

impl Hard {
    pub(crate) fn new<'a>(pod: &PodInfo, nodes: impl Iterator<Item = &'a NodeInfo>) -> Self {
        let constraints = constraints(pod, "DoNotSchedule");
        let mut domains = vec![HashMap::new(); constraints.len()];
        if !constraints.is_empty() {
            for node in nodes.filter(|node| has_all_keys(node, &constraints)) {
                for (constraint, domains) in constraints.iter().zip(&mut domains) {
                    let Some(domain) = node.label(&constraint.key) else { continue };
                    if constraint.includes(pod, node) {
                        *domains.entry(domain.to_owned()).or_default() += constraint.count(pod, node);
                    }
                }
            }
        }
        Self { constraints, domains }
    }

    /// Why a Node may not take the pod.
    pub(crate) fn reason(&self, pod: &PodInfo, node: &NodeInfo) -> Option<&'static str> {
        self.constraints.iter().zip(&self.domains).find_map(|(constraint, domains)| {
            let Some(domain) = node.label(&constraint.key) else { return Some(MISSING_LABEL) };
            let few = i32::try_from(domains.len()).unwrap_or(i32::MAX) < constraint.min_domains;
            let least = if few { 0 } else { domains.values().copied().min().unwrap_or(0) };
            let own = i64::from(constraint.selects(labels(pod)));
            let count = domains.get(domain).copied().unwrap_or(0);
            (count + own - least > i64::from(constraint.max_skew)).then_some(MISMATCH)
        })
    }
}

/// Scores by the constraints that only wish (`ScheduleAnyway`), or by the default ones with the selector of what the pod
/// belongs to: 100 for the emptiest domain. `None` if nothing is wished.
pub(crate) fn scores<'a>(
    pod: &PodInfo,
    default_selector: Option<&Selector>,
    candidates: &[&NodeInfo],
    nodes: impl Iterator<Item = &'a NodeInfo>,
) -> Option<Vec<i64>> {
    let own = pod.spec().is_some_and(|spec| spec.topology_spread_constraints.as_ref().is_some_and(|c| !c.is_empty()));
    let constraints = if own {
        constraints(pod, "ScheduleAnyway")
    } else {
        let selector = default_selector?;
        vec![Constraint::default(HOSTNAME, 3, selector), Constraint::default(ZONE, 5, selector)]
    };
    if constraints.is_empty() {
        return None;
    }
    let considered = |node: &NodeInfo| !own || has_all_keys(node, &constraints);
    let mut domains: Vec<HashMap<&str, i64>> = vec![HashMap::new(); constraints.len()];
    for node in candidates.iter().filter(|node| considered(node)) {
        for (constraint, domains) in constraints.iter().zip(&mut domains) {
            if constraint.key != HOSTNAME {
                domains.insert(node.label(&constraint.key).unwrap_or_default(), 0);
            }
        }
    }
    for node in nodes.filter(|node| considered(node)) {
        for (constraint, domains) in constraints.iter().zip(&mut domains) {
            if let Some(count) = domains.get_mut(node.label(&constraint.key).unwrap_or_default())
                && constraint.includes(pod, node)
            {
                *count += constraint.count(pod, node);
            }
        }
    }
    let hosts = candidates.iter().filter(|node| considered(node)).count();
    let raw = candidates.iter().map(|node| {
        considered(node).then(|| {
            let parts = constraints.iter().zip(&domains).filter_map(|(constraint, domains)| {
                let domain = node.label(&constraint.key)?;
                let is_host = constraint.key == HOSTNAME;
                let count =
                    if is_host { constraint.count(pod, node) } else { domains.get(domain).copied().unwrap_or(0) };
                let size = if is_host { hosts } else { domains.len() };
                Some(count as f64 * ((size + 2) as f64).ln() + (f64::from(constraint.max_skew) - 1.0))
            });
            parts.sum::<f64>().round() as i64
        })
    });
    Some(normalize(&raw.collect::<Vec<_>>()))
}

/// Few pods are a high score; a Node that lacks a label has none.
fn normalize(raw: &[Option<i64>]) -> Vec<i64> {
    let (least, most) = (raw.iter().flatten().min().copied(), raw.iter().flatten().max().copied());
    let (Some(least), Some(most)) = (least, most) else { return vec![0; raw.len()] };
    let score = |raw: &i64| if most == 0 { 100 } else { 100 * (most + least - raw) / most };
    raw.iter().map(|raw| raw.as_ref().map_or(0, score)).collect()
}
