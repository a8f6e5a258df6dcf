//! The pods of a Job: how one is made, and what one tells.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, Pod};
use kube::ResourceExt as _;
use kube::core::ObjectMeta;

use crate::owner::controller_reference;

/// Keeps a finished pod until it is counted (KEP-2307).
pub(super) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
const INDEX: &str = "batch.kubernetes.io/job-completion-index";
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";
const LONGEST_BASE: usize = 63 - 5;

pub(super) fn is_tracked(pod: &Pod) -> bool {
    pod.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
}

/// The completion index of a pod.
pub(super) fn index(pod: &Pod) -> Option<i32> {
    pod.annotations().get(INDEX)?.parse().ok()
}

/// A new pod, for an index if the Job is Indexed.
pub(super) fn new(job: &Job, index: Option<i32>) -> Pod {
    let template = job.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
    let meta = template.metadata.unwrap_or_default();
    let mut spec = template.spec;
    let (mut labels, mut annotations) = (meta.labels, meta.annotations);
    let mut base = job.name_any();
    if let Some(index) = index {
        annotations.get_or_insert_default().insert(INDEX.into(), index.to_string());
        labels.get_or_insert_default().insert(INDEX.into(), index.to_string());
        let suffix = format!("-{index}");
        base.truncate(LONGEST_BASE - suffix.len() - 1);
        base.push_str(&suffix);
        if let Some(spec) = &mut spec {
            spec.hostname = Some(format!("{}{suffix}", job.name_any()));
            for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
                let variables = container.env.get_or_insert_default();
                if !variables.iter().any(|variable| variable.name == INDEX_VARIABLE) {
                    variables.push(index_variable());
                }
            }
        }
    }
    let mut finalizers = meta.finalizers.unwrap_or_default();
    finalizers.push(FINALIZER.into());
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{base}-")),
            namespace: job.namespace(),
            labels,
            annotations,
            finalizers: Some(finalizers),
            owner_references: Some(vec![controller_reference(job)]),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    }
}

fn index_variable() -> EnvVar {
    let field =
        ObjectFieldSelector { api_version: Some("v1".into()), field_path: format!("metadata.annotations['{INDEX}']") };
    EnvVar {
        name: INDEX_VARIABLE.into(),
        value: None,
        value_from: Some(EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() }),
    }
}
