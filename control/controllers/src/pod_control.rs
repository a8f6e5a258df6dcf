//! Creating and deleting the pods of a workload, with the events that tell of it.

use std::fmt::Debug;
use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt as _};
use orlop_runtime::Recorder;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::Key;
use crate::controller;
use crate::in_flight::InFlight;
use crate::owner::{controller_of, controller_reference, recheck};
use crate::replicas::is_active;

/// Writes pods as one controller.
pub(crate) struct PodControl {
    pub(crate) client: Client,
    pub(crate) recorder: Recorder,
    /// What was done and is not in the view of pods yet.
    pub(crate) in_flight: InFlight,
}

impl PodControl {
    pub(crate) fn new(client: Client, component: &str) -> Self {
        Self { recorder: Recorder::new(client.clone(), component), client, in_flight: InFlight::default() }
    }

    /// Creates pods in batches that double, so that a template that is refused costs one request and not five hundred.
    pub(crate) async fn create(&self, key: &Key, about: &ObjectReference, pods: &[Pod]) -> Result<(), kube::Error> {
        let api = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        let (mut left, mut batch) = (pods, 1);
        while !left.is_empty() {
            let (now, rest) = left.split_at(batch.min(left.len()));
            let parameters = PostParams::default();
            let mut failure = None;
            for result in join_all(now.iter().map(|pod| api.create(&parameters, pod))).await {
                match result {
                    Ok(pod) => {
                        self.in_flight.created(key, &pod);
                        let note = format!("Created pod: {}", pod.name_any());
                        self.recorder.normal(about.clone(), "SuccessfulCreate", note);
                    }
                    Err(error) => failure = Some(error),
                }
            }
            if let Some(error) = failure {
                if controller::is_namespace_terminating(&error) {
                    return Ok(());
                }
                self.recorder.warning(about.clone(), "FailedCreate", format!("Error creating: {error}"));
                return Err(error);
            }
            (left, batch) = (rest, batch * 2);
        }
        Ok(())
    }

    /// Deletes pods; those that are on their way already are left alone.
    pub(crate) async fn delete(
        &self,
        key: &Key,
        about: &ObjectReference,
        pods: &[Arc<Pod>],
    ) -> Result<(), kube::Error> {
        let leaving = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        let results = join_all(leaving.map(async |pod| {
            let api = Api::<Pod>::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
            let preconditions = Preconditions { uid: pod.uid(), resource_version: None };
            let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
            self.in_flight.deleting(key, pod);
            let result = api.delete(&pod.name_any(), &parameters).await;
            if result.is_err() {
                self.in_flight.not_deleted(key, pod);
            }
            controller::gone_is_fine(result)?;
            self.recorder.normal(about.clone(), "SuccessfulDelete", format!("Deleted pod: {}", pod.name_any()));
            Ok(())
        }))
        .await;
        results.into_iter().collect()
    }

    /// The pods that are the owner's: those that name it, and orphans it selects, which it adopts; those it no longer selects are
    /// released.
    pub(crate) async fn claim<K>(
        &self,
        owner: &K,
        pods: Vec<Arc<Pod>>,
        selects: impl Fn(&Pod) -> bool,
    ) -> Result<Vec<Arc<Pod>>, kube::Error>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let leaving = owner.meta().deletion_timestamp.is_some();
        let (mut claimed, mut rechecked) = (Vec::new(), false);
        for pod in pods {
            match controller_of(&pod.metadata) {
                Some(reference) if Some(&reference.uid) == owner.meta().uid.as_ref() => {
                    if selects(&pod) {
                        claimed.push(pod);
                    } else if !leaving {
                        self.reown(&pod, None).await?;
                    }
                }
                None if !leaving && is_active(&pod) && selects(&pod) => {
                    if !rechecked {
                        recheck(&self.client, owner).await?;
                        rechecked = true;
                    }
                    self.reown(&pod, Some(controller_reference(owner))).await?;
                    claimed.push(pod);
                }
                _ => {}
            }
        }
        Ok(claimed)
    }

    /// Gives a pod another controller, or none.
    async fn reown(&self, pod: &Pod, owner: Option<OwnerReference>) -> Result<(), kube::Error> {
        let others = pod.owner_references().iter().filter(|reference| reference.controller != Some(true)).cloned();
        let references: Vec<_> = others.chain(owner).collect();
        let patch = json!({"metadata": {
            "uid": pod.uid(), "resourceVersion": pod.resource_version(), "ownerReferences": references,
        }});
        let api = Api::<Pod>::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        let result = api.patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
        controller::gone_is_fine(result)
    }
}
