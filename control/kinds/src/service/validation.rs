//! What a Service must satisfy once its addresses and ports have been allocated.
use crate::field::{Errors, Path};
use crate::kind::Subresource;
use crate::labels::validate_labels;
use crate::names;
use crate::net::{validate_cidr, validate_endpoint_ip, validate_ip};
use crate::value::{int, is_empty, items, same, strings, text};
use serde_json::Value;
use std::collections::BTreeSet;

mod addresses;
mod ports;

const SPEC: Path<'static> = Path::new("spec");
/// What `spec.loadBalancerSourceRanges` was once.
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

/// Whether the Service has no virtual address.
fn is_headless(spec: &Value) -> bool {
    strings(&spec["clusterIPs"]) == ["None"]
}

/// Whether it needs a port on which nodes answer for their local endpoints.
fn needs_health_check(spec: &Value) -> bool {
    text(&spec["type"]) == "LoadBalancer" && text(&spec["externalTrafficPolicy"]) == "Local"
}

fn is_external(spec: &Value) -> bool {
    match text(&spec["type"]) {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => !is_empty(&spec["externalIPs"]),
        _ => false,
    }
}

/// Addresses and families alone.
pub(super) fn validate_addresses(service: &Value, errors: &mut Errors) {
    if text(&service["spec"]["type"]) != "ExternalName" {
        addresses::validate(&service["spec"], errors);
    }
}

pub(super) fn validate(service: &Value, errors: &mut Errors) {
    let spec = &service["spec"];
    let kind = text(&spec["type"]);
    if is_empty(&spec["ports"]) && !is_headless(spec) && kind != "ExternalName" {
        errors.required(&SPEC.child("ports"), "");
    }
    validate_type(spec, kind, errors);
    ports::validate(spec, &SPEC.child("ports"), errors);
    validate_labels(&spec["selector"], &SPEC.child("selector"), errors);
    validate_affinity(spec, errors);
    validate_addresses(service, errors);
    let external = SPEC.child("externalIPs");
    for (index, ip) in strings(&spec["externalIPs"]).into_iter().enumerate() {
        let path = external.index(index);
        if validate_ip(ip, &path, errors).is_some() {
            validate_endpoint_ip(ip, &path, errors);
        }
    }
    if kind.is_empty() {
        errors.required(&SPEC.child("type"), "");
    } else if !TYPES.contains(&kind) {
        errors.not_supported(&SPEC.child("type"), kind, TYPES);
    }
    ports::validate_node_ports(spec, &SPEC.child("ports"), errors);
    validate_load_balancer(service, kind, errors);
    validate_traffic(spec, kind, errors);
}

/// What each type asks and forbids.
fn validate_type(spec: &Value, kind: &str, errors: &mut Errors) {
    match kind {
        "LoadBalancer" | "NodePort" if is_headless(spec) => {
            let detail = format!("may not be set to 'None' for {kind} services");
            errors.invalid(&SPEC.child("clusterIPs").index(0), "None", detail);
        }
        "ExternalName" => {
            for member in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                if !is_empty(&spec[member]) {
                    errors.forbidden(&SPEC.child(member), "may not be set for ExternalName services");
                }
            }
            let name = text(&spec["externalName"]);
            let name = name.strip_suffix('.').unwrap_or(name);
            if name.is_empty() {
                errors.required(&SPEC.child("externalName"), "");
            } else {
                errors.invalid_each(&SPEC.child("externalName"), name, names::dns1123_subdomain(name));
            }
        }
        _ => {}
    }
}

fn validate_affinity(spec: &Value, errors: &mut Errors) {
    const DAY: i64 = 86_400;
    let (affinity, config) = (text(&spec["sessionAffinity"]), &spec["sessionAffinityConfig"]);
    let path = SPEC.child("sessionAffinityConfig");
    match affinity {
        "" => errors.required(&SPEC.child("sessionAffinity"), ""),
        "None" if !config.is_null() => errors.forbidden(&path, "must not be set when session affinity is None"),
        "None" => {}
        "ClientIP" => {
            const DETAIL: &str = "when session affinity type is ClientIP";
            let timeout = &config["clientIP"]["timeoutSeconds"];
            if config.is_null() {
                errors.required(&path, DETAIL);
            } else if config["clientIP"].is_null() {
                errors.required(&path.child("clientIP"), DETAIL);
            } else if timeout.is_null() {
                errors.required(&path.child("clientIP.timeoutSeconds"), DETAIL);
            } else if !(1..=DAY).contains(&int(timeout)) {
                let detail = format!("must be greater than 0 and less than {DAY}");
                errors.invalid(&path.child("clientIP.timeoutSeconds"), int(timeout), detail);
            }
        }
        _ => errors.not_supported(&SPEC.child("sessionAffinity"), affinity, &["ClientIP", "None"]),
    }
}

fn validate_load_balancer(service: &Value, kind: &str, errors: &mut Errors) {
    let spec = &service["spec"];
    const ONLY: &str = "may only be used when `type` is 'LoadBalancer'";
    let balanced = kind == "LoadBalancer";
    let ranges = SPEC.child("LoadBalancerSourceRanges");
    let sources = strings(&spec["loadBalancerSourceRanges"]);
    if !sources.is_empty() && !balanced {
        errors.forbidden(&ranges, ONLY);
    }
    for (index, range) in sources.into_iter().enumerate() {
        validate_cidr(range.trim(), &ranges.index(index), errors);
    }
    if let Some(annotation) = service["metadata"]["annotations"].get(SOURCE_RANGES)
        && is_empty(&spec["loadBalancerSourceRanges"])
    {
        let path = Path::new("metadata.annotations");
        let (path, annotation) = (path.key(SOURCE_RANGES), text(annotation).trim());
        if !balanced {
            errors.forbidden(&path, ONLY);
        }
        for range in annotation.split(',').filter(|_| !annotation.is_empty()) {
            validate_cidr(range.trim(), &path, errors);
        }
    }
    let allocate = &spec["allocateLoadBalancerNodePorts"];
    if !allocate.is_null() && !balanced {
        errors.forbidden(&SPEC.child("allocateLoadBalancerNodePorts"), ONLY);
    } else if allocate.is_null() && balanced {
        errors.required(&Path::new("allocateLoadBalancerNodePorts"), "");
    }
    if let Some(class) = spec["loadBalancerClass"].as_str() {
        let path = SPEC.child("loadBalancerClass");
        if !balanced {
            errors.forbidden(&path, ONLY);
        } else {
            errors.invalid_each(&path, class, names::qualified_name(class));
        }
    }
}

fn validate_traffic(spec: &Value, kind: &str, errors: &mut Errors) {
    const POLICIES: &[&str] = &["Cluster", "Local"];
    let (external, path) = (text(&spec["externalTrafficPolicy"]), SPEC.child("externalTrafficPolicy"));
    match (is_external(spec), external) {
        (false, "") => {}
        (false, _) => errors.invalid(&path, external, "may only be set for externally-accessible services"),
        (true, "") => errors.required(&path, ""),
        (true, _) if !POLICIES.contains(&external) => errors.not_supported(&path, external, POLICIES),
        (true, _) => {}
    }
    let (health, path) = (int(&spec["healthCheckNodePort"]), SPEC.child("healthCheckNodePort"));
    match (needs_health_check(spec), health) {
        (false, 0) => {}
        (false, _) => errors.invalid(
            &path,
            health,
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        ),
        // The allocator gives it one before it is stored.
        (true, 0) => {}
        (true, _) => {
            for wrong in names::port_number(health) {
                errors.invalid(&path, health, wrong);
            }
        }
    }
    let (internal, path) = (&spec["internalTrafficPolicy"], SPEC.child("internalTrafficPolicy"));
    if internal.is_null() {
        if matches!(kind, "ClusterIP" | "NodePort" | "LoadBalancer") {
            errors.required(&path, "");
        }
    } else if !POLICIES.contains(&text(internal)) {
        errors.not_supported(&path, text(internal), POLICIES);
    }
    if let Some(distribution) = spec["trafficDistribution"].as_str() {
        const KNOWN: &[&str] = &["PreferClose", "PreferSameZone", "PreferSameNode"];
        if !KNOWN.contains(&distribution) {
            errors.not_supported(&SPEC.child("trafficDistribution"), distribution, KNOWN);
        }
    }
}

pub(super) fn validate_update(new: &Value, old: &Value, subresource: Subresource, errors: &mut Errors) {
    let (spec, before) = (&new["spec"], &old["spec"]);
    if subresource == Subresource::Status {
        return validate_status(new, errors);
    }
    addresses::validate_update(spec, before, errors);
    let both_balanced = [spec, before].iter().all(|spec| text(&spec["type"]) == "LoadBalancer");
    if both_balanced && !same(&spec["loadBalancerClass"], &before["loadBalancerClass"]) {
        let class = spec["loadBalancerClass"].clone();
        errors.invalid(&SPEC.child("loadBalancerClass"), class, "may not change once set");
    }
    let both_checked = needs_health_check(spec) && needs_health_check(before);
    if both_checked && int(&spec["healthCheckNodePort"]) != int(&before["healthCheckNodePort"]) {
        errors.forbidden(&SPEC.child("healthCheckNodePort"), "field is immutable");
    }
    validate(new, errors);
}

fn validate_status(service: &Value, errors: &mut Errors) {
    let path = Path::new("status.loadBalancer.ingress");
    let ingress = items(&service["status"]["loadBalancer"]["ingress"]);
    if text(&service["spec"]["type"]) != "LoadBalancer" {
        if !ingress.is_empty() {
            errors.forbidden(&path, "may only be used when `spec.type` is 'LoadBalancer'");
        }
        return;
    }
    for (index, point) in ingress.iter().enumerate() {
        let path = path.index(index);
        let (ip, mode, host) = (text(&point["ip"]), text(&point["ipMode"]), text(&point["hostname"]));
        if !ip.is_empty() {
            validate_ip(ip, &path.child("ip"), errors);
        }
        match (ip, mode) {
            ("", "") => {}
            (_, "") => errors.required(&path.child("ipMode"), "must be specified when `ip` is set"),
            ("", _) => errors.forbidden(&path.child("ipMode"), "may not be specified when `ip` is not set"),
            (_, "Proxy" | "VIP") => {}
            _ => errors.not_supported(&path.child("ipMode"), mode, &["Proxy", "VIP"]),
        }
        if !host.is_empty() {
            errors.invalid_each(&path.child("hostname"), host, names::dns1123_subdomain(host));
            if host.parse::<std::net::IpAddr>().is_ok() {
                errors.invalid(&path.child("hostname"), host, "must be a DNS name, not an IP address");
            }
        }
    }
}

#[cfg(test)]
mod tests;
