//! `kubectl get services`.
use crate::labels::format_labels;
use crate::table::{AGE, Column, NAME, SELECTOR, age, name, or_none};
use crate::value::{int, items, strings, text};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeSet;

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    Column::text(
        "Type",
        "type determines how the Service is exposed. Defaults to ClusterIP. Valid options are ExternalName, ClusterIP, NodePort, and LoadBalancer. \"ClusterIP\" allocates a cluster-internal IP address for load-balancing to endpoints. Endpoints are determined by the selector or if that is not specified, by manual construction of an Endpoints object or EndpointSlice objects. If clusterIP is \"None\", no virtual IP is allocated and the endpoints are published as a set of endpoints rather than a virtual IP. \"NodePort\" builds on ClusterIP and allocates a port on every node which routes to the same endpoints as the clusterIP. \"LoadBalancer\" builds on NodePort and creates an external load-balancer (if supported in the current cloud) which routes to the same endpoints as the clusterIP. \"ExternalName\" aliases this service to the specified externalName. Several other fields do not apply to ExternalName services. More info: https://kubernetes.io/docs/concepts/services-networking/service/#publishing-services-service-types",
    ),
    Column::text(
        "Cluster-IP",
        "clusterIP is the IP address of the service and is usually assigned randomly. If an address is specified manually, is in-range (as per system configuration), and is not in use, it will be allocated to the service; otherwise creation of the service will fail. This field may not be changed through updates unless the type field is also being changed to ExternalName (which requires this field to be blank) or the type field is being changed from ExternalName (in which case this field may optionally be specified, as describe above).  Valid values are \"None\", empty string (\"\"), or a valid IP address. Setting this to \"None\" makes a \"headless service\" (no virtual IP), which is useful when direct endpoint connections are preferred and proxying is not required.  Only applies to types ClusterIP, NodePort, and LoadBalancer. If this field is specified when creating a Service of type ExternalName, creation will fail. This field will be wiped when updating a Service to type ExternalName. More info: https://kubernetes.io/docs/concepts/services-networking/service/#virtual-ips-and-service-proxies",
    ),
    Column::text(
        "External-IP",
        "externalIPs is a list of IP addresses for which nodes in the cluster will also accept traffic for this service.  These IPs are not managed by Kubernetes.  The user is responsible for ensuring that traffic arrives at a node with this IP.  A common example is external load-balancers that are not part of the Kubernetes system.",
    ),
    Column::text(
        "Port(s)",
        "The list of ports that are exposed by this service. More info: https://kubernetes.io/docs/concepts/services-networking/service/#virtual-ips-and-service-proxies",
    ),
    AGE,
    Column {
        description: "Route service traffic to pods with label keys and values matching this selector. If empty or not present, the service is assumed to have an external process managing its endpoints, which Kubernetes will not modify. Only applies to types ClusterIP, NodePort, and LoadBalancer. Ignored if type is ExternalName. More info: https://kubernetes.io/docs/concepts/services-networking/service/",
        ..SELECTOR
    },
];

pub(super) fn cells(service: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &service["spec"];
    vec![
        name(service),
        text(&spec["type"]).into(),
        or_none(strings(&spec["clusterIPs"]).first().copied().unwrap_or_default()),
        external_ip(service).into(),
        or_none(&ports(spec)),
        age(service, now),
        format_labels(&spec["selector"]).into(),
    ]
}

fn external_ip(service: &Value) -> String {
    let spec = &service["spec"];
    let external = strings(&spec["externalIPs"]);
    match text(&spec["type"]) {
        "ClusterIP" | "NodePort" if external.is_empty() => "<none>".to_owned(),
        "ClusterIP" | "NodePort" => external.join(","),
        "LoadBalancer" => {
            let ingress: BTreeSet<&str> = items(&service["status"]["loadBalancer"]["ingress"])
                .iter()
                .map(|ingress| [&ingress["ip"], &ingress["hostname"]].map(text).into_iter().find(|s| !s.is_empty()))
                .map(Option::unwrap_or_default)
                .filter(|address| !address.is_empty())
                .collect();
            let all: Vec<&str> = ingress.into_iter().chain(external).collect();
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        "ExternalName" => text(&spec["externalName"]).to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

fn ports(spec: &Value) -> String {
    let ports = items(&spec["ports"]).iter().map(|port| {
        let (number, protocol) = (int(&port["port"]), text(&port["protocol"]));
        match int(&port["nodePort"]) {
            0 => format!("{number}/{protocol}"),
            node_port => format!("{number}:{node_port}/{protocol}"),
        }
    });
    ports.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(spec: Value, status: Value) -> Vec<Value> {
        cells(&json!({"metadata": {"name": "s"}, "spec": spec, "status": status}), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn addresses_and_ports_are_shown_by_type() {
        let ports = json!([{"port": 80, "protocol": "TCP", "nodePort": 30080}, {"port": 53, "protocol": "UDP"}]);
        assert_eq!(
            row(
                json!({"type": "NodePort", "clusterIPs": ["10.96.0.1"], "ports": ports, "selector": {"app": "web"}}),
                json!({})
            ),
            ["s", "NodePort", "10.96.0.1", "<none>", "80:30080/TCP,53/UDP", "<unknown>", "app=web"]
        );
        assert_eq!(row(json!({"type": "LoadBalancer"}), json!({}))[3], "<pending>");
        let ingress = json!({"loadBalancer": {"ingress": [{"ip": "2.2.2.2"}, {"hostname": "a.b"}, {"ip": "1.1.1.1"}]}});
        assert_eq!(
            row(json!({"type": "LoadBalancer", "externalIPs": ["9.9.9.9"]}), ingress)[3],
            "1.1.1.1,2.2.2.2,a.b,9.9.9.9"
        );
        let external = row(json!({"type": "ExternalName", "externalName": "my.db"}), json!({}));
        assert_eq!(external[2..5], [json!("<none>"), json!("my.db"), json!("<none>")]);
        assert_eq!(
            row(json!({"type": "ClusterIP", "clusterIPs": ["None"], "externalIPs": ["1.1.1.1"]}), json!({}))[2..4],
            [json!("None"), json!("1.1.1.1")]
        );
    }
}
