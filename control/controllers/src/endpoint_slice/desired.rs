//! The pure part: which endpoints a Service has.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointHints, EndpointPort, ForNode, ForZone};
use kube::{Resource as _, ResourceExt as _};

use super::topology::is_auto;
use crate::replicas::ready_since;
use crate::service::{addresses, hostname, is_endpoint, is_headless, target_port};

/// What the controller must know of a pod's node; `None` if there is no such Node.
pub(super) type ZoneOf<'a> = &'a dyn Fn(&str) -> Option<Option<String>>;

/// Endpoints that share their ports: they may share a slice.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group {
    pub(crate) ports: Vec<EndpointPort>,
    pub(crate) endpoints: Vec<Endpoint>,
}

/// The address types in which a Service has endpoints.
pub(super) fn address_types(service: &Service) -> Vec<&'static str> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let families: Vec<&str> = spec.ip_families.iter().flatten().map(String::as_str).collect();
    if !families.is_empty() {
        return ["IPv4", "IPv6"].into_iter().filter(|family| families.contains(family)).collect();
    }
    match spec.cluster_ip.as_deref() {
        None | Some("" | "None") => vec!["IPv4", "IPv6"],
        Some(address) if address.contains(':') => vec!["IPv6"],
        Some(_) => vec!["IPv4"],
    }
}

/// The endpoints of one address type, in groups of equal ports. A pod whose Node is gone has none: nothing can reach it.
pub(super) fn groups(service: &Service, pods: &[Arc<Pod>], address_type: &str, zone_of: ZoneOf<'_>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for pod in pods.iter().filter(|pod| is_endpoint(pod, true)) {
        let Some(endpoint) = endpoint(service, pod, address_type, zone_of) else { continue };
        let Some(ports) = ports(service, pod) else { continue };
        match groups.iter_mut().find(|group| group.ports == ports) {
            Some(group) => group.endpoints.push(endpoint),
            None => groups.push(Group { ports, endpoints: vec![endpoint] }),
        }
    }
    groups
}

fn endpoint(service: &Service, pod: &Pod, address_type: &str, zone_of: ZoneOf<'_>) -> Option<Endpoint> {
    let of_family = |address: &&str| address.contains(':') == (address_type == "IPv6");
    let addresses: Vec<String> = addresses(pod).into_iter().filter(of_family).map(str::to_owned).collect();
    if addresses.is_empty() {
        return None;
    }
    let spec = service.spec.as_ref()?;
    let publish_not_ready = spec.publish_not_ready_addresses == Some(true);
    let node_name = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).filter(|node| !node.is_empty());
    let zone = match node_name.as_deref().map(zone_of) {
        Some(None) if !publish_not_ready => return None,
        Some(Some(zone)) => zone,
        _ => None,
    };
    let serving = ready_since(pod).is_some();
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let ready = publish_not_ready || (serving && !terminating);
    // The annotation goes before the field.
    let distribution = spec.traffic_distribution.as_deref().filter(|_| ready && !is_auto(service));
    let hints = distribution.and_then(|distribution| hints(distribution, node_name.as_deref(), zone.as_deref()));
    Some(Endpoint {
        addresses,
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hints,
        hostname: hostname(pod, service).cloned(),
        node_name,
        target_ref: Some(target(pod)),
        zone,
        deprecated_topology: None,
    })
}

/// Hints of `spec.trafficDistribution` (KEP-4444, KEP-3015).
fn hints(distribution: &str, node: Option<&str>, zone: Option<&str>) -> Option<EndpointHints> {
    let for_zones = zone.map(|zone| vec![ForZone { name: zone.to_owned() }]);
    match distribution {
        "PreferClose" | "PreferSameZone" => Some(EndpointHints { for_zones: Some(for_zones?), for_nodes: None }),
        "PreferSameNode" => {
            let for_nodes = vec![ForNode { name: node?.to_owned() }];
            Some(EndpointHints { for_zones, for_nodes: Some(for_nodes) })
        }
        _ => None,
    }
}

/// The reference to a pod behind an endpoint.
pub(crate) fn target(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some(Pod::kind(&()).into_owned()),
        namespace: pod.namespace(),
        name: pod.metadata.name.clone(),
        uid: pod.uid(),
        ..ObjectReference::default()
    }
}

/// The ports of a pod; a headless Service may have none, otherwise a pod without any is still an endpoint without ports.
fn ports(service: &Service, pod: &Pod) -> Option<Vec<EndpointPort>> {
    let spec = service.spec.as_ref()?;
    let ports = spec.ports.iter().flatten();
    if spec.ports.as_ref().is_none_or(Vec::is_empty) && !is_headless(spec) {
        return None;
    }
    let mut ports: Vec<EndpointPort> = ports
        .filter_map(|port| {
            Some(EndpointPort {
                name: Some(port.name.clone().unwrap_or_default()),
                port: Some(target_port(pod, port)?),
                protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".into())),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect();
    sort(&mut ports);
    Some(ports)
}

/// One order of ports, so that equal lists compare equal.
pub(crate) fn sort(ports: &mut [EndpointPort]) {
    ports.sort_by(|a, b| (&a.name, a.port, &a.protocol).cmp(&(&b.name, b.port, &b.protocol)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    pub(crate) fn service(spec: Value) -> Service {
        serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec})).unwrap()
    }

    fn pod(name: &str, ip: &str, ready: bool) -> Arc<Pod> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name, "namespace": "default", "uid": name},
                "spec": {"nodeName": "node1", "hostname": "h", "subdomain": "web",
                    "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
                "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
                    "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
            }))
            .unwrap(),
        )
    }

    fn zone(node: &str) -> Option<Option<String>> {
        (node == "node1").then(|| Some("here".into()))
    }

    fn conditions(endpoint: &Endpoint) -> [bool; 3] {
        let c = endpoint.conditions.clone().unwrap();
        [c.ready.unwrap(), c.serving.unwrap(), c.terminating.unwrap()]
    }

    fn one(service: &Service, pod: Arc<Pod>) -> Endpoint {
        groups(service, &[pod], "IPv4", &zone).remove(0).endpoints.remove(0)
    }

    #[test]
    fn an_endpoint_tells_its_pod_node_zone_and_port() {
        let service = service(json!({"clusterIP": "10.96.0.7", "ports": [{"port": 80, "targetPort": "http"}]}));
        let group = groups(&service, &[pod("a", "10.0.0.1", true)], "IPv4", &zone).remove(0);
        assert_eq!((group.ports[0].port, group.ports[0].name.as_deref()), (Some(8080), Some("")));
        let endpoint = &group.endpoints[0];
        assert_eq!(endpoint.addresses, ["10.0.0.1"]);
        assert_eq!((endpoint.node_name.as_deref(), endpoint.zone.as_deref()), (Some("node1"), Some("here")));
        assert_eq!(endpoint.hostname.as_deref(), Some("h"));
        assert_eq!(endpoint.target_ref.as_ref().unwrap().uid.as_deref(), Some("a"));
    }

    #[test]
    fn a_terminating_pod_serves_but_is_not_ready_unless_not_ready_ones_are_published() {
        let mut spec = json!({"clusterIP": "10.96.0.7", "ports": [{"port": 80}]});
        let mut leaving = pod("a", "10.0.0.1", true);
        Arc::make_mut(&mut leaving).metadata.deletion_timestamp =
            serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        assert_eq!(conditions(&one(&service(spec.clone()), pod("a", "10.0.0.1", true))), [true, true, false]);
        assert_eq!(conditions(&one(&service(spec.clone()), pod("a", "10.0.0.1", false))), [false, false, false]);
        assert_eq!(conditions(&one(&service(spec.clone()), leaving.clone())), [false, true, true]);
        spec["publishNotReadyAddresses"] = true.into();
        assert_eq!(conditions(&one(&service(spec.clone()), pod("a", "10.0.0.1", false))), [true, false, false]);
        assert_eq!(conditions(&one(&service(spec), leaving)), [true, true, true]);
    }

    #[test]
    fn pods_without_an_address_or_a_node_or_that_have_finished_are_no_endpoints() {
        let service = service(json!({"clusterIP": "10.96.0.7", "ports": [{"port": 80}]}));
        let mut lost = pod("lost", "10.0.0.2", true);
        Arc::make_mut(&mut lost).spec.as_mut().unwrap().node_name = Some("gone".into());
        let mut done = pod("done", "10.0.0.3", false);
        Arc::make_mut(&mut done).status.as_mut().unwrap().phase = Some("Succeeded".into());
        assert_eq!(groups(&service, &[pod("new", "", false), lost, done], "IPv4", &zone), []);
    }

    #[test]
    fn named_ports_of_different_numbers_make_different_groups() {
        let service = service(json!({"clusterIP": "10.96.0.7", "ports": [{"port": 80, "targetPort": "http"}]}));
        let mut other = pod("b", "10.0.0.2", true);
        Arc::make_mut(&mut other).spec.as_mut().unwrap().containers[0].ports.as_mut().unwrap()[0].container_port = 9090;
        let groups = groups(&service, &[pod("a", "10.0.0.1", true), other], "IPv4", &zone);
        assert_eq!(groups.iter().map(|group| group.ports[0].port.unwrap()).collect::<Vec<_>>(), [8080, 9090]);
    }

    #[test]
    fn traffic_that_prefers_its_zone_gets_hints() {
        let mut spec =
            json!({"clusterIP": "10.96.0.7", "ports": [{"port": 80}], "trafficDistribution": "PreferSameZone"});
        let hints = one(&service(spec.clone()), pod("a", "10.0.0.1", true)).hints.unwrap();
        assert_eq!(hints.for_zones.unwrap()[0].name, "here");
        spec["trafficDistribution"] = "PreferSameNode".into();
        let hints = one(&service(spec), pod("a", "10.0.0.1", true)).hints.unwrap();
        assert_eq!(hints.for_nodes.unwrap()[0].name, "node1");
    }
}
