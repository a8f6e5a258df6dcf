//! Who owns whom, as far as the watches have told. Pure: each change says which objects need a look.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::discovery::ResourceType;

pub(super) const ORPHAN: &str = "orphan";
pub(super) const FOREGROUND: &str = "foregroundDeletion";

/// How an object is being deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deletion {
    No,
    /// On its way, and nothing of ours to do.
    Plain,
    /// It waits for its dependents to be gone.
    Foreground,
    /// It waits for its dependents to forget it.
    Orphan,
}

/// An object.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) resource: Arc<ResourceType>,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) owners: Vec<OwnerReference>,
    pub(super) deletion: Deletion,
}

impl Item {
    pub(super) fn new(resource: Arc<ResourceType>, metadata: &ObjectMeta) -> Option<Self> {
        Some(Self {
            resource,
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone()?,
            uid: metadata.uid.clone()?,
            owners: metadata.owner_references.clone().unwrap_or_default(),
            deletion: deletion(metadata),
        })
    }

    fn blocks(&self, owner: &str) -> bool {
        self.owners.iter().any(|reference| reference.uid == owner && blocks(reference))
    }
}

/// Whether the owner's foreground deletion waits for who refers to it so.
pub(super) fn blocks(reference: &OwnerReference) -> bool {
    reference.block_owner_deletion == Some(true)
}

fn deletion(metadata: &ObjectMeta) -> Deletion {
    let has = |name: &str| metadata.finalizers.iter().flatten().any(|finalizer| finalizer == name);
    match &metadata.deletion_timestamp {
        None => Deletion::No,
        Some(_) if has(ORPHAN) => Deletion::Orphan,
        Some(_) if has(FOREGROUND) => Deletion::Foreground,
        Some(_) => Deletion::Plain,
    }
}

/// What needs a look, by UID.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Look {
    /// Should it still be there, or does it wait for dependents?
    Keep(String),
    /// Its dependents are to forget it.
    Orphan(String),
}

impl std::fmt::Display for Look {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Keep(uid) | Self::Orphan(uid)) = self;
        f.write_str(uid)
    }
}

#[derive(Debug, Default)]
pub(super) struct Graph {
    items: HashMap<String, Item>,
    dependents: HashMap<String, HashSet<String>>,
}

impl Graph {
    pub(super) fn get(&self, uid: &str) -> Option<&Item> {
        self.items.get(uid)
    }

    pub(super) fn dependents(&self, owner: &str) -> Vec<&Item> {
        self.dependents.get(owner).into_iter().flatten().filter_map(|uid| self.items.get(uid)).collect()
    }

    /// Those whose presence holds up the foreground deletion of their owner.
    pub(super) fn blocking(&self, owner: &str) -> Vec<&Item> {
        self.dependents(owner).into_iter().filter(|dependent| dependent.blocks(owner)).collect()
    }

    /// The object is so now.
    pub(super) fn upsert(&mut self, item: Item) -> Vec<Look> {
        let mut looks = Vec::new();
        let old = self.items.get(&item.uid).map(|old| (old.owners.clone(), old.deletion));
        let (old_owners, old_deletion) = old.unwrap_or((Vec::new(), Deletion::No));
        for owner in old_owners.iter().filter(|old| !item.owners.iter().any(|new| new == *old)) {
            self.unlink(&owner.uid, &item.uid);
            // Perhaps it was what the owner waited for.
            looks.extend(self.waits(&owner.uid));
        }
        let mut doubtful = false;
        for owner in &item.owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(item.uid.clone());
            doubtful |= self.items.get(&owner.uid).is_none_or(|owner| owner.deletion != Deletion::No);
        }
        if doubtful && item.deletion == Deletion::No {
            looks.push(Look::Keep(item.uid.clone()));
        }
        match item.deletion {
            Deletion::Orphan => looks.push(Look::Orphan(item.uid.clone())),
            Deletion::Foreground => {
                looks.push(Look::Keep(item.uid.clone()));
                if old_deletion != Deletion::Foreground {
                    looks.extend(self.dependents(&item.uid).into_iter().map(|d| Look::Keep(d.uid.clone())));
                }
            }
            Deletion::No | Deletion::Plain => {}
        }
        self.items.insert(item.uid.clone(), item);
        looks
    }

    /// The object is gone.
    pub(super) fn remove(&mut self, uid: &str) -> Vec<Look> {
        let Some(item) = self.items.remove(uid) else { return Vec::new() };
        let mut looks: Vec<Look> =
            self.dependents(uid).into_iter().map(|dependent| Look::Keep(dependent.uid.clone())).collect();
        for owner in &item.owners {
            self.unlink(&owner.uid, uid);
            looks.extend(self.waits(&owner.uid));
        }
        looks
    }

    fn waits(&self, uid: &str) -> Option<Look> {
        let waits = self.items.get(uid).is_some_and(|item| item.deletion == Deletion::Foreground);
        waits.then(|| Look::Keep(uid.to_owned()))
    }

    fn unlink(&mut self, owner: &str, dependent: &str) {
        if let Some(dependents) = self.dependents.get_mut(owner) {
            dependents.remove(dependent);
            if dependents.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::discovery::ApiResource;
    use serde_json::{Value, json};

    fn item(uid: &str, owners: &[&str], more: Value) -> Item {
        let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&());
        let owners = owners.iter().map(
            |owner| json!({"apiVersion": "v1", "kind": "Pod", "name": owner, "uid": owner, "blockOwnerDeletion": true}),
        );
        let mut metadata =
            json!({"name": uid, "namespace": "d", "uid": uid, "ownerReferences": owners.collect::<Vec<_>>()});
        for (key, value) in more.as_object().unwrap() {
            metadata[key] = value.clone();
        }
        let resource = Arc::new(ResourceType::new(resource, true, &[]));
        Item::new(resource, &serde_json::from_value(metadata).unwrap()).unwrap()
    }

    fn keep(uids: &[&str]) -> Vec<Look> {
        uids.iter().map(|uid| Look::Keep((*uid).to_owned())).collect()
    }

    const DELETED: &str = "2026-01-01T00:00:00Z";

    #[test]
    fn when_an_owner_goes_its_dependents_need_a_look() {
        let mut graph = Graph::default();
        graph.upsert(item("owner", &[], json!({})));
        assert_eq!(graph.upsert(item("pod", &["owner"], json!({}))), []);
        assert_eq!(graph.remove("owner"), keep(&["pod"]));
    }

    #[test]
    fn a_dependent_of_an_unknown_owner_needs_a_look_at_once() {
        assert_eq!(Graph::default().upsert(item("pod", &["nobody"], json!({}))), keep(&["pod"]));
    }

    #[test]
    fn an_owner_that_waits_is_looked_at_with_its_dependents_and_again_when_one_is_gone() {
        let mut graph = Graph::default();
        graph.upsert(item("owner", &[], json!({})));
        graph.upsert(item("pod", &["owner"], json!({})));
        let waiting = item("owner", &[], json!({"deletionTimestamp": DELETED, "finalizers": [FOREGROUND]}));
        assert_eq!(graph.upsert(waiting), keep(&["owner", "pod"]));
        assert_eq!(graph.blocking("owner").len(), 1);
        assert_eq!(graph.remove("pod"), keep(&["owner"]));
        assert_eq!(graph.blocking("owner").len(), 0);
    }

    #[test]
    fn a_dependent_that_forgets_its_owner_is_none_any_more() {
        let mut graph = Graph::default();
        graph.upsert(item("owner", &[], json!({})));
        graph.upsert(item("pod", &["owner"], json!({})));
        assert_eq!(graph.upsert(item("pod", &[], json!({}))), []);
        assert!(graph.dependents("owner").is_empty());
    }

    #[test]
    fn an_owner_with_the_orphan_finalizer_is_to_be_forgotten() {
        let owner = item("owner", &[], json!({"deletionTimestamp": DELETED, "finalizers": [ORPHAN]}));
        assert_eq!(Graph::default().upsert(owner), [Look::Orphan("owner".into())]);
    }
}
