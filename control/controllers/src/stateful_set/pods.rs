//! The pods of a StatefulSet: each has an ordinal, from which its name, its host name and its claims follow.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume,
};
use kube::ResourceExt as _;
use kube::core::ObjectMeta;

use crate::history::HASH_LABEL;
use crate::owner::controller_reference;

const NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
const INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

/// The ordinal of a pod of this set; `None` if its name is not one of the set's.
pub(super) fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let name = pod.name_any();
    let (parent, ordinal) = name.rsplit_once('-')?;
    (parent == set.name_any()).then(|| ordinal.parse().ok())?
}

/// The first ordinal.
pub(super) fn start(set: &StatefulSet) -> i32 {
    let ordinals = set.spec.as_ref().and_then(|spec| spec.ordinals.as_ref());
    ordinals.and_then(|ordinals| ordinals.start).unwrap_or(0)
}

/// The pod of an ordinal, from the template of a revision.
pub(super) fn new(set: &StatefulSet, template: &PodTemplateSpec, revision: &str, ordinal: i32) -> Pod {
    let template = template.clone();
    let name = format!("{}-{ordinal}", set.name_any());
    let meta = template.metadata.unwrap_or_default();
    let mut labels = meta.labels.unwrap_or_default();
    labels.insert(NAME_LABEL.into(), name.clone());
    labels.insert(INDEX_LABEL.into(), ordinal.to_string());
    labels.insert(HASH_LABEL.into(), revision.to_owned());
    let mut spec = template.spec.unwrap_or_default();
    spec.hostname = Some(name.clone());
    spec.subdomain = set.spec.as_ref().and_then(|spec| spec.service_name.clone()).filter(|service| !service.is_empty());
    let claims = claims(set, ordinal);
    if !claims.is_empty() {
        let volumes = spec.volumes.get_or_insert_default();
        volumes.retain(|volume| !claims.iter().any(|(template, _)| *template == volume.name));
        volumes.extend(claims.into_iter().map(|(template, claim)| Volume {
            name: template,
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: claim.name_any(),
                read_only: None,
            }),
            ..Volume::default()
        }));
    }
    Pod {
        metadata: ObjectMeta {
            name: Some(name),
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

/// The claims of an ordinal, with the names of their templates. They outlive the pod, and the set.
pub(super) fn claims(set: &StatefulSet, ordinal: i32) -> Vec<(String, PersistentVolumeClaim)> {
    let Some(spec) = &set.spec else { return Vec::new() };
    let templates = spec.volume_claim_templates.iter().flatten();
    let claims = templates.map(|template| {
        let mut claim = template.clone();
        let name = template.name_any();
        claim.metadata.name = Some(format!("{name}-{}-{ordinal}", set.name_any()));
        claim.metadata.namespace = set.namespace();
        claim.metadata.labels.get_or_insert_default().extend(spec.selector.match_labels.clone().unwrap_or_default());
        claim.status = None;
        (name, claim)
    });
    claims.collect()
}
