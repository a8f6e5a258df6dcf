//! The cluster DNS controller: the Service `kube-dns`, and EndpointSlices that lead it to the proxy of each Node that is ready, where
//! cluster DNS is answered. Each endpoint is hinted to its own node, so that a pod asks the listener beside it while there is one.
//!
//! A `kube-dns` that has a selector is somebody's own: it is left alone.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::{
    Endpoint, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice, ForNode, ForZone,
};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::controller::{self, Next};
use crate::endpoint_slice::{Changes, Group, MANAGED_BY_LABEL, Owner, SERVICE_NAME_LABEL, fewest, sort, write};
use crate::owner::controller_reference;
use crate::written::Written;
use crate::{Informer, Key, Queue};

pub(crate) const NAME: &str = "cluster-dns-controller";
const MANAGED_BY: &str = "cluster-dns-controller.orlop.io";
const NAMESPACE: &str = "kube-system";
const SERVICE: &str = "kube-dns";
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
const TYPES: [&str; 2] = ["IPv4", "IPv6"];

/// Where cluster DNS is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterDns {
    /// The Service's address, which kubelets tell pods (`--cluster-dns`).
    pub address: IpAddr,
    /// The port of each node's listener, UDP and TCP.
    pub port: u16,
    /// The port of each node's DNS metrics.
    pub metrics_port: u16,
}

impl ClusterDns {
    /// The usual ports of a node, behind this address.
    pub fn new(address: IpAddr) -> Self {
        Self { address, port: 10_053, metrics_port: 9153 }
    }

    /// The Service's ports: name, protocol, port, and the port of each node.
    fn ports(self) -> [(&'static str, &'static str, u16, u16); 3] {
        [("dns", "UDP", 53, self.port), ("dns-tcp", "TCP", 53, self.port), ("metrics", "TCP", 9153, self.metrics_port)]
    }
}

/// The views that the controller reads.
pub(crate) struct Views {
    pub(crate) services: Arc<Informer<Service>>,
    pub(crate) nodes: Arc<Informer<Node>>,
    /// Indexed by the Service they name.
    pub(crate) slices: Arc<Informer<EndpointSlice>>,
}

struct Controller {
    client: Client,
    views: Views,
    dns: ClusterDns,
    written: Written,
}

/// Runs the controller until cancelled.
pub(crate) async fn run(client: Client, views: Views, dns: ClusterDns, stop: CancellationToken) {
    let queue = Queue::<Key>::default();
    let key = || Key::new(NAMESPACE, SERVICE);
    let changed = queue.clone();
    views.nodes.on_change(move |old, new| {
        if old.map(|node| listener(node)) != new.map(|node| listener(node)) {
            changed.add(key());
        }
    });
    let changed = queue.clone();
    views.services.on_change(move |old, new| {
        if new.or(old).is_some_and(|service| Key::of(service.as_ref()) == key()) {
            changed.add(key());
        }
    });
    let changed = queue.clone();
    views.slices.on_change(move |old, new| {
        if old.into_iter().chain(new).any(|slice| is_ours(slice)) {
            changed.add(key());
        }
    });
    views.services.synced().await;
    views.nodes.synced().await;
    views.slices.synced().await;
    queue.add(key());
    let this = Arc::new(Controller { client, views, dns, written: Written::default() });
    let reconcile = move |key: Key| {
        let this = this.clone();
        async move { this.reconcile(&key).await }
    };
    controller::work(NAME, queue, 1, stop, reconcile).await;
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        if !self.written.settled(key, self.views.slices.seen()) {
            return Ok(Next::Settled);
        }
        let Some(service) = self.service(key).await? else { return Ok(Next::Settled) };
        let slices = self.views.slices.by_index(key);
        let slices: Vec<&EndpointSlice> = slices.iter().map(AsRef::as_ref).filter(|slice| is_ours(slice)).collect();
        let mut all = Changes::default();
        if has_selector(&service) {
            all.delete = slices.into_iter().cloned().collect();
        } else {
            let mut nodes = self.views.nodes.all();
            nodes.sort_by_key(|node| node.name_any());
            let owner = owner(&service);
            let families = service.spec.as_ref().and_then(|spec| spec.ip_families.as_deref()).unwrap_or_default();
            for address_type in TYPES {
                let endpoints: Vec<Endpoint> = nodes.iter().filter_map(|node| endpoint(node, address_type)).collect();
                let wanted = families.is_empty() || families.iter().any(|family| family == address_type);
                let groups = if endpoints.is_empty() || !wanted {
                    vec![]
                } else {
                    vec![Group { ports: ports(self.dns), endpoints }]
                };
                let existing: Vec<_> = slices.iter().filter(|s| s.address_type == address_type).copied().collect();
                let changes = fewest(&owner, address_type, groups, &existing);
                all.create.extend(changes.create);
                all.update.extend(changes.update);
                all.delete.extend(changes.delete);
            }
        }
        write(&self.client, &self.written, key, all, None).await?;
        Ok(Next::Settled)
    }

    /// The Service, made or repaired; none while it is being deleted.
    async fn service(&self, key: &Key) -> Result<Option<Arc<Service>>, kube::Error> {
        let api = Api::<Service>::namespaced(self.client.clone(), NAMESPACE);
        let Some(present) = self.views.services.get(key) else {
            let created = match api.create(&PostParams::default(), &wanted(self.dns)).await {
                Ok(created) => created,
                Err(error) if controller::is_already_exists(&error) => api.get(SERVICE).await?,
                Err(error) => return Err(error),
            };
            tracing::info!(address = %self.dns.address, "made Service kube-system/kube-dns");
            return Ok(Some(Arc::new(created)));
        };
        if present.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        if has_selector(&present) || ports_of(&present) == ports_of(&wanted(self.dns)) {
            return Ok(Some(present));
        }
        let patch = json!({"spec": {"ports": wanted(self.dns).spec.and_then(|spec| spec.ports)}});
        let patched = api.patch(SERVICE, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(Some(Arc::new(patched)))
    }
}

fn has_selector(service: &Service) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| !selector.is_empty())
}

fn is_ours(slice: &EndpointSlice) -> bool {
    slice.labels().get(MANAGED_BY_LABEL).is_some_and(|by| by == MANAGED_BY)
}

/// What tells a client apart from another of a Service's ports.
fn ports_of(service: &Service) -> Vec<(Option<&String>, Option<&String>, i32)> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    ports.map(|port| (port.name.as_ref(), port.protocol.as_ref(), port.port)).collect()
}

/// The Service as kubeadm writes it, without CoreDNS' selector.
fn wanted(dns: ClusterDns) -> Service {
    let ports = dns.ports().map(|(name, protocol, port, target)| {
        json!({"name": name, "protocol": protocol, "port": port, "targetPort": target})
    });
    let labels = json!({
        "k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS",
    });
    let service = json!({
        "metadata": {
            "name": SERVICE, "namespace": NAMESPACE, "labels": labels,
            "annotations": {"prometheus.io/port": "9153", "prometheus.io/scrape": "true"},
        },
        "spec": {"clusterIP": dns.address, "ports": ports, "trafficDistribution": "PreferSameNode"},
    });
    // Every field is one of the type's.
    serde_json::from_value(service).unwrap_or_default()
}

fn owner(service: &Service) -> Owner {
    let mut labels: BTreeMap<String, String> = service.labels().clone();
    labels.insert(SERVICE_NAME_LABEL.into(), SERVICE.into());
    labels.insert(MANAGED_BY_LABEL.into(), MANAGED_BY.into());
    Owner { name: SERVICE.into(), namespace: Some(NAMESPACE.into()), labels, reference: controller_reference(service) }
}

fn ports(dns: ClusterDns) -> Vec<EndpointPort> {
    let ports = dns.ports().map(|(name, protocol, _, target)| EndpointPort {
        name: Some(name.into()),
        port: Some(target.into()),
        protocol: Some(protocol.into()),
        app_protocol: None,
    });
    let mut ports = Vec::from(ports);
    sort(&mut ports);
    ports
}

/// What of a Node its endpoints tell: its addresses and zone, if its kubelet says that it is ready.
fn listener(node: &Node) -> Option<(Vec<IpAddr>, Option<String>)> {
    let status = node.status.as_ref()?;
    let ready = status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
    if !ready || node.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let internal = status.addresses.iter().flatten().filter(|address| address.type_ == "InternalIP");
    let addresses: Vec<IpAddr> = internal.filter_map(|address| address.address.parse().ok()).collect();
    let zone = node.labels().get(ZONE_LABEL).filter(|zone| !zone.is_empty()).cloned();
    (!addresses.is_empty()).then_some((addresses, zone))
}

fn endpoint(node: &Node, address_type: &str) -> Option<Endpoint> {
    let (addresses, zone) = listener(node)?;
    let address = addresses.into_iter().find(|address| address.is_ipv6() == (address_type == "IPv6"))?;
    let name = node.name_any();
    let for_zones = zone.clone().map(|name| vec![ForZone { name }]);
    Some(Endpoint {
        addresses: vec![address.to_string()],
        conditions: Some(EndpointConditions { ready: Some(true), serving: Some(true), terminating: Some(false) }),
        hints: Some(EndpointHints { for_nodes: Some(vec![ForNode { name: name.clone() }]), for_zones }),
        node_name: Some(name),
        zone,
        ..Endpoint::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(ready: &str) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": "n", "labels": {"topology.kubernetes.io/zone": "a"}},
            "status": {
                "conditions": [{"type": "Ready", "status": ready}],
                "addresses": [
                    {"type": "Hostname", "address": "n"},
                    {"type": "InternalIP", "address": "192.0.2.1"},
                    {"type": "ExternalIP", "address": "198.51.100.1"},
                ],
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_ready_node_is_an_endpoint_for_its_own_pods() {
        let endpoint = endpoint(&node("True"), "IPv4").unwrap();
        assert_eq!(endpoint.addresses, ["192.0.2.1"]);
        let hints = endpoint.hints.unwrap();
        assert_eq!(hints.for_nodes.unwrap()[0].name, "n");
        assert_eq!(hints.for_zones.unwrap()[0].name, "a");
        assert!(super::endpoint(&node("True"), "IPv6").is_none());
        assert!(super::endpoint(&node("Unknown"), "IPv4").is_none());
    }

    #[test]
    fn the_service_is_the_one_that_clients_look_for() {
        let service = wanted(ClusterDns::new("10.96.0.10".parse().unwrap()));
        assert_eq!(service.spec.as_ref().unwrap().cluster_ip.as_deref(), Some("10.96.0.10"));
        assert_eq!(ports_of(&service).len(), 3);
        assert!(!has_selector(&service));
    }
}
