//! Short ways to write the Kubernetes objects that the tests feed to a tracker.
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub const NODE: &str = "node-1";

pub fn meta(name: &str) -> ObjectMeta {
    ObjectMeta { namespace: Some("default".into()), name: Some(name.into()), ..ObjectMeta::default() }
}

pub fn service(name: &str, ips: &[&str], ports: Vec<ServicePort>) -> Service {
    let spec = ServiceSpec {
        cluster_ip: ips.first().map(|ip| ip.to_string()),
        cluster_ips: Some(ips.iter().map(|ip| ip.to_string()).collect()),
        ports: Some(ports),
        type_: Some("ClusterIP".into()),
        ..ServiceSpec::default()
    };
    Service { metadata: meta(name), spec: Some(spec), ..Service::default() }
}

pub fn port(name: &str, number: i32, node_port: Option<i32>) -> ServicePort {
    ServicePort { name: Some(name.into()), port: number, node_port, ..ServicePort::default() }
}

pub fn endpoint(address: &str, node: &str) -> Endpoint {
    let conditions = EndpointConditions { ready: Some(true), serving: Some(true), terminating: Some(false) };
    Endpoint {
        addresses: vec![address.into()],
        node_name: Some(node.into()),
        conditions: Some(conditions),
        ..Endpoint::default()
    }
}

pub fn conditions(mut endpoint: Endpoint, ready: bool, serving: bool, terminating: bool) -> Endpoint {
    endpoint.conditions =
        Some(EndpointConditions { ready: Some(ready), serving: Some(serving), terminating: Some(terminating) });
    endpoint
}

pub fn slice(name: &str, service: &str, ports: &[(&str, i32)], endpoints: Vec<Endpoint>) -> EndpointSlice {
    let mut metadata = meta(name);
    metadata.labels = Some([("kubernetes.io/service-name".to_string(), service.to_string())].into());
    let v6 = endpoints.first().is_some_and(|e| e.addresses[0].contains(':'));
    EndpointSlice {
        metadata,
        address_type: if v6 { "IPv6" } else { "IPv4" }.into(),
        ports: Some(
            ports
                .iter()
                .map(|(name, port)| EndpointPort {
                    name: Some((*name).into()),
                    port: Some(*port),
                    ..EndpointPort::default()
                })
                .collect(),
        ),
        endpoints: Some(endpoints),
    }
}
