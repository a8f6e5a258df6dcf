//! Owner references, adoption, and label selectors of the old form.

use std::collections::BTreeMap;
use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::core::{NamespaceResourceScope, Status};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

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

/// Asks the API server whether an owner may adopt (`RecheckDeletionTimestamp`); to be done before the first adoption. By a view that
/// is behind, an owner that is being deleted would take back what `--cascade=orphan` let go, and it would be deleted with it.
pub(crate) async fn recheck<K>(client: &Client, owner: &K) -> Result<(), kube::Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let api = Api::<K>::namespaced(client.clone(), &owner.namespace().unwrap_or_default());
    let live = api.get_opt(&owner.name_any()).await?;
    if may_adopt(owner.meta(), live.as_ref().map(Resource::meta)) {
        return Ok(());
    }
    // To be looked at again when the view has caught up: until then nothing can be said about what is missing.
    let message = format!("{} {} is gone or is being deleted, and cannot adopt", K::kind(&()), owner.name_any());
    Err(kube::Error::Api(Status::failure(&message, "Conflict").with_code(409).boxed()))
}

fn may_adopt(owner: &ObjectMeta, live: Option<&ObjectMeta>) -> bool {
    live.is_some_and(|live| live.uid == owner.uid && live.deletion_timestamp.is_none())
}

/// Whether labels carry all of a selector's pairs; an empty selector selects nothing.
pub(crate) fn selects(selector: &BTreeMap<String, String>, labels: Option<&BTreeMap<String, String>>) -> bool {
    !selector.is_empty() && selector.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn an_owner_that_is_gone_or_another_or_on_its_way_out_adopts_nothing() {
        let meta = |value: Value| serde_json::from_value::<ObjectMeta>(value).unwrap();
        let owner = meta(json!({"name": "web", "uid": "u"}));
        assert!(may_adopt(&owner, Some(&meta(json!({"name": "web", "uid": "u", "resourceVersion": "2"})))));
        assert!(!may_adopt(&owner, None));
        assert!(!may_adopt(&owner, Some(&meta(json!({"name": "web", "uid": "v"})))));
        let leaving = json!({"name": "web", "uid": "u", "deletionTimestamp": "2026-01-01T00:00:00Z"});
        assert!(!may_adopt(&owner, Some(&meta(leaving))));
    }
}
