//! What the Endpoints and EndpointSlice controllers both must know of Services and pods: which pods a Service selects, which of
//! them are endpoints, at which port, and since when.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt as _;

use crate::owner::selects;
use crate::replicas::{phase, ready_since};
use crate::{Informer, Key, Queue};

pub(crate) const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";
pub(crate) const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// The selector of a Service whose endpoints are ours to write: not selectorless, not an ExternalName.
pub(crate) fn selector(spec: &ServiceSpec) -> Option<&BTreeMap<String, String>> {
    let selector = spec.selector.as_ref().filter(|selector| !selector.is_empty())?;
    (spec.type_.as_deref() != Some("ExternalName")).then_some(selector)
}

/// Whether a pod is an endpoint: it has an address and has not finished; one that terminates only if asked for.
pub(crate) fn is_endpoint(pod: &Pod, include_terminating: bool) -> bool {
    !matches!(phase(pod), "Succeeded" | "Failed")
        && !addresses(pod).is_empty()
        && (include_terminating || pod.metadata.deletion_timestamp.is_none())
}

/// The pod's addresses, the primary one first.
pub(crate) fn addresses(pod: &Pod) -> Vec<&str> {
    let Some(status) = &pod.status else { return Vec::new() };
    let many: Vec<&str> =
        status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str()).filter(|ip| !ip.is_empty()).collect();
    if many.is_empty() { status.pod_ip.as_deref().filter(|ip| !ip.is_empty()).into_iter().collect() } else { many }
}

/// The number behind a Service's targetPort in a pod; `None` if the pod has no port of that name and protocol.
pub(crate) fn target_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let spec = pod.spec.as_ref()?;
            let is_sidecar = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
            let sidecars = spec.init_containers.iter().flatten().filter(is_sidecar);
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten()).find_map(
                |p| {
                    let same = p.name.as_ref() == Some(name) && p.protocol.as_deref().unwrap_or("TCP") == protocol;
                    same.then_some(p.container_port)
                },
            )
        }
    }
}

/// The hostname that a pod has below a Service (`spec.subdomain`).
pub(crate) fn hostname<'a>(pod: &'a Pod, service: &Service) -> Option<&'a String> {
    let spec = pod.spec.as_ref()?;
    let hostname = spec.hostname.as_ref().filter(|hostname| !hostname.is_empty())?;
    let same = spec.subdomain.as_deref() == service.metadata.name.as_deref()
        && pod.metadata.namespace == service.metadata.namespace;
    same.then_some(hostname)
}

/// Whether the Service has no address of its own.
pub(crate) fn is_headless(spec: &ServiceSpec) -> bool {
    matches!(spec.cluster_ip.as_deref(), None | Some("" | "None"))
}

/// Puts into a queue every Service that a change of a pod may concern.
pub(crate) fn watch_pods(pods: &Informer<Pod>, services: &Arc<Informer<Service>>, queue: &Queue<Key>) {
    let (services, queue) = (services.clone(), queue.clone());
    pods.on_change(move |old, new| {
        if let (Some(old), Some(new)) = (old, new)
            && old.metadata.labels == new.metadata.labels
            && !endpoint_changed(old, new)
        {
            return;
        }
        let Some(namespace) = new.or(old).and_then(|pod| pod.namespace()) else { return };
        for service in services.list(&namespace) {
            let Some(selector) = service.spec.as_ref().and_then(selector) else { continue };
            if [old, new].into_iter().flatten().any(|pod| selects(selector, pod.metadata.labels.as_ref())) {
                queue.add(Key::of(service.as_ref()));
            }
        }
    });
}

/// Whether two versions of a pod differ in what its endpoints tell.
fn endpoint_changed(old: &Pod, new: &Pod) -> bool {
    let facts = |pod: &Pod| {
        let spec =
            pod.spec.as_ref().map(|spec| (spec.node_name.clone(), spec.hostname.clone(), spec.subdomain.clone()));
        (pod.metadata.uid.clone(), spec, pod.metadata.deletion_timestamp.is_some(), ready_since(pod).is_some())
    };
    facts(old) != facts(new) || addresses(old) != addresses(new) || is_endpoint(old, true) != is_endpoint(new, true)
}

#[derive(Default)]
struct Triggers {
    service: Option<Timestamp>,
    pods: HashMap<String, Timestamp>,
}

/// Since when what was not yet written is so: the oldest readiness change or creation not seen at the last look, from which
/// the latency of the network's programming is measured (`endpoints.kubernetes.io/last-change-trigger-time`).
#[derive(Default)]
pub(crate) struct TriggerTimes(Mutex<HashMap<Key, Triggers>>);

impl TriggerTimes {
    pub(crate) fn observe(&self, key: &Key, service: &Service, pods: &[Arc<Pod>]) -> Option<Timestamp> {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let state = states.entry(key.clone()).or_default();
        let mut oldest: Option<Timestamp> = None;
        let mut changed = |time: Timestamp| oldest = Some(oldest.map_or(time, |oldest| oldest.min(time)));
        let mut times = HashMap::new();
        for pod in pods {
            let Some(time) = ready_changed(pod) else { continue };
            let name = pod.name_any();
            if state.pods.get(&name).is_none_or(|before| time > *before) {
                changed(time);
            }
            times.insert(name, time);
        }
        let created = service.metadata.creation_timestamp.as_ref().map(|time| time.0);
        if let Some(created) = created.filter(|created| state.service.is_none_or(|before| *created > before)) {
            changed(created);
        }
        *state = Triggers { service: created, pods: times };
        oldest
    }

    pub(crate) fn forget(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

fn ready_changed(pod: &Pod) -> Option<Timestamp> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    Some(conditions.iter().find(|condition| condition.type_ == "Ready")?.last_transition_time.as_ref()?.0)
}
