//! `spec.affinity.podAffinity` and `podAntiAffinity`: near or far from other pods, in terms of a topology key of their Nodes.

use std::collections::{BTreeMap, HashMap, HashSet};

use k8s_openapi::api::core::v1::{PodAffinityTerm, WeightedPodAffinityTerm};
use kube::core::{Expression, Selector, SelectorExt as _};

use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;

const AFFINITY: &str = "node(s) didn't match pod affinity rules";
const ANTI_AFFINITY: &str = "node(s) didn't match pod anti-affinity rules";
const EXISTING_ANTI_AFFINITY: &str = "node(s) didn't satisfy existing pods anti-affinity rules";
/// A pod that demands to be near us is drawn with this weight (`hardPodAffinityWeight`).
const HARD_WEIGHT: i64 = 1;

type Labels = BTreeMap<String, String>;
/// The labels of a namespace.
pub(crate) type NamespaceLabels<'a> = &'a dyn Fn(&str) -> Option<Labels>;

struct Term<'a> {
    key: &'a str,
    namespaces: HashSet<&'a str>,
    namespace_selector: Option<Selector>,
    /// `None` selects nothing.
    selector: Option<Selector>,
}

impl<'a> Term<'a> {
    fn new(owner: &'a PodInfo, term: &'a PodAffinityTerm) -> Self {
        let mut selector = term.label_selector.clone().and_then(|selector| Selector::try_from(selector).ok());
        let labels = owner.pod.metadata.labels.as_ref();
        let value = |key: &String| Some((key.clone(), labels?.get(key)?.clone()));
        if let Some(selector) = &mut selector {
            let same = term.match_label_keys.iter().flatten().filter_map(value);
            selector.extend(same.map(|(key, value)| Expression::Equal(key, value)));
            let other = term.mismatch_label_keys.iter().flatten().filter_map(value);
            selector.extend(other.map(|(key, value)| Expression::NotEqual(key, value)));
        }
        let mut namespaces: HashSet<&str> = term.namespaces.iter().flatten().map(String::as_str).collect();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.insert(owner.namespace());
        }
        let namespace_selector = term.namespace_selector.clone().and_then(|selector| Selector::try_from(selector).ok());
        Self { key: &term.topology_key, namespaces, namespace_selector, selector }
    }

    fn selects(&self, pod: &PodInfo, namespace_labels: NamespaceLabels<'_>) -> bool {
        let empty = Labels::new();
        let namespace = pod.namespace();
        let in_namespace = self.namespaces.contains(namespace)
            || self.namespace_selector.as_ref().is_some_and(|selector| {
                selector.selects_all() || selector.matches(&namespace_labels(namespace).unwrap_or_default())
            });
        let labels = pod.pod.metadata.labels.as_ref().unwrap_or(&empty);
        in_namespace && self.selector.as_ref().is_some_and(|selector| selector.matches(labels))
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Near,
    Far,
}

fn required(pod: &PodInfo, direction: Direction) -> Vec<Term<'_>> {
    let affinity = pod.spec().and_then(|spec| spec.affinity.as_ref());
    let terms = affinity.and_then(|affinity| match direction {
        Direction::Near => affinity.pod_affinity.as_ref()?.required_during_scheduling_ignored_during_execution.as_ref(),
        Direction::Far => {
            affinity.pod_anti_affinity.as_ref()?.required_during_scheduling_ignored_during_execution.as_ref()
        }
    });
    terms.into_iter().flatten().map(|term| Term::new(pod, term)).collect()
}

/// The wishes of a pod with their weights; negative ones are to be far.
fn preferred(pod: &PodInfo) -> Vec<(Term<'_>, i64)> {
    let Some(affinity) = pod.spec().and_then(|spec| spec.affinity.as_ref()) else { return Vec::new() };
    let near = affinity.pod_affinity.as_ref();
    let near = near.and_then(|near| near.preferred_during_scheduling_ignored_during_execution.as_ref());
    let far = affinity.pod_anti_affinity.as_ref();
    let far = far.and_then(|far| far.preferred_during_scheduling_ignored_during_execution.as_ref());
    let term = |wish: &'_ WeightedPodAffinityTerm, sign: i64| i64::from(wish.weight) * sign;
    let near = near.into_iter().flatten().map(|wish| (Term::new(pod, &wish.pod_affinity_term), term(wish, 1)));
    let far = far.into_iter().flatten().map(|wish| (Term::new(pod, &wish.pod_affinity_term), term(wish, -1)));
    near.chain(far).collect()
}

type Topology<'a> = (&'a str, &'a str);

/// What pod affinity forbids, for one pod over all Nodes.
pub(crate) struct Hard<'a> {
    near: Vec<Term<'a>>,
    far: Vec<Term<'a>>,
    /// Where pods are that match every term of `near`.
    near_at: HashSet<Topology<'a>>,
    far_at: HashSet<Topology<'a>>,
    refused_at: HashSet<Topology<'a>>,
    /// The pod would be its own first neighbour.
    selects_itself: bool,
}

impl<'a> Hard<'a> {
    pub(crate) fn new(
        pod: &'a PodInfo,
        nodes: impl Iterator<Item = &'a NodeInfo>,
        namespace_labels: NamespaceLabels<'_>,
    ) -> Self {
        let (near, far) = (required(pod, Direction::Near), required(pod, Direction::Far));
        let (mut near_at, mut far_at, mut refused_at) = (HashSet::new(), HashSet::new(), HashSet::new());
        for node in nodes {
            for other in node.pods.values() {
                if !near.is_empty() && near.iter().all(|term| term.selects(other, namespace_labels)) {
                    near_at.extend(near.iter().filter_map(|term| at(term, node)));
                }
                let matching = far.iter().filter(|term| term.selects(other, namespace_labels));
                far_at.extend(matching.filter_map(|term| at(term, node)));
                for term in required(other, Direction::Far) {
                    if term.selects(pod, namespace_labels)
                        && let Some(domain) = node.label(term.key)
                    {
                        refused_at.insert((term.key, domain));
                    }
                }
            }
        }
        let selects_itself = near.iter().all(|term| term.selects(pod, namespace_labels));
        Self { near, far, near_at, far_at, refused_at, selects_itself }
    }

    /// Why a Node may not take the pod.
    pub(crate) fn reason(&self, node: &NodeInfo) -> Option<&'static str> {
        let there = |set: &HashSet<Topology<'_>>, key: &str| node.label(key).is_some_and(|v| set.contains(&(key, v)));
        let has_keys = self.near.iter().all(|term| node.label(term.key).is_some());
        let first = self.near_at.is_empty() && self.selects_itself && has_keys;
        if !first && !self.near.iter().all(|term| there(&self.near_at, term.key)) {
            return Some(AFFINITY);
        }
        if self.far.iter().any(|term| there(&self.far_at, term.key)) {
            return Some(ANTI_AFFINITY);
        }
        let refused = self.refused_at.iter().any(|(key, domain)| node.label(key) == Some(domain));
        refused.then_some(EXISTING_ANTI_AFFINITY)
    }
}

/// The domain of a Node in which a term counts.
fn at<'a>(term: &Term<'a>, node: &'a NodeInfo) -> Option<Topology<'a>> {
    Some((term.key, node.label(term.key)?))
}

/// Scores by everybody's wishes: 100 for the Node where they weigh most. `None` if nobody wishes anything.
pub(crate) fn scores<'a>(
    pod: &PodInfo,
    candidates: &[&NodeInfo],
    nodes: impl Iterator<Item = &'a NodeInfo>,
    namespace_labels: NamespaceLabels<'_>,
) -> Option<Vec<i64>> {
    let own = preferred(pod);
    let mut weights: HashMap<(String, String), i64> = HashMap::new();
    for node in nodes {
        let mut note = |key: &str, weight: i64| {
            if let Some(domain) = node.label(key) {
                *weights.entry((key.to_owned(), domain.to_owned())).or_default() += weight;
            }
        };
        for other in node.pods.values() {
            for (term, weight) in &own {
                if term.selects(other, namespace_labels) {
                    note(term.key, *weight);
                }
            }
            if other.spec().is_none_or(|spec| spec.affinity.is_none()) {
                continue;
            }
            let hard = required(other, Direction::Near).into_iter().map(|term| (term, HARD_WEIGHT));
            for (term, weight) in preferred(other).into_iter().chain(hard) {
                if term.selects(pod, namespace_labels) {
                    note(term.key, weight);
                }
            }
        }
    }
    if weights.is_empty() {
        return None;
    }
    let raw: Vec<i64> = candidates
        .iter()
        .map(|node| {
            let here = weights.iter().filter(|((key, domain), _)| node.label(key) == Some(domain));
            here.map(|(_, weight)| weight).sum()
        })
        .collect();
    let (least, most) = (raw.iter().min().copied()?, raw.iter().max().copied()?);
    Some(raw.iter().map(|score| if most == least { 0 } else { 100 * (score - least) / (most - least) }).collect())
}
