//! The EndpointSlice controller: for each Service with a selector, slices that list the pods behind it
//! (`pkg/controller/endpointslice`).

mod changes;
mod desired;
mod topology;

use std::collections::{BTreeMap, HashSet};
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use orlop_runtime::Recorder;
use tokio_util::sync::CancellationToken;

use crate::controller::{self, Next};
use crate::owner::selects;
use crate::service::{TRIGGER_TIME, TriggerTimes, selector, watch_pods};
use crate::written::Written;
use crate::{Informer, Key, Queue};

use changes::changes;
pub(crate) use changes::{Changes, Owner, fewest};
pub(crate) use desired::{Group, sort, target};
use topology::{Disabled, Shares, is_auto};

pub(crate) const NAME: &str = "endpointslice-controller";
pub(crate) const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
pub(crate) const MANAGED_BY_LABEL: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGED_BY: &str = "endpointslice-controller.k8s.io";
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
const WORKERS: usize = 5;

/// The views that the controller reads.
pub(crate) struct Views {
    pub(crate) services: Arc<Informer<Service>>,
    pub(crate) pods: Arc<Informer<Pod>>,
    pub(crate) nodes: Arc<Informer<Node>>,
    /// Indexed by [`service_named`].
    pub(crate) slices: Arc<Informer<EndpointSlice>>,
}

struct EndpointSlices {
    client: Client,
    recorder: Recorder,
    views: Views,
    triggers: TriggerTimes,
    written: Written,
    /// What has hints by its annotation, so that an Event tells when that begins and ends.
    hinted: Mutex<HashSet<(Key, &'static str)>>,
}

/// Runs the controller until cancelled.
pub(crate) async fn run(client: Client, views: Views, stop: CancellationToken) {
    let queue = Queue::<Key>::default();
    controller::enqueue(&views.services, &queue);
    watch_pods(&views.pods, &views.services, &queue);
    let changed = queue.clone();
    views.slices.on_change(move |old, new| {
        for slice in old.into_iter().chain(new) {
            if let Some(key) = service_of(slice) {
                changed.add(key);
            }
        }
    });
    let (changed, services) = (queue.clone(), views.services.clone());
    views.nodes.on_change(move |old, new| {
        // Only that a Node is there, and its zone, are told by an endpoint.
        if old.map(|node| zone(node)) != new.map(|node| zone(node)) {
            for service in services.all() {
                changed.add(Key::of(service.as_ref()));
            }
        } else if old.map(|node| topology::part(node)) != new.map(|node| topology::part(node)) {
            for service in services.all().iter().filter(|service| is_auto(service)) {
                changed.add(Key::of(service.as_ref()));
            }
        }
    });
    views.services.synced().await;
    views.pods.synced().await;
    views.nodes.synced().await;
    views.slices.synced().await;
    let this = Arc::new(EndpointSlices {
        recorder: Recorder::new(client.clone(), "endpoint-slice-controller"),
        client,
        views,
        triggers: TriggerTimes::default(),
        written: Written::default(),
        hinted: Mutex::default(),
    });
    let reconcile = move |key: Key| {
        let this = this.clone();
        async move { this.reconcile(&key).await }
    };
    controller::work(NAME, queue, WORKERS, stop, reconcile).await;
}

fn zone(node: &Node) -> Option<String> {
    node.labels().get(ZONE_LABEL).filter(|zone| !zone.is_empty()).cloned()
}

/// The Service that a slice names: the view of slices is indexed by it.
pub(crate) fn service_named(slice: &EndpointSlice) -> Option<Key> {
    Some(Key::new(slice.namespace()?, slice.labels().get(SERVICE_NAME_LABEL)?))
}

/// The Service of a slice that is ours.
fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let ours = slice.labels().get(MANAGED_BY_LABEL).is_some_and(|by| by == MANAGED_BY);
    ours.then(|| service_named(slice))?
}

impl EndpointSlices {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(service) = self.views.services.get(key) else {
            // Its slices go with it: the garbage collector follows their owner reference.
            self.triggers.forget(key);
            self.written.forget(key);
            self.hinted().retain(|(hinted, _)| hinted != key);
            return Ok(Next::Settled);
        };
        let Some(selector) = service.spec.as_ref().and_then(selector) else { return Ok(Next::Settled) };
        if !self.written.settled(key, self.views.slices.seen()) {
            return Ok(Next::Settled);
        }
        let mut pods = self.views.pods.list(&key.namespace);
        pods.retain(|pod| selects(selector, pod.metadata.labels.as_ref()));
        let trigger = self.triggers.observe(key, &service, &pods).map(|time| time.to_string());
        let mut slices = self.views.slices.by_index(key);
        slices.retain(|slice| service_of(slice).is_some());
        let zone_of = |node: &str| self.views.nodes.get(&Key::new("", node)).map(|node| zone(&node));
        let types = desired::address_types(&service);
        let shares = is_auto(&service).then(|| Shares::of(self.views.nodes.all().iter().map(AsRef::as_ref)));
        let mut all = Changes::default();
        for address_type in &types {
            let mut groups = desired::groups(&service, &pods, address_type, &zone_of);
            let existing: Vec<&EndpointSlice> =
                slices.iter().map(AsRef::as_ref).filter(|slice| slice.address_type == *address_type).collect();
            let hints = shares
                .as_ref()
                .map(|shares| topology::assign(&mut groups, &existing, shares.as_ref().map_err(|disabled| *disabled)));
            self.tell(&service, key, address_type, hints);
            let changes = changes(&service, address_type, groups, &existing);
            all.create.extend(changes.create);
            all.update.extend(changes.update);
            all.delete.extend(changes.delete);
        }
        let unsupported = slices.iter().filter(|slice| !types.contains(&slice.address_type.as_str()));
        all.delete.extend(unsupported.map(|slice| slice.as_ref().clone()));
        // While the Service goes, the garbage collector takes its slices: do not make new ones.
        if service.metadata.deletion_timestamp.is_some() {
            all.create.clear();
        }
        let result = write(&self.client, &self.written, key, all, trigger).await;
        if let Err(error) = &result
            && !controller::is_conflict(error)
        {
            let note = format!("Error updating Endpoint Slices for Service {}/{}: {error}", key.namespace, key.name);
            self.recorder.warning(service.object_ref(&()), "FailedToUpdateEndpointSlices", note);
        }
        result.map(|()| Next::Settled)
    }

    /// Events about hints by annotation: that they begin or end, and each time why there are none.
    fn tell(&self, service: &Service, key: &Key, address_type: &'static str, hints: Option<Result<(), Disabled>>) {
        let about = (key.clone(), address_type);
        let had = if hints == Some(Ok(())) { !self.hinted().insert(about) } else { self.hinted().remove(&about) };
        let object = service.object_ref(&());
        let note = |what: &dyn Display| format!("{what}, addressType: {address_type}");
        match hints {
            Some(Ok(())) if !had => {
                let enabled = note(&"Topology Aware Hints has been enabled");
                self.recorder.normal(object, "TopologyAwareHintsEnabled", enabled);
            }
            Some(Err(why)) => self.recorder.warning(object, "TopologyAwareHintsDisabled", note(&why)),
            None if had => {
                let disabled = note(&"Topology Aware Hints has been disabled");
                self.recorder.warning(object, "TopologyAwareHintsDisabled", disabled);
            }
            _ => {}
        }
    }

    fn hinted(&self) -> MutexGuard<'_, HashSet<(Key, &'static str)>> {
        self.hinted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes changes; what was written is noted for the key.
pub(crate) async fn write(
    client: &Client,
    written: &Written,
    key: &Key,
    all: Changes,
    trigger: Option<String>,
) -> Result<(), kube::Error> {
    let api = Api::<EndpointSlice>::namespaced(client.clone(), &key.namespace);
    for mut slice in all.create {
        annotate(&mut slice.metadata.annotations, trigger.as_ref());
        match api.create(&PostParams::default(), &slice).await {
            Ok(created) => written.note(key, &created),
            Err(error) if controller::is_namespace_terminating(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    for mut slice in all.update {
        annotate(&mut slice.metadata.annotations, trigger.as_ref());
        let updated = api.replace(&slice.name_any(), &PostParams::default(), &slice).await?;
        written.note(key, &updated);
    }
    for slice in all.delete {
        let preconditions = Preconditions { uid: slice.uid(), resource_version: None };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        controller::gone_is_fine(api.delete(&slice.name_any(), &parameters).await)?;
    }
    Ok(())
}

fn annotate(annotations: &mut Option<BTreeMap<String, String>>, trigger: Option<&String>) {
    match trigger {
        Some(trigger) => {
            annotations.get_or_insert_default().insert(TRIGGER_TIME.into(), trigger.clone());
        }
        None => {
            if let Some(annotations) = annotations {
                annotations.remove(TRIGGER_TIME);
            }
        }
    }
}
