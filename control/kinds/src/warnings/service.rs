//! Services: fields that say nothing with others beside them.
use super::addresses::{address, block};
use super::{Found, each_address};
use crate::field::Path;
use crate::value::{is_empty, strings, text};
use serde_json::Value;

pub(super) fn of(service: &Value, found: &mut Found) {
    const SPEC: Path<'static> = Path::new("spec");
    const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
    let spec = &service["spec"];
    let [kind, cluster_ip, load_balancer_ip] = ["type", "clusterIP", "loadBalancerIP"].map(|key| text(&spec[key]));
    let external_ips = !is_empty(&spec["externalIPs"]);
    let external_name = kind == "ExternalName";
    let headless = kind == "ClusterIP" && cluster_ip == "None";
    let mut say = |text: &str| found.push(text.to_owned());
    if service["metadata"]["annotations"].get(HINTS).is_some() {
        say(&format!("annotation {HINTS} is deprecated, please use service.kubernetes.io/topology-mode instead"));
    }
    if !cluster_ip.is_empty() && cluster_ip != "None" {
        each_address(&spec["clusterIPs"], &SPEC.child("clusterIPs"), found);
    }
    let mut say = |text: &str| found.push(text.to_owned());
    if headless {
        if !load_balancer_ip.is_empty() {
            say("spec.loadBalancerIP is ignored for headless services");
        }
        if external_ips {
            say("spec.externalIPs is ignored for headless services");
        }
        if text(&spec["sessionAffinity"]) != "None" {
            say("spec.SessionAffinity is ignored for headless services");
        }
    }
    each_address(&spec["externalIPs"], &SPEC.child("externalIPs"), found);
    if external_ips && !headless && !external_name {
        found.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned());
    }
    if !load_balancer_ip.is_empty() {
        address(load_balancer_ip, &SPEC.child("loadBalancerIP"), found);
    }
    for (index, range) in strings(&spec["loadBalancerSourceRanges"]).into_iter().enumerate() {
        block(range, &SPEC.child("loadBalancerSourceRanges").index(index), found);
    }
    if external_name && external_ips {
        found.push(r#"spec.externalIPs is ignored when spec.type is "ExternalName""#.to_owned());
    }
    if !external_name && !text(&spec["externalName"]).is_empty() {
        found.push(r#"spec.externalName is ignored when spec.type is not "ExternalName""#.to_owned());
    }
    if text(&spec["trafficDistribution"]) == "PreferClose" {
        found.push(r#"spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone""#.to_owned());
    }
}
