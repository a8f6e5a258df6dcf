//! What happens to a Service's dependent fields when its type changes, and how clusterIP and clusterIPs are kept in step.
use crate::kind::Subresource;
use crate::value::{at, copy, int, is_empty, items, items_at, remove, same, set, text};
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub(super) fn prepare_create(service: &mut Value) {
    set(service, "status", json!({"loadBalancer": {}}));
    normalize_cluster_ips(service, None);
}

pub(super) fn prepare_update(new: &mut Value, old: &Value, subresource: Subresource) {
    if subresource == Subresource::None {
        keep_allocated(new, old);
        drop_dependent_fields(new, old);
        normalize_cluster_ips(new, Some(old));
    }
}

fn needs_cluster_ip(spec: &Value) -> bool {
    text(&spec["type"]) != "ExternalName"
}

fn needs_node_port(spec: &Value) -> bool {
    matches!(text(&spec["type"]), "NodePort" | "LoadBalancer")
}

fn needs_health_port(spec: &Value) -> bool {
    text(&spec["type"]) == "LoadBalancer" && text(&spec["externalTrafficPolicy"]) == "Local"
}

fn is_external(spec: &Value) -> bool {
    needs_node_port(spec) || (text(&spec["type"]) == "ClusterIP" && !is_empty(&spec["externalIPs"]))
}

/// The addresses and the port that the server chose stay when a client that knows nothing of them writes the rest. Families do not:
/// those are found again in the addresses, and with them what the policy asks for beyond (`api/allocation/families`).
fn keep_allocated(new: &mut Value, old: &Value) {
    let before = &old["spec"];
    let Some(spec) = at(new, &["spec"]) else { return };
    if needs_cluster_ip(before) && needs_cluster_ip(spec) {
        for member in ["clusterIP", "clusterIPs"] {
            if is_empty(&spec[member]) {
                copy(spec, before, member);
            }
        }
    }
    if needs_health_port(before) && needs_health_port(spec) && int(&spec["healthCheckNodePort"]) == 0 {
        copy(spec, before, "healthCheckNodePort");
    }
}

fn node_ports(spec: &Value) -> BTreeSet<i64> {
    items(&spec["ports"]).iter().map(|port| int(&port["nodePort"])).filter(|port| *port != 0).collect()
}

/// Wipes fields that no longer apply after a change of type, were set by the server, and were not changed in the same request.
fn drop_dependent_fields(new: &mut Value, old: &Value) {
    let before = &old["spec"];
    let Some(spec) = at(new, &["spec"]) else { return };
    let unchanged = |spec: &Value, key: &str| same(&spec[key], &before[key]);
    if needs_cluster_ip(before) && !needs_cluster_ip(spec) {
        if unchanged(spec, "clusterIP") && unchanged(spec, "clusterIPs") {
            remove(spec, "clusterIP");
            remove(spec, "clusterIPs");
        }
        for key in ["ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
            if unchanged(spec, key) {
                remove(spec, key);
            }
        }
    }
    if needs_node_port(before) && !needs_node_port(spec) && node_ports(before).is_superset(&node_ports(spec)) {
        for port in items_at(spec, &["ports"]) {
            remove(port, "nodePort");
        }
    }
    if needs_health_port(before) && !needs_health_port(spec) && unchanged(spec, "healthCheckNodePort") {
        remove(spec, "healthCheckNodePort");
    }
    if text(&before["type"]) == "LoadBalancer" && text(&spec["type"]) != "LoadBalancer" {
        for key in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if unchanged(spec, key) {
                remove(spec, key);
            }
        }
    }
    if is_external(before) && !is_external(spec) && unchanged(spec, "externalTrafficPolicy") {
        remove(spec, "externalTrafficPolicy");
    }
    if text(&new["spec"]["type"]) != "LoadBalancer" {
        set(new, "status", json!({"loadBalancer": {}}));
    }
}

/// Clients that know only clusterIP keep working: it leads when they set, change or clear it alone.
fn normalize_cluster_ips(new: &mut Value, old: Option<&Value>) {
    let Some(spec) = at(new, &["spec"]) else { return };
    let ip = text(&spec["clusterIP"]).to_owned();
    match old {
        None => {
            if !ip.is_empty() && is_empty(&spec["clusterIPs"]) {
                set(spec, "clusterIPs", json!([ip]));
            }
        }
        Some(old) => {
            let before = &old["spec"];
            let before_ip = text(&before["clusterIP"]);
            let list_unchanged = same(&spec["clusterIPs"], &before["clusterIPs"]);
            if ip.is_empty() && !before_ip.is_empty() && list_unchanged {
                remove(spec, "clusterIPs");
            } else if !ip.is_empty() && ip != before_ip && list_unchanged {
                set(spec, "clusterIPs", json!([ip]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Subresource, kind};
    use serde_json::json;

    #[test]
    fn a_node_port_service_made_cluster_ip_gives_its_ports_back() {
        let old = json!({"metadata": {}, "spec": {"type": "NodePort", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "externalTrafficPolicy": "Cluster", "ports": [{"port": 80, "nodePort": 30000}]}, "status": {"loadBalancer": {}}});
        let mut new = old.clone();
        new["spec"]["type"] = "ClusterIP".into();
        kind("", "Service").prepare_update(&mut new, &old, Subresource::None);
        assert_eq!(
            new["spec"],
            json!({"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ports": [{"port": 80}]})
        );
    }

    #[test]
    fn an_external_name_service_gives_its_address_back() {
        let old = json!({"metadata": {}, "spec": {"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"}});
        let mut new = old.clone();
        new["spec"]["type"] = "ExternalName".into();
        kind("", "Service").prepare_update(&mut new, &old, Subresource::None);
        assert_eq!(new["spec"], json!({"type": "ExternalName"}));
    }

    #[test]
    fn a_replacement_keeps_what_the_server_chose() {
        let old = json!({"spec": {"type": "LoadBalancer", "clusterIP": "None", "clusterIPs": ["None"],
            "externalTrafficPolicy": "Local", "healthCheckNodePort": 30001}});
        let mut new = json!({"spec": {"type": "LoadBalancer", "clusterIP": "None", "externalTrafficPolicy": "Local"}});
        kind("", "Service").prepare_update(&mut new, &old, Subresource::None);
        assert_eq!(new["spec"], old["spec"]);
    }

    #[test]
    fn the_single_address_leads_for_old_clients() {
        let mut service = json!({"spec": {"clusterIP": "None"}});
        kind("", "Service").prepare_create(&mut service);
        assert_eq!(service["spec"]["clusterIPs"], json!(["None"]));
        let old = json!({"spec": {"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"]}});
        let mut new = json!({"spec": {"type": "ClusterIP", "clusterIP": "10.0.0.2", "clusterIPs": ["10.0.0.1"]}});
        kind("", "Service").prepare_update(&mut new, &old, Subresource::None);
        assert_eq!(new["spec"]["clusterIPs"], json!(["10.0.0.2"]));
    }
}
