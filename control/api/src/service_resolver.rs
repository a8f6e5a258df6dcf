//! Where a Service really is: one of its ready endpoints, as the caches know them. The API server speaks to webhooks and
//! aggregated servers directly, so that it does not depend on a service proxy.

use std::net::IpAddr;
use std::sync::Arc;

use rand::seq::IndexedRandom;
use serde_json::Value;

use crate::cache::Hub;

/// Host and port for a Service's port number; the error is what kube-apiserver's resolvers say.
pub fn resolve(hub: &Hub, namespace: &str, name: &str, port: u16) -> Result<(String, u16), String> {
    let service = hub.cache_at("services/specs").and_then(|cache| cache.get(&format!("{namespace}/{name}")));
    let service = service.ok_or_else(|| format!("service \"{name}\" not found"))?.value();
    if service["spec"]["type"] == "ExternalName" {
        return Ok((service["spec"]["externalName"].as_str().unwrap_or_default().to_owned(), port));
    }
    let ports = service["spec"]["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = ports.iter().find(|p| p["port"].as_u64() == Some(u64::from(port)));
    let found = found.ok_or_else(|| format!("no service port {port} found for service \"{name}\""))?;
    let port_name = found["name"].as_str().unwrap_or_default();
    endpoint(hub, namespace, name, port_name).ok_or_else(|| format!("no endpoints available for service \"{name}\""))
}

/// A ready endpoint of a Service's port.
pub fn endpoint(hub: &Hub, namespace: &str, service: &str, port: &str) -> Option<(String, u16)> {
    let cache = hub.cache_at("endpointslices")?;
    let prefix = format!("{namespace}/");
    let mut found = Vec::new();
    let objects = cache.snapshot().0;
    let of_namespace = objects.range(Arc::from(prefix.as_str())..).take_while(|(key, _)| key.starts_with(&prefix));
    for (_, slice) in of_namespace.filter(|(_, s)| s.label("kubernetes.io/service-name") == Some(service)) {
        let slice = slice.value();
        let ports = slice["ports"].as_array().into_iter().flatten();
        let number = ports.clone().find(|p| p["name"].as_str().unwrap_or_default() == port);
        let Some(number) = number.and_then(|p| p["port"].as_u64()).and_then(|p| u16::try_from(p).ok()) else {
            continue;
        };
        let endpoints = slice["endpoints"].as_array().into_iter().flatten();
        for endpoint in endpoints.filter(|e| e["conditions"]["ready"] != false) {
            let addresses = endpoint["addresses"].as_array().into_iter().flatten().filter_map(Value::as_str);
            found.extend(addresses.filter(|a| is_proxyable(a)).map(|a| (a.to_owned(), number)));
        }
    }
    found.choose(&mut rand::rng()).cloned()
}

/// Not this machine's own addresses: what listens there trusts who is local.
pub fn is_proxyable(ip: &str) -> bool {
    match ip.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => !(ip.is_loopback() || ip.is_link_local() || ip.is_multicast() || ip.is_unspecified()),
        Ok(IpAddr::V6(ip)) => {
            !(ip.is_loopback() || ip.is_unicast_link_local() || ip.is_multicast() || ip.is_unspecified())
        }
        Err(_) => false,
    }
}
