//! Owner references, and label selectors of the old form.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt as _};

/// The reference with which a controller marks what it made (`metav1.NewControllerRef`).
pub(crate) fn controller_reference<K: Resource>(owner: &K) -> OwnerReference
where
    K::DynamicType: Default,
{
    let kind = K::DynamicType::default();
    OwnerReference {
        api_version: K::api_version(&kind).into_owned(),
        kind: K::kind(&kind).into_owned(),
        name: owner.name_any(),
        uid: owner.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The owner that controls an object.
pub(crate) fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.as_ref()?.iter().find(|owner| owner.controller == Some(true))
}

/// Whether labels carry all of a selector's pairs; an empty selector selects nothing.
pub(crate) fn selects(selector: &BTreeMap<String, String>, labels: Option<&BTreeMap<String, String>>) -> bool {
    !selector.is_empty() && selector.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}
