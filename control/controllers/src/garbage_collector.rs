//! The garbage collector: what nobody owns any more goes; what is deleted in the foreground waits for its dependents; what is
//! deleted as an orphan is forgotten by them (`pkg/controller/garbagecollector`).
//!
//! It watches the metadata of every resource that the server can list, watch and delete, and follows discovery as resources come
//! and go. Its view only says where to look: before anything is deleted, the object and the absence of its owners are confirmed by
//! the server.

mod graph;
mod verdict;
mod watches;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Client;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::Queue;
use crate::controller::{self, Next};
use crate::discovery::{ByKind, ResourceType};

use graph::{Deletion, FOREGROUND, Graph, Item, Look, ORPHAN, blocks};
use verdict::{Owner, Verdict, verdict};

pub(crate) const NAME: &str = "generic-garbage-collector";
const WORKERS: usize = 10;
/// Work begins when every resource was listed once, or after this long.
const PATIENCE: Duration = Duration::from_secs(30);
/// So many owners that are known to be gone are remembered.
const ABSENT: usize = 500;

struct Collector {
    client: Client,
    graph: Mutex<Graph>,
    queue: Queue<Look>,
    kinds: RwLock<ByKind>,
    /// UIDs of owners that the server says are gone: a UID never comes back.
    absent: Mutex<HashSet<String>>,
}

/// Runs the collector until cancelled.
pub(crate) async fn run(client: Client, stop: CancellationToken) {
    let this = Arc::new(Collector {
        client,
        graph: Mutex::default(),
        queue: Queue::default(),
        kinds: RwLock::default(),
        absent: Mutex::default(),
    });
    let (synced, wait) = tokio::sync::oneshot::channel();
    let watching = tokio::spawn(watches::run(this.clone(), synced, stop.clone()));
    tokio::select! {
        () = stop.cancelled() => {}
        _ = tokio::time::timeout(PATIENCE, wait) => {}
    }
    let queue = this.queue.clone();
    let reconcile = move |look: Look| {
        let this = this.clone();
        async move {
            match look {
                Look::Keep(uid) => this.keep_or_delete(&uid).await?,
                Look::Orphan(uid) => this.orphan(&uid).await?,
            }
            Ok(Next::Settled)
        }
    };
    controller::work(NAME, queue, WORKERS, stop, reconcile).await;
    // It ends by the same token.
    let _ = watching.await;
}

impl Collector {
    async fn keep_or_delete(&self, uid: &str) -> Result<(), kube::Error> {
        let Some(item) = self.graph().get(uid).cloned() else { return Ok(()) };
        match item.deletion {
            Deletion::Foreground => return self.finish_foreground(&item).await,
            Deletion::Plain | Deletion::Orphan => return Ok(()),
            Deletion::No if item.owners.is_empty() => return Ok(()),
            Deletion::No => {}
        }
        let Some(live) = self.live(&item).await? else { return Ok(()) };
        if live.deletion_timestamp.is_some() {
            return Ok(());
        }
        let references = live.owner_references.clone().unwrap_or_default();
        let mut owners = Vec::with_capacity(references.len());
        for reference in &references {
            owners.push(self.owner(&item, reference).await?);
        }
        let (has_dependents, in_a_circle) = {
            let graph = self.graph();
            let dependents = graph.dependents(uid);
            (!dependents.is_empty(), dependents.iter().any(|dependent| dependent.deletion == Deletion::Foreground))
        };
        match verdict(&owners, has_dependents) {
            Verdict::Keep => Ok(()),
            Verdict::Drop(places) => {
                let kept = references.into_iter().enumerate().filter(|(place, _)| !places.contains(place));
                self.set_owners(&item, &live, kept.map(|(_, reference)| reference).collect()).await
            }
            // Both its owner and its dependent wait for their dependents: it shall not be waited for itself. It is looked at again when
            // the change is seen.
            Verdict::Delete { foreground: true } if in_a_circle && references.iter().any(blocks) => {
                let unblocked = |reference| OwnerReference { block_owner_deletion: Some(false), ..reference };
                self.set_owners(&item, &live, references.into_iter().map(unblocked).collect()).await
            }
            Verdict::Delete { foreground } => self.delete(&item, &live, foreground).await,
        }
    }

    /// The object as the server has it; `None` if it is gone or another.
    async fn live(&self, item: &Item) -> Result<Option<ObjectMeta>, kube::Error> {
        let api = item.resource.metadata(&self.client, &item.namespace);
        let live = api.get_opt(&item.name).await?.map(|live| live.metadata);
        Ok(live.filter(|live| live.uid.as_ref() == Some(&item.uid)))
    }

    async fn owner(&self, item: &Item, reference: &OwnerReference) -> Result<Owner, kube::Error> {
        let standing = |waits: bool| if waits { Owner::Waiting } else { Owner::Solid };
        if let Some(owner) = self.graph().get(&reference.uid) {
            // An owner is in the same namespace or in none.
            let reachable = owner.namespace.is_empty() || owner.namespace == item.namespace;
            return Ok(if reachable { standing(owner.deletion == Deletion::Foreground) } else { Owner::Dangling });
        }
        if self.absent().contains(&reference.uid) {
            return Ok(Owner::Dangling);
        }
        // What is unknown may exist: a resource that comes later, or one that cannot be looked up from here.
        let Some(resource) = self.resource_of(reference).filter(|r| !r.namespaced || !item.namespace.is_empty()) else {
            return Ok(Owner::Solid);
        };
        let api = resource.metadata(&self.client, &item.namespace);
        let live = api.get_opt(&reference.name).await?.map(|live| live.metadata);
        match live.filter(|live| live.uid.as_ref() == Some(&reference.uid)) {
            Some(live) => {
                let waits = Item::new(resource, &live).is_some_and(|owner| owner.deletion == Deletion::Foreground);
                Ok(standing(waits))
            }
            None => {
                let mut absent = self.absent();
                if absent.len() >= ABSENT {
                    absent.clear();
                }
                absent.insert(reference.uid.clone());
                Ok(Owner::Dangling)
            }
        }
    }

    fn resource_of(&self, owner: &OwnerReference) -> Option<Arc<ResourceType>> {
        let group = owner.api_version.rsplit_once('/').map_or("", |(group, _)| group);
        let kinds = self.kinds.read().unwrap_or_else(PoisonError::into_inner);
        kinds.get(&(group.to_owned(), owner.kind.clone())).cloned()
    }

    async fn delete(&self, item: &Item, live: &ObjectMeta, foreground: bool) -> Result<(), kube::Error> {
        let has = |name: &str| live.finalizers.iter().flatten().any(|finalizer| finalizer == name);
        let policy = if foreground || has(FOREGROUND) {
            PropagationPolicy::Foreground
        } else if has(ORPHAN) {
            // Somebody asked for it before.
            PropagationPolicy::Orphan
        } else {
            PropagationPolicy::Background
        };
        let parameters = DeleteParams {
            propagation_policy: Some(policy),
            preconditions: Some(Preconditions {
                uid: live.uid.clone(),
                // What was judged is what is deleted: owners may have come since.
                resource_version: live.resource_version.clone(),
            }),
            ..DeleteParams::default()
        };
        tracing::debug!(kind = item.resource.api.kind, namespace = item.namespace, name = item.name, "collecting");
        let api = item.resource.objects(&self.client, &item.namespace);
        controller::gone_is_fine(api.delete(&item.name, &parameters).await)
    }

    /// Lets an object go that waited for its dependents, or sees to it that they go.
    async fn finish_foreground(&self, item: &Item) -> Result<(), kube::Error> {
        let blocking: Vec<Item> = self.graph().blocking(&item.uid).into_iter().cloned().collect();
        if blocking.is_empty() {
            return self.drop_finalizer(item, FOREGROUND).await;
        }
        for dependent in blocking.into_iter().filter(|dependent| dependent.deletion == Deletion::No) {
            self.queue.add(Look::Keep(dependent.uid));
        }
        Ok(())
    }

    /// Makes the dependents of an object forget it, and lets it go.
    async fn orphan(&self, uid: &str) -> Result<(), kube::Error> {
        let (owner, dependents) = {
            let graph = self.graph();
            let Some(owner) = graph.get(uid).filter(|owner| owner.deletion == Deletion::Orphan).cloned() else {
                return Ok(());
            };
            (owner, graph.dependents(uid).into_iter().cloned().collect::<Vec<_>>())
        };
        for dependent in &dependents {
            let Some(live) = self.live(dependent).await? else { continue };
            let references = live.owner_references.clone().unwrap_or_default();
            let kept: Vec<_> = references.iter().filter(|reference| reference.uid != uid).cloned().collect();
            if kept.len() < references.len() {
                self.set_owners(dependent, &live, kept).await?;
            }
        }
        self.drop_finalizer(&owner, ORPHAN).await
    }

    async fn set_owners(&self, item: &Item, live: &ObjectMeta, owners: Vec<OwnerReference>) -> Result<(), kube::Error> {
        let patch = json!({"metadata": {
            "uid": live.uid, "resourceVersion": live.resource_version, "ownerReferences": owners,
        }});
        self.patch(item, &patch).await
    }

    async fn drop_finalizer(&self, item: &Item, finalizer: &str) -> Result<(), kube::Error> {
        let Some(live) = self.live(item).await? else { return Ok(()) };
        let finalizers = live.finalizers.clone().unwrap_or_default();
        let kept: Vec<_> = finalizers.iter().filter(|name| *name != finalizer).collect();
        if kept.len() == finalizers.len() {
            return Ok(());
        }
        let patch = json!({"metadata": {
            "uid": live.uid, "resourceVersion": live.resource_version, "finalizers": kept,
        }});
        self.patch(item, &patch).await
    }

    async fn patch(&self, item: &Item, patch: &serde_json::Value) -> Result<(), kube::Error> {
        let api = item.resource.objects(&self.client, &item.namespace);
        let result = api.patch_metadata(&item.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        controller::gone_is_fine(result)
    }

    fn look(&self, looks: Vec<Look>) {
        for look in looks {
            self.queue.add(look);
        }
    }

    fn graph(&self) -> MutexGuard<'_, Graph> {
        self.graph.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn absent(&self) -> MutexGuard<'_, HashSet<String>> {
        self.absent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
