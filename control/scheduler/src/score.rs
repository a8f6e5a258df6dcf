//! Scores: of the Nodes that can take a pod, how good each is, 0 to 100 by each measure, summed with kube-scheduler's weights.

use kube::core::Selector;
use orlop_placement::{node_affinity, taints};

use crate::cache::Cache;
use crate::node_info::NodeInfo;
use crate::pod_affinity::{self, NamespaceLabels};
use crate::pod_info::PodInfo;
use crate::resources::{CPU, MEMORY, Resources};
use crate::spread;

const TAINT_TOLERATION: i64 = 3;
const NODE_AFFINITY: i64 = 2;
const SPREAD: i64 = 2;
const POD_AFFINITY: i64 = 2;

/// The total for each candidate.
pub(crate) fn scores(
    pod: &PodInfo,
    candidates: &[&NodeInfo],
    cache: &Cache,
    default_selector: Option<&Selector>,
    namespace_labels: NamespaceLabels<'_>,
) -> Vec<i64> {
    let mut totals: Vec<i64> = candidates.iter().map(|node| least_allocated(pod, node) + balanced(pod, node)).collect();
    let mut add = |weight: i64, scores: Vec<i64>| {
        for (total, score) in totals.iter_mut().zip(scores) {
            *total += weight * score;
        }
    };
    let disliked = candidates.iter().map(|node| taints::disliked(pod.tolerations(), node.taints()));
    let disliked = disliked.map(|count| i64::try_from(count).unwrap_or(i64::MAX)).collect();
    add(TAINT_TOLERATION, to_hundred(disliked).into_iter().map(|score| 100 - score).collect());
    let preferred = candidates.iter().map(|node| preferred(pod, node)).collect();
    add(NODE_AFFINITY, to_hundred(preferred));
    add(SPREAD, spread::scores(pod, default_selector, candidates, cache.nodes()).unwrap_or_default());
    add(POD_AFFINITY, pod_affinity::scores(pod, candidates, cache.nodes(), namespace_labels).unwrap_or_default());
    totals
}

fn preferred(pod: &PodInfo, node: &NodeInfo) -> i64 {
    pod.spec().zip(node.node.as_ref()).map_or(0, |(spec, node)| node_affinity::preferred(spec, node))
}

/// In proportion, 100 for the highest.
fn to_hundred(scores: Vec<i64>) -> Vec<i64> {
    let most = scores.iter().copied().max().unwrap_or(0);
    scores.into_iter().map(|score| if most == 0 { 0 } else { score * 100 / most }).collect()
}

/// How much would be left, in percent, of cpu and memory on average (NodeResourcesFit, LeastAllocated).
fn least_allocated(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let left = [CPU, MEMORY].into_iter().filter_map(|name| {
        let (has, used) = (node.allocatable.get(name), node.scored.get(name).saturating_add(pod.scored.get(name)));
        (has > 0).then(|| if used > has { 0 } else { (has - used).saturating_mul(100) / has })
    });
    let left: Vec<i64> = left.collect();
    if left.is_empty() { 0 } else { left.iter().sum::<i64>() / left.len() as i64 }
}

/// How equally cpu and memory would be used (NodeResourcesBalancedAllocation); a pod that asks for neither changes nothing.
fn balanced(pod: &PodInfo, node: &NodeInfo) -> i64 {
    if pod.requests == Resources::default() {
        return 0;
    }
    let fraction = |name| {
        let has = node.allocatable.get(name);
        let used = node.requested.get(name).saturating_add(pod.requests.get(name));
        (has > 0).then(|| (used as f64 / has as f64).min(1.0))
    };
    match (fraction(CPU), fraction(MEMORY)) {
        (Some(cpu), Some(memory)) => ((1.0 - (cpu - memory).abs() / 2.0) * 100.0) as i64,
        _ => 100,
    }
}
