//! The pure part: the fewest writes that make the slices of one address type hold the desired endpoints.
//!
//! As `k8s.io/endpointslice`: endpoints stay in the slice where they are; new ones go into slices that change anyway, then into
//! the one unchanged slice that they fill best, then into new slices. A slice to be deleted is reused for one to be created.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt as _;
use kube::core::ObjectMeta;

use crate::owner::controller_reference;
use crate::service::{HEADLESS_LABEL, is_headless};

use super::desired::{Group, sort};
use super::{MANAGED_BY, MANAGED_BY_LABEL, SERVICE_NAME_LABEL};

/// How many endpoints a slice holds at most (`--max-endpoints-per-slice`).
const MAX_ENDPOINTS: usize = 100;

/// What is to be written.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Changes {
    pub(crate) create: Vec<EndpointSlice>,
    pub(crate) update: Vec<EndpointSlice>,
    pub(crate) delete: Vec<EndpointSlice>,
}

/// What slices are made for: what they are called after, labelled with and owned by.
pub(crate) struct Owner {
    pub(crate) name: String,
    pub(crate) namespace: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) reference: OwnerReference,
}

impl Owner {
    /// The Service whose pods the slices list.
    pub(super) fn of(service: &Service) -> Self {
        Self {
            name: service.name_any(),
            namespace: service.namespace(),
            labels: labels(service),
            reference: controller_reference(service),
        }
    }
}

/// Compares the slices of one address type with the groups wanted. Without endpoints there is one empty slice: consumers can tell
/// that from a Service that nobody looked at yet.
pub(super) fn changes(
    service: &Service,
    address_type: &str,
    mut groups: Vec<Group>,
    existing: &[&EndpointSlice],
) -> Changes {
    if groups.is_empty() {
        groups.push(Group { ports: Vec::new(), endpoints: Vec::new() });
    }
    fewest(&Owner::of(service), address_type, groups, existing)
}

/// The fewest writes; no groups are no slices.
pub(crate) fn fewest(owner: &Owner, address_type: &str, groups: Vec<Group>, existing: &[&EndpointSlice]) -> Changes {
    let mut changes = Changes::default();
    let mut matched = vec![false; existing.len()];
    for group in groups {
        let slices: Vec<&EndpointSlice> = existing
            .iter()
            .zip(&mut matched)
            .filter(|(slice, _)| ports(slice) == group.ports)
            .map(|(slice, matched)| {
                *matched = true;
                *slice
            })
            .collect();
        of_group(owner, address_type, group, &slices, &mut changes);
    }
    let stale = existing.iter().zip(matched).filter(|(_, matched)| !matched);
    changes.delete.extend(stale.map(|(slice, _)| (*slice).clone()));
    reuse(owner, &mut changes);
    changes
}

struct Slice<'a> {
    existing: &'a EndpointSlice,
    endpoints: Vec<Endpoint>,
    changed: bool,
}

fn of_group(owner: &Owner, address_type: &str, group: Group, existing: &[&EndpointSlice], changes: &mut Changes) {
    let placeholder = group.endpoints.is_empty();
    let order: Vec<_> = group.endpoints.iter().map(identity).collect();
    let mut desired: HashMap<_, Endpoint> = order.iter().cloned().zip(group.endpoints).collect();
    let mut slices: Vec<Slice<'_>> = existing
        .iter()
        .map(|slice| {
            let old = slice.endpoints.as_deref().unwrap_or_default();
            let endpoints: Vec<Endpoint> = old.iter().filter_map(|e| desired.remove(&identity(e))).collect();
            let changed = endpoints != old || slice.metadata.labels.as_ref() != Some(&owner.labels);
            Slice { existing: slice, endpoints, changed }
        })
        .collect();
    let mut left: Vec<Endpoint> = order.iter().filter_map(|identity| desired.remove(identity)).collect();
    slices.sort_by_key(|slice| std::cmp::Reverse(slice.endpoints.len()));
    for slice in slices.iter_mut().filter(|slice| slice.changed && !slice.endpoints.is_empty()) {
        let room = MAX_ENDPOINTS.saturating_sub(slice.endpoints.len()).min(left.len());
        slice.endpoints.extend(left.drain(..room));
    }
    while !left.is_empty() {
        let count = left.len().min(MAX_ENDPOINTS);
        let fits = |slice: &&mut Slice<'_>| !slice.changed && slice.endpoints.len() + count <= MAX_ENDPOINTS;
        if let Some(slice) = slices.iter_mut().filter(fits).max_by_key(|slice| slice.endpoints.len()) {
            slice.endpoints.extend(left.drain(..count));
            slice.changed = true;
        } else {
            let endpoints = left.drain(..count).collect();
            changes.create.push(new_slice(owner, address_type, &group.ports, endpoints));
        }
    }
    let mut kept_placeholder = false;
    for slice in slices {
        let keep = !slice.endpoints.is_empty() || (placeholder && !kept_placeholder && group.ports.is_empty());
        if !keep {
            changes.delete.push(slice.existing.clone());
            continue;
        }
        kept_placeholder = true;
        if slice.changed {
            let mut updated = slice.existing.clone();
            updated.metadata.labels = Some(owner.labels.clone());
            updated.endpoints = Some(slice.endpoints);
            changes.update.push(updated);
        }
    }
    if placeholder && !kept_placeholder {
        changes.create.push(new_slice(owner, address_type, &group.ports, Vec::new()));
    }
}

/// Updates what would be deleted into what would be created, if it is this owner's.
fn reuse(owner: &Owner, changes: &mut Changes) {
    let mut index = 0;
    while index < changes.delete.len() {
        let owned = changes.delete[index].owner_references().iter().any(|o| o.uid == owner.reference.uid);
        if !owned {
            index += 1;
            continue;
        }
        let Some(new) = changes.create.pop() else { return };
        let old = changes.delete.remove(index);
        let metadata = ObjectMeta { labels: new.metadata.labels, ..old.metadata };
        changes.update.push(EndpointSlice { metadata, ..new });
    }
}

fn new_slice(owner: &Owner, address_type: &str, ports: &[EndpointPort], endpoints: Vec<Endpoint>) -> EndpointSlice {
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", owner.name)),
            namespace: owner.namespace.clone(),
            labels: Some(owner.labels.clone()),
            owner_references: Some(vec![owner.reference.clone()]),
            ..ObjectMeta::default()
        },
        address_type: address_type.to_owned(),
        endpoints: Some(endpoints),
        ports: Some(ports.to_vec()),
    }
}

/// The Service's labels and ours.
fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.labels().clone();
    labels.remove(HEADLESS_LABEL);
    if service.spec.as_ref().is_some_and(is_headless) {
        labels.insert(HEADLESS_LABEL.into(), String::new());
    }
    labels.insert(SERVICE_NAME_LABEL.into(), service.name_any());
    labels.insert(MANAGED_BY_LABEL.into(), MANAGED_BY.into());
    labels
}

fn ports(slice: &EndpointSlice) -> Vec<EndpointPort> {
    let mut ports = slice.ports.clone().unwrap_or_default();
    for port in &mut ports {
        port.name.get_or_insert_default();
    }
    sort(&mut ports);
    ports
}

/// What makes two versions of an endpoint the same one.
pub(super) fn identity(endpoint: &Endpoint) -> (Vec<String>, Option<String>) {
    (endpoint.addresses.clone(), endpoint.target_ref.as_ref().and_then(|target| target.uid.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::discovery::v1::EndpointConditions;
    use serde_json::json;

    fn service() -> Service {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "u", "labels": {"app": "web"}},
            "spec": {"clusterIP": "10.96.0.7"},
        }))
        .unwrap()
    }

    fn group(addresses: std::ops::Range<usize>) -> Group {
        let ports = vec![EndpointPort { name: Some(String::new()), port: Some(80), ..EndpointPort::default() }];
        let endpoints = addresses
            .map(|n| Endpoint { addresses: vec![format!("10.0.{}.{}", n / 250, n % 250)], ..Endpoint::default() });
        Group { ports, endpoints: endpoints.collect() }
    }

    /// Applies changes as the API server would.
    fn apply(changes: Changes, slices: &[EndpointSlice]) -> Vec<EndpointSlice> {
        let gone: Vec<String> = changes.delete.iter().map(|slice| slice.name_any()).collect();
        let mut slices: Vec<EndpointSlice> = slices.iter().filter(|s| !gone.contains(&s.name_any())).cloned().collect();
        for new in changes.update {
            let old = slices.iter_mut().find(|slice| slice.name_any() == new.name_any());
            *old.unwrap() = new;
        }
        for mut new in changes.create {
            new.metadata.name = Some(format!("web-{}", slices.len()));
            slices.push(new);
        }
        slices
    }

    fn sync(groups: Vec<Group>, slices: &[EndpointSlice]) -> Changes {
        changes(&service(), "IPv4", groups, &slices.iter().collect::<Vec<_>>())
    }

    fn sizes(slices: &[EndpointSlice]) -> Vec<usize> {
        slices.iter().map(|slice| slice.endpoints.as_ref().unwrap().len()).collect()
    }

    #[test]
    fn a_service_without_endpoints_has_one_empty_slice_which_the_first_endpoint_takes() {
        let slices = apply(sync(vec![], &[]), &[]);
        assert_eq!(sizes(&slices), [0]);
        let labels = slices[0].labels();
        assert_eq!((labels["kubernetes.io/service-name"].as_str(), labels["app"].as_str()), ("web", "web"));
        assert_eq!(sync(vec![], &slices), Changes::default(), "settled");
        let changes = sync(vec![group(0..1)], &slices);
        assert_eq!((changes.create.len(), changes.update.len(), changes.delete.len()), (0, 1, 0));
        let slices = apply(changes, &slices);
        assert_eq!(sizes(&slices), [1]);
        assert_eq!(sizes(&apply(sync(vec![], &slices), &slices)), [0]);
    }

    #[test]
    fn slices_hold_a_hundred_endpoints_at_most() {
        let slices = apply(sync(vec![group(0..250)], &[]), &[]);
        assert_eq!(sizes(&slices), [100, 100, 50]);
        assert_eq!(sync(vec![group(0..250)], &slices), Changes::default(), "settled");
    }

    #[test]
    fn one_endpoint_more_changes_the_one_slice_that_has_room() {
        let slices = apply(sync(vec![group(0..150)], &[]), &[]);
        let changes = sync(vec![group(0..151)], &slices);
        assert_eq!((changes.create.len(), changes.update.len(), changes.delete.len()), (0, 1, 0));
        assert_eq!(sizes(&apply(changes, &slices)), [100, 51]);
    }

    #[test]
    fn endpoints_that_come_fill_the_slice_from_which_others_went() {
        let slices = apply(sync(vec![group(0..200)], &[]), &[]);
        let changes = sync(vec![group(10..210)], &slices);
        assert_eq!((changes.create.len(), changes.update.len(), changes.delete.len()), (0, 1, 0));
    }

    #[test]
    fn a_changed_condition_or_label_changes_only_its_slice() {
        let slices = apply(sync(vec![group(0..200)], &[]), &[]);
        let mut wanted = group(0..200);
        wanted.endpoints[7].conditions =
            Some(EndpointConditions { ready: Some(false), ..EndpointConditions::default() });
        assert_eq!(sync(vec![wanted], &slices).update.len(), 1);
        let mut relabelled = slices.clone();
        relabelled[0].labels_mut().insert("app".into(), "other".into());
        assert_eq!(sync(vec![group(0..200)], &relabelled).update.len(), 1);
    }

    #[test]
    fn slices_of_another_service_of_that_name_are_deleted_and_not_reused() {
        let mut slices = apply(sync(vec![group(0..1)], &[]), &[]);
        slices[0].metadata.owner_references = None;
        let changes = sync(vec![], &slices);
        assert_eq!((changes.create.len(), changes.update.len(), changes.delete.len()), (1, 0, 1));
    }
}
