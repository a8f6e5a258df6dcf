//! The revisions of a pod template, kept as ControllerRevisions (`pkg/controller/history`): what DaemonSets and StatefulSets roll
//! out and can be rolled back to.

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::api::{DeleteParams, PostParams};
use kube::core::ObjectMeta;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde_json::{Value, json};

use crate::owner::{controller_of, controller_reference};
use crate::{Informer, Key, controller};

/// The label by which pods tell their revision.
pub(crate) const HASH_LABEL: &str = "controller-revision-hash";
const LONGEST_NAME: usize = 223;

/// A short name for a template, without vowels so that it spells nothing (FNV-1a over its JSON; upstream's is over Go's
/// printing of it, which nobody else can repeat).
pub(crate) fn hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut bytes = serde_json::to_vec(template).unwrap_or_default();
    if let Some(collisions) = collisions {
        bytes.extend(collisions.to_le_bytes());
    }
    let mut hash: u32 = 0x811c_9dc5;
    for byte in bytes {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    hash.to_string().bytes().map(|byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()])).collect()
}

/// The revisions of one owner.
pub(crate) struct History {
    /// The revision of the present template.
    pub(crate) current: ControllerRevision,
    /// The others, the oldest first.
    pub(crate) old: Vec<ControllerRevision>,
}

impl History {
    /// The present revision's hash, as pods carry it.
    pub(crate) fn hash(&self) -> &str {
        hash_of(&self.current)
    }
}

/// The hash of a revision.
pub(crate) fn hash_of(revision: &ControllerRevision) -> &str {
    revision.metadata.labels.as_ref().and_then(|labels| labels.get(HASH_LABEL)).map_or("", String::as_str)
}

/// The template that a revision keeps.
pub(crate) fn template_of(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let mut template = revision.data.as_ref()?.0.pointer("/spec/template")?.clone();
    template.as_object_mut()?.shift_remove("$patch");
    serde_json::from_value(template).ok()
}

fn data(template: &PodTemplateSpec) -> Value {
    let mut template = serde_json::to_value(template).unwrap_or_default();
    template["$patch"] = "replace".into();
    json!({"spec": {"template": template}})
}

/// Finds or makes the revision of the present template; one that comes back gets the highest number.
pub(crate) async fn sync<K>(
    client: &Client,
    revisions: &Informer<ControllerRevision>,
    owner: &K,
    template: &PodTemplateSpec,
    collisions: Option<i32>,
) -> Result<History, kube::Error>
where
    K: Resource<DynamicType = ()> + Debug,
{
    let namespace = owner.namespace().unwrap_or_default();
    let mut old: Vec<Arc<ControllerRevision>> = revisions.list(&namespace);
    old.retain(|revision| {
        controller_of(&revision.metadata).is_some_and(|reference| Some(&reference.uid) == owner.meta().uid.as_ref())
    });
    old.sort_by_cached_key(|revision| (revision.revision, revision.name_any()));
    let wanted = data(template);
    let highest = old.last().map_or(0, |revision| revision.revision);
    let place = old.iter().rposition(|revision| revision.data.as_ref().is_some_and(|data| data.0 == wanted));
    let api = Api::<ControllerRevision>::namespaced(client.clone(), &namespace);
    let current = match place.map(|place| old.remove(place)) {
        Some(found) if found.revision == highest => found.as_ref().clone(),
        Some(found) => {
            let mut bumped = found.as_ref().clone();
            bumped.revision = highest.saturating_add(1);
            api.replace(&found.name_any(), &PostParams::default(), &bumped).await?
        }
        None => create(&api, owner, template, wanted, highest.saturating_add(1), collisions).await?,
    };
    let old = old.into_iter().filter(|revision| revision.name_any() != current.name_any());
    Ok(History { old: old.map(|revision| revision.as_ref().clone()).collect(), current })
}

async fn create<K: Resource<DynamicType = ()> + Debug>(
    api: &Api<ControllerRevision>,
    owner: &K,
    template: &PodTemplateSpec,
    data: Value,
    number: i64,
    collisions: Option<i32>,
) -> Result<ControllerRevision, kube::Error> {
    let hash = hash(template, collisions);
    let mut name = owner.name_any();
    name.truncate(LONGEST_NAME);
    let name = format!("{name}-{hash}");
    let mut labels = template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
    labels.insert(HASH_LABEL.into(), hash);
    let revision = ControllerRevision {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: owner.namespace(),
            labels: Some(labels),
            // Among them the cause of the change, which `kubectl rollout history` shows.
            annotations: Some(owner.annotations().clone()).filter(|annotations| !annotations.is_empty()),
            owner_references: Some(vec![controller_reference(owner)]),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(data)),
        revision: number,
    };
    match api.create(&PostParams::default(), &revision).await {
        Err(error) if controller::is_already_exists(&error) => {
            // The view is behind, or another template has this hash, which the API server must be asked about again.
            let found = api.get_opt(&name).await?.filter(|found| found.data == revision.data);
            found.ok_or(error)
        }
        result => result,
    }
}

/// Removes the oldest revisions beyond the limit that no pod has.
pub(crate) async fn truncate(
    client: &Client,
    history: &History,
    in_use: impl Fn(&ControllerRevision) -> bool,
    limit: usize,
) -> Result<(), kube::Error> {
    let unused: Vec<_> = history.old.iter().filter(|revision| !in_use(revision)).collect();
    let surplus = unused.len().saturating_sub(limit);
    for revision in unused.into_iter().take(surplus) {
        let key = Key::of(revision);
        let api = Api::<ControllerRevision>::namespaced(client.clone(), &key.namespace);
        controller::gone_is_fine(api.delete(&key.name, &DeleteParams::default()).await)?;
    }
    Ok(())
}
