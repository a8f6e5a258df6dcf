//! The EndpointSlice mirroring controller: Endpoints that somebody wrote by hand for a Service without a selector, seen as
//! EndpointSlices, which is all that proxies look at (`pkg/controller/endpointslicemirroring`).

use std::sync::Arc;

use k8s_openapi::api::core::v1::{EndpointAddress, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use kube::{Client, ResourceExt as _};
use tokio_util::sync::CancellationToken;

use crate::controller::{self, Next};
use crate::endpoint_slice::{Changes, Group, MANAGED_BY_LABEL, Owner, SERVICE_NAME_LABEL, fewest, sort, write};
use crate::owner::controller_reference;
use crate::written::Written;
use crate::{Informer, Key, Queue};

pub(crate) const NAME: &str = "endpointslicemirroring-controller";
const MANAGED_BY: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
const WORKERS: usize = 5;
/// Of one subset so many addresses are mirrored (`--mirroring-max-endpoints-per-subset`).
const MOST: usize = 1000;
const TYPES: [&str; 2] = ["IPv4", "IPv6"];

/// The views that the controller reads.
pub(crate) struct Views {
    pub(crate) services: Arc<Informer<Service>>,
    pub(crate) endpoints: Arc<Informer<Endpoints>>,
    pub(crate) slices: Arc<Informer<EndpointSlice>>,
}

struct Mirroring {
    client: Client,
    views: Views,
    written: Written,
}

/// Runs the controller until cancelled.
pub(crate) async fn run(client: Client, views: Views, stop: CancellationToken) {
    let queue = Queue::<Key>::default();
    controller::enqueue(&views.services, &queue);
    controller::enqueue(&views.endpoints, &queue);
    let changed = queue.clone();
    views.slices.on_change(move |old, new| {
        for slice in old.into_iter().chain(new).filter(|slice| is_mirror(slice)) {
            let service = slice.labels().get(SERVICE_NAME_LABEL).cloned().unwrap_or_default();
            changed.add(Key::new(slice.namespace().unwrap_or_default(), service));
        }
    });
    views.services.synced().await;
    views.endpoints.synced().await;
    views.slices.synced().await;
    let this = Arc::new(Mirroring { client, views, written: Written::default() });
    let reconcile = move |key: Key| {
        let this = this.clone();
        async move { this.reconcile(&key).await }
    };
    controller::work(NAME, queue, WORKERS, stop, reconcile).await;
}

fn is_mirror(slice: &EndpointSlice) -> bool {
    slice.labels().get(MANAGED_BY_LABEL).is_some_and(|by| by == MANAGED_BY)
}

/// Whether somebody wrote these Endpoints for a Service that has no selector, and wants them seen.
fn is_mirrored(endpoints: &Endpoints, service: &Service) -> bool {
    let spec = service.spec.as_ref();
    let selectorless = spec.is_some_and(|spec| spec.selector.as_ref().is_none_or(|selector| selector.is_empty()));
    let skipped = endpoints.labels().get(SKIP).is_some_and(|skip| skip == "true");
    selectorless && !skipped && !endpoints.annotations().contains_key(LEADER)
}

impl Mirroring {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let endpoints = self.views.endpoints.get(key);
        let service = self.views.services.get(key);
        let mirrored = endpoints.zip(service).filter(|(endpoints, service)| is_mirrored(endpoints, service));
        if !self.written.settled(key, self.views.slices.seen()) {
            return Ok(Next::Settled);
        }
        let slices = self.views.slices.by_index(key);
        let slices: Vec<&EndpointSlice> = slices.iter().map(AsRef::as_ref).filter(|slice| is_mirror(slice)).collect();
        let Some((endpoints, _)) = mirrored else {
            let delete = slices.into_iter().cloned().collect();
            write(&self.client, &self.written, key, Changes { delete, ..Changes::default() }, None).await?;
            self.written.forget(key);
            return Ok(Next::Settled);
        };
        let owner = owner(&endpoints);
        let mut all = Changes::default();
        for address_type in TYPES {
            let existing: Vec<_> = slices.iter().filter(|slice| slice.address_type == address_type).copied().collect();
            let changes = fewest(&owner, address_type, groups(&endpoints, address_type), &existing);
            all.create.extend(changes.create);
            all.update.extend(changes.update);
            all.delete.extend(changes.delete);
        }
        write(&self.client, &self.written, key, all, None).await?;
        Ok(Next::Settled)
    }
}

fn owner(endpoints: &Endpoints) -> Owner {
    let mut labels = endpoints.labels().clone();
    labels.insert(SERVICE_NAME_LABEL.into(), endpoints.name_any());
    labels.insert(MANAGED_BY_LABEL.into(), MANAGED_BY.into());
    Owner {
        name: endpoints.name_any(),
        namespace: endpoints.namespace(),
        labels,
        reference: controller_reference(endpoints),
    }
}

/// The addresses of one type, in groups of equal ports.
fn groups(endpoints: &Endpoints, address_type: &str) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for subset in endpoints.subsets.iter().flatten() {
        let mut ports: Vec<EndpointPort> = subset
            .ports
            .iter()
            .flatten()
            .map(|port| EndpointPort {
                name: Some(port.name.clone().unwrap_or_default()),
                port: Some(port.port),
                protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".into())),
                app_protocol: port.app_protocol.clone(),
            })
            .collect();
        sort(&mut ports);
        let of_type = |address: &&EndpointAddress| address.ip.contains(':') == (address_type == "IPv6");
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let all = ready.chain(subset.not_ready_addresses.iter().flatten().map(|address| (address, false)));
        let found: Vec<Endpoint> = all
            .take(MOST)
            .filter(|(address, _)| of_type(address))
            .map(|(address, ready)| mirror(address, ready))
            .collect();
        if found.is_empty() {
            continue;
        }
        match groups.iter_mut().find(|group| group.ports == ports) {
            Some(group) => group.endpoints.extend(found),
            None => groups.push(Group { ports, endpoints: found }),
        }
    }
    groups
}

fn mirror(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone().filter(|hostname| !hostname.is_empty()),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}
