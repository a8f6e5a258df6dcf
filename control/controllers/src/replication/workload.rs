//! What ReplicationController and ReplicaSet have in common, seen by the controller.

use std::collections::BTreeMap;
use std::fmt::Debug;

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{
    Pod, PodTemplateSpec, ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::core::{Selector, SelectorExt as _};
use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::owner::{controller_reference, selects};
use crate::replicas::Counts;

use super::Failure;

/// The conditions of a status with `ReplicaFailure` as it should be: there while pods cannot be made or removed. (Two types of
/// one shape; no trait joins them.)
macro_rules! conditions {
    ($condition:ident, $old:expr, $failure:expr, $now:expr) => {{
        let mut conditions = $old.unwrap_or_default();
        let is = |condition: &$condition| condition.type_ == "ReplicaFailure";
        match $failure {
            None => conditions.retain(|condition| !is(condition)),
            Some(Failure { reason, error }) => {
                if !conditions.iter().any(is) {
                    conditions.push($condition {
                        type_: "ReplicaFailure".into(),
                        status: "True".into(),
                        reason: Some((*reason).to_owned()),
                        message: Some(error.to_string()),
                        last_transition_time: Some(Time($now)),
                    });
                }
            }
        }
        (!conditions.is_empty()).then_some(conditions)
    }};
}

/// A kind that keeps a number of pods.
pub(crate) trait Workload:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// The controller's name, also of its service account.
    const CONTROLLER: &'static str;
    /// How many pods are wanted.
    fn replicas(&self) -> i32;
    /// How long a pod must be Ready to be available.
    fn min_ready_seconds(&self) -> i32;
    /// Whether the selector selects a pod.
    fn selects(&self, pod: &Pod) -> bool;
    /// The pod template.
    fn template(&self) -> Option<&PodTemplateSpec>;
    /// A copy with the status that `counts` and a failure give, or `None` if it has that already.
    fn with_status(&self, counts: Counts, failure: Option<&Failure>, now: Timestamp) -> Option<Self>;

    /// The template's labels.
    fn template_labels(&self) -> BTreeMap<String, String> {
        let meta = self.template().and_then(|template| template.metadata.as_ref());
        meta.and_then(|meta| meta.labels.clone()).unwrap_or_default()
    }

    /// A pod made from the template.
    fn pod(&self) -> Pod {
        let template = self.template().cloned().unwrap_or_default();
        let meta = template.metadata.unwrap_or_default();
        Pod {
            metadata: ObjectMeta {
                generate_name: Some(format!("{}-", self.name_any())),
                namespace: self.namespace(),
                labels: meta.labels,
                annotations: meta.annotations,
                finalizers: meta.finalizers,
                owner_references: Some(vec![controller_reference(self)]),
                ..ObjectMeta::default()
            },
            spec: template.spec,
            status: None,
        }
    }
}

impl Workload for ReplicationController {
    const CONTROLLER: &'static str = "replication-controller";

    fn replicas(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
    }

    fn selects(&self, pod: &Pod) -> bool {
        let selector = self.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        selector.is_some_and(|selector| selects(selector, pod.metadata.labels.as_ref()))
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref()?.template.as_ref()
    }

    fn with_status(&self, counts: Counts, failure: Option<&Failure>, now: Timestamp) -> Option<Self> {
        let old = self.status.clone().unwrap_or_default();
        let new = ReplicationControllerStatus {
            replicas: counts.replicas,
            fully_labeled_replicas: Some(counts.fully_labeled),
            ready_replicas: Some(counts.ready),
            available_replicas: Some(counts.available),
            observed_generation: self.metadata.generation,
            conditions: conditions!(ReplicationControllerCondition, old.conditions.clone(), failure, now),
        };
        let counts_of = |status: &ReplicationControllerStatus| {
            (
                status.replicas,
                status.fully_labeled_replicas.unwrap_or(0),
                status.ready_replicas.unwrap_or(0),
                status.available_replicas.unwrap_or(0),
                status.observed_generation,
                status.conditions.clone().unwrap_or_default(),
            )
        };
        (counts_of(&old) != counts_of(&new)).then(|| Self { status: Some(new), ..self.clone() })
    }
}

impl Workload for ReplicaSet {
    const CONTROLLER: &'static str = "replicaset-controller";

    fn replicas(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
    }

    fn selects(&self, pod: &Pod) -> bool {
        let Some(spec) = &self.spec else { return false };
        let empty = BTreeMap::new();
        let labels = pod.metadata.labels.as_ref().unwrap_or(&empty);
        Selector::try_from(spec.selector.clone()).is_ok_and(|s| !s.selects_all() && s.matches(labels))
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref()?.template.as_ref()
    }

    fn with_status(&self, counts: Counts, failure: Option<&Failure>, now: Timestamp) -> Option<Self> {
        let old = self.status.clone().unwrap_or_default();
        let new = ReplicaSetStatus {
            replicas: counts.replicas,
            fully_labeled_replicas: Some(counts.fully_labeled),
            ready_replicas: Some(counts.ready),
            available_replicas: Some(counts.available),
            observed_generation: self.metadata.generation,
            conditions: conditions!(ReplicaSetCondition, old.conditions.clone(), failure, now),
            ..old.clone()
        };
        let counts_of = |status: &ReplicaSetStatus| {
            (
                status.replicas,
                status.fully_labeled_replicas.unwrap_or(0),
                status.ready_replicas.unwrap_or(0),
                status.available_replicas.unwrap_or(0),
                status.observed_generation,
                status.conditions.clone().unwrap_or_default(),
            )
        };
        (counts_of(&old) != counts_of(&new)).then(|| Self { status: Some(new), ..self.clone() })
    }
}
