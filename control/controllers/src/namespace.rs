//! The Namespace controller: a namespace that is deleted is emptied, pods first, and then let go (`spec.finalizers`).

mod conditions;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions};
use kube::core::discovery::verbs;
use kube::{Api, Client, ResourceExt as _};
use tokio_util::sync::CancellationToken;

use crate::controller::{self, Next};
use crate::discovery::{ResourceType, deletable};
use crate::{Informer, Key, Queue};

use conditions::Found;

pub(crate) const NAME: &str = "namespace-controller";
const FINALIZER: &str = "kubernetes";
const WORKERS: usize = 5;
/// How soon content that is on its way out is looked for again.
const AGAIN: Duration = Duration::from_secs(1);

/// Runs the controller until cancelled.
pub(crate) async fn run(client: Client, namespaces: Arc<Informer<Namespace>>, stop: CancellationToken) {
    let queue = Queue::<Key>::default();
    let changed = queue.clone();
    namespaces.on_change(move |_, new| {
        if let Some(namespace) = new.filter(|namespace| namespace.metadata.deletion_timestamp.is_some()) {
            changed.add(Key::of(namespace.as_ref()));
        }
    });
    namespaces.synced().await;
    let reconcile = move |key: Key| {
        let (client, namespaces) = (client.clone(), namespaces.clone());
        async move {
            match namespaces.get(&key) {
                Some(namespace) => empty(&client, &namespace).await,
                None => Ok(Next::Settled),
            }
        }
    };
    controller::work(NAME, queue, WORKERS, stop, reconcile).await;
}

async fn empty(client: &Client, namespace: &Namespace) -> Result<Next, kube::Error> {
    let api = Api::<Namespace>::all(client.clone());
    let name = namespace.name_any();
    // Content is judged against the namespace of today.
    let Some(mut live) = api.get_opt(&name).await? else { return Ok(Next::Settled) };
    if live.metadata.deletion_timestamp.is_none() || live.uid() != namespace.uid() {
        return Ok(Next::Settled);
    }
    let finalizers = live.spec.as_ref().and_then(|spec| spec.finalizers.clone()).unwrap_or_default();
    if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
        if finalizers.is_empty() && live.finalizers().is_empty() {
            let preconditions = Preconditions { uid: live.uid(), resource_version: None };
            let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            controller::gone_is_fine(api.delete(&name, &parameters).await)?;
        }
        return Ok(Next::Settled);
    }
    let found = delete_content(client, &name).await;
    let status = live.status.get_or_insert_default();
    let old = status.conditions.clone().unwrap_or_default();
    let new = found.conditions(&old, Timestamp::now());
    if new != old || status.phase.as_deref() != Some("Terminating") {
        status.phase = Some("Terminating".into());
        status.conditions = Some(new);
        match api.replace_status(&name, &PostParams::default(), &live).await {
            Ok(written) => live = written,
            Err(error) if controller::is_not_found(&error) => return Ok(Next::Settled),
            Err(error) => return Err(error),
        }
    }
    if !found.is_empty() {
        return Ok(Next::After(AGAIN));
    }
    let kept: Vec<String> = finalizers.into_iter().filter(|finalizer| finalizer != FINALIZER).collect();
    live.spec.get_or_insert_default().finalizers = Some(kept);
    let result: Result<Namespace, _> = api.replace_subresource("finalize", &name, &PostParams::default(), &live).await;
    controller::gone_is_fine(result)?;
    Ok(Next::Settled)
}

/// Deletes everything in a namespace, and says what is left of it.
async fn delete_content(client: &Client, namespace: &str) -> Found {
    let mut found = Found::default();
    let resources = match deletable(client).await {
        Ok(resources) => resources,
        Err(error) => {
            found.discovery_error = Some(error.to_string());
            return found;
        }
    };
    let is_pods = |resource: &&ResourceType| resource.id() == ("", "pods");
    let namespaced: Vec<ResourceType> = resources.into_iter().filter(|resource| resource.namespaced).collect();
    // Pods first (KEP-5080): what protects and what feeds them outlives them.
    for resource in namespaced.iter().filter(is_pods) {
        delete_all(client, namespace, resource, &mut found).await;
    }
    if !found.is_empty() {
        return found;
    }
    for resource in namespaced.iter().filter(|resource| !is_pods(resource)) {
        delete_all(client, namespace, resource, &mut found).await;
    }
    found
}

async fn delete_all(client: &Client, namespace: &str, resource: &ResourceType, found: &mut Found) {
    if let Err(error) = try_delete_all(client, namespace, resource, found).await {
        found.errors.push(error.to_string());
    }
}

async fn try_delete_all(
    client: &Client,
    namespace: &str,
    resource: &ResourceType,
    found: &mut Found,
) -> Result<(), kube::Error> {
    let metadata = resource.metadata(client, namespace);
    let all = ListParams::default();
    if metadata.list(&all.clone().limit(1)).await?.items.is_empty() {
        return Ok(());
    }
    let objects = resource.objects(client, namespace);
    let background = DeleteParams::background();
    let together = resource.can(verbs::DELETE_COLLECTION)
        && match objects.delete_collection(&background, &all).await {
            Ok(_) => true,
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 405) => false,
            Err(error) => return Err(error),
        };
    if !together {
        for object in metadata.list(&all).await?.items {
            controller::gone_is_fine(objects.delete(&object.name_any(), &background).await)?;
        }
    }
    let left = metadata.list(&all).await?.items;
    if !left.is_empty() {
        let (group, plural) = resource.id();
        found.remaining.insert(format!("{plural}.{group}"), left.len());
        for finalizer in left.iter().flat_map(|object| object.finalizers().to_vec()) {
            *found.finalizers.entry(finalizer).or_default() += 1;
        }
    }
    Ok(())
}
