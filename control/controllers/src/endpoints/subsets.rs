//! The pure part: endpoints packed into subsets as Kubernetes packs them (`pkg/api/v1/endpoints.RepackSubsets`): an address is
//! listed once with all its ports, addresses with equal ports share a subset, and everything is sorted.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Pod, Service};

use crate::endpoint_slice::target;
use crate::replicas::ready_since;
use crate::service::{addresses, hostname, is_endpoint, is_headless, target_port};

/// An Endpoints object holds at most so many addresses.
pub(super) const MAX_ADDRESSES: usize = 1000;

type PortKey = (String, i32, String, Option<String>);

/// The subsets of a Service.
pub(super) fn subsets(service: &Service, pods: &[Arc<Pod>]) -> Vec<EndpointSubset> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let publish_not_ready = spec.publish_not_ready_addresses == Some(true);
    let no_ports = spec.ports.as_ref().is_none_or(Vec::is_empty);
    if no_ports && !is_headless(spec) {
        return Vec::new();
    }
    let mut by_ports: BTreeMap<Vec<PortKey>, EndpointSubset> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| is_endpoint(pod, publish_not_ready)) {
        let Some(ip) = address(service, pod) else { continue };
        let mut ports: Vec<PortKey> = spec
            .ports
            .iter()
            .flatten()
            .filter_map(|port| {
                let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
                Some((
                    port.name.clone().unwrap_or_default(),
                    target_port(pod, port)?,
                    protocol,
                    port.app_protocol.clone(),
                ))
            })
            .collect();
        // A pod that has none of the ports asked for is no endpoint.
        if ports.is_empty() && !no_ports {
            continue;
        }
        ports.sort();
        let address = EndpointAddress {
            ip: ip.to_owned(),
            hostname: hostname(pod, service).cloned(),
            node_name: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            target_ref: Some(target(pod)),
        };
        let ready = publish_not_ready || ready_since(pod).is_some();
        let subset = by_ports.entry(ports).or_default();
        let list = if ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        list.get_or_insert_default().push(address);
    }
    by_ports.into_iter().map(|(ports, subset)| finished(&ports, subset)).collect()
}

fn finished(ports: &[PortKey], mut subset: EndpointSubset) -> EndpointSubset {
    for list in [&mut subset.addresses, &mut subset.not_ready_addresses].into_iter().flatten() {
        list.sort_by_cached_key(|address| {
            (address.ip.parse::<IpAddr>().ok(), address.target_ref.as_ref().and_then(|target| target.uid.clone()))
        });
    }
    if !ports.is_empty() {
        let ports = ports.iter().map(|(name, port, protocol, app_protocol)| EndpointPort {
            name: (!name.is_empty()).then(|| name.clone()),
            port: *port,
            protocol: Some(protocol.clone()),
            app_protocol: app_protocol.clone(),
        });
        subset.ports = Some(ports.collect());
    }
    subset
}

/// The pod's address of the Service's first family.
fn address<'a>(service: &Service, pod: &'a Pod) -> Option<&'a str> {
    let spec = service.spec.as_ref()?;
    let family = spec.ip_families.iter().flatten().next().map(String::as_str);
    let cluster_ip = spec.cluster_ip.as_deref().unwrap_or_default();
    let v6 = family.map_or_else(|| cluster_ip.contains(':'), |family| family == "IPv6");
    addresses(pod).into_iter().find(|address| address.contains(':') == v6)
}

/// Cuts the subsets to [`MAX_ADDRESSES`], not-ready ones first, each subset in proportion; says whether it had to.
pub(super) fn truncate(subsets: &mut Vec<EndpointSubset>) -> bool {
    let count = |of: &dyn Fn(&EndpointSubset) -> usize| subsets.iter().map(of).sum::<usize>();
    let ready = count(&|subset| subset.addresses.as_ref().map_or(0, Vec::len));
    let not_ready = count(&|subset| subset.not_ready_addresses.as_ref().map_or(0, Vec::len));
    if ready + not_ready <= MAX_ADDRESSES {
        return false;
    }
    let (mut ready_left, mut not_ready_left) =
        (ready.min(MAX_ADDRESSES), MAX_ADDRESSES.saturating_sub(ready).min(not_ready));
    let (mut ready_seen, mut not_ready_seen) = (ready, not_ready);
    for subset in subsets.iter_mut() {
        cut(&mut subset.addresses, &mut ready_seen, &mut ready_left);
        cut(&mut subset.not_ready_addresses, &mut not_ready_seen, &mut not_ready_left);
    }
    subsets.retain(|subset| subset.addresses.is_some() || subset.not_ready_addresses.is_some());
    true
}

/// Gives a list its share of what is `left` for the `seen` addresses of this and all later lists.
fn cut(list: &mut Option<Vec<EndpointAddress>>, seen: &mut usize, left: &mut usize) {
    let Some(addresses) = list else { return };
    let share = if *seen == 0 { 0 } else { (addresses.len() * *left).div_ceil(*seen) };
    *seen -= addresses.len();
    addresses.truncate(share);
    *left -= addresses.len();
    if addresses.is_empty() {
        *list = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn service(spec: Value) -> Service {
        serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec})).unwrap()
    }

    fn pod(name: &str, ip: &str, ready: bool, port: i32) -> Arc<Pod> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name, "namespace": "default", "uid": name},
                "spec": {"nodeName": "node1", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": port}]}]},
                "status": {"phase": "Running", "podIPs": [{"ip": ip}],
                    "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
            }))
            .unwrap(),
        )
    }

    fn ips(list: &Option<Vec<EndpointAddress>>) -> Vec<&str> {
        list.iter().flatten().map(|address| address.ip.as_str()).collect()
    }

    #[test]
    fn pods_with_equal_ports_share_a_sorted_subset_and_not_ready_ones_are_apart() {
        let service =
            service(json!({"clusterIP": "10.96.0.7", "ports": [{"name": "b", "port": 80}, {"name": "a", "port": 81}]}));
        let pods = [pod("c", "10.0.0.10", true, 1), pod("a", "10.0.0.9", true, 1), pod("b", "10.0.0.1", false, 1)];
        let subsets = subsets(&service, &pods);
        assert_eq!(subsets.len(), 1);
        assert_eq!(ips(&subsets[0].addresses), ["10.0.0.9", "10.0.0.10"], "by number, not by letter");
        assert_eq!(ips(&subsets[0].not_ready_addresses), ["10.0.0.1"]);
        let names: Vec<_> = subsets[0].ports.iter().flatten().map(|port| port.name.as_deref().unwrap()).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn a_named_port_of_several_numbers_makes_several_subsets() {
        let service = service(json!({"clusterIP": "10.96.0.7", "ports": [{"port": 80, "targetPort": "http"}]}));
        let subsets = subsets(&service, &[pod("a", "10.0.0.1", true, 9090), pod("b", "10.0.0.2", true, 8080)]);
        let found: Vec<_> = subsets.iter().map(|s| (s.ports.as_ref().unwrap()[0].port, ips(&s.addresses))).collect();
        assert_eq!(found, [(8080, vec!["10.0.0.2"]), (9090, vec!["10.0.0.1"])]);
    }

    #[test]
    fn a_headless_service_may_have_no_ports() {
        let subsets = subsets(&service(json!({"clusterIP": "None"})), &[pod("a", "10.0.0.1", true, 1)]);
        assert_eq!((subsets.len(), subsets[0].ports.is_none()), (1, true));
    }

    #[test]
    fn more_than_a_thousand_addresses_are_cut_not_ready_ones_first() {
        let service = service(json!({"clusterIP": "10.96.0.7", "ports": [{"port": 80}]}));
        let pods: Vec<_> =
            (0..1200).map(|n| pod(&n.to_string(), &format!("10.0.{}.{}", n / 200, n % 200), n < 900, 1)).collect();
        let mut subsets = subsets(&service, &pods);
        assert!(truncate(&mut subsets));
        assert_eq!((ips(&subsets[0].addresses).len(), ips(&subsets[0].not_ready_addresses).len()), (900, 100));
        assert!(!truncate(&mut subsets));
    }
}
