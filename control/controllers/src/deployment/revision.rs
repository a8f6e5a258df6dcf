//! ReplicaSets as the revisions of a Deployment: which is the present one, what they are called, how they are numbered.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube::ResourceExt as _;
use kube::core::ObjectMeta;

use crate::history::hash;
use crate::owner::controller_reference;

use super::strategy::{max_surge, min_ready_seconds, replicas};

pub(super) const HASH_LABEL: &str = "pod-template-hash";
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations of the Deployment that are its own.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];
const LONGEST_HISTORY: usize = 2000;
const LONGEST_NAME: usize = 253;

/// The ReplicaSet of the present template (the oldest, if several have it), and the others.
pub(super) fn split(deployment: &Deployment, mut sets: Vec<ReplicaSet>) -> (Option<ReplicaSet>, Vec<ReplicaSet>) {
    sets.sort_by_cached_key(|set| (set.creation_timestamp().map(|time| time.0), set.name_any()));
    let present = sets.iter().position(|set| has_template_of(deployment, set));
    let new = present.map(|place| sets.remove(place));
    (new, sets)
}

/// Whether a ReplicaSet makes the pods that a Deployment asks for.
pub(super) fn has_template_of(deployment: &Deployment, set: &ReplicaSet) -> bool {
    let wanted = deployment.spec.as_ref().map(|spec| without_hash(&spec.template));
    let found = set.spec.as_ref().and_then(|spec| spec.template.as_ref()).map(without_hash);
    wanted.is_some() && wanted == found
}

fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    if let Some(metadata) = &mut template.metadata {
        if let Some(labels) = &mut metadata.labels {
            labels.remove(HASH_LABEL);
        }
        metadata.labels = metadata.labels.take().filter(|labels| !labels.is_empty());
        metadata.creation_timestamp = None;
    }
    template.metadata = template.metadata.filter(|metadata| *metadata != ObjectMeta::default());
    template
}

/// The number of a ReplicaSet; 0 if it has none.
pub(super) fn revision(set: &ReplicaSet) -> i64 {
    set.annotations().get(REVISION).and_then(|revision| revision.parse().ok()).unwrap_or(0)
}

/// The number that the present template's ReplicaSet must have at least.
pub(super) fn next_revision(old: &[ReplicaSet]) -> i64 {
    old.iter().map(revision).max().unwrap_or(0).saturating_add(1)
}

/// The ReplicaSet for the present template.
pub(super) fn new_set(deployment: &Deployment, size: i32, revision: i64) -> ReplicaSet {
    let mut template = deployment.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
    let hash = hash(&template, collisions);
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH_LABEL.into(), hash.clone());
    let labels = labels.clone();
    let mut selector = deployment.spec.as_ref().map(|spec| spec.selector.clone()).unwrap_or_default();
    selector.match_labels.get_or_insert_default().insert(HASH_LABEL.into(), hash.clone());
    let mut name = deployment.name_any();
    name.truncate(LONGEST_NAME - hash.len() - 1);
    let mut set = ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{name}-{hash}")),
            namespace: deployment.namespace(),
            labels: Some(labels),
            owner_references: Some(vec![controller_reference(deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(size),
            min_ready_seconds: min_ready_seconds(deployment),
            selector,
            template: Some(template),
        }),
        status: None,
    };
    annotate(deployment, &mut set, revision);
    annotate_sizes(deployment, &mut set);
    set
}

/// Gives the present ReplicaSet its number and the Deployment's annotations; an older number goes into its history.
pub(super) fn annotate(deployment: &Deployment, set: &mut ReplicaSet, next: i64) {
    let before = set.annotations().get(REVISION).cloned();
    let annotations = set.metadata.annotations.get_or_insert_default();
    for (key, value) in deployment.annotations() {
        if !NOT_COPIED.contains(&key.as_str()) {
            annotations.insert(key.clone(), value.clone());
        }
    }
    let old: i64 = before.as_deref().and_then(|old| old.parse().ok()).unwrap_or(0);
    if old >= next {
        return;
    }
    annotations.insert(REVISION.into(), next.to_string());
    if let Some(before) = before {
        remember(annotations, &before);
    }
}

fn remember(annotations: &mut BTreeMap<String, String>, revision: &str) {
    let history = annotations.get(HISTORY).cloned().unwrap_or_default();
    let mut all: Vec<&str> = history.split(',').filter(|revision| !revision.is_empty()).collect();
    all.push(revision);
    let mut joined = all.join(",");
    while joined.len() > LONGEST_HISTORY && all.len() > 1 {
        all.remove(0);
        joined = all.join(",");
    }
    annotations.insert(HISTORY.into(), joined);
}

/// Notes the sizes for which a ReplicaSet was scaled: what tells a scaling of the Deployment from a rollout.
pub(super) fn annotate_sizes(deployment: &Deployment, set: &mut ReplicaSet) {
    let annotations = set.metadata.annotations.get_or_insert_default();
    annotations.insert(DESIRED.into(), replicas(deployment).to_string());
    annotations.insert(MAX.into(), replicas(deployment).saturating_add(max_surge(deployment)).to_string());
}
