//! Hints of the annotation `service.kubernetes.io/topology-mode: Auto` (KEP-2433): each zone gets as many of a Service's endpoints as
//! it has of the cluster's CPUs. Pure, as `k8s.io/endpointslice/topologycache` but for its memory: what is assigned is read from the
//! slices that there are, and kept while it is fair.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointHints, EndpointSlice, ForZone};
use kube::ResourceExt as _;

use super::changes::identity;
use super::desired::Group;
use super::zone;

/// The newer annotation's older name wins, as in Kubernetes.
const ANNOTATIONS: [&str; 2] = ["service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"];
/// Nodes with one of these labels take no part.
const EXCLUDED: [&str; 2] = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];
/// By how much more than its share an endpoint may get.
const OVERLOAD: f64 = 0.2;

/// Why a Service that asks for hints gets none; the texts are Kubernetes'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disabled {
    /// A Node without a zone or without CPUs, or fewer than two zones.
    Nodes,
    /// An endpoint on a Node without a zone.
    NoZone,
    /// Fewer endpoints than zones.
    Endpoints { endpoints: usize, zones: usize },
    /// Shares that so few endpoints cannot express.
    Overload { endpoints: usize, zones: usize },
}

impl fmt::Display for Disabled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nodes => {
                f.write_str("Insufficient Node information: allocatable CPU or zone not specified on one or more nodes")
            }
            Self::NoZone => f.write_str("One or more endpoints do not have a zone specified"),
            Self::Endpoints { endpoints, zones } => {
                write!(f, "Insufficient number of endpoints ({endpoints} endpoints, {zones} zones)")
            }
            Self::Overload { endpoints, zones } => write!(
                f,
                "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold \
                 ({endpoints} endpoints, {zones} zones)"
            ),
        }
    }
}

/// Whether a Service asks for hints by its annotation.
pub(super) fn is_auto(service: &Service) -> bool {
    let annotations = service.annotations();
    let asked = ANNOTATIONS.iter().find_map(|name| annotations.get(*name));
    asked.is_some_and(|mode| mode == "Auto" || mode == "auto")
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// What of a Node decides over shares: its zone and CPUs (in thousandths), if it takes part.
pub(super) fn part(node: &Node) -> Option<(Option<String>, i64)> {
    if EXCLUDED.iter().any(|label| node.labels().contains_key(*label)) || !is_ready(node) {
        return None;
    }
    let cpu = node.status.as_ref().and_then(|status| status.allocatable.as_ref()?.get("cpu"));
    let cpu = cpu.and_then(|cpu| cpu.0.parse::<orlop_kinds::Quantity>().ok()).map_or(0, |cpu| cpu.milli_value());
    Some((zone(node), cpu))
}

/// Each zone's share of the CPUs; together 1.
#[derive(Debug)]
pub(super) struct Shares(BTreeMap<String, f64>);

impl Shares {
    /// Those of the Nodes that take part.
    pub(super) fn of<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> Result<Self, Disabled> {
        let mut zones: BTreeMap<String, i64> = BTreeMap::new();
        for (zone, cpu) in nodes.into_iter().filter_map(part) {
            let zone = zone.filter(|_| cpu > 0).ok_or(Disabled::Nodes)?;
            *zones.entry(zone).or_default() += cpu;
        }
        if zones.len() < 2 {
            return Err(Disabled::Nodes);
        }
        let total: i64 = zones.values().sum();
        Ok(Self(zones.into_iter().map(|(zone, cpu)| (zone, cpu as f64 / total as f64)).collect()))
    }

    fn allocate(&self, endpoints: usize) -> Result<BTreeMap<&str, Allocation>, Disabled> {
        let zones = self.0.len();
        if zones > endpoints {
            return Err(Disabled::Endpoints { endpoints, zones });
        }
        let least = |share: f64| (share * endpoints as f64 / (1.0 + OVERLOAD)).ceil() as usize;
        let spare = endpoints.checked_sub(self.0.values().map(|share| least(*share)).sum());
        let spare = spare.ok_or(Disabled::Overload { endpoints, zones })?;
        let allocation = |share: f64| {
            let least = least(share);
            Allocation { least, most: least + spare, desired: (share * endpoints as f64).max(least as f64) }
        };
        Ok(self.0.iter().map(|(zone, share)| (zone.as_str(), allocation(*share))).collect())
    }
}

/// How many endpoints a zone is to have.
struct Allocation {
    least: usize,
    most: usize,
    desired: f64,
}

/// Gives each ready endpoint its hint. What `existing` slices hint is kept while no zone has too few or too many; else each endpoint is
/// its own zone's, and those that have too many give to those that have too few.
pub(super) fn assign(
    groups: &mut [Group],
    existing: &[&EndpointSlice],
    shares: Result<&Shares, Disabled>,
) -> Result<(), Disabled> {
    let mut ready: Vec<&mut Endpoint> = groups.iter_mut().flat_map(|group| &mut group.endpoints).collect();
    ready.retain(|endpoint| endpoint.conditions.as_ref().is_some_and(|c| c.ready == Some(true)));
    let shares = shares?;
    let allocations = shares.allocate(ready.len())?;
    let own = ready.iter().map(|endpoint| endpoint.zone.clone()).collect::<Option<Vec<String>>>();
    let own = own.ok_or(Disabled::NoZone)?;

    let before: HashMap<_, &str> = existing
        .iter()
        .flat_map(|slice| slice.endpoints.iter().flatten())
        .filter_map(|endpoint| Some((identity(endpoint), hinted(endpoint)?)))
        .collect();
    let kept = |(endpoint, own): (&&mut Endpoint, &String)| {
        before.get(&identity(endpoint)).map_or_else(|| own.clone(), |zone| (*zone).to_owned())
    };
    let mut zones: Vec<String> = ready.iter().zip(&own).map(kept).collect();
    let counts = count(&zones);
    let fair = |(zone, allocation): (&&str, &Allocation)| {
        let count = counts.get(*zone).copied().unwrap_or_default();
        (allocation.least..=allocation.most).contains(&count)
    };
    if !(counts.keys().all(|zone| allocations.contains_key(zone)) && allocations.iter().all(fair)) {
        drop(counts);
        zones = own;
        redistribute(&mut zones, &allocations);
    }
    for (endpoint, name) in ready.into_iter().zip(zones) {
        endpoint.hints = Some(EndpointHints { for_zones: Some(vec![ForZone { name }]), for_nodes: None });
    }
    Ok(())
}

fn hinted(endpoint: &Endpoint) -> Option<&str> {
    let zones = endpoint.hints.as_ref()?.for_zones.as_ref()?;
    zones.first().filter(|_| zones.len() == 1).map(|zone| zone.name.as_str())
}

fn count(zones: &[String]) -> BTreeMap<&str, usize> {
    zones.iter().fold(BTreeMap::new(), |mut counts, zone| {
        *counts.entry(zone.as_str()).or_default() += 1;
        counts
    })
}

/// Moves endpoints one by one from the zone that has most too many to the one that has most too few, until less than half an endpoint
/// is left to give or to get, or less than a whole one of both.
fn redistribute(zones: &mut [String], allocations: &BTreeMap<&str, Allocation>) {
    let counts = count(zones);
    let mut lacking: BTreeMap<String, f64> = allocations
        .iter()
        .map(|(zone, allocation)| {
            let count = counts.get(zone).copied().unwrap_or_default();
            ((*zone).to_owned(), allocation.desired - count as f64)
        })
        .collect();
    // A zone without Nodes that take part keeps nothing.
    for (zone, count) in &counts {
        lacking.entry((*zone).to_owned()).or_insert(-(*count as f64));
    }
    loop {
        let by_lack = |a: &(&String, &f64), b: &(&String, &f64)| a.1.total_cmp(b.1);
        let (Some((gets, lack)), Some((gives, surplus))) =
            (lacking.iter().max_by(by_lack), lacking.iter().min_by(by_lack))
        else {
            return;
        };
        let (lack, surplus) = (*lack, -*surplus);
        if lack < 0.5 || surplus < 0.5 || (lack < 1.0 && surplus < 1.0) {
            return;
        }
        let (gets, gives) = (gets.clone(), gives.clone());
        let Some(moved) = zones.iter_mut().find(|zone| **zone == gives) else { return };
        moved.clone_from(&gets);
        for (zone, change) in [(gets, -1.0), (gives, 1.0)] {
            lacking.entry(zone).and_modify(|lack| *lack += change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::discovery::v1::EndpointConditions;
    use serde_json::json;

    fn node(zone: &str, cpu: &str) -> Node {
        serde_json::from_value(json!({
            "metadata": {"labels": {"topology.kubernetes.io/zone": zone}},
            "status": {"allocatable": {"cpu": cpu}, "conditions": [{"type": "Ready", "status": "True"}]},
        }))
        .unwrap()
    }

    fn nodes(cpus: &[(&str, &str)]) -> Vec<Node> {
        cpus.iter().map(|(zone, cpu)| node(zone, cpu)).collect()
    }

    /// One group of endpoints, so many in each zone.
    fn group(zones: &[(&str, usize)]) -> Vec<Group> {
        let endpoints = zones.iter().flat_map(|(zone, count)| {
            (0..*count).map(move |n| Endpoint {
                addresses: vec![format!("{zone}-{n}")],
                zone: (!zone.is_empty()).then(|| (*zone).to_owned()),
                conditions: Some(EndpointConditions { ready: Some(true), ..EndpointConditions::default() }),
                ..Endpoint::default()
            })
        });
        vec![Group { ports: Vec::new(), endpoints: endpoints.collect() }]
    }

    fn hints(groups: &[Group]) -> BTreeMap<String, usize> {
        groups[0].endpoints.iter().filter_map(hinted).fold(BTreeMap::new(), |mut counts, zone| {
            *counts.entry(zone.to_owned()).or_default() += 1;
            counts
        })
    }

    fn assigned(cpus: &[(&str, &str)], zones: &[(&str, usize)]) -> Result<Vec<(String, usize)>, Disabled> {
        let (shares, mut groups) = (Shares::of(&nodes(cpus)), group(zones));
        assign(&mut groups, &[], shares.as_ref().map_err(|why| *why))?;
        assert_eq!(hints(&groups).values().sum::<usize>(), groups[0].endpoints.len(), "each has its hint");
        Ok(hints(&groups).into_iter().collect())
    }

    fn counts(zones: &[(&str, usize)]) -> Vec<(String, usize)> {
        zones.iter().map(|(zone, count)| ((*zone).to_owned(), *count)).collect()
    }

    #[test]
    fn endpoints_serve_their_own_zone_where_they_are_as_the_cpus_are() {
        assert_eq!(assigned(&[("a", "2"), ("b", "2000m")], &[("a", 3), ("b", 3)]), Ok(counts(&[("a", 3), ("b", 3)])));
    }

    #[test]
    fn zones_with_too_many_give_to_zones_with_too_few() {
        let three = [("a", "4"), ("b", "4"), ("c", "4")];
        assert_eq!(assigned(&three, &[("a", 6)]), Ok(counts(&[("a", 2), ("b", 2), ("c", 2)])));
        assert_eq!(assigned(&[("a", "1"), ("b", "3")], &[("a", 4), ("b", 4)]), Ok(counts(&[("a", 2), ("b", 6)])));
        assert_eq!(assigned(&[("a", "1"), ("b", "1")], &[("gone", 4)]), Ok(counts(&[("a", 2), ("b", 2)])));
    }

    #[test]
    fn what_cannot_be_fair_gets_no_hints() {
        let even = [("a", "1"), ("b", "1")];
        assert_eq!(assigned(&[("a", "1")], &[("a", 3)]), Err(Disabled::Nodes));
        assert_eq!(assigned(&[("a", "1"), ("", "1")], &[("a", 3)]), Err(Disabled::Nodes));
        assert_eq!(assigned(&[("a", "1"), ("b", "0")], &[("a", 3)]), Err(Disabled::Nodes));
        assert_eq!(assigned(&even, &[("a", 1)]), Err(Disabled::Endpoints { endpoints: 1, zones: 2 }));
        assert_eq!(assigned(&even, &[("a", 3), ("", 1)]), Err(Disabled::NoZone));
        let uneven = [("a", "1"), ("b", "1"), ("c", "9")];
        let why = assigned(&uneven, &[("a", 4)]).unwrap_err();
        assert_eq!(
            why.to_string(),
            "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold (4 endpoints, 3 zones)"
        );
    }

    #[test]
    fn the_control_plane_and_nodes_that_are_not_ready_take_no_part() {
        let mut all = nodes(&[("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")]);
        all[2].labels_mut().insert(EXCLUDED[0].into(), String::new());
        all[3].status.as_mut().unwrap().conditions.as_mut().unwrap()[0].status = "False".into();
        assert_eq!(Shares::of(&all).unwrap().0.into_keys().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn hints_stay_while_they_are_fair() {
        let shares = Shares::of(&nodes(&[("a", "1"), ("b", "1")]));
        let shares = || shares.as_ref().map_err(|why| *why);
        let mut groups = group(&[("a", 8)]);
        assign(&mut groups, &[], shares()).unwrap();
        let slice = |groups: &[Group]| EndpointSlice {
            endpoints: Some(groups[0].endpoints.clone()),
            address_type: "IPv4".into(),
            ..EndpointSlice::default()
        };
        let before = slice(&groups);
        let mut more = group(&[("a", 8), ("b", 1)]);
        assign(&mut more, &[&before], shares()).unwrap();
        assert_eq!(more[0].endpoints[..8], before.endpoints.clone().unwrap()[..]);
        assert_eq!(hints(&more), BTreeMap::from([("a".into(), 4), ("b".into(), 5)]));

        let mut many = group(&[("a", 8), ("b", 8)]);
        assign(&mut many, &[&before], shares()).unwrap();
        assert_eq!(hints(&many), BTreeMap::from([("a".into(), 8), ("b".into(), 8)]));
        assert!(many[0].endpoints.iter().all(|endpoint| endpoint.zone.as_deref() == hinted(endpoint)), "each its own");
    }

    #[test]
    fn the_annotation_has_two_names() {
        let service = |name: &str, mode: &str| {
            let service = json!({"metadata": {"annotations": {name: mode}}});
            is_auto(&serde_json::from_value(service).unwrap())
        };
        assert!(service("service.kubernetes.io/topology-mode", "Auto"));
        assert!(service("service.kubernetes.io/topology-aware-hints", "auto"));
        assert!(!service("service.kubernetes.io/topology-mode", "Disabled"));
    }
}
