//! The decision: a Node for a pod, or why there is none.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use kube::core::Selector;

use crate::cache::Cache;
use crate::filter;
use crate::pod_affinity::{self, NamespaceLabels};
use crate::pod_info::PodInfo;
use crate::score;
use crate::spread;

/// What a decision rests on besides the pod.
pub(crate) struct Cluster<'a> {
    pub(crate) cache: &'a Cache,
    pub(crate) namespace_labels: NamespaceLabels<'a>,
    /// The selector of the Services and workloads that the pod belongs to.
    pub(crate) default_selector: Option<Selector>,
}

/// No Node can take the pod. Its text is kube-scheduler's `FitError`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) struct Unfit {
    nodes: usize,
    /// How many Nodes refuse for each reason.
    reasons: BTreeMap<String, usize>,
}

impl Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        write!(f, "0/{} nodes are available:", self.nodes)?;
        let mut reasons: Vec<String> = self.reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        // As text, like upstream: "10 ..." comes before "2 ...".
        reasons.sort();
        write!(f, " {}.", reasons.join(", "))
    }
}

/// Chooses a Node; `choose(n)` picks one of `n` equally good ones.
pub(crate) fn decide(
    pod: &PodInfo,
    cluster: &Cluster<'_>,
    choose: impl FnOnce(usize) -> usize,
) -> Result<String, Unfit> {
    let spread = spread::Hard::new(pod, cluster.cache.nodes());
    let affinity = pod_affinity::Hard::new(pod, cluster.cache.nodes(), cluster.namespace_labels);
    let mut unfit = Unfit { nodes: 0, reasons: BTreeMap::new() };
    let mut candidates = Vec::new();
    for node in cluster.cache.nodes() {
        unfit.nodes += 1;
        let mut reasons = filter::reasons(pod, node);
        if reasons.is_empty() {
            reasons.extend(spread.reason(pod, node).or_else(|| affinity.reason(node)).map(str::to_owned));
        }
        if reasons.is_empty() {
            candidates.push(node);
        }
        for reason in reasons {
            *unfit.reasons.entry(reason).or_default() += 1;
        }
    }
    if let [only] = candidates.as_slice() {
        return Ok(only.name());
    }
    let selector = cluster.default_selector.as_ref();
    let scores = score::scores(pod, &candidates, cluster.cache, selector, cluster.namespace_labels);
    let Some(best) = scores.iter().max() else { return Err(unfit) };
    let equal: Vec<_> = candidates.iter().zip(&scores).filter(|(_, score)| *score == best).collect();
    let chosen = choose(equal.len()).min(equal.len() - 1);
    Ok(equal[chosen].0.name())
}

#[cfg(test)]
mod tests;
