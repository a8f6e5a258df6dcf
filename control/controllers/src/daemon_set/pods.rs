//! The pod of a DaemonSet on a Node.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, PodTemplateSpec, Toleration,
};
use kube::ResourceExt as _;
use kube::core::ObjectMeta;
use orlop_placement::{node_affinity, taints};

use crate::history::HASH_LABEL;
use crate::owner::controller_reference;

const NAME_FIELD: &str = "metadata.name";

/// What a daemon bears that other pods need not: it belongs to its Node, whatever becomes of that.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
const NETWORK_UNAVAILABLE: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// What a DaemonSet wants with a Node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Suits {
    /// It should have a pod.
    pub(super) run: bool,
    /// A pod that is there may stay.
    pub(super) stay: bool,
}

pub(super) fn suits(set: &DaemonSet, node: &Node) -> Suits {
    let Some(spec) = template(set).and_then(|template| template.spec.as_ref()) else {
        return Suits { run: false, stay: false };
    };
    let mut spec = spec.clone();
    tolerate(&mut spec);
    let named = spec.node_name.as_deref().is_none_or(|name| name.is_empty() || name == node.name_any());
    if !named || !node_affinity::required(&spec, node) {
        return Suits { run: false, stay: false };
    }
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let evicted = taints.iter().any(|taint| taint.effect == "NoExecute" && !taints::tolerated(tolerations, taint));
    Suits { run: taints::untolerated(tolerations, taints).is_none(), stay: !evicted }
}

fn template(set: &DaemonSet) -> Option<&PodTemplateSpec> {
    set.spec.as_ref().map(|spec| &spec.template)
}

/// A pod for a Node: the scheduler puts it there and nowhere else.
pub(super) fn new(set: &DaemonSet, node: &str, hash: &str) -> Pod {
    let template = template(set).cloned().unwrap_or_default();
    let meta = template.metadata.unwrap_or_default();
    let mut labels = meta.labels.unwrap_or_default();
    labels.insert(HASH_LABEL.into(), hash.to_owned());
    let mut spec = template.spec.unwrap_or_default();
    tolerate(&mut spec);
    pin(&mut spec, node);
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", set.name_any())),
            namespace: set.namespace(),
            labels: Some(labels),
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![controller_reference(set)]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    }
}

fn tolerate(spec: &mut PodSpec) {
    let host_network = spec.host_network == Some(true);
    let tolerations = spec.tolerations.get_or_insert_default();
    for (key, effect) in TOLERATED.into_iter().chain(host_network.then_some(NETWORK_UNAVAILABLE)) {
        let same = |toleration: &Toleration| {
            toleration.key.as_deref() == Some(key)
                && toleration.effect.as_deref() == Some(effect)
                && toleration.operator.as_deref() == Some("Exists")
        };
        if !tolerations.iter().any(same) {
            tolerations.push(Toleration {
                key: Some(key.into()),
                operator: Some("Exists".into()),
                effect: Some(effect.into()),
                ..Toleration::default()
            });
        }
    }
}

fn pin(spec: &mut PodSpec, node: &str) {
    let by_name =
        NodeSelectorRequirement { key: NAME_FIELD.into(), operator: "In".into(), values: Some(vec![node.to_owned()]) };
    let affinity = spec.affinity.get_or_insert_default().node_affinity.get_or_insert_default();
    let required =
        affinity.required_during_scheduling_ignored_during_execution.get_or_insert_with(NodeSelector::default);
    if required.node_selector_terms.is_empty() {
        required.node_selector_terms.push(NodeSelectorTerm::default());
    }
    // Terms are alternatives: each must name the Node.
    for term in &mut required.node_selector_terms {
        term.match_fields = Some(vec![by_name.clone()]);
    }
}

/// The Node that a pod is on, or was made for.
pub(super) fn node_of(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref()?;
    if let Some(node) = spec.node_name.as_deref().filter(|node| !node.is_empty()) {
        return Some(node);
    }
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    let fields = required.node_selector_terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    let mut by_name = fields.filter(|field| field.key == NAME_FIELD && field.operator == "In");
    by_name.find_map(|field| field.values.as_ref()?.first()).map(String::as_str)
}
