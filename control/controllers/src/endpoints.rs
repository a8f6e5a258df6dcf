//! The Endpoints controller: the older view of the same thing that EndpointSlices tell, one object for each Service
//! (`pkg/controller/endpoint`).

mod subsets;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use kube::api::PostParams;
use kube::core::ObjectMeta;
use kube::{Api, Client, Resource as _, ResourceExt as _};
use orlop_runtime::Recorder;
use tokio_util::sync::CancellationToken;

use crate::controller::{self, Next};
use crate::owner::selects;
use crate::service::{HEADLESS_LABEL, TRIGGER_TIME, TriggerTimes, is_headless, selector, watch_pods};
use crate::written::Written;
use crate::{Informer, Key, Queue};

pub(crate) const NAME: &str = "endpoint-controller";
const MANAGED_BY_LABEL: &str = "endpoints.kubernetes.io/managed-by";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
const WORKERS: usize = 5;

/// The views that the controller reads.
pub(crate) struct Views {
    pub(crate) services: Arc<Informer<Service>>,
    pub(crate) pods: Arc<Informer<Pod>>,
    pub(crate) endpoints: Arc<Informer<Endpoints>>,
}

struct Controller {
    client: Client,
    recorder: Recorder,
    views: Views,
    triggers: TriggerTimes,
    written: Written,
}

/// Runs the controller until cancelled.
pub(crate) async fn run(client: Client, views: Views, stop: CancellationToken) {
    let queue = Queue::<Key>::default();
    controller::enqueue(&views.services, &queue);
    watch_pods(&views.pods, &views.services, &queue);
    watch_endpoints(&views, &queue);
    views.services.synced().await;
    views.pods.synced().await;
    views.endpoints.synced().await;
    // What a Service left behind while nobody watched goes at the start, whoever made it.
    views.endpoints.all().iter().for_each(|endpoints| queue.add(Key::of(endpoints.as_ref())));
    let this = Arc::new(Controller {
        recorder: Recorder::new(client.clone(), NAME),
        client,
        views,
        triggers: TriggerTimes::default(),
        written: Written::default(),
    });
    let reconcile = move |key: Key| {
        let this = this.clone();
        async move { this.reconcile(&key).await }
    };
    controller::work(NAME, queue, WORKERS, stop, reconcile).await;
}

/// Endpoints count when they go, when they have a Service, and when they are this controller's own. Somebody's own of no Service are
/// looked at only when a Service of their name goes.
fn watch_endpoints(views: &Views, queue: &Queue<Key>) {
    let (services, queue) = (views.services.clone(), queue.clone());
    views.endpoints.on_change(move |old, new| {
        let Some(key) = new.or(old).map(|endpoints| Key::of(endpoints.as_ref())) else { return };
        let own = |endpoints: &Arc<Endpoints>| endpoints.labels().get(MANAGED_BY_LABEL).is_some_and(|by| by == NAME);
        if new.is_none_or(own) || services.get(&key).is_some() {
            queue.add(key);
        }
    });
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let api = Api::<Endpoints>::namespaced(self.client.clone(), &key.namespace);
        let current = self.views.endpoints.get(key);
        let Some(service) = self.views.services.get(key) else {
            self.triggers.forget(key);
            self.written.forget(key);
            // Endpoints of no Service are left over, unless they are somebody's lock of old times.
            if current.is_some_and(|current| !current.annotations().contains_key(LEADER)) {
                // The view of Services may be older than that of Endpoints: what somebody wrote is not deleted on hearsay. Where there
                // is a Service, its event brings the key back.
                let services = Api::<Service>::namespaced(self.client.clone(), &key.namespace);
                if services.get_opt(&key.name).await?.is_some() {
                    return Ok(Next::Settled);
                }
                controller::gone_is_fine(api.delete(&key.name, &Default::default()).await)?;
            }
            return Ok(Next::Settled);
        };
        let Some(selector) = service.spec.as_ref().and_then(selector) else { return Ok(Next::Settled) };
        if !self.written.settled(key, self.views.endpoints.seen()) {
            return Ok(Next::Settled);
        }
        let mut pods = self.views.pods.list(&key.namespace);
        pods.retain(|pod| selects(selector, pod.metadata.labels.as_ref()));
        let trigger = self.triggers.observe(key, &service, &pods);
        let Some(mut wanted) = wanted(&service, &pods, current.as_deref()) else { return Ok(Next::Settled) };
        let annotations = wanted.metadata.annotations.get_or_insert_default();
        match trigger {
            Some(trigger) => annotations.insert(TRIGGER_TIME.into(), trigger.to_string()),
            None => annotations.remove(TRIGGER_TIME),
        };
        let (result, reason, verb) = match &current {
            Some(_) => (
                api.replace(&key.name, &PostParams::default(), &wanted).await,
                "FailedToUpdateEndpoint",
                "update endpoint",
            ),
            None => {
                let verb = "create endpoint for service";
                (api.create(&PostParams::default(), &wanted).await, "FailedToCreateEndpoint", verb)
            }
        };
        match result {
            Ok(written) => self.written.note(key, &written),
            Err(error) if controller::is_namespace_terminating(&error) => {}
            Err(error) => {
                if !controller::is_conflict(&error) {
                    let note = format!("Failed to {verb} {key}: {error}");
                    self.recorder.warning(service.object_ref(&()), reason, note);
                }
                return Err(error);
            }
        }
        Ok(Next::Settled)
    }
}

/// The Endpoints as they should be; `None` if they are so.
fn wanted(service: &Service, pods: &[Arc<Pod>], current: Option<&Endpoints>) -> Option<Endpoints> {
    let mut subsets = subsets::subsets(service, pods);
    let truncated = subsets::truncate(&mut subsets);
    let labels = labels(service);
    let over_capacity = |annotations: &BTreeMap<String, String>| annotations.contains_key(OVER_CAPACITY);
    if let Some(current) = current
        && current.subsets.as_deref().unwrap_or_default() == subsets
        && *current.labels() == labels
        && over_capacity(current.annotations()) == truncated
    {
        return None;
    }
    let metadata = current.map(|current| current.metadata.clone()).unwrap_or_else(|| ObjectMeta {
        name: service.metadata.name.clone(),
        namespace: service.metadata.namespace.clone(),
        ..ObjectMeta::default()
    });
    let mut wanted = Endpoints { metadata, subsets: (!subsets.is_empty()).then_some(subsets) };
    wanted.metadata.labels = Some(labels);
    let annotations = wanted.metadata.annotations.get_or_insert_default();
    if truncated {
        annotations.insert(OVER_CAPACITY.into(), "truncated".into());
    } else {
        annotations.remove(OVER_CAPACITY);
    }
    Some(wanted)
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.labels().clone();
    labels.remove(HEADLESS_LABEL);
    if service.spec.as_ref().is_some_and(is_headless) {
        labels.insert(HEADLESS_LABEL.into(), String::new());
    }
    labels.insert(MANAGED_BY_LABEL.into(), NAME.into());
    labels
}
