//! `kubectl get services`.
use crate::labels::format_labels;
use crate::table::{AGE, Column, NAME, SELECTOR, age, name, or_none};
use crate::value::{int, items, strings, text};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeSet;

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    Column::text("Type", "How the Service is exposed."),
    Column::text("Cluster-IP", "The Service's virtual address."),
    Column::text("External-IP", "Addresses outside of the cluster."),
    Column::text("Port(s)", "The ports, with the node port behind a colon."),
    AGE,
    SELECTOR,
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
