//! Defaulting of Services.
use crate::value::{at, default_to, default_zero, is_empty, items_at, object_at, remove, set, text};
use serde_json::{Value, json};

pub(super) fn defaults(service: &mut Value) {
    object_at(service, "spec");
    if let Some(spec) = at(service, &["spec"]) {
        defaults_of_spec(spec);
    }
    if text(&service["spec"]["type"]) == "LoadBalancer" {
        for ingress in items_at(service, &["status", "loadBalancer", "ingress"]) {
            if !text(&ingress["ip"]).is_empty() {
                default_to(ingress, "ipMode", "VIP");
            }
        }
    }
}

fn defaults_of_spec(spec: &mut Value) {
    for port in items_at(spec, &["ports"]) {
        default_zero(port, "protocol", "TCP");
        let number = port["port"].clone();
        if !number.is_null() {
            default_zero(port, "targetPort", number);
        }
    }
    default_zero(spec, "type", "ClusterIP");
    default_zero(spec, "sessionAffinity", "None");
    match text(&spec["sessionAffinity"]) {
        "None" => {
            remove(spec, "sessionAffinityConfig");
        }
        "ClientIP" if spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"].is_null() => {
            set(spec, "sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": 10800}}));
        }
        _ => {}
    }
    let kind = text(&spec["type"]).to_owned();
    let external_ips = kind == "ClusterIP" && !is_empty(&spec["externalIPs"]);
    if kind == "NodePort" || kind == "LoadBalancer" || external_ips {
        default_zero(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(kind.as_str(), "ClusterIP" | "NodePort" | "LoadBalancer") {
        default_to(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        default_to(spec, "allocateLoadBalancerNodePorts", true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_gets_its_fields() {
        let mut service =
            json!({"spec": {"ports": [{"port": 80}, {"port": 53, "protocol": "UDP", "targetPort": "dns"}]}});
        defaults(&mut service);
        assert_eq!(
            service["spec"],
            json!({
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}, {"port": 53, "protocol": "UDP", "targetPort": "dns"}],
            "type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster"})
        );
        let mut service = json!({"spec": {"type": "LoadBalancer", "sessionAffinity": "ClientIP"}, "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}, {"hostname": "h"}]}}});
        defaults(&mut service);
        assert_eq!(service["spec"]["externalTrafficPolicy"], "Cluster");
        assert_eq!(service["spec"]["allocateLoadBalancerNodePorts"], true);
        assert_eq!(service["spec"]["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"], 10800);
        assert_eq!(
            service["status"]["loadBalancer"]["ingress"],
            json!([{"ip": "1.2.3.4", "ipMode": "VIP"}, {"hostname": "h"}])
        );
        let mut service = json!({"spec": {"type": "ExternalName", "externalName": "a.b"}});
        defaults(&mut service);
        assert!(service["spec"]["internalTrafficPolicy"].is_null());
    }
}
